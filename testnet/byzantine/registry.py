"""Adversaries by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from testnet.byzantine import traders, voters
from testnet.byzantine.puppet import Puppet
from testnet.sim.world import World

BEHAVIOURS: Final[Mapping[str, Callable[[Puppet], None]]] = {
    "bad-payload": voters.bad_payload,
    "bad-result": traders.bad_result,
    "batch-equivocator": traders.batch_equivocator,
    "double-voter": voters.double_voter,
    "equivocator": voters.equivocator,
    "flooder": voters.flooder,
    "forger": voters.forger,
    "framer": traders.framer,
    "garbage": traders.garbage,
    "junk-packer": traders.junk_packer,
    "liar": traders.liar,
    "nuller": voters.nuller,
    "partial": voters.partial,
    "relister": voters.relister,
    "replayer": traders.replayer,
    "result-equivocator": traders.result_equivocator,
    "silent-proposer": voters.silent_proposer,
    "skipper": voters.skipper,
    "twins": voters.own_key_twice,
    "void-packer": traders.void_packer,
    "withholder": traders.withholder,
}


def corrupt(index: int, *names: str) -> Callable[[World], None]:
    """Return what makes a machine of a world byzantine (`run_seeded(spec, seed, prepare)`).

    Args:
        index: The machine.
        *names: Behaviours, by name; several at once where they don't change the same messages.

    Raises:
        NotATestChainError: When called with a world whose chain is not one for tests.
    """

    def prepare(world: World) -> None:
        for name in names:
            BEHAVIOURS[name](Puppet(world, world.machines[index]))

    return prepare
