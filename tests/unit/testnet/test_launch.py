"""The fork server's messages, and what may be imported where."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from testnet.launch import wire
from testnet.launch.launcher import PRELOAD
from testnet.launch.profile import PARTS, part_of, part_of_stack


@given(st.lists(st.dictionaries(st.text(), st.integers())), st.integers(1, 9))
def test_messages_are_cut_from_a_stream_whatever_its_pieces(
    messages: list[dict[str, int]], size: int
) -> None:
    data = b"".join(wire.encode(message) for message in messages)
    decoder = wire.Decoder()
    found: list[Any] = []
    for start in range(0, len(data), size):
        found += decoder.feed(data[start : start + size])
    assert found == messages


def test_every_module_has_a_part_that_is_listed() -> None:
    assert part_of("p2pnode.execution.tree") == "state"
    assert part_of("p2pnode.execution.executor") == "execution"
    assert part_of("libp2p.pubsub.gossipsub") == "network"
    assert part_of("json.decoder") is None
    assert {part_of(name) for name in ("p2pnode.codec", "p2pnode.node.core")} <= {*PARTS}
    assert part_of_stack(sys._getframe()) in PARTS
    assert part_of_stack(None) == "other"


def test_help_and_mistakes_import_neither_libp2p_nor_an_event_loop() -> None:
    program = (
        "import sys, testnet.cli.main\n"
        "assert testnet.cli.main.main(['--help']) == 0\n"
        "assert testnet.cli.main.main(['up', '--shards', '2']) == 2\n"
        "found = [m for m in ('libp2p', 'trio', 'rich', 'httpx') if m in sys.modules]\n"
        "sys.exit(', '.join(found) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_what_nodes_need_starts_no_thread() -> None:
    program = (
        "import importlib, sys\n"
        "from testnet.launch.server import threads_count\n"
        f"for name in {PRELOAD!r}: importlib.import_module(name)\n"
        "sys.exit(threads_count() - 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
