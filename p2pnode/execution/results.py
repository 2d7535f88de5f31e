"""Results: what executors sign about a height, and the certificates that quorums of them make.

A certificate holds exactly as many signers as it needs (`p2pnode.types.quorum` says why).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from p2pnode import codec, crypto
from p2pnode.errors import RemoteProtocolError
from p2pnode.execution.block import COUNTERS, BlockExecution
from p2pnode.execution.receipts import Inbox, decode_outbox, encode_outbox, outbox_root
from p2pnode.types.genesis import Validator
from p2pnode.types.quorum import choose_signers, needless_signer, quorum_of_set
from p2pnode.types.statement import (
    OUTBOX_INLINE_BYTES_MAX,
    Evidence,
    Result,
    ResultCertificate,
    SignerList,
    decode_result,
)

KIND: Final = "result"
"""Signing domain of a result's body."""

WITNESS_NONE: Final = bytes(32)
"""Commitment to state proofs while nobody re-executes from them."""

HEIGHTS_AHEAD_MAX: Final = 128
"""Heights above the newest executed one for which a tally keeps signatures: we may be late."""

SIGNATURES_PER_SIGNER_MAX: Final = 512
"""Signatures kept of one signer: results of that many heights that are not ordered yet."""


class NotAQuorumError(RemoteProtocolError):
    """A result certificate's signers have too little voting power."""

    def __init__(self, power: int, quorum: int) -> None:
        super().__init__(f"signers with voting power {power}, a quorum is {quorum}")
        self.power = power
        self.quorum = quorum


class UnneededSignerError(RemoteProtocolError):
    """A result certificate has a signer that could be left out."""

    def __init__(self, signer: int, power: int, quorum: int) -> None:
        super().__init__(
            f"without signer {signer} the voting power is {power}, still a quorum of {quorum}"
        )
        self.signer = signer


class UnknownSignerError(RemoteProtocolError):
    """A signer's index is not in the epoch's validator set."""

    def __init__(self, signer: int, validators_count: int) -> None:
        super().__init__(f"signer {signer}, the epoch has {validators_count} validators")
        self.signer = signer


class ForeignResultError(RemoteProtocolError):
    """A result belongs to another chain, epoch or shard than the one asked about."""


class OutboxMismatchError(RemoteProtocolError):
    """The receipts beside a result are not those that it commits to."""


def result_of(chain: bytes, execution: BlockExecution) -> tuple[Result, bytes]:
    """Return the result that an executor signs for a height, and its outbox's bytes.

    It certifies every earlier height of the shard as well: those since the last height with a
    result changed nothing.

    Args:
        chain: Chain id, 32 bytes.
        execution: Of a height that has a result.
    """
    assert execution.has_result, (execution.uid, execution.height)
    outbox = encode_outbox(execution.outbox)
    assert len(outbox) <= OUTBOX_INLINE_BYTES_MAX, len(outbox)
    result = Result(
        chain=chain,
        epoch=execution.epoch,
        uid=execution.uid,
        height=execution.height,
        pre_root=execution.pre_root,
        post_root=execution.post_root,
        outbox_root=execution.outbox_root,
        outcome_root=execution.outcome_root,
        watermarks_root=execution.watermarks_root,
        counters=execution.counters,
        witness=WITNESS_NONE,
    )
    return result, outbox


def inbox_of(certificate: ResultCertificate) -> Inbox | None:
    """Return what an ordered result brings to other shards; None if it sent nothing.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError: The outbox is none (`check_outbox` first).
    """
    if not certificate.outbox:
        return None
    result = certificate.result
    number = result.counters[COUNTERS.index("outboxes_before")] + 1
    return Inbox(result.uid, result.height, number, decode_outbox(certificate.outbox))


def check_outbox(result: Result, outbox: bytes) -> None:
    """Check that receipts and counters are those of a result.

    Raises:
        OutboxMismatchError: They are not, or not encoded as they must be.
    """
    if len(result.counters) != len(COUNTERS):
        raise OutboxMismatchError(f"{len(result.counters)} counters, {len(COUNTERS)} expected")
    try:
        receipts = decode_outbox(outbox)
    except (codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError) as error:
        raise OutboxMismatchError(f"shard {result.uid} height {result.height}: {error}") from None
    root = outbox_root(receipts)
    if root != result.outbox_root:
        raise OutboxMismatchError(
            f"shard {result.uid} height {result.height}: outbox root {root.hex()}, "
            f"the result says {result.outbox_root.hex()}"
        )


