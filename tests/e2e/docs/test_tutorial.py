"""The tutorial's commands, run in the order of each page against real processes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.docs.pages import DOCS, ROOT, Command, console_commands

TIMEOUT_S = 300
FAILED = "this command ended with exit code"

PIP = """#!{python}
# `pip install -e` into a folder of the test: the environment stays as it is.
import subprocess, sys
words = [word for word in sys.argv[1:] if word != "-e"]
raise SystemExit(subprocess.call([{python!r}, "-m", "pip", *words, "--target", {target!r}]))
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder as a clone's, where nothing but the examples is."""
    # Short: a testnet's sockets have paths of at most 100 bytes.
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "bin").mkdir()
    pip = tmp_path / "bin" / "pip"
    pip.write_text(PIP.format(python=sys.executable, target=str(tmp_path / "installed")))
    pip.chmod(0o755)
    yield tmp_path
    subprocess.run(
        [sys.executable, "-m", "testnet", "down", "--all"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        timeout=60,
    )


def environment(place: Path) -> dict[str, str]:
    scripts = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{place / 'bin'}:{scripts}:{os.environ['PATH']}",
        "PYTHONPATH": f"{place / 'installed'}:{ROOT}",
    }


def script(commands: list[Command]) -> str:
    """Return the commands as one script, so that variables stay, that ends at the first failure."""
    lines = ["set -u"]
    for command in commands:
        lines.append(f"echo {shlex.quote('$ ' + command.text)}")
        lines.append(command.text)
        allowed = "|".join(str(code) for code in command.exits)
        lines.append(
            f'code=$?; case $code in {allowed}) ;; *) echo "{FAILED} $code"; exit 1;; esac'
        )
    return "\n".join(lines)


def run(place: Path, commands: list[Command]) -> str:
    """Run commands; return all they said."""
    done = subprocess.run(
        ["bash", "-c", script(commands)],
        cwd=place,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def commands_of(page: str) -> list[Command]:
    return [command for command in console_commands(DOCS / "tutorial" / page) if command.run]


def test_first_testnet(place: Path) -> None:
    said = run(place, commands_of("1-testnet.md"))
    assert 'testnet "tour"' in said
    assert "all is well" in said


@pytest.mark.slow
def test_kill_a_node(place: Path) -> None:
    said = run(place, commands_of("2-kill.md"))
    assert "Killing node3 leaves 3 of 4: blocks go on." in said
    assert "Killing node2 leaves 2 of 4, 3 needed: finality stops" in said
    assert "Healing the last cut brings 4 of 4 together" in said


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_send_a_transaction(place: Path) -> None:
    said = run(place, commands_of("4-transaction.md"))
    assert said.count("certified at height") >= 3
    assert "holds 6" in said
    assert "\nblock " in said
    assert '"jsonrpc":' in said


@pytest.mark.slow
def test_write_an_engine(place: Path) -> None:
    said = run(place, commands_of("5-engine.md"))
    assert 'testnet "rota"  seed 7  engine rota' in said
    assert (place / "installed" / "rota" / "engine.py").exists()


@pytest.mark.slow
def test_plug_in_elsewhere(place: Path) -> None:
    said = run(place, commands_of("6-plugs.md"))
    assert "the network is cut into halves" in said
    assert "trace " in said


def test_a_command_that_fails_fails_the_page(place: Path) -> None:
    commands = [Command("true", True), Command("testnet status --name nobody", True)]
    with pytest.raises(AssertionError, match=FAILED):
        run(place, commands)
    assert "done" in run(place, [Command("false", True, (1,)), Command("echo done", True)])
