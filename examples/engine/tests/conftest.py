"""Lets the tests find the engine and the tests' tools of p2pnode, installed or not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the engine's entry point as an installed package does."""
    facts = tmp_path / "p2pnode_rota-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: p2pnode-rota\nVersion: 0.1.0\n")
    (facts / "entry_points.txt").write_text("[p2pnode.engines]\nrota = rota.engine:RotaEngine\n")
    monkeypatch.syspath_prepend(tmp_path)


sys.path.insert(0, str(HERE))
