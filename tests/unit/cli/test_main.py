from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode, exit_codes_help
from p2pnode.cli.main import main, make_parser
from p2pnode.errors import ConfigError, UsageError
from testnet.cli.main import main as main_of_testnet


class Run:
    """One run of the command, with what it printed."""

    def __init__(self, *argv: str, **console: object) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.code = main(argv, Console(out=out, err=err, **console))  # type: ignore[arg-type]
        self.out, self.err = out.getvalue(), err.getvalue()


def test_without_arguments_it_shows_a_short_help_with_two_examples() -> None:
    run = Run()
    assert run.code == ExitCode.OK
    assert len(run.out.splitlines()) <= 8
    assert run.out.count("\n  p2pnode ") == 2


def test_help_lists_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert exit_codes_help() in text
    for code in ExitCode:
        assert f" {code.value} " in f" {text} "


@pytest.mark.parametrize(
    "argv",
    [
        ["stauts"],
        ["status", "--nod"],
        ["tx", "send"],
        ["run", "extra"],
        ["keys", "generate", "x", "--purpose", "y"],
    ],
)
def test_a_mistake_in_the_arguments_is_usage(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == ExitCode.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert "--help" in shown.err


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["stauts"], "status"),
        (["status", "--intervall", "5s"], "--interval"),
        (["keys", "gen"], "generate"),
    ],
)
@pytest.mark.parametrize("program", [main, main_of_testnet])
def test_a_mistyped_command_or_flag_is_answered_with_the_nearest(
    program: Callable[[list[str]], int],
    argv: list[str],
    meant: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if program is main_of_testnet and argv[0] == "keys":
        argv, meant = ["expl"], "explain"
    assert program(argv) == ExitCode.USAGE
    assert f"; did you mean {meant}?\n" in capsys.readouterr().err


def test_a_command_like_no_other_gets_no_wild_guess(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyzzy"]) == ExitCode.USAGE
    assert capsys.readouterr().err == "error: no command 'xyzzy'\nmore: p2pnode --help\n"


@pytest.mark.parametrize("program", [main, main_of_testnet])
def test_version_is_a_flag_of_both_programs_too(
    program: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == Run("version").out.splitlines()[:1]


@pytest.mark.parametrize("command", ["keys", "tx", "store", "log", "admin", "service", "config"])
def test_a_group_without_an_action_lists_its_actions(command: str) -> None:
    run = Run(command)
    assert run.code == ExitCode.USAGE
    assert f"usage: p2pnode {command}" in run.out


def test_help_and_parsing_import_nothing_heavy() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from p2pnode.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['--help']); main([]); main(['status', '--help'])\n"
        "heavy = ('libp2p', 'starlette', 'httpx', 'trio', 'rich', 'structlog', 'hypercorn')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "p2pnode"], capture_output=True, text=True)
    assert done.stdout == Run().out


def test_flags_may_stand_before_or_after_an_action() -> None:
    parser = make_parser()
    for argv in (["keys", "--json", "show", "f"], ["keys", "show", "--json", "f"]):
        assert parser.parse_args(argv).json is True
    assert parser.parse_args(["keys", "show", "f"]).json is False


def test_flags_may_stand_before_the_command() -> None:
    before, after = Run("--json", "version"), Run("version", "--json")
    assert (before.code, before.out) == (ExitCode.OK, after.out)
    assert json.loads(before.out)["p2pnode"]
    assert Run("--quiet", "version").err == ""
    for argv in (["--json", "keys", "show", "f"], ["--json", "rpc", "--json", "m"]):
        assert make_parser().parse_args(argv).json is True


def test_rpc_needs_a_method_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rpc"]) == ExitCode.USAGE
    assert capsys.readouterr().err.startswith(
        "error: the following arguments are required: METHOD\n"
    )
    assert make_parser().parse_args(["rpc", "status"]).params == []


def raising(error: BaseException) -> object:
    def command(*_: object) -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("bad"), ExitCode.FAILED),
        (UsageError("bad"), ExitCode.USAGE),
        (ExceptionGroup("tasks", [UsageError("bad")]), ExitCode.USAGE),
        (ExceptionGroup("tasks", [ConfigError("bad")]), ExitCode.FAILED),
        (BaseExceptionGroup("tasks", [KeyboardInterrupt()]), ExitCode.INTERRUPTED),
        (ExceptionGroup("t", [ConfigError("bad"), ZeroDivisionError()]), ExitCode.NODE_CRASHED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
    ],
)
def test_how_a_command_ends_decides_the_exit_code(
    error: BaseException, code: ExitCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pnode.cli.maintenance.version", raising(error))
    run = Run("version")
    assert run.code == code
    assert ("Traceback" in run.err) == (code is ExitCode.NODE_CRASHED)
    if code in (ExitCode.FAILED, ExitCode.USAGE):
        assert run.err == "error: bad\n"


def test_a_closed_folder_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    error = PermissionError(13, "Permission denied", "/var/lib/p2pnode")
    monkeypatch.setattr("p2pnode.cli.maintenance.version", raising(error))
    run = Run("version")
    assert (run.code, "sudo" in run.err) == (ExitCode.FAILED, True)
    assert "Traceback" not in run.err


def test_version_names_program_formats_and_libraries() -> None:
    run = Run("version", "--json")
    shown = json.loads(run.out)
    assert shown["p2pnode"]
    assert shown["libp2p"] == "0.8.1"
    formats = {"wire_transaction", "wire_genesis", "store_format", "log_format", "config_format"}
    assert formats <= set(shown)
    assert all(isinstance(shown[name], int) for name in formats)
    assert run.err.startswith("next: ")


def test_quiet_leaves_only_data() -> None:
    assert Run("version", "--quiet").err == ""


def test_words_are_coloured_on_a_terminal_only_and_never_with_no_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    err = Terminal()
    Console(out=io.StringIO(), err=err).error("bad")
    assert "\x1b[" in err.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    err = Terminal()
    Console(out=io.StringIO(), err=err).error("bad")
    assert err.getvalue() == "error: bad\n"
    assert Console(out=io.StringIO(), err=io.StringIO()).colours is False


def test_sentences_break_between_words_on_a_terminal_and_stay_whole_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "32")
    text = "height 131, view 135: 2 of 3 votes to skip it; missing node0"
    out, err = Terminal(), Terminal()
    Console(out=out, err=err).sentence(text)
    assert out.getvalue() == "height 131, view 135: 2 of 3\nvotes to skip it; missing node0\n"
    Console(out=out, err=err).to_do("start node0 again, then node1")
    assert err.getvalue() == "to do: start node0 again, then\nnode1\n"
    pipe = io.StringIO()
    Console(out=pipe, err=pipe).sentence(text)
    Console(out=pipe, err=pipe).to_do("")
    assert pipe.getvalue() == f"{text}\n"


