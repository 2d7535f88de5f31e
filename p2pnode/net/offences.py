"""What a peer can do wrong on the network, and what it costs: the one table.

A score begins at 0, heals by half a point a second, and bans at -100. An offence that an honest
peer may commit by bad luck costs less than it heals between two of them; what only a hostile or a
broken peer does costs a ban within a few repetitions. Errors that the layers above find in frames
and answers carry their own points (`RemoteProtocolError.penalty`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Offence:
    """One kind of misbehaviour."""

    kind: str
    """Its name in metrics."""
    points: float
    """What one of them costs."""
    words: str
    """What people read."""


INVALID_MESSAGE: Final = Offence("invalid_message", 10.0, "a published message that is not valid")
STREAMS_AT_A_TIME: Final = Offence("streams_at_a_time", 5.0, "more streams at a time than allowed")
RATE_EXCESS: Final = Offence("rate_excess", 20.0, "a second of sending faster than allowed, slowed")
UNFINISHED_FRAMES: Final = Offence("unfinished_frames", 10.0, "too much begun and not finished")
USELESS_GOSSIP: Final = Offence(
    "useless_gossip",
    0.5,
    "a message sent twice or for a topic nobody asked for, or control of no use, beyond measure",
)
JUNK_SUBSCRIPTION: Final = Offence("junk_subscription", 2.0, "a subscription beyond the limit")
MISSED_PING: Final = Offence("missed_ping", 1.0, "a ping without an answer")
REFUSED_REQUESTS: Final = Offence(
    "refused_requests", 1.0, "a request that was refused, beyond measure"
)
BROKEN_PROMISE: Final = Offence(
    "broken_promise", 1.0, "a message offered, asked for and never sent"
)
OTHER_RULES: Final = Offence("protocol", 0.0, "another rule broken; the points are the rule's")

OFFENCES: Final = (
    INVALID_MESSAGE,
    STREAMS_AT_A_TIME,
    RATE_EXCESS,
    UNFINISHED_FRAMES,
    USELESS_GOSSIP,
    JUNK_SUBSCRIPTION,
    MISSED_PING,
    REFUSED_REQUESTS,
    BROKEN_PROMISE,
    OTHER_RULES,
)
"""Every offence on the network; their kinds are the labels of the metric."""