def verify_certificate_claims(
    certificate: ResultCertificate, validators: Sequence[Validator], chain: bytes
) -> list[tuple[bytes, bytes, bytes]]:
    """Check a certificate as far as that takes no signature check.

    Args:
        certificate: To be checked.
        validators: Set of the result's epoch.
        chain: Chain id, 32 bytes.

    Returns:
        (public key, message, signature) of every signer: it is valid iff all of them verify.

    Raises:
        ForeignResultError, UnknownSignerError, NotAQuorumError, UnneededSignerError,
        OutboxMismatchError: It breaks that rule.
    """
    result = certificate.result
    if result.chain != chain:
        raise ForeignResultError(f"result of chain {result.chain.hex()}, this is {chain.hex()}")
    signers = certificate.signers.signers
    for signer in signers:
        if not 0 <= signer < len(validators):
            raise UnknownSignerError(signer, len(validators))
    quorum = quorum_of_set(validators)
    powers = [validator.power for validator in validators]
    power = sum(powers[signer] for signer in signers)
    if power < quorum:
        raise NotAQuorumError(power, quorum)
    needless = needless_signer(signers, powers, quorum)
    if needless is not None:
        raise UnneededSignerError(needless, power - powers[needless], quorum)
    check_outbox(result, certificate.outbox)
    message = crypto.signing_hash(chain, KIND, result.epoch, result.encode())
    return [
        (validators[signer].public_key, message, signature)
        for signer, signature in zip(signers, certificate.signers.signatures, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class TallyStatistics:
    """What a tally holds."""

    heights_count: int
    """(uid, height) pairs with a signature."""
    signatures_count: int
    certificates_count: int
    """Certificates made since the start."""
    evidence_count: int
    """Signers caught with two results for one height since the start."""
    ignored_count: int
    """Signatures for settled or far heights, or beyond the signer's share."""


class _Height:
    """Signatures for one shard and height."""

    __slots__ = ("accused", "certified", "outboxes", "power", "votes")

    def __init__(self) -> None:
        self.votes: dict[int, tuple[bytes, bytes]] = {}
        """First body and signature of each signer."""
        self.power: dict[bytes, int] = {}
        """Voting power by body."""
        self.outboxes: dict[bytes, bytes] = {}
        """Outbox by body."""
        self.accused: dict[int, None] = {}
        self.certified = False


class ResultTally:
    """Collects an epoch's result signatures and makes certificates and evidence of them.

    The signatures were verified by the caller. One body a signer, shard and height is kept, at most
    `SIGNATURES_PER_SIGNER_MAX` a signer; none for heights that are settled, nor for those more than
    `HEIGHTS_AHEAD_MAX` above the head.
    """

    def __init__(
        self,
        chain: bytes,
        epoch: int,
        validators: Sequence[Validator],
        uids: Sequence[int],
        *,
        head: int,
    ) -> None:
        """Start empty.

        Args:
            chain: Chain id, 32 bytes.
            epoch: The only epoch whose results are taken.
            validators: Its validator set.
            uids: Its shards, the system shard among them.
            head: Newest height executed here.
        """
        self._chain = chain
        self._epoch = epoch
        self._validators = tuple(validators)
        self._quorum = quorum_of_set(validators)
        self._head = head
        self._settled = dict.fromkeys(uids, 0)
        self._heights: dict[tuple[int, int], _Height] = {}
        self._kept: dict[int, int] = {}
        self._certificates_count = self._evidence_count = self._ignored_count = 0

    def wants(self, uid: int, height: int, signer: int) -> bool:
        """Tell whether a signature would count, before it is verified.

        False for settled and far heights, and for a signer already caught; a second body of a
        signer is wanted, since it is evidence.
        """
        if uid not in self._settled or not self._in_window(uid, height):
            return False
        known = self._heights.get((uid, height))
        return known is None or signer not in known.accused

    def claim(self, result: bytes, signer: int, signature: bytes) -> tuple[bytes, bytes, bytes]:
        """Return (public key, message, signature) to verify before `add`.

        Raises:
            UnknownSignerError: No such validator.
        """
        if not 0 <= signer < len(self._validators):
            raise UnknownSignerError(signer, len(self._validators))
        message = crypto.signing_hash(self._chain, KIND, self._epoch, result)
        return self._validators[signer].public_key, message, signature

    def add(
        self, signer: int, body: bytes, outbox: bytes, signature: bytes
    ) -> ResultCertificate | Evidence | None:
        """Count a verified signature.

        Args:
            signer: Index in the epoch's validator set.
            body: The result's encoding, as signed.
            outbox: The receipts inline, or empty.
            signature: Of kind `result`, 64 bytes, verified.

        Returns:
            A certificate when this signature completes it, evidence when the signer signed another
            result for the same shard and height, else None.

        Raises:
            ForeignResultError: Another chain, epoch or shard.
            UnknownSignerError: No such validator.
            OutboxMismatchError: The outbox is not the result's; the signature is not counted.
            codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: The body is
                no result.
        """
        if not 0 <= signer < len(self._validators):
            raise UnknownSignerError(signer, len(self._validators))
        result = decode_result(body)
        if (result.chain, result.epoch) != (self._chain, self._epoch):
            raise ForeignResultError(
                f"result of epoch {result.epoch} and chain {result.chain.hex()}, "
                f"this is {self._epoch} of {self._chain.hex()}"
            )
        if result.uid not in self._settled:
            raise ForeignResultError(f"result of unknown shard {result.uid}")
        if not self._in_window(result.uid, result.height):
            self._ignored_count += 1
            return None
        at = self._heights.get((result.uid, result.height)) or _Height()
        first = at.votes.get(signer)
        if first is not None:
            return None if first[0] == body else self._accuse(at, signer, body, signature)
        if self._kept.get(signer, 0) >= SIGNATURES_PER_SIGNER_MAX:
            self._ignored_count += 1
            return None
        if body not in at.outboxes:
            check_outbox(result, outbox)
            at.outboxes[body] = outbox
        self._kept[signer] = self._kept.get(signer, 0) + 1
        self._heights[result.uid, result.height] = at
        at.votes[signer] = (body, signature)
        at.power[body] = at.power.get(body, 0) + self._validators[signer].power
        if at.certified or at.power[body] < self._quorum:
            return None
        at.certified = True
        self._certificates_count += 1
        return ResultCertificate(result, at.outboxes[body], self._signers(at, body))

    def advance(self, head: int) -> None:
        """Move the window: `head` is the newest height executed here."""
        self._head = max(self._head, head)

    def settle(self, uid: int, height: int) -> None:
        """Forget a shard's heights up to and including `height`: its result is ordered."""
        self._settled[uid] = max(self._settled[uid], height)
        for key in [key for key in self._heights if key[0] == uid and key[1] <= height]:
            for signer in self._heights.pop(key).votes:
                self._kept[signer] -= 1

    def statistics(self) -> TallyStatistics:
        """Return what the tally holds."""
        return TallyStatistics(
            heights_count=len(self._heights),
            signatures_count=sum(len(at.votes) for at in self._heights.values()),
            certificates_count=self._certificates_count,
            evidence_count=self._evidence_count,
            ignored_count=self._ignored_count,
        )

    def _in_window(self, uid: int, height: int) -> bool:
        return self._settled[uid] < height <= self._head + HEIGHTS_AHEAD_MAX

    def _signers(self, at: _Height, body: bytes) -> SignerList:
        voters = [signer for signer, (voted, _) in at.votes.items() if voted == body]
        powers = [validator.power for validator in self._validators]
        chosen = choose_signers(voters, powers, self._quorum)
        assert chosen is not None, (voters, self._quorum)
        return SignerList(chosen, tuple(at.votes[signer][1] for signer in chosen))

    def _accuse(self, at: _Height, signer: int, body: bytes, signature: bytes) -> Evidence | None:
        if signer in at.accused:
            return None
        at.accused[signer] = None
        self._evidence_count += 1
        first_body, first_signature = at.votes[signer]
        return Evidence(self._epoch, signer, KIND, first_body, first_signature, body, signature)
