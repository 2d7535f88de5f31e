"""Payload bodies: those that the engine asked about, and those put aside until it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from p2pnode.errors import RemoteProtocolError
from p2pnode.sync.fetcher import PAYLOAD, Fetcher
from p2pnode.types.chain import Chain
from p2pnode.types.desk import Desk
from p2pnode.types.effects import Write
from p2pnode.types.payload import Payload, decode_payload, digest_of

OFFERED_MAX: Final = 16
"""Bodies that a validator sent beside proposals, kept until the engine asks about them."""

REFUSED_MAX: Final = 64
"""Digests remembered whose bytes are no payload; of the oldest the body is fetched again."""

BODIES_RETAINED_HEIGHTS: Final = 64
"""Heights below the final one whose payloads stay in memory."""

BODIES_AHEAD_HEIGHTS: Final = 256
"""A payload that says it is further above the final height than this is nobody's."""

BODIES_MAX: Final = 1024
"""Payloads in memory; a final one that is forgotten comes from the store, or from peers."""


class Bodies:
    """The payloads around the final height, by digest; each is on disk before anybody uses it."""

    def __init__(
        self,
        chain: Chain,
        desk: Desk,
        fetcher: Fetcher,
        *,
        kept: Callable[[Payload], None],
        available: Callable[[bytes], None],
        arrived: Callable[[], None],
    ) -> None:
        """Start empty.

        Args:
            chain: Who is a validator.
            desk: Where writes go.
            fetcher: Gets what is missing.
            kept: Is told of every payload taken.
            available: Is told the digest of every payload that came from others.
            arrived: Called when what was asked for came, whatever it turned out to be.
        """
        self._chain = chain
        self._desk = desk
        self._fetcher = fetcher
        self._kept = kept
        self._available = available
        self._arrived = arrived
        self._bodies: dict[bytes, Payload] = {}
        self._offered: dict[int, dict[bytes, bytes]] = {}
        self._final: dict[bytes, None] = {}
        self._refused: dict[bytes, str] = {}

    def __len__(self) -> int:
        return len(self._bodies)

    def get(self, digest: bytes) -> Payload | None:
        """Return a payload that is here."""
        return self._bodies.get(digest)

    def find(self, digest: bytes) -> Payload | None:
        """Return a payload that is here, or was put aside."""
        payload = self._bodies.get(digest)
        if payload is None:
            for offered in self._offered.values():
                body = offered.pop(digest, None)
                if body is not None:
                    self._read(digest, body)
                    return self._bodies.get(digest)
        return payload

    def refusal(self, digest: bytes) -> str | None:
        """Return why the bytes of a digest are no payload; None if they are one, or unknown."""
        return self._refused.get(digest)

    def listed_above(self, height: int) -> dict[bytes, None]:
        """Return the statements that any payload above a height lists, by digest."""
        listed: dict[bytes, None] = {}
        for payload in self._bodies.values():
            if (payload.height or 0) > height:
                listed.update(dict.fromkeys(payload.items))
        return listed

    def listed_between(self, parent: bytes, head: bytes, height: int) -> dict[bytes, None]:
        """Return the statements that ancestors list which are not final yet, by digest.

        Args:
            parent: The nearest ancestor.
            head: The final payload that they stand on.
            height: Its height.
        """
        listed: dict[bytes, None] = {}
        digest: bytes | None = parent
        while digest is not None and digest != head:
            payload = self._bodies.get(digest)
            if payload is None or (payload.height or 0) <= height:
                break
            listed.update(dict.fromkeys(payload.items))
            digest = payload.parent
        return listed

    def put_aside(self, peer: bytes, digest: bytes, body: bytes) -> None:
        """Keep bytes that nobody asked for, within the sender's share; a stranger has none."""
        sender = self._chain.validator_of_peer(peer)
        if sender is None or digest in self._bodies:
            return
        offered = self._offered.setdefault(sender, {})
        offered[digest] = body
        if len(offered) > OFFERED_MAX:
            del offered[next(iter(offered))]

    def want(self, digest: bytes, peers: Sequence[bytes], *, final: bool = False) -> None:
        """Fetch a payload.

        Args:
            digest: Which.
            peers: Who should have it.
            final: It is final, so it exists: never give up.
        """
        if digest in self._bodies or digest in self._refused:
            return
        self._fetcher.want(
            PAYLOAD + digest, peers, lambda peer, body: self.accept(digest, body), final=final
        )

    def accept(self, digest: bytes, body: bytes) -> bool:
        """Take bytes that were asked for; returns False when they are others."""
        if digest_of(body) != digest:
            return False
        if digest not in self._bodies and digest not in self._refused:
            self._read(digest, body)
            self._arrived()
        return True

    def _read(self, digest: bytes, body: bytes) -> None:
        try:
            payload = decode_payload(body)
        except RemoteProtocolError as error:
            # A digest of such bytes is never voted for; a Check of it is answered with no.
            self._refused[digest] = str(error)
            while len(self._refused) > REFUSED_MAX:
                self._refused.pop(next(iter(self._refused)))
            return
        self.keep(digest, body, payload)
        self._available(digest)

    def keep(self, digest: bytes, body: bytes, payload: Payload) -> None:
        """Take a payload that is known to be one: ours, or a verified block's."""
        self._fetcher.arrived(PAYLOAD + digest)
        self._bodies[digest] = payload
        if len(self._bodies) > BODIES_MAX:
            del self._bodies[next(iter(self._bodies))]
        self._desk.put(Write("bodies", digest, body))
        self._kept(payload)

    def finalized(self, height: int, digest: bytes) -> None:
        """A payload is final: drop those that it leaves behind, and those nobody can mean."""
        self._final[digest] = None
        while len(self._final) > 2 * BODIES_RETAINED_HEIGHTS:
            del self._final[next(iter(self._final))]
        old = height - BODIES_RETAINED_HEIGHTS
        ahead = height + BODIES_AHEAD_HEIGHTS
        for other in [d for d, p in self._bodies.items() if not old <= (p.height or 0) <= ahead]:
            # From the disk only what can't be final any more.
            if (self._bodies.pop(other).height or 0) < old and other not in self._final:
                self._desk.put(Write("bodies", other, None))
