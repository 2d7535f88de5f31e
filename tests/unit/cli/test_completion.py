"""Shells complete what the parser knows."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from p2pnode.cli.completion import script as script_of
from p2pnode.cli.completion import walk
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.main import make_parser
from testnet.cli.main import make_parser as parser_of_testnet
from tests.unit.cli.test_main import Run

ASK = """\
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_p2pnode
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "p2pnode.bash"
    path.write_text(Run("completion", "bash").out)
    return path


def completed(script: Path, *words: str, folder: Path | None = None) -> list[str]:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    command = [bash, "--norc", "-c", ASK, "bash", str(script), "p2pnode", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=True, cwd=folder
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def test_commands_begin_as_typed(script: Path) -> None:
    assert completed(script, "sta") == ["status"]
    assert {"init", "run", "keys", "doctor"} <= set(completed(script, ""))


def test_actions_and_flags_of_a_command_follow_it(script: Path) -> None:
    assert completed(script, "keys", "ex") == ["export"]
    assert "--node" in completed(script, "status", "--")
    assert "--watch" not in completed(script, "run", "--")
    assert completed(script, "keys", "--json", "generate", "--pu") == ["--purpose"]


def test_values_of_a_flag_are_its_choices_or_files(script: Path, tmp_path: Path) -> None:
    (tmp_path / "chain.cbor").touch()
    found = completed(script, "keys", "generate", "k", "--purpose", "")
    assert found == ["account", "node", "validator"]
    assert completed(script, "init", "--genesis", "ch", folder=tmp_path) == ["chain.cbor"]
    assert completed(script, "keys", "show", "ch", folder=tmp_path) == ["chain.cbor"]
    assert completed(script, "init", "--name", "", folder=tmp_path) == []


def test_every_command_of_the_parser_is_offered(script: Path) -> None:
    tree = list(walk(make_parser()))
    assert len(tree) > 25
    for command in tree:
        assert set(command.commands) <= set(completed(script, *command.path, ""))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_of_its_shell(shell: str, tmp_path: Path) -> None:
    path = tmp_path / shell
    path.write_text(Run("completion", shell).out)
    assert "doctor" in path.read_text()
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([program, "-n", str(path)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_completes_too(tmp_path: Path) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("fish is not installed")
    path = tmp_path / "p2pnode.fish"
    path.write_text(Run("completion", "fish").out)
    for typed, wanted in (("p2pnode sta", "status"), ("p2pnode keys ex", "export")):
        done = subprocess.run(
            [fish, "--no-config", "-c", f"source {path}; complete -C '{typed}'"],
            capture_output=True,
            text=True,
            timeout=30,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
        found = [line.partition("\t")[0] for line in done.stdout.splitlines()]
        assert found == [wanted], done


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_other_program_has_scripts_of_its_own(shell: str, tmp_path: Path) -> None:
    path = tmp_path / shell
    path.write_text(script_of(shell, parser_of_testnet()))
    assert "p2pnode completion" not in path.read_text()
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([program, "-n", str(path)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    if shell == "bash":
        ask = ASK.replace("_p2pnode", "_testnet")
        command = [program, "--norc", "-c", ask, "bash", str(path), "testnet", "expl"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout.split() == ["explain"]


def test_another_shell_is_usage() -> None:
    assert Run("completion", "tcsh").code == ExitCode.USAGE
