"""What is forwarded: a verdict on a published message, before anybody delivers or forwards it.

Forwarders check the frame and its limits only. Signatures are the executors' business: a forwarder
that checked them would do the work of every shard, and a stale nonce is nobody's fault.
"""

from __future__ import annotations

from enum import IntEnum

from p2pnode import codec
from p2pnode.gossip.frames import decode_frame


class Judgement(IntEnum):
    """What to do with a published message; names and values are those of `ports.Verdict`."""

    ACCEPT = 0
    """Deliver and forward."""
    IGNORE = 1
    """Neither; nobody is to blame."""
    REJECT = 2
    """Neither, and the forwarder should have known."""


def judge_transactions(data: bytes) -> Judgement:
    """Judge a message on a transaction topic."""
    try:
        decode_frame(data)
    except (codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError):
        return Judgement.REJECT
    return Judgement.ACCEPT
