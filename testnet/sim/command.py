"""`testnet sim`: seeded runs of whole nodes in virtual time, without network or disk."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Final

from p2pnode.availability.registry import scheme_names
from p2pnode.cli.exit_codes import ExitCode, exit_codes_help
from p2pnode.consensus.engine import EngineParameters, Epoch, Floor
from p2pnode.consensus.registry import engine_names, load_engine
from p2pnode.errors import ConfigError
from p2pnode.node.units import parse_duration
from testnet.sim.matrix import run_matrix
from testnet.sim.report import CRASH_CHECKS, LIVENESS_CHECKS, SAFETY_CHECKS, SimReport
from testnet.sim.spec import BLOCK_INTERVAL_MS, EPOCH_BLOCKS, SimSpec, sim_parameters
from testnet.spec import NotBuiltError

VALIDATORS_MAX: Final = 100
SEEDS_SHOWN_MAX: Final = 10
"""Failing seeds that are described one by one."""

EXAMPLES: Final = """\
examples:
  testnet sim --seed 7 --for 60s
  testnet sim --seeds 100 --jobs 2 --kills 3 --loss 0.02
"""


class BadSimArgumentError(ConfigError):
    """A flag of `testnet sim` has a value it can't have."""


@dataclass(frozen=True, slots=True)
class _Request:
    spec: SimSpec
    seeds: tuple[int, ...]
    jobs: int
    json: bool
    quiet: bool
    flags: str
    """The flags that repeat the spec, without seeds."""


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    try:
        request = _parse(argv)
    except (BadSimArgumentError, NotBuiltError) as error:
        print(f"testnet sim: {error}", file=sys.stderr)
        return ExitCode.USAGE
    except SystemExit as stop:
        return int(stop.code or 0)
    progress = _Progress(len(request.seeds), sys.stderr, quiet=request.quiet)
    started = time.monotonic()
    try:
        reports = run_matrix(request.spec, request.seeds, request.jobs, progress.done)
    except KeyboardInterrupt:
        progress.clear()
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    progress.clear()
    code = _worst(reports)
    if len(reports) == 1:
        if request.json:
            print(json.dumps(reports[0].summary()))
        else:
            print(_describe(reports[0], request))
    else:
        wall_s = time.monotonic() - started
        if request.json:
            print(json.dumps(_matrix_summary(reports, request, wall_s, code)))
        else:
            print(_describe_matrix(reports, request, wall_s, code))
    if not (request.json or request.quiet):
        print(f"next: {_next(reports, request)}", file=sys.stderr)
    return code


