"""The set-up: what a fresh machine lacks is named, and the lock is whole."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tools import bootstrap

LINES = bootstrap.LOCK.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
REQUIREMENTS = [line for line in LINES if line and line.lstrip()[0] != "#"]


def test_lock_pins_every_package_with_a_hash_and_names_no_address() -> None:
    assert len(REQUIREMENTS) > 50
    for line in REQUIREMENTS:
        assert re.match(r"[a-z0-9-]+==[^\s:/]+( +--hash=sha256:[0-9a-f]{64})+$", line), line


def test_build_tools_are_cut_out_of_the_lock_with_their_hashes() -> None:
    lines = bootstrap.build_tools().splitlines()
    assert [line.split("==")[0] for line in lines] == ["packaging", "wheel", "setuptools"]
    assert all("--hash=sha256:" in line for line in lines)


def test_machine_without_a_compiler_is_told_every_package_that_builds_need(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bootstrap.missing_packages(sys.executable) == [
        "gcc",
        "libc6-dev",
        "libgmp-dev",
        "python3-dev",
    ]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a compiler to try")
def test_header_that_is_not_there_is_missing(tmp_path: Path) -> None:
    assert bootstrap.compiles("gcc", "int main(void) { return 0; }\n", [], str(tmp_path))
    assert not bootstrap.compiles("gcc", "#include <p2pnode_none.h>\n", [], str(tmp_path))
    assert not bootstrap.compiles(
        "gcc", "int main(void) { return 0; }\n", ["-lp2pnode_none"], str(tmp_path)
    )


def test_ordinary_user_gets_the_exact_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap.platform, "system", lambda: "Linux")
    monkeypatch.setattr(bootstrap, "missing_packages", lambda _: ["gcc", "libgmp-dev"])
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit):
        bootstrap.require_system(sys.executable)
    said = capsys.readouterr()
    assert said.out == ""
    assert "sudo apt-get install -y --no-install-recommends gcc libgmp-dev" in said.err


def test_stubs_that_hide_the_types_of_trio_are_removed_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("trio", "trio-stubs", "trio_typing"):
        (packages / name).mkdir(parents=True)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    bootstrap.drop_stale_stubs()
    assert sorted(path.name for path in packages.iterdir()) == ["trio", "trio_typing"]
