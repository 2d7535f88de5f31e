"""Messages that peers offer, and what becomes of offers of nothing."""

from __future__ import annotations

import random

import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from trio.testing import MockClock

from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.net.config import NetworkLimits
from p2pnode.net.libp2p.out_queue import OutQueue
from p2pnode.net.libp2p.streams import decode_varint
from p2pnode.net.offences import BROKEN_PROMISE
from p2pnode.net.promises import BEATS_MAX, BEATS_MIN, Promises
from p2pnode.net.rates import TokenBucket
from p2pnode.net.scores import LOW_SCORE, Scores
from tests.fuzz.network import NetworkFuzz, network_fuzz

LIMITS = NetworkLimits()


def promises(trust: TokenBucket | None = None) -> Promises:
    bucket = trust or TokenBucket(0.2, 3)
    return Promises(lambda peer: bucket, random.Random(1))


def test_promise_is_broken_after_some_heartbeats_and_once() -> None:
    held = promises()
    held.made(b"a", [b"1", b"2", b"3"], 0)
    outcomes = [held.beat(lambda peer: True) for _ in range(BEATS_MIN + 1)]
    assert outcomes == [[]] * (BEATS_MIN - 1) + [[b"a"], []]
    assert len(held) == 0


def test_message_keeps_the_promises_of_all_who_offered_it_whoever_brings_it() -> None:
    held = promises()
    held.made(b"a", [b"1"], 0)
    held.made(b"b", [b"1"], 0)
    held.kept(b"1", 0)
    held.kept(b"1", 0)
    assert [held.beat(lambda peer: True) for _ in range(BEATS_MAX)] == [[]] * BEATS_MAX


def test_while_we_read_slowly_nobody_breaks_a_promise() -> None:
    held = promises()
    held.made(b"a", [b"1"], 0)
    assert [held.beat(lambda peer: False) for _ in range(BEATS_MAX)] == [[]] * BEATS_MAX
    assert len(held) == 0
    held.made(b"a", [b"1"], 0)
    for _ in range(BEATS_MIN):
        assert held.beat(lambda peer: False) == []
    assert held.beat(lambda peer: True) == [b"a"]


def test_who_breaks_promises_is_asked_no_more_and_who_keeps_them_always_is() -> None:
    trust = TokenBucket(0.2, 3)
    held = promises(trust)
    for number in range(100):
        assert held.trusts(b"a", 0)
        held.made(b"a", [b"%d" % number], 0)
        held.kept(b"%d" % number, 0)
    for number in range(3):
        assert held.trusts(b"a", 0)
        held.made(b"a", [b"lie %d" % number], 0)
    assert not held.trusts(b"a", 0)
    held.forget(b"a")
    assert len(held) == 0
    assert not held.trusts(b"a", 4)
    assert held.trusts(b"a", 5)


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from(["ask", "beat", "keep"])), max_size=400))
def test_broken_promises_alone_never_ban_nor_silence_a_peer(
    steps: list[tuple[float, str]],
) -> None:
    trust = TokenBucket(LIMITS.promises_per_s, LIMITS.promises_max)
    held = promises(trust)
    scores = Scores(ban_s=60)
    now_s = 0.0
    for number, (pause_s, step) in enumerate(steps):
        now_s += pause_s
        if step == "beat":
            for peer in held.beat(lambda peer: True):
                scores.penalize(peer, BROKEN_PROMISE.points, now_s)
        elif step == "keep":
            held.kept(b"%d" % (number - 1), now_s)
        else:
            # As a peer that offers as much as it can.
            for part in range(10):
                if held.trusts(b"a", now_s):
                    held.made(b"a", [b"%d %d" % (number, part)], now_s)
        assert len(held) <= LIMITS.promises_max + now_s * LIMITS.promises_per_s
        assert scores.score(b"a", now_s) > LOW_SCORE


class Offering:
    """A peer that offers messages to a node's gossip, and is asked for them."""

    def __init__(self, fuzz: NetworkFuzz) -> None:
        self.fuzz = fuzz
        self.gossip = fuzz.network._gossip
        self.peer = ID(peer_id_of(SecretKey(bytes(32)).public))
        self.queue = OutQueue(1000, lambda: None)
        self.gossip._state.queues[self.peer] = self.queue
        self.gossip._read[self.peer] = None
        (self.topic,) = self.gossip._topics

    async def offer(self, *message_ids: bytes) -> list[bytes]:
        """Offer messages and return the ids that are asked for."""
        control = rpc_pb2.ControlMessage()
        control.ihave.add(topicID=self.topic, messageIDs=message_ids)
        rpc = rpc_pb2.RPC(control=control)
        await self.gossip._on_rpc(self.peer, rpc.SerializeToString())
        asked: list[bytes] = []
        while len(self.queue):
            raw = self.queue.take()
            _, start = decode_varint(raw, value_max=1 << 20)
            for iwant in rpc_pb2.RPC.FromString(raw[start:]).control.iwant:
                asked += iwant.messageIDs
        return asked

    @property
    def score(self) -> float:
        return self.fuzz.network._score(self.peer.to_bytes())


async def test_peer_that_offers_what_it_never_sends_loses_score_and_is_soon_asked_no_more(
    autojump_clock: MockClock,
) -> None:
    async with network_fuzz(1) as fuzz:
        liar = Offering(fuzz)
        fuzz._nursery.start_soon(liar.gossip.run)
        asked = 0
        for second in range(60):
            for number in range(10):
                asked += len(await liar.offer(b"lie %d %d" % (second, number)))
            await trio.sleep(1)
        assert asked <= LIMITS.promises_max + 60 * LIMITS.promises_per_s + 1
        assert -LIMITS.promises_max <= liar.score < -5
        (reason, *_) = fuzz.network._scores.reasons(liar.peer.to_bytes(), trio.current_time())
        assert "never sent" in reason.reason


async def test_offers_that_are_kept_cost_nothing_and_are_asked_for_again_and_again(
    autojump_clock: MockClock,
) -> None:
    async with network_fuzz(1) as fuzz:
        honest = Offering(fuzz)
        fuzz._nursery.start_soon(honest.gossip.run)
        for _ in range(3 * int(LIMITS.promises_max)):
            message = fuzz._message(fuzz._published[0], honest.topic)
            message_id = message.from_id + message.seqno
            assert await honest.offer(message_id) == [message_id]
            rpc = rpc_pb2.RPC(publish=[message])
            await honest.gossip._on_rpc(honest.peer, rpc.SerializeToString())
            fuzz._drain()
            await trio.sleep(0.2)
        await trio.sleep(10)
        assert honest.score == 0


async def test_peer_whose_messages_come_from_others_first_has_lied_about_nothing(
    autojump_clock: MockClock,
) -> None:
    async with network_fuzz(1) as fuzz:
        late = Offering(fuzz)
        fuzz._nursery.start_soon(late.gossip.run)
        message = fuzz._message(fuzz._published[0], late.topic)
        await late.offer(message.from_id + message.seqno)
        other = ID(fuzz.peer)
        rpc = rpc_pb2.RPC(publish=[message])
        await late.gossip._on_rpc(other, rpc.SerializeToString())
        await trio.sleep(10)
        assert late.score == 0
