"""What a seeded run is, but for its seed."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pnode.types.genesis import Parameters

EPOCH_BLOCKS = 20
BLOCK_INTERVAL_MS = 500


def sim_parameters(**changes: int) -> Parameters:
    """Return the parameters of a simulated chain: short epochs, two blocks a second.

    Args:
        **changes: Other values, by name.
    """
    values: dict[str, int] = {"epoch_blocks": EPOCH_BLOCKS, "block_interval_ms": BLOCK_INTERVAL_MS}
    return Parameters(**{**values, **changes})


@dataclass(frozen=True, slots=True)
class SimSpec:
    """A run, but for its seed."""

    validators: int = 4
    observers: int = 0
    """Nodes without a validator key, after the validators."""
    engine: str = "simplex"
    duration_s: float = 60.0
    """Virtual seconds of load and faults; settling comes on top."""
    load_tx_s: float = 5.0
    latency_ms: tuple[float, float] = (20.0, 80.0)
    loss: float = 0.0
    duplicate: float = 0.0
    """Of hops of published messages."""
    kills: int = 0
    """Kills spread over the run, one machine at a time."""
    crashes_at_effects: bool = False
    """Kills strike between two effects, or two calls to a disk or the network, not at a time."""
    dead_for_good: tuple[int, ...] = ()
    """Machines that never start."""
    late: tuple[tuple[int, float], ...] = ()
    """(machine, virtual second at which it starts first)."""
    byzantine: tuple[int, ...] = ()
    """Machines of which nothing is expected."""
    powers: tuple[int, ...] = ()
    """Voting powers; empty: all 1."""
    parameters: Parameters = field(default_factory=sim_parameters)
    settle_s: float = 15.0
    """Longest time to settle after the faults have healed and the load has ended."""
