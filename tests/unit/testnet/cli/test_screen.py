"""What people are shown: within 100 columns, with numbers and the command that comes next."""

from __future__ import annotations

from typing import Any

import pytest

from testnet.cli.screen import first_screen, quorum_warning, restart_hint, status_table


def status(*states: str) -> dict[str, Any]:
    nodes = [
        {
            "name": f"node{i}",
            "roles": ["validator", "executor"],
            "state": state,
            "rpc": "http://127.0.0.1:65535",
            "pid": 4_194_304,
        }
        for i, state in enumerate(states)
    ]
    return {"name": "amber-fox", "seed": 1, "engine": "simplex", "nodes": nodes}


@pytest.mark.parametrize(("name", "hinted"), [("amber-fox", True), ("a" * 40, False)])
def test_the_first_screen_shows_a_key_and_a_whole_command_to_send_where_it_fits(
    name: str, hinted: bool
) -> None:
    text = first_screen(
        status("running"),
        validators=1,
        light=0,
        shards=1,
        ready_s=1.0,
        account=("ab" * 32, 1_000_000),
        folder=f".testnet/{name}",
    )
    assert f".testnet/{name}/keys/account0.key" in text
    assert ("p2pnode tx send --amount 1 --node http://127.0.0.1:65535 \\\n" in text) == hinted
    assert "next: testnet tui · testnet status" in text
    if hinted:
        assert all(len(line) <= 100 for line in text.splitlines())


def test_too_few_validators_are_named_with_numbers_and_the_way_back() -> None:
    assert quorum_warning(status("running", "running", "running", "killed")) is None
    lost = status("killed", "paused", "running", "running")
    assert quorum_warning(lost) == (
        "2 of 4 validators run, 3 needed: nothing becomes final until one is back"
    )
    assert restart_hint(lost) == "testnet restart node0"
    worse = quorum_warning(status("running", "paused", "killed", "crashed"))
    assert worse is not None
    assert worse.endswith("until 2 are back")


def test_of_a_dead_node_is_told_how_far_it_came_and_nothing_that_went_with_it() -> None:
    found = status("killed", "running")
    for node in found["nodes"]:
        node |= {"ready": True, "syncing": False, "peers": 3, "pool": 6, "cpu_s": 1.0}
        node |= {f"{name}height": 129 for name in ("", "executed_", "certified_")}
        node |= {"view": 134, "memory_bytes_max": 96 << 20}
    found["nodes"][0]["pid"] = None
    *_, dead, alive = status_table(found).splitlines()
    assert dead.split() == ["node0", "killed", *["129"] * 3, "134", "-", "-", "1.0", "-", "-"]
    assert "96.0 MiB" in alive
