"""How the end of a process is told."""

from __future__ import annotations

from pathlib import Path

from testnet.supervise.crash import how_it_ended, last_error


def test_the_last_error_of_an_exception_group_is_named_and_not_its_frame() -> None:
    lines = [
        "  + Exception Group Traceback (most recent call last):",
        "  | ExceptionGroup: Exceptions from Trio nursery (1 sub-exception)",
        "  +-+---------------- 1 ----------------",
        "    | Traceback (most recent call last):",
        '    |   File "x.py", line 3, in main',
        "    | p2pnode.errors.ConfigError: no such thing",
        "    +------------------------------------",
    ]
    assert last_error(lines) == "p2pnode.errors.ConfigError: no such thing"
    assert last_error(["cannot listen", ""]) == "cannot listen"
    assert last_error(["----"]) == ""


def test_an_end_is_told_with_its_signal_or_code_and_the_last_error_where_there_is_one(
    tmp_path: Path,
) -> None:
    errors = tmp_path / "node0.err"
    assert how_it_ended(-9, errors) == f"was killed by signal 9 (see {errors})"
    errors.write_text("Traceback\nOSError: no\n", encoding="utf-8")
    assert how_it_ended(1, errors) == f"ended with exit code 1: OSError: no (see {errors})"
