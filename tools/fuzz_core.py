"""Throw mutants of every message, request, answer and submission at a node of a running cluster.

    python tools/fuzz_core.py [--mutants 100000] [--seed 1] [--json]

The cluster is of whole cores in this process, in virtual time; the node under attack gets mutants
from a validator that signs them, from a stranger, and as answers to its own requests. The run fails
when anything raises, when a structure outgrows its bound, when honest nodes are blamed, or when
they make nothing final any more. The same seed throws the same mutants.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fuzz.core import CoreFuzz


def main() -> int:
    """Run it and print what was thrown and how large things grew."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started_s = time.process_time()
    fuzz = CoreFuzz(options.seed)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = fuzz.run(options.mutants)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    cpu_s = time.process_time() - started_s
    if options.json:
        found = {**asdict(report), "decoded_share": report.decoded_share, "seed": options.seed}
        print(json.dumps({**found, "cpu_s": cpu_s, "grown_kib": grown_kib}))
        return 0
    for kind, count in sorted(report.mutants.items()):
        print(f"{kind:28} {count:8} mutants")
    for name, (size, bound) in sorted(report.sizes.items()):
        print(f"{name:28} {size:8} of at most {bound}")
    print(
        f"seed {options.seed}: {sum(report.mutants.values())} mutants, "
        f"{report.decoded_share:.0%} of the frames past the decoder, "
        f"{report.penalties} penalties, height {report.height}, "
        f"{grown_kib} KiB more memory, {cpu_s:.1f} s of CPU"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
