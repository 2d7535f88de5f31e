"""Engines are found by name."""

from __future__ import annotations

import pytest

from p2pnode.consensus.engine import EngineParameterError, EngineParameters
from p2pnode.consensus.registry import UnknownEngineError, engine_names, load_engine


@pytest.mark.parametrize("name", ["simplex", "solo"])
def test_builtin_engines_load_from_a_tree_that_was_never_installed(name: str) -> None:
    assert load_engine(name).name == name


def test_unknown_engine_names_those_that_exist() -> None:
    with pytest.raises(
        UnknownEngineError, match=r"no consensus engine named .paxos.*simplex, solo"
    ):
        load_engine("paxos")
    assert {"simplex", "solo"} <= set(engine_names())


def test_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(EngineParameterError, match="delta_ns is 0, must be at least 1"):
        EngineParameters(delta_ns=0)
    with pytest.raises(EngineParameterError, match="delta_max_ns"):
        EngineParameters(delta_ns=2, delta_max_ns=1)
    with pytest.raises(EngineParameterError, match="relay_after_ns"):
        EngineParameters(relay_after_ns=-1)
