"""`testnet sim`: flags, words, exit codes."""

from __future__ import annotations

import json

import pytest
from _pytest.capture import CaptureFixture

from p2pnode.cli.exit_codes import ExitCode
from testnet.checks.violation import Violation
from testnet.sim import command, matrix
from testnet.sim.report import SimReport
from testnet.sim.run import SimSpec, run_seeded
from testnet.sim.world import CrashHere, Machine, World

QUICK = ["--for", "3s", "--seed", "5"]


def test_the_last_line_with_json_is_the_run_summary(capsys: CaptureFixture[str]) -> None:
    assert command.main([*QUICK, "--json"]) == 0
    out, err = capsys.readouterr()
    summary = json.loads(out.splitlines()[-1])
    assert err == ""
    assert summary["exit"] == 0
    assert summary["seed"] == 5
    assert summary["transactions"]["finalized"] == summary["transactions"]["submitted"] > 5
    assert set(summary["checks"].values()) == {"pass"}
    assert summary["violations"] == []
    assert summary["balances_conserved"] == {"0": True}


def test_words_for_people_name_the_next_command_on_stderr(capsys: CaptureFixture[str]) -> None:
    assert command.main([*QUICK, "--validators", "2"]) == 0
    out, err = capsys.readouterr()
    assert "seed 5  engine simplex  2 validators" in out
    assert "safety     ok" in out
    assert "liveness   ok" in out
    assert err.startswith("next: testnet ")


def test_quiet_says_nothing_on_stderr(capsys: CaptureFixture[str]) -> None:
    assert command.main([*QUICK, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--engine", "raft"], "--engine 'raft': one of simplex, solo"),
        (["--engine", "solo"], "one validator, this chain has 4"),
        (["--loss", "1.5"], "--loss 1.5: from 0.0 to 1.0"),
        (["--latency", "80-20"], "--latency '80-20'"),
        (["--latency", "fast"], "--latency 'fast'"),
        (["--for", "soon"], "--for 'soon'"),
        (["--validators", "0"], "--validators 0: from 1 to 100"),
        (["--kills", "2", "--for", "5s"], "--kills 2"),
        (["--seeds", "0"], "--seeds 0"),
        (["--shards", "2"], "--shards 2: not built yet"),
        (["--light", "1"], "--light 1: not built yet"),
        (["--committee", "3"], "--committee 3: not built yet"),
        (["--scheme", "raptor"], "--scheme 'raptor': one of inline"),
        (["--block-interval", "0s"], "--block-interval '0s'"),
    ],
)
def test_bad_values_are_usage_errors_that_name_the_flag(
    flags: list[str], word: str, capsys: CaptureFixture[str]
) -> None:
    assert command.main(flags) == ExitCode.USAGE
    assert word in capsys.readouterr().err


def test_an_unknown_flag_is_a_usage_error_and_help_lists_the_exit_codes(
    capsys: CaptureFixture[str],
) -> None:
    assert command.main(["--frobnicate"]) == ExitCode.USAGE
    assert command.main(["--help"]) == 0
    assert "11 no liveness" in capsys.readouterr().out


def _report(*checks: str, seed: int = 1) -> SimReport:
    return SimReport(
        seed=seed,
        spec=SimSpec(kills=3, loss=0.02),
        trace_hash="00" * 32,
        violations=tuple(Violation(check, "seen") for check in checks),
        heights=(1, 1),
        blocks=1,
        views_entered=1,
        views_skipped=0,
        kills=3,
        crash_points={},
        submitted=1,
        refused={"pool_full": 2},
        finalized=1,
        unfinished=0,
        evidence={},
        finalization_s=(0.5, 0.5),
        consensus_s=(0.2, 0.2),
        longest_pause_s=0.5,
        virtual_s=62.0,
        cpu_s=1.5,
        inputs=1,
        votes=1,
        bytes_sent=100,
        held_max=5,
        state_root="00",
    )


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ((), ExitCode.OK),
        (("agreement",), ExitCode.SAFETY_VIOLATED),
        (("liveness after healing",), ExitCode.NO_LIVENESS),
        (("node stopped by itself", "liveness after healing"), ExitCode.NODE_CRASHED),
        (("node stopped by itself", "one vote of a kind"), ExitCode.SAFETY_VIOLATED),
    ],
)
def test_the_exit_code_names_the_worst(
    checks: tuple[str, ...],
    code: ExitCode,
    monkeypatch: pytest.MonkeyPatch,
    capsys: CaptureFixture[str],
) -> None:
    report = _report(*checks)
    monkeypatch.setattr(command, "run_matrix", lambda *given: [report])
    assert command.main([]) == code
    out = capsys.readouterr().out
    assert "2 x pool_full" in out
    assert ("FAIL" in out) is bool(checks)
    assert report.summary()["exit"] == int(code)


def test_failing_seeds_come_with_the_command_that_repeats_them(
    monkeypatch: pytest.MonkeyPatch, capsys: CaptureFixture[str]
) -> None:
    reports = [_report(seed=1), _report("agreement", seed=2), _report(seed=3)]
    monkeypatch.setattr(command, "run_matrix", lambda *given: reports)
    flags = ["--seeds", "3", "--kills", "3", "--loss", "0.02", "--latency", "10-30"]
    assert command.main(flags) == ExitCode.SAFETY_VIOLATED
    out, err = capsys.readouterr()
    assert "2 of 3 seeds without a violation" in out
    assert "seed 2: agreement: seen" in out
    assert "testnet sim --seed 2 --latency 10-30 --loss 0.02 --kills 3" in out
    assert "--seed 2" in err
    assert command.main([*flags, "--json"]) == ExitCode.SAFETY_VIOLATED
    summary = json.loads(capsys.readouterr().out)
    assert [f["seed"] for f in summary["failed"]] == [2]


def test_an_exception_inside_a_node_is_a_violation_not_a_crash_of_the_tool() -> None:
    def prepare(world: World) -> None:
        left = [400]

        def boundary(machine: Machine, where: str) -> None:
            left[0] -= 1
            assert left[0], "a bug, on purpose"

        world.at_boundary = boundary

    report = run_seeded(SimSpec(duration_s=3.0), 1, prepare)
    assert report.exit_code is ExitCode.NODE_CRASHED
    (found,) = report.broken(("node stopped by itself",))
    assert "AssertionError: a bug, on purpose" in found.detail
    assert "test_command.py" in found.detail


def test_a_crash_on_order_is_no_violation() -> None:
    def prepare(world: World) -> None:
        left = [400]

        def boundary(machine: Machine, where: str) -> None:
            left[0] -= 1
            if not left[0]:
                raise CrashHere

        world.at_boundary = boundary

    assert run_seeded(SimSpec(duration_s=3.0), 1, prepare).ok


def test_the_matrix_keeps_the_order_of_seeds() -> None:
    done: list[int] = []
    reports = matrix.run_matrix(
        SimSpec(duration_s=2.0, validators=1), [4, 2, 9], 1, lambda r: done.append(r.seed)
    )
    assert [r.seed for r in reports] == done == [4, 2, 9]
