"""What `testnet up` refuses before anything starts."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from p2pnode.cli.exit_codes import ExitCode
from testnet.cli.main import main, make_parser
from testnet.cli.up import exit_of


@pytest.mark.parametrize("flag", ["--engine", "--scheme"])
def test_a_name_that_nobody_knows_is_refused_and_nothing_is_left(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["up", flag, "simplx"]) == ExitCode.USAGE
    assert "'simplx'; there are: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_trace_leaves_no_folder_and_the_latest_testnet_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, text in enumerate(("# words — and more\n", "words\n", "")):
        path = tmp_path / f"{number}.md"
        path.write_text(text, encoding="utf-8")
        assert main(["up", "--load", "5", "--trace", str(path)]) == ExitCode.USAGE
        said = capsys.readouterr().err
        assert "is no trace" in said
        assert "block,index,kind," in said
    assert not (tmp_path / ".testnet").exists()


@pytest.mark.parametrize(
    "given", [["--json", "--quiet", "up"], ["up", "--json", "--quiet"], ["--json", "up", "--quiet"]]
)
def test_flags_of_every_command_may_stand_before_or_after_it(given: list[str]) -> None:
    start = argparse.Namespace(json=False, quiet=False)
    found = make_parser().parse_args(given, start)
    assert (found.json, found.quiet) == (True, True)
    without = make_parser().parse_args(["up"], argparse.Namespace(json=False, quiet=False))
    assert (without.json, without.quiet) == (False, False)


def test_a_mistyped_flag_is_answered_with_the_command_s_help_and_the_nearest_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["up", "--validatrs", "4"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "did you mean --validators?" in said
    assert "more: testnet up --help" in said


@pytest.mark.parametrize(
    ("reason", "unplanned", "planned"),
    [
        ("", ExitCode.OK, ExitCode.OK),
        ("down", ExitCode.OK, ExitCode.OK),
        ("interrupted", ExitCode.INTERRUPTED, ExitCode.OK),
        ("terminated", ExitCode.INTERRUPTED, ExitCode.INTERRUPTED),
        ("crashed", ExitCode.NODE_CRASHED, ExitCode.NODE_CRASHED),
    ],
)
def test_only_a_planned_ctrl_c_is_no_error(
    reason: str, unplanned: ExitCode, planned: ExitCode
) -> None:
    assert exit_of(reason) is unplanned
    assert exit_of(reason, planned=True) is planned
