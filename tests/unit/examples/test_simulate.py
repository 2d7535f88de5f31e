"""The example of the simulator runs, and says what its page says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "simulate.py"


def test_the_simulated_network_stands_while_cut_and_passes_every_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = importlib.util.spec_from_file_location("examples_simulate", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(7, "simplex") == 0
    out = capsys.readouterr().out.splitlines()
    heights = {line[9:51].strip(): line.partition("heights ")[2] for line in out[:7]}
    cut = heights["the network is cut into halves"]
    stood = heights["neither half has a quorum: all wait"]
    # A vote under way may still decide one height.
    assert max(eval(stood)) - max(eval(cut)) <= 1
    assert min(eval(heights["and on it goes"])) > max(eval(stood)) + 5
    assert "VIOLATION" not in "\n".join(out)
