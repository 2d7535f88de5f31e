"""The core: every input is led to the part it concerns, and what nobody sent is nobody's."""

from __future__ import annotations

import pytest

from p2pnode.consensus.simplex import SimplexEngine
from p2pnode.gossip.frames import encode_frame
from p2pnode.node import core
from p2pnode.node.core import (
    MESSAGES_AT_ONCE_MAX,
    STALL_NS,
    SUMMARY_PERIOD_NS,
    engine_parameters,
)
from p2pnode.types import effects as fx
from p2pnode.types.messages import (
    Message,
    Summary,
    Transactions,
    decode_frame,
    encode_message,
    join_frame,
)
from tests.cluster import MS, STRANGER, Cluster, S, Shell
from tests.spine import make_chain


def quiet() -> tuple[Cluster, Shell]:
    """Return a cluster whose messages are lost, and its first node."""
    cluster = Cluster(heartbeat_ms=60_000)
    cluster.outgoing = lambda shell, peer, lane, message: None
    return cluster, cluster.shells[0]


def summaries(effects: list[fx.Effect]) -> list[tuple[tuple[bytes, ...], Summary]]:
    found = []
    for effect in effects:
        if isinstance(effect, fx.SendTo):
            (message,) = decode_frame(join_frame([effect.message]))
            if isinstance(message, Summary):
                found.append((effect.peers, message))
    return found


@pytest.mark.parametrize("frame", [b"", b"junk", b"\x01", b"\x81\x81\x08", b"\x80\x00"])
def test_a_frame_that_is_none_costs_its_sender_and_nothing_else(frame: bytes) -> None:
    _, node = quiet()
    effects = node.input(fx.FrameIn(STRANGER, frame))
    assert [type(e) for e in effects] == [fx.Penalize]
    assert isinstance(effects[0], fx.Penalize)
    assert effects[0].peer == STRANGER


def test_an_empty_frame_does_nothing() -> None:
    _, node = quiet()
    assert node.input(fx.FrameIn(STRANGER, join_frame([]))) == []


def test_messages_that_ask_nothing_are_read_so_many_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, node = quiet()
    frame = join_frame([encode_message(Transactions(()))] * 4000)
    other = cluster.shells[1].peer
    decoded = 0

    def decode(frame: bytes) -> list[Message]:
        nonlocal decoded
        decoded += 1
        return decode_frame(frame)

    monkeypatch.setattr(core, "decode_frame", decode)
    told = [e for _ in range(50) for e in node.input(fx.FrameIn(STRANGER, frame))]
    assert decoded == MESSAGES_AT_ONCE_MAX // 4000
    assert [e.event for e in told if isinstance(e, fx.Emit)] == ["messages_dropped"]
    node.input(fx.FrameIn(other, frame))
    assert decoded == MESSAGES_AT_ONCE_MAX // 4000 + 1
    cluster.run(S)
    decoded = 0
    for _ in range(50):
        node.input(fx.FrameIn(STRANGER, frame))
    assert decoded == 2


def test_a_topic_that_is_not_ours_is_ignored() -> None:
    cluster, node = quiet()
    t = cluster.transfer(0)
    assert node.input(fx.TopicIn("other", STRANGER, encode_frame([t.raw]))) == []
    assert t.id not in node.core.pool


def test_a_timer_of_nobody_is_a_bug() -> None:
    _, node = quiet()
    with pytest.raises(AssertionError, match="timer of nobody"):
        node.core.handle(0, 0, fx.TimerFired(("unknown", "key")))


def test_a_new_peer_is_told_how_far_we_are() -> None:
    _, node = quiet()
    ((peers, summary),) = summaries(node.input(fx.PeerUp(STRANGER)))
    assert peers == (STRANGER,)
    assert (summary.epoch, summary.height) == (0, 0)


def test_every_second_one_validator_in_turn_gets_our_summary() -> None:
    cluster, node = quiet()
    told = []
    for _ in range(6):
        cluster.time_ns += SUMMARY_PERIOD_NS
        effects = node.input(fx.TimerFired(("core", "summary")))
        assert fx.ArmTimer(("core", "summary"), cluster.time_ns + SUMMARY_PERIOD_NS) in effects
        told += [peers for peers, _ in summaries(effects)]
    others = [(shell.peer,) for shell in cluster.shells[1:]]
    assert sorted(told) == sorted(others * 2)
    assert told[:3] == told[3:]


