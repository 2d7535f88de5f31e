"""Files that people read say what the program does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from p2pnode.cli.main import make_parser
from p2pnode.node.config import SETTINGS

ROOT = Path(__file__).parents[2]


def commands(page: str) -> list[list[str]]:
    """Every command p2pnode in a page's blocks of code, as arguments."""
    text = (ROOT / page).read_text()
    found = []
    for block in re.findall(r"```\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            match = re.match(r"(?:sudo )?p2pnode (.*)", line)
            if match:
                found.append(shlex.split(match[1], comments=True))
    return found


def test_the_commands_of_the_device_page_exist(capsys: pytest.CaptureFixture[str]) -> None:
    found = commands("docs/device.md")
    assert len(found) > 8
    for arguments in found:
        try:
            parsed = make_parser().parse_args(arguments)
        except SystemExit:
            raise AssertionError(f"{arguments}: {capsys.readouterr().err}") from None
        assert parsed.target


def test_the_settings_of_the_device_page_exist() -> None:
    text = (ROOT / "docs/device.md").read_text()
    known = {setting.key for setting in SETTINGS}
    named = set(re.findall(r"\b(?:api|log|network|store)\.[a-z_]+\b(?!\()", text))
    assert {key for key in named if not key.endswith((".toml", ".wal"))} <= known
    assert {"store.size_bytes_max", "store.retention_heights"} <= named


def test_hooks_before_a_commit_are_local_and_those_of_make_check() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (.*)", text) == ["local"]
    makefile = (ROOT / "Makefile").read_text()
    check = makefile.partition("\ncheck:")[2].partition("\n\n")[0]
    for tool in re.findall(r"\$\(BIN\)/([a-z-]+)", check):
        assert f".venv/bin/{tool}" in text, tool


def test_files_that_are_named_exist() -> None:
    folders = [ROOT / name for name in ("docs", "examples", "p2pnode", "testnet", "tests", "tools")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    names = {path.name for path in files}
    missing = []
    for path in files:
        if path.suffix not in (".md", ".py") or "tests" in path.relative_to(ROOT).parts:
            continue
        text = re.sub(r"github\.com/\S+", "", path.read_text())
        for found in re.findall(r"[\w-]+\.(?:py|md)\b", text):
            if found not in names:
                missing.append((str(path.relative_to(ROOT)), found))
    assert missing == []
