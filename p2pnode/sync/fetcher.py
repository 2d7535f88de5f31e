"""Fetching by name: payload bodies, statements and batches that this node lacks.

A name is the byte of its kind and a digest. Without the kind a proposer could list a payload or a
batch where a statement belongs: everybody would serve it in good faith, nobody could accept it, and
the batch itself could never be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2pnode import codec
from p2pnode.types.desk import Desk
from p2pnode.types.messages import FRAME_BYTES_MAX, decode_list, encode_list

PROTOCOL: str = "fetch"
"""Request protocol: a list of names; the answer is a list of as many byte strings, empty where the
peer has nothing."""

PAYLOAD: bytes = b"\x01"
"""Kind of a payload's body: by its SHA-256."""

STATEMENT: bytes = b"\x02"
"""Kind of a statement: by its SHA-256."""

BATCH: bytes = b"\x03"
"""Kind of a batch: by its header's digest."""

NAME_BYTES: int = 33

DIGESTS_MAX: int = 64
"""Most names in one request."""

WANTED_MAX: int = 1024
"""Most names wanted only because somebody proposed them; the oldest are forgotten for new ones.
What is final is always wanted: a proposer that lists what nobody has must not stand in its way."""

PROPOSED_TRIES_MAX: int = 64
"""After so many answers without it, what was only proposed is not asked for any more."""

HINTS_MAX: int = 16
"""Peers remembered when hints are added to hints."""

TIMEOUT_NS: int = 2_000_000_000
RETRY_NS: int = 200_000_000
RETRY_NS_MAX: int = 3_000_000_000


@dataclass(slots=True)
class _Wanted:
    accept: Callable[[bytes, bytes], bool]
    """Takes (peer, bytes); False when they are not what was asked for."""
    hints: tuple[bytes, ...]
    final: bool
    """A final block needs it: it exists, and is asked for until it is here."""
    tries: int = 0
    in_flight: bool = False
    next_ns: int = 0


class Fetcher:
    """Asks hinted peers first, then every connected one in turn, until each name has arrived."""

    def __init__(self, desk: Desk) -> None:
        """Start with nothing wanted."""
        self._desk = desk
        self._wanted: dict[bytes, _Wanted] = {}
        self._connected: dict[bytes, None] = {}
        self._silent: dict[bytes, None] = {}
        """Connected peers that left our last request unanswered."""
        self._timer_ns: int | None = None

    def wanted_count(self) -> int:
        """Return how many names are wanted."""
        return len(self._wanted)

    def connected(self, peer: bytes) -> None:
        """A peer can be asked."""
        self._connected[peer] = None
        self._silent.pop(peer, None)
        for wanted in self._wanted.values():
            wanted.next_ns = min(wanted.next_ns, self._desk.now_ns)
        self._ask()

    def lost(self, peer: bytes) -> None:
        """A peer can't be asked any more."""
        self._connected.pop(peer, None)
        self._silent.pop(peer, None)

    def want(
        self,
        name: bytes,
        hints: Sequence[bytes],
        accept: Callable[[bytes, bytes], bool],
        *,
        final: bool = False,
    ) -> None:
        """Fetch what a name stands for.

        Args:
            name: `PAYLOAD`, `STATEMENT` or `BATCH`, and the digest.
            hints: Peers that should have it.
            accept: Called with (peer, bytes); returns False when they are not what was asked for,
                and must then not have kept them.
            final: A final block needs it; else it is only proposed, may not exist, and is given up
                some time.
        """
        known = self._wanted.get(name)
        if known is not None:
            known.hints = tuple(dict.fromkeys((*hints, *known.hints)))[:HINTS_MAX]
            known.final = known.final or final
            return
        self._wanted[name] = _Wanted(accept, tuple(hints), final)
        self._make_room()
        self._ask()

    def wants(self, name: bytes) -> bool:
        """Tell whether a name is wanted."""
        return name in self._wanted

    def arrived(self, name: bytes) -> None:
        """What a name stands for came some other way."""
        self._wanted.pop(name, None)

    def fired(self) -> None:
        """The retry timer fired."""
        self._timer_ns = None
        self._ask()

    def _make_room(self) -> None:
        if len(self._wanted) <= WANTED_MAX:
            return
        proposed = [name for name, wanted in self._wanted.items() if not wanted.final]
        for name in proposed[: max(0, len(proposed) - WANTED_MAX)]:
            del self._wanted[name]

    def _ask(self) -> None:
        now_ns = self._desk.now_ns
        groups: dict[bytes, list[bytes]] = {}
        for name, wanted in self._wanted.items():
            if wanted.in_flight or wanted.next_ns > now_ns:
                continue
            peer = self._next_peer(wanted)
            if peer is None:
                wanted.next_ns = now_ns + RETRY_NS
                continue
            groups.setdefault(peer, []).append(name)
        for peer, names in groups.items():
            for start in range(0, len(names), DIGESTS_MAX):
                self._request(peer, names[start : start + DIGESTS_MAX])
        self._arm()

    def _next_peer(self, wanted: _Wanted) -> bytes | None:
        order = [p for p in wanted.hints if p in self._connected]
        order += [p for p in self._connected if p not in wanted.hints]
        if not order:
            return None
        # Who did not answer lately comes last: a silent peer costs a timeout each time.
        order.sort(key=lambda p: p in self._silent)
        return order[wanted.tries % len(order)]

    def _request(self, peer: bytes, names: list[bytes]) -> None:
        for name in names:
            wanted = self._wanted[name]
            wanted.in_flight = True
            wanted.tries += 1

        def answered(body: bytes | None) -> None:
            self._answered(peer, names, body)

        self._desk.request(peer, PROTOCOL, encode_list(names), TIMEOUT_NS, answered)

    def _answered(self, peer: bytes, names: list[bytes], body: bytes | None) -> None:
        items: tuple[bytes, ...] = ()
        if body is None:
            if peer in self._connected:
                self._silent[peer] = None
        else:
            self._silent.pop(peer, None)
            try:
                items = decode_list(
                    body,
                    size_bytes_max=FRAME_BYTES_MAX + 4096,
                    count_max=DIGESTS_MAX,
                    item_bytes_max=FRAME_BYTES_MAX,
                )
            except (codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError):
                self._desk.penalize(peer, 20.0, "answer to fetch is malformed")
        for i, name in enumerate(names):
            wanted = self._wanted.get(name)
            if wanted is None:
                continue
            wanted.in_flight = False
            data = items[i] if i < len(items) else b""
            if data:
                accepted = wanted.accept(peer, data)
                if accepted:
                    self._wanted.pop(name, None)
                    continue
                self._desk.penalize(peer, 20.0, "answer to fetch is not what was asked for")
            if not wanted.final and wanted.tries >= PROPOSED_TRIES_MAX:
                self._wanted.pop(name, None)
                continue
            backoff = min(RETRY_NS * (1 + wanted.tries // 2), RETRY_NS_MAX)
            wanted.next_ns = self._desk.now_ns + backoff
        self._ask()

    def _arm(self) -> None:
        due = [w.next_ns for w in self._wanted.values() if not w.in_flight]
        if not due:
            return
        at_ns = max(min(due), self._desk.now_ns + 1_000_000)
        if self._timer_ns is None or at_ns < self._timer_ns:
            self._timer_ns = at_ns
            self._desk.arm(("fetcher",), at_ns)