# --- flags ----------------------------------------------------------------------------------------


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `testnet sim`."""
    parser = argparse.ArgumentParser(
        prog="testnet sim",
        description="Run whole nodes in one process, in virtual time, from a seed; judge the run.",
        epilog=f"{EXAMPLES}\n{exit_codes_help()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--validators", type=int, default=4, metavar="N", help="default 4")
    add("--observers", type=int, default=0, metavar="N", help="nodes that only follow; default 0")
    add("--engine", default="simplex", help="consensus engine; default simplex")
    add("--scheme", default="inline", help="availability scheme; default inline")
    add("--shards", type=int, default=1, metavar="N", help="not built yet")
    add("--light", type=int, default=0, metavar="N", help="not built yet")
    add("--committee", type=int, default=None, metavar="N", help="not built yet")
    add("--for", dest="duration", default="60s", metavar="TIME", help="virtual time; default 60s")
    add("--seed", type=int, default=7, help="decides everything random; default 7")
    add("--seeds", type=int, default=1, metavar="N", help="run N seeds, from --seed on")
    add("--jobs", type=int, default=0, metavar="N", help="processes; default: one a core")
    add("--rate", type=float, default=5.0, metavar="TX/S", help="transactions a second; default 5")
    add("--latency", default="20-80", metavar="MS-MS", help="of every link; default 20-80")
    add("--loss", type=float, default=0.0, help="probability that a message is lost; default 0")
    add("--kills", type=int, default=0, metavar="N", help="kills and restarts over the run")
    add("--crash-at-effects", action="store_true", help="kill between two steps, not at a time")
    add("--epoch-blocks", type=int, default=EPOCH_BLOCKS, metavar="N", help="default 20")
    add("--block-interval", default=f"{BLOCK_INTERVAL_MS}ms", metavar="TIME", help="default 500ms")
    add("--json", action="store_true", help="one object on stdout")
    add("--quiet", action="store_true", help="no progress, no hints")
    return parser


def _parse(argv: Sequence[str]) -> _Request:
    given = make_parser().parse_args(list(argv))
    _check_built(given)
    interval_s = _seconds(given.block_interval, "--block-interval")
    try:
        low, _, high = given.latency.partition("-")
        latency_ms = (float(low), float(high or low))
    except ValueError:
        raise BadSimArgumentError(f"--latency {given.latency!r}: such as 20-80, in ms") from None
    if not 0 <= latency_ms[0] <= latency_ms[1] <= 60_000:
        raise BadSimArgumentError(f"--latency {given.latency!r}: from low to high, at most 60000")
    for name, value, least, most in (
        ("--validators", given.validators, 1, VALIDATORS_MAX),
        ("--observers", given.observers, 0, VALIDATORS_MAX),
        ("--loss", given.loss, 0.0, 1.0),
        ("--rate", given.rate, 0.0, 10_000.0),
        ("--kills", given.kills, 0, 10_000),
        ("--seeds", given.seeds, 1, 1_000_000),
        ("--jobs", given.jobs, 0, 1024),
        ("--epoch-blocks", given.epoch_blocks, 4, 1 << 32),
    ):
        if not least <= value <= most:
            raise BadSimArgumentError(f"{name} {value}: from {least} to {most}")
    _check_engine(given.engine, given.validators)
    duration_s = _seconds(given.duration, "--for")
    if given.kills and (given.validators < 4 or duration_s < 10):
        raise BadSimArgumentError(
            f"--kills {given.kills}: with 4 validators and 10 s at least, "
            f"not {given.validators} and {duration_s:g} s"
        )
    spec = SimSpec(
        validators=given.validators,
        observers=given.observers,
        engine=given.engine,
        duration_s=duration_s,
        load_tx_s=given.rate,
        latency_ms=latency_ms,
        loss=given.loss,
        kills=given.kills,
        crashes_at_effects=given.crash_at_effects,
        parameters=sim_parameters(
            epoch_blocks=given.epoch_blocks, block_interval_ms=max(1, round(interval_s * 1000))
        ),
    )
    return _Request(
        spec=spec,
        seeds=tuple(range(given.seed, given.seed + given.seeds)),
        jobs=given.jobs or os.cpu_count() or 1,
        json=given.json,
        quiet=given.quiet,
        flags=_flags(spec),
    )


def _seconds(text: str, flag: str) -> float:
    try:
        value = parse_duration(text)
    except (ConfigError, ValueError) as error:
        raise BadSimArgumentError(f"{flag} {text!r}: {error}") from None
    if not value > 0:
        raise BadSimArgumentError(f"{flag} {text!r}: above 0 expected")
    return float(value)


def _check_built(given: argparse.Namespace) -> None:
    if given.shards != 1:
        raise NotBuiltError(f"--shards {given.shards}")
    if given.light != 0:
        raise NotBuiltError(f"--light {given.light}")
    if given.committee not in (None, given.validators):
        raise NotBuiltError(f"--committee {given.committee}")
    if given.scheme not in scheme_names():
        known = ", ".join(scheme_names())
        raise BadSimArgumentError(f"--scheme {given.scheme!r}: one of {known}")


def _check_engine(name: str, validators: int) -> None:
    """Refuse an engine that does not exist, or that says itself that it can't serve so many."""
    if name not in engine_names():
        raise BadSimArgumentError(f"--engine {name!r}: one of {', '.join(engine_names())}")
    members = tuple((i.to_bytes(32, "big"), 1) for i in range(validators))
    epoch = Epoch(bytes(32), 0, members, None, 1, EPOCH_BLOCKS, bytes(32))
    try:
        load_engine(name)(EngineParameters()).recover(0, epoch, Floor(0, bytes(32), b""), ())
    except ConfigError as error:
        raise BadSimArgumentError(f"--engine {name}: {error}") from None


