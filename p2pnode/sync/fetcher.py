"""Fetching by digest: payload bodies, statements and batches that this node lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from p2pnode import codec
from p2pnode.types.desk import Desk
from p2pnode.types.messages import FRAME_BYTES_MAX, decode_list, encode_list

PROTOCOL: str = "fetch"
"""Request protocol: a list of digests; the answer is a list of as many byte strings, empty where
the peer has nothing."""

DIGESTS_MAX: int = 64
"""Most digests in one request."""

WANTED_MAX: int = 4096
"""Most digests wanted at once."""

TIMEOUT_NS: int = 2_000_000_000
RETRY_NS: int = 200_000_000
RETRY_NS_MAX: int = 3_000_000_000


@dataclass(slots=True)
class _Wanted:
    accept: Callable[[bytes, bytes], bool]
    """Takes (peer, bytes); False when they are not what was asked for."""
    hints: tuple[bytes, ...]
    tries: int = 0
    in_flight: bool = False
    next_ns: int = 0
    asked: list[bytes] = field(default_factory=list)


class Fetcher:
    """Asks hinted peers first, then every connected one in turn, until each digest has arrived."""

    def __init__(self, desk: Desk) -> None:
        """Start with nothing wanted."""
        self._desk = desk
        self._wanted: dict[bytes, _Wanted] = {}
        self._connected: dict[bytes, None] = {}
        self._timer_ns: int | None = None

    def wanted_count(self) -> int:
        """Return how many digests are wanted."""
        return len(self._wanted)

    def connected(self, peer: bytes) -> None:
        """A peer can be asked."""
        self._connected[peer] = None
        for wanted in self._wanted.values():
            wanted.next_ns = min(wanted.next_ns, self._desk.now_ns)
        self._ask()

    def lost(self, peer: bytes) -> None:
        """A peer can't be asked any more."""
        self._connected.pop(peer, None)

    def want(
        self, digest: bytes, hints: Sequence[bytes], accept: Callable[[bytes, bytes], bool]
    ) -> None:
        """Fetch what a digest names.

        Args:
            digest: 32 bytes.
            hints: Peers that should have it.
            accept: Called with (peer, bytes); returns False when they are not what was asked for,
                and must then not have kept them.
        """
        known = self._wanted.get(digest)
        if known is not None:
            known.hints = tuple(dict.fromkeys((*hints, *known.hints)))[:16]
            return
        if len(self._wanted) >= WANTED_MAX:
            return
        self._wanted[digest] = _Wanted(accept, tuple(hints))
        self._ask()

    def arrived(self, digest: bytes) -> None:
        """What a digest names came some other way."""
        self._wanted.pop(digest, None)

    def fired(self) -> None:
        """The retry timer fired."""
        self._timer_ns = None
        self._ask()

    def _ask(self) -> None:
        now_ns = self._desk.now_ns
        groups: dict[bytes, list[bytes]] = {}
        for digest, wanted in self._wanted.items():
            if wanted.in_flight or wanted.next_ns > now_ns:
                continue
            peer = self._next_peer(wanted)
            if peer is None:
                wanted.next_ns = now_ns + RETRY_NS
                continue
            groups.setdefault(peer, []).append(digest)
        for peer, digests in groups.items():
            for start in range(0, len(digests), DIGESTS_MAX):
                self._request(peer, digests[start : start + DIGESTS_MAX])
        self._arm()

    def _next_peer(self, wanted: _Wanted) -> bytes | None:
        order = [p for p in wanted.hints if p in self._connected]
        order += [p for p in self._connected if p not in wanted.hints]
        if not order:
            return None
        return order[wanted.tries % len(order)]

    def _request(self, peer: bytes, digests: list[bytes]) -> None:
        for digest in digests:
            wanted = self._wanted[digest]
            wanted.in_flight = True
            wanted.tries += 1

        def answered(body: bytes | None) -> None:
            self._answered(peer, digests, body)

        self._desk.request(peer, PROTOCOL, encode_list(digests), TIMEOUT_NS, answered)

    def _answered(self, peer: bytes, digests: list[bytes], body: bytes | None) -> None:
        items: tuple[bytes, ...] = ()
        if body is not None:
            try:
                items = decode_list(
                    body,
                    size_bytes_max=FRAME_BYTES_MAX + 4096,
                    count_max=DIGESTS_MAX,
                    item_bytes_max=FRAME_BYTES_MAX,
                )
            except (codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError):
                self._desk.penalize(peer, 20.0, "answer to fetch is malformed")
        for i, digest in enumerate(digests):
            wanted = self._wanted.get(digest)
            if wanted is None:
                continue
            wanted.in_flight = False
            data = items[i] if i < len(items) else b""
            if data:
                accepted = wanted.accept(peer, data)
                if accepted:
                    self._wanted.pop(digest, None)
                    continue
                self._desk.penalize(peer, 20.0, "answer to fetch is not what was asked for")
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