def test_when_nothing_moves_all_get_it() -> None:
    cluster, node = quiet()
    node.core.ordering.pool._waiting[bytes(32)] = None  # something waits
    cluster.time_ns += STALL_NS + MS
    ((peers, _),) = summaries(node.input(fx.TimerFired(("core", "summary"))))
    assert sorted(peers) == sorted(shell.peer for shell in cluster.shells[1:])


def test_a_peer_that_is_gone_gets_none() -> None:
    cluster, node = quiet()
    for shell in cluster.shells[1:]:
        node.input(fx.PeerDown(shell.peer))
    cluster.time_ns += SUMMARY_PERIOD_NS
    assert summaries(node.input(fx.TimerFired(("core", "summary")))) == []


def test_transactions_reach_the_pool_by_every_way() -> None:
    cluster, node = quiet()
    by_client, by_peer, by_topic = (cluster.transfer(n) for n in range(3))
    assert node.submit(by_client) == (None,)
    node.frame(cluster.shells[1].peer, Transactions((by_peer.raw,)))
    node.input(fx.TopicIn(cluster.topic, cluster.shells[2].peer, encode_frame([by_topic.raw])))
    assert all(t.id in node.core.pool for t in (by_client, by_peer, by_topic))


def test_the_account_of_the_executed_state_decides_admission() -> None:
    cluster, node = quiet()
    t = cluster.transfer(0)
    assert node.core._account(t.sender) == (0, 10**9)
    assert node.core._account(bytes(32)) == (0, 0)


@pytest.mark.parametrize(
    ("rtts_ms", "quorum_ms"),
    [
        ((10, 20, 30), 20),
        ((30, 10, 20), 20),
        ((10, 20, None), 20),
        ((10, None, None), None),
        ((None, None, None), None),
    ],
)
def test_the_round_trip_to_a_quorum_is_that_of_its_farthest_member(
    rtts_ms: tuple[int | None, ...], quorum_ms: int | None
) -> None:
    cluster, node = quiet()
    rtts = {
        shell.peer: ms / 1000
        for shell, ms in zip(cluster.shells[1:], rtts_ms, strict=True)
        if ms is not None
    }
    rtts[STRANGER] = 0.0001
    found = node.core.quorum_rtt_s(rtts)
    assert found == (None if quorum_ms is None else quorum_ms / 1000)


def test_power_counts_in_the_round_trip_to_a_quorum() -> None:
    cluster = Cluster(powers=(1, 1, 1, 7))
    node = cluster.shells[0]
    rtts = {s.peer: ms / 1000 for s, ms in zip(cluster.shells[1:], (10, 20, 90), strict=True)}
    assert node.core.quorum_rtt_s(rtts) == 0.09


def test_a_measured_round_trip_tunes_the_engine() -> None:
    _, node = quiet()
    node.input(fx.RttIn(40 * MS))
    assert node.core.ordering.host._tuned_ns == 80 * MS


def test_the_engines_numbers_are_those_of_genesis() -> None:
    chain = make_chain(delta_ms=11, delta_max_ms=22, block_interval_ms=33, skip_ms=44, retry_ms=55)
    made = engine_parameters(chain)
    assert (made.delta_ns, made.delta_max_ns, made.block_interval_ns) == (
        11 * MS,
        22 * MS,
        33 * MS,
    )
    assert (made.skip_ns, made.retry_ns) == (44 * MS, 55 * MS)


def test_the_same_inputs_give_the_same_effects() -> None:
    inputs: list[tuple[int, int, fx.Input]] = []
    first = Cluster(heartbeat_ms=500)

    def note(shell: Shell, given: fx.Input) -> None:
        if shell.index == 0:
            inputs.append((first.time_ns, first.wall_ms(), given))

    shadow = Cluster(heartbeat_ms=500).shells[0]
    first.on_input = note
    first.shells[1].submit(first.transfer(0))
    first.run(3 * S)
    assert first.shells[0].height > 2
    effects = []
    for time_ns, wall_ms, given in inputs:
        effects += shadow.core.handle(time_ns, wall_ms, given)
    assert shadow.core.ordering.head == first.shells[0].core.ordering.head
    engine = shadow.core.ordering.host._engine
    assert isinstance(engine, SimplexEngine)
    assert engine.fingerprint() == first.shells[0].core.ordering.host._engine.fingerprint()
    assert effects
