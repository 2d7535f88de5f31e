"""Dispersal: the collator's side of a batch, from its signed header to its certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from p2pnode.availability.certificate import pick_signers
from p2pnode.errors import LocalProtocolError
from p2pnode.types.batch import BatchHeader
from p2pnode.types.genesis import Validator
from p2pnode.types.quorum import quorum_of_set
from p2pnode.types.statement import BatchCertificate


class TooManyDispersalsError(LocalProtocolError):
    """More batches on their way than a feed may have."""

    def __init__(self, batches_max: int) -> None:
        super().__init__(f"{batches_max} batches are on their way already, no more allowed")
        self.batches_max = batches_max


@dataclass(frozen=True, slots=True)
class DispersalConfig:
    """Numbers of a dispersal."""

    retry_ns: int = 1_000_000_000
    """A validator that has not answered for so long gets the batch again."""
    attempts_max: int = 20
    """Give a batch up after so many rounds of sending; heights may stand still without it."""
    heights_max: int = 16
    """Give it up when the chain grew by so many heights without it."""
    batches_max: int = 8
    """Most batches on their way."""


@dataclass(frozen=True, slots=True)
class Resend:
    """A batch that goes out again."""

    header: BatchHeader
    header_signature: bytes
    data: bytes
    missing: tuple[int, ...]
    """Validators that have not answered, ascending."""


@dataclass(frozen=True, slots=True)
class DispersalStatistics:
    """What is on its way, and what became of the rest since start."""

    batches_count: int
    """On their way."""
    certified_count: int
    given_up_count: int
    resent_count: int
    """Copies sent again."""


@dataclass(slots=True)
class _Outgoing:
    header: BatchHeader
    header_signature: bytes
    data: bytes
    validators: tuple[Validator, ...]
    quorum: int
    height: int
    retry_at_ns: int
    attempts: int = 1
    power: int = 0
    signatures: dict[int, bytes] = field(default_factory=dict)


class Dispersal:
    """Own batches on their way: gathers "stored" until a quorum, and knows whom to ask again."""

    def __init__(self, config: DispersalConfig) -> None:
        """Start with none."""
        self._config = config
        self._outgoing: dict[bytes, _Outgoing] = {}
        self._certified_count = 0
        self._given_up_count = 0
        self._resent_count = 0

    def begin(
        self,
        now_ns: int,
        height: int,
        header: BatchHeader,
        header_signature: bytes,
        data: bytes,
        validators: Sequence[Validator],
    ) -> bytes:
        """Follow a batch that is being sent to all validators of its epoch now.

        Returns:
            The batch's digest, under which answers come.

        Raises:
            TooManyDispersalsError: The caller did not keep to the feed's limit.
        """
        if len(self._outgoing) >= self._config.batches_max:
            raise TooManyDispersalsError(self._config.batches_max)
        digest = header.digest()
        assert digest not in self._outgoing, digest.hex()
        self._outgoing[digest] = _Outgoing(
            header=header,
            header_signature=header_signature,
            data=data,
            validators=tuple(validators),
            quorum=quorum_of_set(validators),
            height=height,
            retry_at_ns=now_ns + self._config.retry_ns,
        )
        return digest

    def wants(self, digest: bytes, signer: int) -> Validator | None:
        """Return whose key to check an answer with; None when it is not worth checking."""
        batch = self._outgoing.get(digest)
        if batch is None or not 0 <= signer < len(batch.validators) or signer in batch.signatures:
            return None
        return batch.validators[signer]

    def stored(self, digest: bytes, signer: int, signature: bytes) -> BatchCertificate | None:
        """Take an answer whose signature was verified.

        Args:
            digest: The batch's.
            signer: Index in the validator set of the batch's epoch.
            signature: Kind `stored`, over the digest, 64 bytes.

        Returns:
            The certificate, once: with the answer that completes a quorum.
        """
        if self.wants(digest, signer) is None:
            return None
        batch = self._outgoing[digest]
        batch.signatures[signer] = signature
        batch.power += batch.validators[signer].power
        if batch.power < batch.quorum:
            return None
        signers = pick_signers(batch.signatures, batch.validators)
        assert signers is not None, (batch.power, batch.quorum)
        del self._outgoing[digest]
        self._certified_count += 1
        return BatchCertificate(batch.header, batch.header_signature, signers)

    def resend(self, now_ns: int) -> list[Resend]:
        """Return what has to be sent again now, and count it as sent."""
        again: list[Resend] = []
        for batch in self._outgoing.values():
            if batch.retry_at_ns > now_ns or batch.attempts >= self._config.attempts_max:
                continue
            batch.attempts += 1
            batch.retry_at_ns = now_ns + self._config.retry_ns
            missing = tuple(i for i in range(len(batch.validators)) if i not in batch.signatures)
            self._resent_count += len(missing)
            again.append(Resend(batch.header, batch.header_signature, batch.data, missing))
        return again

    def give_up(self, now_ns: int, height: int) -> list[BatchHeader]:
        """Forget the batches that had their chance; their transactions go back to the pool."""
        over = {
            digest: batch.header
            for digest, batch in self._outgoing.items()
            if height >= batch.height + self._config.heights_max
            or (batch.attempts >= self._config.attempts_max and batch.retry_at_ns <= now_ns)
        }
        for digest in over:
            del self._outgoing[digest]
        self._given_up_count += len(over)
        return list(over.values())

    def passed(self, uid: int, sequence: int) -> None:
        """Forget the batches of our feed in a shard up to a sequence that was ordered."""
        for digest, batch in list(self._outgoing.items()):
            if batch.header.uid == uid and batch.header.sequence <= sequence:
                del self._outgoing[digest]
                self._given_up_count += 1

    @property
    def next_ns(self) -> int | None:
        """When `resend` or `give_up` has something to do, or None with nothing on its way."""
        return min((batch.retry_at_ns for batch in self._outgoing.values()), default=None)

    def statistics(self) -> DispersalStatistics:
        """Return what is on its way and what became of the rest."""
        return DispersalStatistics(
            batches_count=len(self._outgoing),
            certified_count=self._certified_count,
            given_up_count=self._given_up_count,
            resent_count=self._resent_count,
        )
