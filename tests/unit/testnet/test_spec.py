"""What a testnet may be made of, and how it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pnode.errors import ConfigError
from testnet.cli.main import main
from testnet.names import is_name, name_of
from testnet.spec import NotBuiltError, SpecError, TestnetSpec
from tests.unit.testnet.load.streams import Streams


def test_a_seed_always_gives_the_same_name_and_seeds_give_different_ones() -> None:
    names = [name_of(seed) for seed in range(100)]
    assert names == [name_of(seed) for seed in range(100)]
    assert len(set(names)) > 80
    assert all(is_name(name) for name in names)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "latest", "Ä", "A", "a" * 41, "-x"])
def test_a_name_that_is_no_plain_folder_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="--name"):
        TestnetSpec(name, 1).validate()


@pytest.mark.parametrize(
    ("changes", "flag"),
    [({"shards": 2}, "--shards 2"), ({"light": 1}, "--light 1"), ({"committee": 3}, "--committee")],
)
def test_what_does_not_exist_yet_says_so(changes: dict[str, int], flag: str) -> None:
    with pytest.raises(NotBuiltError, match=f"{flag}.*not built yet"):
        TestnetSpec(**{"name": "amber-fox", "seed": 1, **changes}).validate()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"validators": 0},
        {"validators": 31},
        {"seed": -1},
        {"for_s": 0.0},
        {"load_tx_s": 0.0},
        {"trace": Path("/nowhere.csv.gz")},
        {"parameters": {"block_interval": 5}},
        {"parameters": {"epoch_blocks": 3}},
    ],
)
def test_a_value_out_of_range_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        TestnetSpec(**{"name": "amber-fox", "seed": 1, **changes}).validate()  # type: ignore[arg-type]


def test_parameters_reach_genesis() -> None:
    spec = TestnetSpec("amber-fox", 1, parameters={"block_interval_ms": 500, "epoch_blocks": 20})
    spec.validate()
    assert spec.genesis_parameters().block_interval_ms == 500
    assert spec.genesis_parameters().epoch_blocks == 20
    assert spec.chain_name == "test-amber-fox"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--shards", "2"], "--shards 2: not built yet"),
        (["up", "--light", "1"], "--light 1: not built yet"),
        (["up", "--validators", "99"], "--validators 99"),
        (["up", "--parameter", "nothing=1"], "--parameter nothing: unknown"),
        (["status", "--name", "nobody"], "no testnet 'nobody'"),
    ],
)
def test_a_mistake_exits_with_2_and_says_what_is_wrong(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    streams = Streams()
    assert main(arguments, streams.console) == 2
    assert words in streams.err.getvalue()
    assert streams.out.getvalue() == ""
    assert list(tmp_path.iterdir()) == []


def test_no_arguments_give_a_short_help_with_two_examples() -> None:
    streams = Streams()
    assert main([], streams.console) == 0
    assert streams.out.getvalue().count("testnet up") == 2
