"""What a testnet is made of: the values of `testnet up`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from p2pnode.errors import ConfigError
from p2pnode.types.genesis import Parameters
from testnet.names import is_name

VALIDATORS_MAX: Final = 30
"""Most processes on one machine; beyond it, the simulator."""

SEED_MAX: Final = (1 << 48) - 1

RATE_MAX: Final = 100_000.0


class SpecError(ConfigError):
    """A testnet can't be made like that."""


class NotBuiltError(SpecError):
    """What is asked for does not exist yet."""

    def __init__(self, flag: str) -> None:
        super().__init__(f"{flag}: not built yet")
        self.flag = flag


@dataclass(frozen=True, slots=True)
class TestnetSpec:
    """A testnet, before it is started."""

    __test__ = False
    # pytest takes every class that begins with Test for one of its own.

    name: str
    """Names its folder."""
    seed: int
    """Decides all keys and what the synthetic load does."""
    validators: int = 4
    engine: str = "simplex"
    scheme: str = "inline"
    shards: int = 1
    light: int = 0
    committee: int | None = None
    """Executors a shard; None for the protocol's choice."""
    parameters: Mapping[str, int] = field(default_factory=dict)
    """Parameters of genesis that differ from their defaults."""
    for_s: float | None = None
    """How long it runs from ready; None until it is stopped."""
    load_tx_s: float | None = None
    """Transactions a second, submitted from ready on; None for no load."""
    trace: Path | None = None
    """Recorded transactions to replay; None for a synthetic load."""
    profile: bool = False
    """Nodes sample where their CPU time goes."""

    def validate(self) -> None:
        """Refuse what can't be started.

        Raises:
            NotBuiltError: It asks for a part that does not exist yet.
            SpecError: A value is out of range.
        """
        if not is_name(self.name):
            raise SpecError(f"--name {self.name!r}: lower-case letters, digits and dashes expected")
        if not 0 <= self.seed <= SEED_MAX:
            raise SpecError(f"--seed {self.seed}: 0 to {SEED_MAX} expected")
        if not 1 <= self.validators <= VALIDATORS_MAX:
            raise SpecError(
                f"--validators {self.validators}: 1 to {VALIDATORS_MAX} expected; "
                "more run in the simulator (testnet sim)"
            )
        if self.shards != 1:
            raise NotBuiltError(f"--shards {self.shards}")
        if self.light != 0:
            raise NotBuiltError(f"--light {self.light}")
        if self.committee is not None and self.committee != self.validators:
            raise NotBuiltError(f"--committee {self.committee}")
        if self.for_s is not None and not 0 < self.for_s <= 30 * 86400:
            raise SpecError(f"--for {self.for_s:g} s: above 0 and at most 30 days expected")
        if self.load_tx_s is not None and not 0 < self.load_tx_s <= RATE_MAX:
            raise SpecError(f"--load {self.load_tx_s:g}: above 0, at most {RATE_MAX:g} expected")
        if self.trace is not None and not self.trace.is_file():
            raise SpecError(f"--trace {self.trace}: no such file")
        self.genesis_parameters().validate()

    def genesis_parameters(self) -> Parameters:
        """Return the chain's numbers.

        Raises:
            SpecError: A name is unknown.
        """
        known = {column.name for column in fields(Parameters)}
        for name in self.parameters:
            if name not in known:
                raise SpecError(
                    f"--parameter {name}: unknown; there are: {', '.join(sorted(known))}"
                )
        return Parameters(**self.parameters)

    @property
    def chain_name(self) -> str:
        """The chain's name in genesis; `test-` marks a chain whose keys everybody knows."""
        return f"test-{self.name}"
