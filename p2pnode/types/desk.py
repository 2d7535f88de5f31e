"""The desk: where a core's parts put their effects, and where answers find who asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from p2pnode.types.effects import (
    AnswerIn,
    Append,
    ArmTimer,
    DisarmTimer,
    Effect,
    Emit,
    Lane,
    Penalize,
    Put,
    Request,
    SendTo,
    Sign,
    SignedIn,
    VerifiedIn,
    Verify,
    Write,
)


class Desk:
    """Collects the effects of one input, and keeps the continuations of questions asked.

    A continuation runs at most once; a question that is never answered costs its entry until the
    epoch of the node ends, so every question here is one that the shell always answers.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.now_ns = 0
        """Monotonic time of the input being handled."""
        self.wall_ms = 0
        """Wall clock of the input being handled."""
        self.cause: bytes | None = None
        """Peer whose message is being handled: the signature checks asked for are its doing."""
        self._causes: dict[int, tuple[bytes, int]] = {}
        self._open: dict[bytes, int] = {}
        self._effects: list[Effect] = []
        self._waiting: dict[int, Callable[..., None]] = {}
        self._ticket = 0

    def drain(self) -> list[Effect]:
        """Return and forget the effects collected so far, in order."""
        effects, self._effects = self._effects, []
        return effects

    def waiting(self) -> int:
        """Return how many questions are open."""
        return len(self._waiting)

    def open_checks(self, peer: bytes) -> int:
        """Return how many signatures wait for their check because of a peer's messages."""
        return self._open.get(peer, 0)

    # --- questions -------------------------------------------------------------------------------

    def sign(
        self,
        kind: str,
        epoch: int,
        body: bytes,
        slots: Mapping[Hashable, bytes],
        position: tuple[int, ...],
        then: Callable[[bytes | None], None],
    ) -> None:
        """Have a body signed; `then` gets the signature, or None when the signer refused."""
        self._effects.append(Sign(self._ask(then), kind, epoch, body, slots, position))

    def verify(
        self,
        checks: Sequence[tuple[bytes, bytes, bytes]],
        then: Callable[[tuple[bool, ...]], None],
    ) -> None:
        """Have signatures checked; `then` gets one truth value each."""
        if not checks:
            then(())
            return
        ticket = self._ask(then)
        if self.cause is not None:
            self._causes[ticket] = self.cause, len(checks)
            self._open[self.cause] = self._open.get(self.cause, 0) + len(checks)
        self._effects.append(Verify(ticket, tuple(checks)))

    def request(
        self,
        peer: bytes,
        protocol: str,
        body: bytes,
        timeout_ns: int,
        then: Callable[[bytes | None], None],
    ) -> None:
        """Ask a peer; `then` gets its answer or None."""
        self._effects.append(Request(self._ask(then), peer, protocol, body, timeout_ns))

    def answer(self, given: SignedIn | VerifiedIn | AnswerIn) -> None:
        """Hand an answer to who asked."""
        cause, count = self._causes.pop(given.ticket, (None, 0))
        if cause is not None:
            self._open[cause] -= count
            if not self._open[cause]:
                del self._open[cause]
        then = self._waiting.pop(given.ticket, None)
        if then is None:
            return
        # What follows from a peer's message is still its doing.
        self.cause = cause
        match given:
            case SignedIn(_, signature):
                then(signature)
            case VerifiedIn(_, ok):
                then(ok)
            case AnswerIn(_, body):
                then(body)
        self.cause = None

    # --- plain effects ---------------------------------------------------------------------------

    def add(self, effect: Effect) -> None:
        """Put any effect."""
        self._effects.append(effect)

    def send(self, peers: Sequence[bytes], lane: Lane, message: bytes) -> None:
        """Send one message to each peer."""
        if peers:
            self._effects.append(SendTo(tuple(peers), lane, message))

    def put(self, *writes: Write) -> None:
        """Write to the store."""
        if writes:
            self._effects.append(Put(writes))

    def append(self, record: bytes, *, sync: bool) -> None:
        """Append a record to the log."""
        self._effects.append(Append(record, sync))

    def arm(self, key: Hashable, at_ns: int) -> None:
        """Set a timer."""
        self._effects.append(ArmTimer(key, at_ns))

    def disarm(self, key: Hashable) -> None:
        """Forget a timer."""
        self._effects.append(DisarmTimer(key))

    def penalize(self, peer: bytes, points: float, reason: str) -> None:
        """Lower a peer's score."""
        self._effects.append(Penalize(peer, points, reason))

    def emit(self, event: str, **data: object) -> None:
        """Tell people, metrics and subscribers."""
        self._effects.append(Emit(event, data))

    def _ask(self, then: Callable[..., None]) -> int:
        self._ticket += 1
        self._waiting[self._ticket] = then
        return self._ticket
