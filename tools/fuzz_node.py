"""Throw structure-aware mutants at every handler of a node that others' bytes reach.

    python tools/fuzz_node.py [--mutants 10000] [--seed 1] [--handler NAME …] [--json]

All in this process and in virtual time (over real sockets: tools/fuzz_wire.py). A name may be a
part of one: `--handler rpc` is every method. Fails when anything raises, less than 30 % get past
the decoder, memory grows by 20 MiB or more, wrongdoers lose no score, an honest node is blamed, or
an honest use of the handler fails afterwards. The same seed throws the same mutants.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fuzz.handlers import BLAMELESS, HANDLERS, throw
from tests.fuzz.tally import DECODED_SHARE_MIN, GROWTH_BYTES_MAX, Tally


def faults(handler: str, tally: Tally) -> list[str]:
    """Say what is wrong with a handler's figures."""
    found = []
    if tally.passed_share < DECODED_SHARE_MIN:
        found.append(f"only {tally.passed_share:.0%} past the decoder")
    if tally.grown_bytes >= GROWTH_BYTES_MAX:
        found.append(f"{tally.grown_bytes >> 10} KiB more memory")
    if handler not in BLAMELESS and not tally.penalized:
        found.append("nobody lost score")
    return found


def main() -> int:
    """Run them and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--handler", action="append", help="a name or a part of one; repeatable")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    # The network says who loses points, and libp2p every refused graft: thousands of lines.
    logging.disable(logging.CRITICAL)
    chosen = [h for h in HANDLERS if not options.handler or any(p in h for p in options.handler)]
    if not options.json:
        names = ("mutants", "decoded", "refused", "bans", "RSS KiB", "CPU s")
        print(f"{'handler':28}", *(f"{name:>8}" for name in names))
    bad = 0
    for handler in chosen:
        tally = throw(handler, options.mutants, options.seed)
        wrong = faults(handler, tally)
        bad += bool(wrong)
        if options.json:
            print(json.dumps({"handler": handler, **asdict(tally), "faults": wrong}), flush=True)
            continue
        print(
            f"{handler:28} {tally.mutants:8} {tally.passed_share:8.0%} {tally.penalized:8} "
            f"{tally.bans:8} {tally.grown_bytes >> 10:8} {tally.cpu_s:8.1f} {', '.join(wrong)}",
            flush=True,
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
