"""Custody: the validator's side of a batch, from an offer to "stored", and how long it is kept.

An offer passes in three steps, cheapest first: `screen` (header alone), the collator's signature
(checked elsewhere), `accept` (the data). Only what was accepted and is on disk may be signed for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from p2pnode.availability.certificate import KIND_BATCH, KIND_STORED, ForeignChainError
from p2pnode.availability.scheme import Scheme
from p2pnode.availability.usable import check_shape, usable
from p2pnode.errors import RemoteProtocolError
from p2pnode.types.batch import BatchHeader
from p2pnode.types.genesis import Parameters, Validator
from p2pnode.types.statement import Evidence


class EpochError(RemoteProtocolError):
    """A batch of an epoch that this node doesn't collate for: one of us is behind."""

    penalty = 0.0

    def __init__(self, epoch: int, current: int | None) -> None:
        super().__init__(f"a batch of epoch {epoch}, this node is in epoch {current}")
        self.epoch = epoch
        self.current = current


class NotExecutorError(RemoteProtocolError):
    """A collator that is no executor of the shard in the epoch."""

    def __init__(self, collator: bytes, uid: int, epoch: int) -> None:
        super().__init__(f"{collator.hex()[:16]}… is no executor of shard {uid} in epoch {epoch}")
        self.collator = collator
        self.uid = uid
        self.epoch = epoch


class BatchTooLargeError(RemoteProtocolError):
    """A batch has more bytes or transactions than the chain lets a collator pack."""

    def __init__(self, size: int, size_max: int, unit: str) -> None:
        super().__init__(f"a batch of {size} {unit}, at most {size_max} allowed")
        self.size = size
        self.size_max = size_max


class StaleSequenceError(RemoteProtocolError):
    """A batch that can't be ordered any more: one with this or a higher sequence was."""

    penalty = 0.0

    def __init__(self, sequence: int, ordered: int) -> None:
        super().__init__(f"batch {sequence} of a feed whose batch {ordered} was ordered")
        self.sequence = sequence
        self.ordered = ordered


class FeedFullError(RemoteProtocolError):
    """A feed has as many unordered batches or bytes as it may."""

    penalty = 0.0

    def __init__(self, held: int, held_max: int, unit: str) -> None:
        super().__init__(f"the feed has {held} unordered {unit}, at most {held_max} allowed")
        self.held = held
        self.held_max = held_max


class SequenceTakenError(RemoteProtocolError):
    """Another header of this sequence is here, and no evidence can be made of the two."""

    def __init__(self, sequence: int, holder: bytes) -> None:
        super().__init__(f"batch {sequence} of the feed is {holder.hex()[:16]}… already")
        self.sequence = sequence
        self.holder = holder


