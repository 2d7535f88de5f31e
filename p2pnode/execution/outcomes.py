"""Outcomes: what execution did with each transaction of a batch, and why.

A transaction executes, fails or is skipped. Only one that executes or fails pays its fee and uses
its nonce; a skipped one changes nothing. The codes are part of the outcome root: they are never
renumbered, new ones take new numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from p2pnode import codec, crypto

OUTCOME_BYTES_MAX: Final = 256
"""Largest encoded outcome."""

ID_NONE: Final = b""
"""In the place of an id where the bytes are no transaction."""


class Status(IntEnum):
    """What happened to a transaction."""

    EXECUTED = 0
    """All of its actions took effect; fee paid, nonce used."""
    FAILED = 1
    """None of its actions took effect; fee paid, nonce used."""
    SKIPPED = 2
    """Nothing changed."""


class Reason(IntEnum):
    """Why a transaction failed or was skipped; the comment says what `has` and `needs` hold."""

    NONE = 0
    """It executed; 0 and 0."""
    MALFORMED = 1
    """Skipped, the bytes are not the one encoding of a transaction; 0 and 0."""
    WRONG_CHAIN = 2
    """Skipped, it names another chain; 0 and 0."""
    WRONG_SHARD = 3
    """Skipped, the sender belongs to another shard; this uid and the sender's."""
    BAD_SIGNATURE = 4
    """Skipped, the signature is not the sender's; 0 and 0."""
    NONCE_TOO_LOW = 5
    """Skipped, the nonce was used: usually the same transaction in an earlier batch; its nonce and
    the account's."""
    NONCE_GAP = 6
    """Skipped, an earlier transaction of the sender is missing; its nonce and the account's."""
    EXPIRED = 7
    """Skipped, its last valid height has passed; that height and the block's."""
    FEE_LIMIT_TOO_LOW = 8
    """Skipped, its fee is above its limit; limit and fee."""
    BALANCE_BELOW_FEE_LIMIT = 9
    """Skipped, the sender cannot cover the fee limit; balance of asset 0 and limit."""
    INSUFFICIENT_BALANCE = 32
    """Failed, an action moves more than the sender has; balance of the asset and amount."""
    RECEIVER_OVERFLOW = 33
    """Failed, the receiver would hold 2^128 or more; its balance and amount."""
    RECEIVER_SHARD_FULL = 34
    """Failed, the block's outbox is full; outbox bytes and their limit."""

    def status(self) -> Status:
        """Return the status this reason goes with."""
        if self == Reason.NONE:
            return Status.EXECUTED
        return Status.FAILED if self >= Reason.INSUFFICIENT_BALANCE else Status.SKIPPED

    def label(self) -> str:
        """Return the stable name that API and logs show."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one transaction of one batch."""

    id: bytes
    """The transaction's id, 32 bytes; empty where the bytes are no transaction."""
    status: Status
    reason: Reason
    fee: int
    """What was paid, in asset 0; 0 when skipped."""
    batch: bytes
    """Digest of the batch's header, 32 bytes."""
    index: int
    """Place in the batch."""
    has: int
    """First number of the reason."""
    needs: int
    """Second number of the reason."""

    def encode(self) -> bytes:
        """Return the canonical bytes, a leaf under the outcome root."""
        # The status follows from the reason.
        return codec.encode(
            [self.id, int(self.reason), self.fee, self.batch, self.index, self.has, self.needs]
        )

    def describe(self) -> str:
        """Return one sentence for people."""
        return _SENTENCES[self.reason].format(has=self.has, needs=self.needs, fee=self.fee)


_SENTENCES: Final = {
    Reason.NONE: "executed, fee {fee}",
    Reason.MALFORMED: "skipped: not a transaction",
    Reason.WRONG_CHAIN: "skipped: made for another chain",
    Reason.WRONG_SHARD: "skipped: the sender belongs to shard {needs}, this is {has}",
    Reason.BAD_SIGNATURE: "skipped: the signature is not the sender's",
    Reason.NONCE_TOO_LOW: "skipped: nonce {has}, the account is at {needs} already",
    Reason.NONCE_GAP: "skipped: nonce {has}, the account is at {needs} still",
    Reason.EXPIRED: "skipped: valid until height {has}, this is {needs}",
    Reason.FEE_LIMIT_TOO_LOW: "skipped: fee limit {has}, the fee is {needs}",
    Reason.BALANCE_BELOW_FEE_LIMIT: "skipped: balance {has}, the fee limit is {needs}",
    Reason.INSUFFICIENT_BALANCE: "failed, fee {fee}: balance {has}, amount {needs}",
    Reason.RECEIVER_OVERFLOW: "failed, fee {fee}: the receiver has {has}, {needs} more is too much",
    Reason.RECEIVER_SHARD_FULL: "failed, fee {fee}: {has} bytes of receipts, at most {needs}",
}


def decode_outcome(data: bytes) -> Outcome:
    """Decode an outcome's bytes.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    fields = codec.array(codec.decode(data, size_bytes_max=OUTCOME_BYTES_MAX), "outcome", length=7)
    code = codec.unsigned(fields[1], "reason")
    try:
        reason = Reason(code)
    except ValueError:
        raise codec.WrongShapeError(f"reason {code} is unknown") from None
    identity = codec.octets(fields[0], "id", length_max=32)
    if len(identity) not in (0, 32):
        raise codec.WrongShapeError(f"id: 0 or 32 bytes expected, {len(identity)} found")
    return Outcome(
        id=identity,
        status=reason.status(),
        reason=reason,
        fee=codec.unsigned(fields[2], "fee", value_max=codec.INTEGER_MAX),
        batch=codec.octets(fields[3], "batch", length=32),
        index=codec.unsigned(fields[4], "index"),
        has=codec.unsigned(fields[5], "has", value_max=codec.INTEGER_MAX),
        needs=codec.unsigned(fields[6], "needs", value_max=codec.INTEGER_MAX),
    )


def outcome_root(outcomes: Sequence[Outcome]) -> bytes:
    """Return the RFC 6962 Merkle root over the outcomes in order of execution, 32 bytes."""
    return crypto.merkle_root([outcome.encode() for outcome in outcomes])
