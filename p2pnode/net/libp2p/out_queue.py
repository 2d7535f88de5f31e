"""What waits to be written to one peer, shared fairly between those it came from.

Each source has a queue of its own, and they take turns (deficit round-robin, Shreedhar and Varghese
1996): a neighbour that sends less than its share waits for no flood of another's. Where there is no
room left, who takes most of it loses, not who comes last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from p2pnode.ports import PeerId

OWN: Final[PeerId] = b""
"""The source of what begins here."""

_TURN: Final = 1 << 13
"""What a source may send in its turn; more waits for the next ones."""

_OWN_TURN: Final = 8 * _TURN
"""What begins here has no other way out, the rest has many."""

_RPC_COST: Final = 1 << 10
"""Of an RPC, beside its bytes: rates allow half a mebibyte a second and 500 messages."""

_WRITE_BYTES: Final = 1 << 16


@dataclass(slots=True)
class _Source:
    """What waits of one source."""

    turn: int
    """What it gets for each turn."""
    credit: int
    """What it may still send, of its turn and those before."""
    rpcs: deque[bytes] = field(default_factory=deque)
    size_bytes: int = 0
    """Of all that waits."""


class OutQueue:
    """Encoded RPCs that wait for one peer; what there is no room for is dropped and counted."""

    def __init__(
        self, rpcs_max: int, on_drop: Callable[[], None], *, bytes_max: int = 8 << 20
    ) -> None:
        """Make it empty.

        Args:
            rpcs_max: RPCs that may wait.
            on_drop: Called for each one dropped.
            bytes_max: Bytes that may wait, all of them together; one RPC always may.
        """
        self._control: deque[bytes] = deque()
        self._sources: dict[PeerId, _Source] = {}
        """Those of which something waits."""
        self._turns: deque[PeerId] = deque()
        """The same; the first one's turn it is."""
        self._count = 0
        self._size_bytes = 0
        self._rpcs_max = rpcs_max
        self._bytes_max = bytes_max
        self._slot_bytes = bytes_max // rpcs_max
        """What a place counts beside its bytes, where there is no room left: else many that fill
        all places with little would keep out who needs one for much."""
        self._on_drop = on_drop
        self._wake = trio.Event()
        self.popped_count = 0
        """RPCs in what `pop` returned last."""

    def __len__(self) -> int:
        return self._count

    def push(self, rpc: bytes, source: PeerId = OWN) -> bool:
        """Queue an RPC with its length prefix.

        Args:
            rpc: Its bytes.
            source: Whose turn it waits for.

        Returns:
            Whether there was room.
        """
        waiting = self._sources.get(source)
        if not self._make_room(rpc, len(rpc) + self._slot_bytes + self._share_of(source)):
            return False
        if waiting is None:
            # Last, however often: who has nothing left each time would else be first each time.
            turn = _OWN_TURN if source == OWN else _TURN
            waiting = self._sources[source] = _Source(turn, credit=turn)
            self._turns.append(source)
        waiting.rpcs.append(rpc)
        waiting.size_bytes += len(rpc)
        self._added(rpc)
        return True

    def push_control(self, rpc: bytes) -> bool:
        """Queue an RPC that goes before all messages; returns whether there was room."""
        if not self._make_room(rpc, 0):
            return False
        self._control.append(rpc)
        self._added(rpc)
        return True

    def _added(self, rpc: bytes) -> None:
        self._count += 1
        self._size_bytes += len(rpc)
        self._wake.set()

    def _removed(self, rpc: bytes) -> bytes:
        self._count -= 1
        self._size_bytes -= len(rpc)
        return rpc

    def _is_full(self, rpc: bytes) -> bool:
        return self._count >= self._rpcs_max or (
            self._count > 0 and self._size_bytes + len(rpc) > self._bytes_max
        )

    def _make_room(self, rpc: bytes, held: int) -> bool:
        """Drop the newest RPCs of whoever holds most.

        Args:
            rpc: What is to be queued.
            held: Who holds no more than this loses nothing.
        """
        while self._is_full(rpc):
            self._on_drop()
            greediest = max(self._sources, key=self._share_of, default=None)
            if greediest is None or self._share_of(greediest) <= held:
                return False
            self._remove(greediest, newest=True)
        return True

    def _share_of(self, source: PeerId) -> int:
        waiting = self._sources.get(source)
        return 0 if waiting is None else waiting.size_bytes + len(waiting.rpcs) * self._slot_bytes

    def _remove(self, source: PeerId, *, newest: bool = False) -> bytes:
        waiting = self._sources[source]
        rpc = self._removed(waiting.rpcs.pop() if newest else waiting.rpcs.popleft())
        waiting.size_bytes -= len(rpc)
        if not waiting.rpcs:
            del self._sources[source]
            self._turns.remove(source)
        return rpc

    async def pop(self) -> bytes:
        """Wait for RPCs and return as many as make a good write."""
        while not self._count:
            self._wake = trio.Event()
            await self._wake.wait()
        batch = [self.take()]
        size_bytes = len(batch[0])
        while self._count and size_bytes < _WRITE_BYTES:
            batch.append(self.take())
            size_bytes += len(batch[-1])
        self.popped_count = len(batch)
        return b"".join(batch)

    def take(self) -> bytes:
        """Return the RPC that is next; there has to be one."""
        if self._control:
            return self._removed(self._control.popleft())
        while True:
            source = self._turns[0]
            waiting = self._sources[source]
            cost = _cost(waiting.rpcs[0])
            if cost <= waiting.credit or len(self._turns) == 1:
                waiting.credit = max(0, waiting.credit - cost)
                return self._remove(source)
            waiting.credit += waiting.turn
            self._turns.rotate(-1)


def _cost(rpc: bytes) -> int:
    return len(rpc) + _RPC_COST
