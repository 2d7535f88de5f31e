"""What libp2p's circuit relay v2 can do and cannot, in three namespaces (docs/adr on relays).

The tests state the findings on which the decision rests. One that fails after an upgrade of libp2p
says that the finding has changed, and that the decision should be looked at again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.net.test_lan import ip

ROOT = Path(__file__).resolve().parents[3]
SOURCE, RELAY, TARGET = (f"p2pr{os.getpid() % 10000}-{side}" for side in "srt")
FAILED, REFUSED = 400, 201
"""Statuses of libp2p: the handler failed (but keeps the reservation); no room for another."""

pytestmark = pytest.mark.slow


@pytest.fixture
def sides() -> Iterator[None]:
    """Make two namespaces that reach a third, and not each other; or skip."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    made = []
    try:
        try:
            for name in (SOURCE, RELAY, TARGET):
                ip("netns", "add", name)
                made.append(name)
                ip("-n", name, "link", "set", "lo", "up")
            for number, name in enumerate((SOURCE, TARGET), 1):
                side = f"side{number}"
                ip("-n", RELAY, "link", "add", side, "type", "veth", "peer", "eth0", "netns", name)
                ip("-n", RELAY, "addr", "add", f"10.78.{number}.1/24", "dev", side)
                ip("-n", RELAY, "link", "set", side, "up")
                ip("-n", name, "addr", "add", f"10.78.{number}.2/24", "dev", "eth0")
                ip("-n", name, "link", "set", "eth0", "up")
        except OSError as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        yield
    finally:
        for name in made:
            ip("netns", "del", name)


class Host:
    """A process with a host, asked line by line."""

    def __init__(self, stack: ExitStack, namespace: str, *words: object) -> None:
        command = ["ip", "netns", "exec", namespace, sys.executable, "-m"]
        command += ["tests.e2e.net.relay_peer", *map(str, words)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        stack.callback(self.kill)
        assert self._answer() == {"ready": True}

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, *words: object) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def hosts(sides: None, request: pytest.FixtureRequest) -> Iterator[tuple[Host, Host, Host]]:
    """Start source, relay and target with (stack, seconds, bytes) of a circuit."""
    stack, *limits = request.param
    with ExitStack() as started:
        relay = Host(started, RELAY, stack, "relay", "10.78.1.1", *limits, 8, 4)
        target = Host(started, TARGET, stack, "target", "10.78.2.1", *limits, 8, 4)
        source = Host(started, SOURCE, stack, "source", "10.78.1.1", *limits, 8, 4)
        yield source, relay, target


def connect(source: Host, target: Host) -> None:
    assert target.ask("reserve") == {"reserved": True}
    assert source.ask("dial") == {"dialled": True}
    assert source.ask("open") == {"opened": 1}


@pytest.mark.parametrize(
    "hosts", [("stock", 3600, 1 << 30), ("own", 3600, 1 << 30)], indirect=True, ids=["stock", "own"]
)
def test_circuit_carries_a_mebibyte_and_ends_with_its_relay(hosts: tuple[Host, Host, Host]) -> None:
    source, relay, target = hosts
    with pytest.raises(OSError, match="unreachable"):
        ip("-n", SOURCE, "route", "get", "10.78.2.2")
    connect(source, target)
    before = relay.ask("state")
    sent = source.ask("send", 1 << 20)
    assert sent["returned"] == 1 << 20, sent
    spent_s = relay.ask("state")["cpu_s"] - before["cpu_s"]
    print(f"the relay spent {spent_s * 1000:.0f} ms of CPU for 1 MiB there and back")
    relay.kill()
    assert source.ask("send", 1000)["error"]


@pytest.mark.parametrize("hosts", [("stock", 3600, 1 << 20)], indirect=True)
def test_bytes_of_a_circuit_are_limited(hosts: tuple[Host, Host, Host]) -> None:
    source, _, target = hosts
    connect(source, target)
    sent = source.ask("send", 4 << 20)
    assert sent["error"]
    assert sent["returned"] < 1 << 20


@pytest.mark.parametrize("hosts", [("stock", 3600, 1 << 30)], indirect=True)
def test_one_peer_takes_all_reservations_in_names_it_made_up(
    hosts: tuple[Host, Host, Host],
) -> None:
    source, relay, target = hosts
    assert source.ask("reserve_for", 50, 6) == {"statuses": [FAILED] * 4 + [REFUSED] * 2}
    assert relay.ask("state")["reservations"] == 4
    assert target.ask("reserve") == {"reserved": False}


@pytest.mark.parametrize("hosts", [("stock", 3, 1 << 30)], indirect=True)
def test_silent_circuit_outlives_its_limit_of_time(hosts: tuple[Host, Host, Host]) -> None:
    source, relay, target = hosts
    connect(source, target)
    assert source.ask("send", 1000)["error"] == ""
    time.sleep(6.0)
    assert relay.ask("state")["circuits"] == 1
    assert source.ask("send", 1000)["error"], "the deadline is seen with the next byte"
