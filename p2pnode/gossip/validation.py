"""What is forwarded: a verdict on a published message, before anybody delivers or forwards it.

Forwarders check that the frame holds transactions, and its limits. Signatures are the executors'
business, who blame the origin: a forwarder that checked them would do the work of every shard. A
stale nonce is nobody's fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

from p2pnode import codec
from p2pnode.gossip.frames import decode_frame
from p2pnode.types.transaction import (
    MalformedTransactionError,
    Transaction,
    decode_transaction,
)


class Judgement(IntEnum):
    """What to do with a published message; names and values are those of `ports.Verdict`."""

    ACCEPT = 0
    """Deliver and forward."""
    IGNORE = 1
    """Neither; nobody is to blame."""
    REJECT = 2
    """Neither, and the forwarder should have known."""
    KEEP = 3
    """Deliver, and let others find out for themselves."""


def judge_transactions(
    data: bytes, count_admissible: Callable[[Sequence[Transaction]], int]
) -> Judgement:
    """Judge a message on a transaction topic.

    Args:
        data: The message.
        count_admissible: Tells how many of some transactions could be admitted here, their
            signatures aside. A message of which more than half could not goes no further: nobody
            would pay a fee for most of it, and a message costs nothing.
    """
    try:
        transactions = [decode_transaction(raw) for raw in decode_frame(data)]
    except (
        codec.NotCanonicalError,
        codec.WrongShapeError,
        codec.EncodingTooLargeError,
        MalformedTransactionError,
    ):
        return Judgement.REJECT
    return (
        Judgement.ACCEPT
        if 2 * count_admissible(transactions) >= len(transactions)
        else Judgement.KEEP
    )
