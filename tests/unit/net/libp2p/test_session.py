"""What a session does on its connection."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.net.libp2p import NetworkConfig
from p2pnode.net.libp2p.session import Session
from p2pnode.net.libp2p.streams import Traffic
from p2pnode.net.offences import MISSED_PING, Offence
from p2pnode.net.scores import LOW_SCORE, Scores
from p2pnode.ports import RequestFailedError
from tests.fuzz.network import FakeConnection, network_fuzz


@pytest.mark.parametrize("interval_s", [0.2, 2.5, 60.0])
async def test_peer_that_answers_no_ping_and_comes_back_is_disconnected_each_time_and_never_banned(
    interval_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    peer = peer_id_of(SecretKey(bytes(32)).public)
    config = NetworkConfig(seed=bytes(32), chain=bytes(32), ping_interval_s=interval_s)
    scores = Scores(ban_s=60)
    lowest, blamed = 0.0, 0

    def blame(peer: bytes, offence: Offence, times: float, details: str) -> None:
        nonlocal lowest, blamed
        assert offence is MISSED_PING
        blamed += 1
        scores.penalize(peer, offence.points * times, trio.current_time())
        lowest = min(lowest, scores.score(peer, trio.current_time()))

    async def silence(protocol: str, body: bytes, timeout_s: float) -> bytes:
        await trio.sleep(timeout_s)
        raise RequestFailedError("no answer")

    async with network_fuzz(1) as fuzz:
        for _ in range(300):
            connection = FakeConnection(peer)
            session = Session(
                connection,
                config,
                gossip=fuzz.network._gossip,
                lane_counters=fuzz.network._lane_counters,
                traffic=Traffic(),
                penalize=lambda peer, points, reason: None,
                blame=blame,
            )
            session.ask = silence  # type: ignore[method-assign]
            await session._run_pings()
            assert connection.is_closed
            assert session.reason == "no answer to 3 pings"
    assert blamed == 900
    assert LOW_SCORE / 10 < lowest < 0
