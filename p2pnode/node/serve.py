"""What a node serves to peers from its store: blocks with their statements, things by digest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pnode.errors import P2PNodeError
from p2pnode.ports import Network, PeerId, Store
from p2pnode.sync import catchup, fetcher
from p2pnode.types.allowances import Allowances
from p2pnode.types.messages import FRAME_BYTES_MAX, decode_list, encode_list
from p2pnode.types.payload import decode_block, decode_payload

FETCH_TABLES = {
    fetcher.PAYLOAD: "bodies",
    fetcher.STATEMENT: "statements",
    fetcher.BATCH: "batches",
}
"""Tables whose keys are digests that peers may ask for, by kind."""


ALLOWANCE_BYTES: Final = 8 << 20
"""What a peer may take at once."""

ALLOWANCE_BYTES_PER_S: Final = 2 << 20
"""What it may take in the long run: several times what a full chain makes. A request of 60 bytes
asks for a mebibyte, and an identity is free."""

REQUEST_BYTES: Final = 16 << 10
"""What a request counts at least, for the reading."""

BLOCK_BYTES: Final = 2 << 10
"""What a block counts beside its bytes: to find its statements takes 50 to 80 µs."""


class AllowanceSpentError(P2PNodeError):
    """A peer has taken what it may; it can ask again in a while."""


class StoreServer:
    """Answers `blocks` and `fetch`; reads only, and only what peers may have."""

    def __init__(self, store: Store, now_ns: Callable[[], int] = lambda: 0) -> None:
        """Serve from a store.

        Args:
            store: Where blocks and things are.
            now_ns: Monotonic time, by which allowances grow again.
        """
        self._store = store
        self._now_ns = now_ns
        self._allowances = Allowances(per_s=ALLOWANCE_BYTES_PER_S, at_once_max=ALLOWANCE_BYTES)

    def attach(self, network: Network) -> None:
        """Register with a network, before it runs."""
        network.serve(catchup.PROTOCOL, self.blocks)
        network.serve(fetcher.PROTOCOL, self.fetch)

    async def answer(self, protocol: str, body: bytes) -> bytes:
        """Answer ourselves: what a core lacks may lie in its own store."""
        assert protocol == fetcher.PROTOCOL, protocol
        return self._fetch(body)

    async def blocks(self, peer: PeerId, body: bytes) -> bytes:
        """Return contiguous blocks with their statements, as many as fit.

        Raises:
            AllowanceSpentError: The peer took too much lately.
            RemoteProtocolError: It is no request.
        """
        self._check(peer)
        found = self._blocks(body)
        return self._charge(peer, catchup.encode_answer(found), len(found) * BLOCK_BYTES)

    def _blocks(self, body: bytes) -> list[tuple[bytes, list[bytes]]]:
        first, most = catchup.decode_request(body)
        start = first.to_bytes(8, "big")
        answer: list[tuple[bytes, list[bytes]]] = []
        size = 0
        for key, raw in self._store.scan("blocks", start=start, limit=max(1, most)):
            if int.from_bytes(key, "big") != first + len(answer):
                break  # pruned: what is left does not follow the height asked for
            statements: list[bytes] = []
            for digest in decode_payload(decode_block(raw).payload).items:
                statement = self._store.get("statements", digest)
                if statement is None:
                    return answer
                statements.append(statement)
            size += len(raw) + sum(len(s) for s in statements) + 64
            if answer and size > catchup.ANSWER_BYTES_MAX:
                break
            answer.append((raw, statements))
        return answer

    async def fetch(self, peer: PeerId, body: bytes) -> bytes:
        """Return what names stand for, empty where we have nothing or it would not fit.

        Raises:
            AllowanceSpentError: The peer took too much lately.
            RemoteProtocolError: It is no request.
        """
        self._check(peer)
        return self._charge(peer, self._fetch(body))

    def _check(self, peer: PeerId) -> None:
        taken_bytes = self._allowances.taken(peer, self._now_ns())
        if taken_bytes >= ALLOWANCE_BYTES:
            raise AllowanceSpentError(f"{taken_bytes} bytes taken, {ALLOWANCE_BYTES} allowed")

    def _charge(self, peer: PeerId, answer: bytes, effort_bytes: int = 0) -> bytes:
        cost_bytes = REQUEST_BYTES + effort_bytes + len(answer)
        self._allowances.spend(peer, cost_bytes, self._now_ns())
        return answer

    def _fetch(self, body: bytes) -> bytes:
        names = decode_list(
            body,
            size_bytes_max=8192,
            count_max=fetcher.DIGESTS_MAX,
            item_bytes_max=fetcher.NAME_BYTES,
        )
        answer: list[bytes] = []
        size = 0
        for name in names:
            data = self._find(name)
            if size + len(data) > FRAME_BYTES_MAX:
                data = b""
            size += len(data)
            answer.append(data)
        return encode_list(answer)

    def _find(self, name: bytes) -> bytes:
        table = FETCH_TABLES.get(name[:1])
        if table is None or len(name) != fetcher.NAME_BYTES:
            return b""
        return self._store.get(table, name[1:]) or b""
