"""Throw mutants at a whole node over real sockets, and see what honest peers feel of it.

    python tools/fuzz_wire.py [--mutants 200] [--seed 1] [--handler NAME …] [--rate 50] [--json]

A stranger that takes a fresh identity whenever it is cut off sends everything a peer can send
unasked: streams of every protocol, messages of the core on the lanes, frames and records below
them, handshakes. Two honest peers ask the node 25 times a second each, in windows without and with
the attack that take turns. Fails when the node ends or logs an error of its own, its memory grows
by 20 MiB or more, the p99 of honest requests doubles, wrongdoers lose no score, or an honest peer
is banned. (In one process and in virtual time, past the signatures: tools/fuzz_node.py.)
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trio

from tests.fuzz.wire import HANDLERS
from tests.fuzz.wire_run import Outcome, Row, quantile, run


def show(row: Row) -> None:
    """Print the figures of one handler."""
    thrown = row.thrown
    print(
        f"{thrown.handler:26} {thrown.mutants:8} {row.offences:9} {row.bans:6} "
        f"{thrown.cut_off:8} {thrown.identities:11} {row.grown_bytes >> 10:8} "
        f"{row.quiet_p99_s * 1e3:9.1f} {row.attacked_p99_s * 1e3:9.1f}",
        flush=True,
    )


def summarize(outcome: Outcome) -> None:
    """Print what holds for all handlers together."""
    for name, samples in (("without", outcome.quiet_s), ("with", outcome.attacked_s)):
        print(
            f"honest requests {name:8} attack: {len(samples):6}  "
            f"p50 {quantile(samples, 0.5) * 1e3:.1f} ms  p99 {quantile(samples, 0.99) * 1e3:.1f} ms"
        )
    print(
        f"p99 with / without: {outcome.ratio:.2f}; {sum(outcome.failed.values())} failed; "
        f"memory {outcome.grown_bytes >> 10} KiB more; {outcome.banned_now} banned now; "
        f"load of the machine {outcome.load[0]:.1f} to {outcome.load[1]:.1f}"
    )
    for reason, count in outcome.failed.most_common(5):
        print(f"  failed {count} times: {reason}")
    for reason, count in outcome.ban_reasons.most_common(12):
        print(f"  banned {count} times: {reason[:100]}")


def main() -> int:
    """Run them and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=50.0, help="mutants a second at most")
    parser.add_argument("--quiet", type=float, default=4.0, help="seconds between two attacks")
    parser.add_argument("--handler", action="append", help="a name or a part of one; repeatable")
    parser.add_argument("--json", action="store_true", help="everything again, as the last line")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    chosen = [h for h in HANDLERS if not options.handler or any(p in h for p in options.handler)]
    names = (
        "mutants",
        "offences",
        "bans",
        "cut off",
        "identities",
        "RSS KiB",
        "p99 ms",
        "attacked",
    )
    widths = (8, 9, 6, 8, 11, 8, 9, 9)
    print(f"{'handler':26}", *(f"{n:>{w}}" for n, w in zip(names, widths, strict=True)), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        attack = partial(
            run,
            Path(folder) / "node",
            chosen,
            options.mutants,
            seed=options.seed,
            rate=options.rate,
            quiet_s=options.quiet,
            on_row=show,
        )
        outcome = trio.run(attack)
    summarize(outcome)
    faults = outcome.faults() + outcome.too_slow()
    for fault in faults:
        print(f"FAULT {fault}")
    if options.json:
        # asdict() makes Counters of pairs out of Counters.
        plain = replace(outcome, failed={**outcome.failed}, ban_reasons={**outcome.ban_reasons})
        print(json.dumps({**asdict(plain), "ratio": outcome.ratio, "faults": faults}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