@dataclass(frozen=True, slots=True)
class CustodyConfig:
    """What custody is made with."""

    chain: bytes
    """Chain id, 32 bytes."""
    batch_bytes_max: int
    """Largest data a collator packs."""
    batch_transactions_max: int
    """Most transactions a collator packs."""
    batches_unordered_max: int
    """Unordered batches a correct collator has at most."""
    slack_batches: int = 2
    """How many more are let in: we may learn of an ordered one later than the collator."""
    feed_bytes_max: int = 8 * 1024 * 1024
    """Unordered bytes of a feed."""
    feed_forget_ns: int = 30_000_000_000
    """An unordered batch this old doesn't count against its feed any more: it may have died, and a
    feed must not be closed for ever by batches nobody will order."""
    retention_heights: int = 1000
    """A batch is kept for so many heights after it was ordered or passed over."""
    epoch_overlap_heights: int = 64
    """Batches of the epoch before are accepted for so many heights."""

    @classmethod
    def of(cls, chain: bytes, parameters: Parameters) -> CustodyConfig:
        """Return the numbers of a chain."""
        return cls(
            chain=chain,
            batch_bytes_max=parameters.batch_bytes_max,
            batch_transactions_max=parameters.batch_transactions_max,
            batches_unordered_max=parameters.batches_unordered_max,
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """A batch to store, and what to sign once it is on disk."""

    digest: bytes
    """The batch's name, 32 bytes."""
    raws: tuple[bytes, ...]
    """Its transactions' envelopes, in order."""
    epoch: int
    """Signing epoch."""
    kind: str = KIND_STORED
    """Signing kind; the body is `digest`."""


@dataclass(frozen=True, slots=True)
class Equivocated:
    """A collator signed two headers of one sequence; the second one is not stored."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class CustodyStatistics:
    """What a validator keeps."""

    feeds_count: int
    batches_count: int
    """Kept, ordered ones included."""
    unordered_count: int
    held_bytes: int
    """Data of all kept batches."""
    accepted_count: int
    """Since start."""
    equivocations_count: int
    """Since start."""


@dataclass(slots=True)
class _Held:
    header: BatchHeader
    header_signature: bytes
    digest: bytes
    accepted_ns: int
    passed_height: int | None = None
    """Height at which it was ordered or passed over by a later one of its feed."""
    signature: bytes | None = None
    """Our "stored"."""


@dataclass(slots=True)
class _Feed:
    ordered: int = 0
    """Highest sequence ordered."""
    held: dict[int, _Held] = field(default_factory=dict)
    """By sequence."""

    def unordered(self) -> list[_Held]:
        return [held for held in self.held.values() if held.passed_height is None]


@dataclass(frozen=True, slots=True)
class _Epoch:
    executors: Mapping[int, frozenset[bytes]]
    validators: tuple[Validator, ...]
    start_height: int


class Custody:
    """Which batches this validator stored, feed by feed, and which it may store next.

    The bytes are elsewhere: whoever calls this writes what is accepted and deletes what `prune`
    names.
    """

    def __init__(self, config: CustodyConfig, scheme: Scheme) -> None:
        """Start with nothing stored; `enter_epoch` must come before the first offer."""
        self._config = config
        self._scheme = scheme
        self._epochs: dict[int, _Epoch] = {}
        self._current: int | None = None
        self._feeds: dict[tuple[int, bytes], _Feed] = {}
        self._by_digest: dict[bytes, _Held] = {}
        self._forgotten: list[bytes] = []
        self._accepted_count = 0
        self._equivocations_count = 0

    def enter_epoch(
        self,
        epoch: int,
        executors: Mapping[int, Sequence[bytes]],
        validators: Sequence[Validator],
        start_height: int,
    ) -> None:
        """Follow the chain into an epoch.

        Args:
            epoch: Its number.
            executors: Public keys of the shards' executors, by uid.
            validators: Its validator set.
            start_height: Last height of the epoch before.
        """
        self.foresee_epoch(epoch, executors, validators, start_height)
        self._current = epoch
        for old in [e for e in self._epochs if e < epoch - 1]:
            del self._epochs[old]

    def foresee_epoch(
        self,
        epoch: int,
        executors: Mapping[int, Sequence[bytes]],
        validators: Sequence[Validator],
        start_height: int,
    ) -> None:
        """Accept batches of an epoch before it is entered, by collators that are a little ahead."""
        self._epochs[epoch] = _Epoch(
            {uid: frozenset(keys) for uid, keys in executors.items()},
            tuple(validators),
            start_height,
        )

    # --- offers ----------------------------------------------------------------------------------

    def answer_for(self, digest: bytes) -> bytes | None:
        """Return the "stored" signature we gave for a batch: an offer of it is answered at once."""
        held = self._by_digest.get(digest)
        return None if held is None else held.signature

    def screen(self, now_ns: int, header: BatchHeader, height: int) -> None:
        """Refuse an offer by its header alone, before its signature is checked.

        Args:
            now_ns: Monotonic time.
            header: Decoded.
            height: Last executed height.

        Raises:
            ForeignChainError: Of another chain.
            EpochError: Of an epoch that is over, or unknown.
            NotExecutorError: Its collator may not collate.
            VoidBatchError: Its kind, scheme or shape is not allowed.
            BatchTooLargeError: It has more bytes than a collator may pack.
            StaleSequenceError, FeedFullError: The feed has no room for it.
        """
        config = self._config
        if header.chain != config.chain:
            raise ForeignChainError(header.chain, config.chain)
        epoch = self._epochs.get(header.epoch)
        if (
            epoch is None
            or self._current is None
            or header.epoch > self._current + 1
            or (
                header.epoch < self._current
                and height > self._epochs[self._current].start_height + config.epoch_overlap_heights
            )
        ):
            raise EpochError(header.epoch, self._current)
        if header.collator not in epoch.executors.get(header.uid, frozenset()):
            raise NotExecutorError(header.collator, header.uid, header.epoch)
        check_shape(header, self._scheme)
        if header.data_bytes > config.batch_bytes_max:
            raise BatchTooLargeError(header.data_bytes, config.batch_bytes_max, "bytes")
        feed = self._feeds.get((header.uid, header.collator))
        if feed is None or header.sequence in feed.held:
            # A second header of a sequence may be an offence: its signature is worth checking.
            if feed is None and header.sequence < 1:
                raise StaleSequenceError(header.sequence, 0)
            return
        if header.sequence <= feed.ordered:
            raise StaleSequenceError(header.sequence, feed.ordered)
        self._check_feed(now_ns, feed, header)

    def accept(
        self,
        now_ns: int,
        header: BatchHeader,
        header_signature: bytes,
        data: bytes,
        height: int,
    ) -> Accepted | Equivocated:
        """Take a batch whose header's signature was verified.

        Args:
            now_ns: Monotonic time.
            header: Decoded.
            header_signature: Verified, 64 bytes.
            data: The whole data.
            height: Last executed height.

        Returns:
            What to store and sign, the same again for a batch taken before; or evidence.

        Raises:
            RemoteProtocolError: As `screen`; the feed may have changed meanwhile.
            VoidBatchError: The data is not what the header says.
            BatchTooLargeError: It has more transactions than a collator may pack.
            SequenceTakenError: Another header of the sequence is here, of another epoch or by an
                executor that is no validator.
        """
        self.screen(now_ns, header, height)
        digest = header.digest()
        feed = self._feeds.get((header.uid, header.collator))
        other = None if feed is None else feed.held.get(header.sequence)
        if other is not None and other.digest != digest:
            return self._equivocated(other, header, header_signature)
        raws = usable(header, data, self._scheme)
        if len(raws) > self._config.batch_transactions_max:
            raise BatchTooLargeError(len(raws), self._config.batch_transactions_max, "transactions")
        if other is None:
            self._keep(_Held(header, header_signature, digest, now_ns))
            self._accepted_count += 1
        return Accepted(digest, raws, header.epoch)

    def signed(self, digest: bytes, signature: bytes) -> None:
        """Remember our "stored" of a batch, which is on disk."""
        held = self._by_digest.get(digest)
        if held is not None:
            held.signature = signature

    def restore(
        self,
        now_ns: int,
        header: BatchHeader,
        header_signature: bytes,
        signature: bytes | None,
        passed_height: int | None,
    ) -> None:
        """Note a batch found on disk at start; `ordered` of its feed follows."""
        self._keep(
            _Held(header, header_signature, header.digest(), now_ns, passed_height, signature)
        )

    # --- blocks ----------------------------------------------------------------------------------

    def ordered(self, height: int, uid: int, collator: bytes, sequence: int) -> None:
        """Note that a batch was ordered: it and everything before it in its feed is decided."""
        feed = self._feeds.setdefault((uid, collator), _Feed())
        feed.ordered = max(feed.ordered, sequence)
        for number, held in feed.held.items():
            if number <= feed.ordered and held.passed_height is None:
                held.passed_height = height

    def prune(self, height: int) -> list[bytes]:
        """Forget what was kept long enough.

        Args:
            height: Last executed height.

        Returns:
            Digests whose data may be deleted.
        """
        limit = height - self._config.retention_heights
        over = [
            held
            for held in self._by_digest.values()
            if (
                held.passed_height <= limit
                if held.passed_height is not None
                else self._is_over(held.header.epoch, height)
            )
        ]
        for held in over:
            self._drop(held)
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    # --- questions -------------------------------------------------------------------------------

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._by_digest

    def statistics(self) -> CustodyStatistics:
        """Return what is kept."""
        kept = self._by_digest.values()
        return CustodyStatistics(
            feeds_count=len(self._feeds),
            batches_count=len(kept),
            unordered_count=sum(held.passed_height is None for held in kept),
            held_bytes=sum(held.header.data_bytes for held in kept),
            accepted_count=self._accepted_count,
            equivocations_count=self._equivocations_count,
        )

    # --- inside ----------------------------------------------------------------------------------

    def _check_feed(self, now_ns: int, feed: _Feed, header: BatchHeader) -> None:
        config = self._config
        young = [
            held for held in feed.unordered() if held.accepted_ns + config.feed_forget_ns > now_ns
        ]
        batches_max = config.batches_unordered_max + config.slack_batches
        if len(young) >= batches_max:
            raise FeedFullError(len(young), batches_max, "batches")
        held_bytes = sum(held.header.data_bytes for held in young)
        if held_bytes + header.data_bytes > config.feed_bytes_max:
            raise FeedFullError(held_bytes, config.feed_bytes_max, "bytes")

    def _keep(self, held: _Held) -> None:
        feed = self._feeds.setdefault((held.header.uid, held.header.collator), _Feed())
        feed.held[held.header.sequence] = held
        self._by_digest[held.digest] = held

    def _is_over(self, epoch: int, height: int) -> bool:
        """Tell whether no payload above a height can list certificates of an epoch any more.

        Until then everything we signed "stored" for is kept, however much follows it in its feed: a
        certificate may be held back, and once it is ordered execution stands still without the
        data. What a feed can pile up meanwhile is limited by its rate.
        """
        current = self._current
        if current is None or epoch >= current:
            return False
        start = self._epochs[current].start_height
        return epoch < current - 1 or height >= start + self._config.epoch_overlap_heights

    def _drop(self, held: _Held) -> None:
        feed = self._feeds[held.header.uid, held.header.collator]
        del feed.held[held.header.sequence]
        del self._by_digest[held.digest]
        self._forgotten.append(held.digest)

    def _equivocated(
        self, other: _Held, header: BatchHeader, header_signature: bytes
    ) -> Equivocated:
        validators = self._epochs[header.epoch].validators
        keys = [validator.public_key for validator in validators]
        if other.header.epoch != header.epoch or header.collator not in keys:
            raise SequenceTakenError(header.sequence, other.digest)
        self._equivocations_count += 1
        pairs = sorted(
            [
                (other.header.encode(), other.header_signature),
                (header.encode(), header_signature),
            ]
        )
        (body_a, signature_a), (body_b, signature_b) = pairs
        return Equivocated(
            Evidence(
                epoch=header.epoch,
                signer=keys.index(header.collator),
                signing_kind=KIND_BATCH,
                body_a=body_a,
                signature_a=signature_a,
                body_b=body_b,
                signature_b=signature_b,
            )
        )
