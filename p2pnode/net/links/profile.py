"""What links are like: numbers for the simulator and for the link shim, and names for them.

Importable without an event loop: the command line knows the names too.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, Final

from p2pnode.errors import ConfigError, UsageError

AWS: Final = "aws:"
"""Begins the names of links between regions: `aws:<from>-<to>`."""

LATENCY_MS_MAX: Final = 60_000.0


class LinkProfileError(ConfigError):
    """The numbers of a link contradict each other."""


class UnknownProfileError(UsageError):
    """No link has that name."""

    def __init__(self, name: str, known: str) -> None:
        super().__init__(f"no link profile {name!r}; there are: {known}")
        self.name = name


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """What a directed link does to what travels over it."""

    latency_ms_min: float = 20.0
    """Least latency; each frame draws its own, but never overtakes an earlier one of its lane."""
    latency_ms_max: float = 80.0
    """Largest latency, without the wait for a limited rate."""
    loss: float = 0.0
    """Probability that a frame, a hop of a published message or a leg of a request vanishes.

    Below TCP nothing vanishes: there it is the share of segments sent in vain, each of which holds
    up what comes after it.
    """
    duplicate: float = 0.0
    """Probability that a hop of a published message arrives twice; frames never do, nor does
    anything under TCP."""
    rate_bytes_per_s: float | None = None
    """Throughput; None is unlimited."""
    loss_burst: float = 1.0
    """Losses come in runs of so many on average; 1 is independent losses."""

    def __post_init__(self) -> None:
        """Refuse impossible numbers.

        Raises:
            LinkProfileError: Latencies out of order, a probability outside 0 … 1, a rate of 0, or
                a burst below 1.
        """
        if not 0 <= self.latency_ms_min <= self.latency_ms_max <= LATENCY_MS_MAX:
            raise LinkProfileError(
                f"latency from {self.latency_ms_min} to {self.latency_ms_max} ms"
            )
        for name, value in (("loss", self.loss), ("duplicate", self.duplicate)):
            if not 0 <= value <= 1:
                raise LinkProfileError(f"{name} {value} is no probability")
        if self.rate_bytes_per_s is not None and not self.rate_bytes_per_s > 0:
            raise LinkProfileError(f"rate of {self.rate_bytes_per_s} bytes/s")
        if not 1 <= self.loss_burst <= 1000:
            raise LinkProfileError(f"losses in runs of {self.loss_burst}; 1 to 1000 expected")

    @property
    def latency_ms(self) -> float:
        """Mean latency."""
        return (self.latency_ms_min + self.latency_ms_max) / 2

    def loses(self, losing: bool, draw: float) -> bool:
        """Tell whether the next unit is lost (Gilbert's model: all in a bad state are).

        Args:
            losing: Whether the one before was.
            draw: A random number in [0, 1).
        """
        if self.loss_burst == 1.0 or self.loss == 1.0:
            return draw < self.loss
        if losing:
            return draw < 1.0 - 1.0 / self.loss_burst
        # So that in the long run the share `loss` of all units is in the bad state.
        return draw < self.loss / (self.loss_burst * (1.0 - self.loss))

    def to_json(self) -> dict[str, float | None]:
        """Return the numbers by name."""
        return asdict(self)

    @staticmethod
    def from_json(numbers: Mapping[str, Any]) -> LinkProfile:
        """Return the profile of numbers by name; those that are absent have their defaults.

        Raises:
            LinkProfileError: A name is unknown, or a value is no number, or they contradict.
        """
        known = {column.name for column in fields(LinkProfile)}
        for name, value in numbers.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if name not in known:
                raise LinkProfileError(f"{name}: unknown; there are: {', '.join(sorted(known))}")
            if not is_number and not (value is None and name == "rate_bytes_per_s"):
                raise LinkProfileError(f"{name}: {value!r} is no number")
        return LinkProfile(**numbers)


_MBIT: Final = 125_000

PROFILES: Final[Mapping[str, LinkProfile]] = {
    # Two switches of gigabit Ethernet: RTT 0.2-0.6 ms. No rate: nodes do not use a tenth of it.
    "lan": LinkProfile(0.1, 0.3),
    # 802.11ac in the same room: RTT 2-10 ms, some 100 Mbit/s of payload, rare losses, for the radio
    # sends again by itself.
    "wifi-good": LinkProfile(1.0, 5.0, loss=0.001, rate_bytes_per_s=100 * _MBIT, loss_burst=2.0),
    # Two walls and a microwave oven: 802.11n at its lower rates, queues of tens of ms in the radio,
    # interference that comes in bursts.
    "wifi-bad": LinkProfile(5.0, 80.0, loss=0.03, rate_bytes_per_s=8 * _MBIT, loss_burst=4.0),
    # The edge of an LTE cell: scheduling and retransmission by the radio make 40-120 ms one way.
    # ITU-R M.2134 asks for 0.06 bit/s/Hz there: 1.2 Mbit/s of 20 MHz.
    "lte-edge": LinkProfile(40.0, 120.0, loss=0.01, rate_bytes_per_s=150_000, loss_burst=3.0),
    # Geostationary: four times 35,786 km at the speed of light are 477 ms of RTT; with slant range,
    # framing and ground stations 540-640 ms are usual. 10 Mbit/s; rain fades lose runs.
    "satellite": LinkProfile(270.0, 310.0, loss=0.002, rate_bytes_per_s=10 * _MBIT, loss_burst=5.0),
    # Worse than anything sold; to see what gives way first.
    "absurd": LinkProfile(400.0, 1200.0, loss=0.2, rate_bytes_per_s=16 * 1024, loss_burst=5.0),
}
"""Links by name; both directions are alike."""

AWS_JITTER: Final = 0.05
"""Regions' latencies vary by so much of themselves; the table has means only."""

AWS_SAME_REGION_MS: Final = 0.5
"""The table has 0 for a region with itself; two of its zones are some 0.3-0.7 ms apart."""


@cache
def aws_latencies_ms() -> Mapping[tuple[str, str], float]:
    """Return one-way latencies between regions of AWS, by (from, to) in lower case.

    The matrix is the one of CometBFT's end-to-end tests.
    """
    text = files("p2pnode.net.links").joinpath("aws_one_way_latency_ms.csv").read_text("ascii")
    head, *rows = csv.reader(text.splitlines())
    return {
        (row[0].lower(), to.lower()): float(value)
        for row in rows
        for to, value in zip(head[1:], row[1:], strict=True)
    }


def aws_regions() -> tuple[str, ...]:
    """Return the names of the regions."""
    return tuple(dict.fromkeys(name for name, _ in aws_latencies_ms()))


def profile_named(name: str) -> LinkProfile:
    """Return a link by name: of `PROFILES`, or `aws:<from>-<to>` such as `aws:ireland-tokyo`.

    Raises:
        UnknownProfileError: There is none; the message has the names.
    """
    found = PROFILES.get(name)
    if found is not None:
        return found
    if not name.startswith(AWS):
        raise UnknownProfileError(name, f"{', '.join(PROFILES)}, aws:<from>-<to>")
    here, _, there = name.removeprefix(AWS).lower().partition("-")
    latency_ms = aws_latencies_ms().get((here, there))
    if latency_ms is None:
        raise UnknownProfileError(name, f"{AWS}<from>-<to> of {', '.join(aws_regions())}")
    if here == there:
        latency_ms = AWS_SAME_REGION_MS
    return LinkProfile(latency_ms * (1 - AWS_JITTER), latency_ms * (1 + AWS_JITTER))


def reverse_name(name: str) -> str:
    """Return the name of the way back."""
    if not name.startswith(AWS):
        return name
    here, _, there = name.removeprefix(AWS).partition("-")
    return f"{AWS}{there}-{here}"
