"""`p2pnode config`: every setting with its origin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2pnode.cli.exit_codes import ExitCode
from p2pnode.node.config import SETTINGS, sample_toml
from tests.unit.cli.test_main import Run


def test_every_setting_is_shown_with_who_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p2pnode.toml").write_text('[log]\nlevel = "debug"\n')
    monkeypatch.setenv("P2PNODE_API_PORT", "7000")
    run = Run("config", "show", "--json", "--data", str(tmp_path))
    assert run.code == ExitCode.OK
    shown = json.loads(run.out)
    assert list(shown) == [setting.key for setting in SETTINGS]
    assert shown["log.level"] == {
        "value": '"debug"',
        "origin": f"file {tmp_path / 'p2pnode.toml'}",
    }
    assert shown["api.port"] == {"value": "7000", "origin": "environment P2PNODE_API_PORT"}
    assert shown["data_dir"]["origin"] == "flag"
    assert shown["name"]["origin"] == "default"


def test_only_what_was_changed_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "p2pnode.toml").write_text('name = "pi"\n')
    run = Run("config", "show", "--changed", "--data", str(tmp_path))
    assert [line.split()[0] for line in run.out.splitlines()] == ["data_dir", "name"]


def test_without_a_file_the_rest_is_shown(tmp_path: Path) -> None:
    run = Run("config", "show", "--data", str(tmp_path))
    assert run.code == ExitCode.OK
    assert "there is no" in run.err


def test_a_wrong_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "p2pnode.toml").write_text("nmae = 1\n")
    run = Run("config", "show", "--data", str(tmp_path))
    assert (run.code, "did you mean 'name'" in run.err) == (ExitCode.USAGE, True)


def test_the_sample_is_printed() -> None:
    assert Run("config", "sample").out == sample_toml()