def test_a_store_is_exported_and_imported(tmp_path: Path) -> None:
    from p2pnode.store.lmdb import LmdbStore
    from p2pnode.types.effects import Write

    store = LmdbStore(tmp_path / "a" / "store")
    store.commit([Write("blocks", b"k", b"v")], sync=True)
    file = str(tmp_path / "rows")
    assert Run("store", "export", "--data", str(tmp_path / "a"), "--output", file).code == 1
    store.close()
    assert Run("store", "export", "--data", str(tmp_path / "a"), "--output", file).code == 0
    assert Run("store", "export", "--data", str(tmp_path / "a"), "--output", file).code == 1
    assert Run("store", "import", "--data", str(tmp_path / "b"), file).code == 0
    copy = LmdbStore(tmp_path / "b" / "store")
    assert copy.get("blocks", b"k") == b"v"
    copy.close()


def test_a_damaged_log_is_repaired_and_says_what_follows(tmp_path: Path) -> None:
    from p2pnode.store.wal import open_log

    path = tmp_path / "signed.wal"
    log = open_log(path).log
    for number in range(3):
        log.append(bytes((number,)) * 100)
    log.sync()
    log.close()
    assert "nothing was changed" in Run("log", "repair", "--data", str(tmp_path)).err
    raw = bytearray(path.read_bytes())
    at = raw.index(bytes((1,)) * 100)
    raw[at] ^= 0xFF
    path.write_bytes(raw)
    run = Run("log", "repair", "--json", str(path))
    assert run.code == 0
    shown = json.loads(run.out)
    assert shown["damage"]
    assert Path(shown["copy"]).read_bytes() == bytes(raw)
    assert "sign nothing until the next epoch" in run.err
    log = open_log(path).log
    assert len(log.records()) == shown["records"] + 1
    log.close()
