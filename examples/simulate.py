"""Whole nodes in one process and in virtual time: a kill, a partition, and checks at the end.

    python examples/simulate.py --seed 7

The same seed gives the same run, byte for byte: the last line, the hash of everything that every
node was told, says so. The nodes are the product's own; only network, disk and clock are simulated.
"""

from __future__ import annotations

import argparse

import trio

from testnet.sim.run import Run, run_seeded
from testnet.sim.spec import SimSpec


async def faults(run: Run) -> None:
    """Hurt the network at chosen moments; the times are virtual seconds."""
    machines = run.world.machines

    def say(what: str) -> None:
        heights = [m.node.status().height if m.node else None for m in machines]
        print(f"{trio.current_time():5.1f} s  {what:42} heights {heights}")

    await trio.sleep(5.0)
    await run.kill(machines[3])
    say("node3 is killed; three of four go on")
    await trio.sleep(10.0)
    say("ten seconds later")
    await run.start(machines[3])
    say("node3 starts again, and catches up")
    await trio.sleep(10.0)
    run.world.isolate(machines[:2])
    say("the network is cut into halves")
    await trio.sleep(10.0)
    say("neither half has a quorum: all wait")
    run.world.heal()
    say("healed")
    await trio.sleep(10.0)
    say("and on it goes")


def main(seed: int, engine: str) -> int:
    """Run it and print the verdict; return the exit code."""
    spec = SimSpec(validators=4, engine=engine, duration_s=50.0, load_tx_s=5.0)
    report = run_seeded(spec, seed, script=faults)
    print(
        f"{report.finalized} of {report.submitted} transactions final, "
        f"{report.blocks} blocks, longest pause {report.longest_pause_s:.1f} s"
    )
    # Judged by code that shares nothing with the nodes: agreement, signatures, balances, proofs.
    for violation in report.violations:
        print(f"VIOLATION {violation.check}: {violation.detail}")
    print(f"trace {report.trace_hash}")
    return 0 if report.ok else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Simulate a small network with faults.")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--engine", default="simplex")
    given = parser.parse_args()
    raise SystemExit(main(given.seed, given.engine))