def _flags(spec: SimSpec) -> str:
    """Return the flags that differ from the defaults."""
    default = SimSpec()
    parts: list[str] = []

    def flag(name: str, value: object, usual: object) -> None:
        if value != usual:
            parts.append(name if value is True else f"{name} {value}")

    flag("--validators", spec.validators, default.validators)
    flag("--observers", spec.observers, default.observers)
    flag("--engine", spec.engine, default.engine)
    flag("--for", f"{spec.duration_s:g}s", f"{default.duration_s:g}s")
    flag("--rate", f"{spec.load_tx_s:g}", f"{default.load_tx_s:g}")
    low, high = spec.latency_ms
    flag("--latency", f"{low:g}-{high:g}", "20-80")
    flag("--loss", spec.loss, default.loss)
    flag("--kills", spec.kills, default.kills)
    flag("--crash-at-effects", spec.crashes_at_effects, False)
    flag("--epoch-blocks", spec.parameters.epoch_blocks, EPOCH_BLOCKS)
    interval = f"{spec.parameters.block_interval_ms}ms"
    flag("--block-interval", interval, f"{BLOCK_INTERVAL_MS}ms")
    return " ".join(parts)


# --- words ----------------------------------------------------------------------------------------


class _Progress:
    """One line that is written over and over, on a terminal only."""

    def __init__(self, total: int, stream: IO[str], *, quiet: bool) -> None:
        self._total = total
        self._stream = stream
        self._shown = not quiet and total > 1 and stream.isatty()
        self._done = self._failed = 0
        self._started = time.monotonic()

    def done(self, report: SimReport) -> None:
        self._done += 1
        self._failed += not report.ok
        if self._shown:
            elapsed_s = time.monotonic() - self._started
            left_s = elapsed_s / self._done * (self._total - self._done)
            width = 30 * self._done // self._total
            self._stream.write(
                f"\r\x1b[K[{'#' * width}{'.' * (30 - width)}] {self._done} of {self._total} seeds  "
                f"{self._failed} failed  {left_s:.0f} s left"
            )
            self._stream.flush()

    def clear(self) -> None:
        if self._shown:
            with suppress(OSError):
                self._stream.write("\r\x1b[K")
                self._stream.flush()


def _repeat(report: SimReport, request: _Request) -> str:
    return f"testnet sim --seed {report.seed} {request.flags}".rstrip()


def _describe(report: SimReport, request: _Request) -> str:
    spec = report.spec
    nodes = f"{spec.validators} validators"
    if spec.observers:
        nodes += f"  {spec.observers} observers"
    lines = [
        f"seed {report.seed}  engine {spec.engine}  {nodes}   "
        f"{report.virtual_s:.0f} virtual s in {report.cpu_s:.1f} s",
        f"faults: {report.kills} kills, {spec.loss:.0%} loss   "
        f"views {report.views_entered} ({report.views_skipped} skipped)   "
        f"blocks {report.blocks} final",
        f"transactions: {report.submitted} submitted, {report.finalized} final, "
        f"p50 {report.finalization_s[0]:.2f} s, p99 {report.finalization_s[1]:.2f} s   "
        f"longest pause {report.longest_pause_s:.1f} s",
        _verdict(report, "safety", SAFETY_CHECKS),
        _verdict(report, "liveness", LIVENESS_CHECKS),
        _verdict(report, "crashes", CRASH_CHECKS),
    ]
    for name, count in report.refused.items():
        lines.append(f"  refused  {count} x {name}")
    for violation in report.violations[:SEEDS_SHOWN_MAX]:
        lines.append(f"    {violation.check}: {violation.detail}")
    if len(report.violations) > SEEDS_SHOWN_MAX:
        lines.append(f"    and {len(report.violations) - SEEDS_SHOWN_MAX} more")
    lines.append(f"trace {report.trace_hash}")
    if not report.ok:
        lines += [f"repeat: {_repeat(report, request)}", f"exit {int(report.exit_code)}"]
    return "\n".join(lines)


def _verdict(report: SimReport, name: str, checks: tuple[str, ...]) -> str:
    if name == "safety":
        broken = [v for v in report.violations if v.check not in (*LIVENESS_CHECKS, *CRASH_CHECKS)]
    else:
        broken = report.broken(checks)
    if broken:
        return f"  {name:<10} FAIL {broken[0].check}: {broken[0].detail}"
    kept = f"ok   {len(checks)} checks" if len(checks) > 3 else f"ok   {' · '.join(checks)}"
    return f"  {name:<10} {kept}" if name != "crashes" else f"  {name:<10} ok   none"


def _describe_matrix(
    reports: Sequence[SimReport], request: _Request, wall_s: float, code: ExitCode
) -> str:
    failed = [r for r in reports if not r.ok]
    spec = request.spec
    cpu_s = sum(r.cpu_s for r in reports)
    lines = [
        f"seeds {reports[0].seed} to {reports[-1].seed}  engine {spec.engine}  "
        f"{spec.validators} validators   {len(reports)} x {spec.duration_s:g} virtual s "
        f"in {wall_s:.0f} s ({cpu_s:.0f} CPU s)",
        f"faults: {sum(r.kills for r in reports)} kills, {spec.loss:.0%} loss   "
        f"blocks {sum(r.blocks for r in reports)} final   "
        f"transactions {sum(r.finalized for r in reports)} of "
        f"{sum(r.submitted for r in reports)} final   "
        f"longest pause {max(r.longest_pause_s for r in reports):.1f} s",
        f"{len(reports) - len(failed)} of {len(reports)} seeds without a violation",
    ]
    for report in failed[:SEEDS_SHOWN_MAX]:
        first = report.violations[0]
        lines += [
            f"  seed {report.seed}: {first.check}: {first.detail}",
            f"    repeat: {_repeat(report, request)}",
        ]
    if len(failed) > SEEDS_SHOWN_MAX:
        rest = ", ".join(str(r.seed) for r in failed[SEEDS_SHOWN_MAX:])
        lines.append(f"  and seeds {rest}")
    if failed:
        lines.append(f"exit {int(code)}")
    return "\n".join(lines)


def _matrix_summary(
    reports: Sequence[SimReport], request: _Request, wall_s: float, code: ExitCode
) -> dict[str, object]:
    return {
        "name": "sim",
        "seeds": {"first": reports[0].seed, "count": len(reports)},
        "engine": request.spec.engine,
        "validators": request.spec.validators,
        "duration_s": wall_s,
        "cpu_s": sum(r.cpu_s for r in reports),
        "kills": sum(r.kills for r in reports),
        "blocks": sum(r.blocks for r in reports),
        "transactions": {
            "submitted": sum(r.submitted for r in reports),
            "finalized": sum(r.finalized for r in reports),
        },
        "longest_pause_s": max(r.longest_pause_s for r in reports),
        "trace_hashes": {str(r.seed): r.trace_hash for r in reports},
        "failed": [
            {
                "seed": r.seed,
                "exit": int(r.exit_code),
                "repeat": _repeat(r, request),
                "violations": [{"check": v.check, "detail": v.detail} for v in r.violations],
            }
            for r in reports
            if not r.ok
        ],
        "exit": int(code),
    }


def _worst(reports: Sequence[SimReport]) -> ExitCode:
    codes = [r.exit_code for r in reports]
    order = (ExitCode.SAFETY_VIOLATED, ExitCode.NODE_CRASHED, ExitCode.NO_LIVENESS)
    return next((code for code in order if code in codes), ExitCode.OK)


def _next(reports: Sequence[SimReport], request: _Request) -> str:
    failed = [r for r in reports if not r.ok]
    if failed:
        return _repeat(failed[0], request)
    if len(reports) == 1:
        return "testnet sim --seeds 100 --kills 3 --loss 0.02 · testnet up"
    return "testnet up"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
