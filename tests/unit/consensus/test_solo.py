"""Solo: the same host and harness, one validator."""

from __future__ import annotations

import pytest

from p2pnode.consensus.engine import (
    Behind,
    Broadcast,
    Build,
    Built,
    Deliver,
    Draft,
    EngineParameters,
    Floor,
    Interest,
    Msg,
    Send,
    Signed,
    Summary,
    Synced,
    encode_signed,
    genesis_floor,
)
from p2pnode.consensus.solo import SoloEngine
from p2pnode.consensus.solo.engine import SoloValidatorsError
from p2pnode.errors import RemoteProtocolError
from tests.unit.consensus.harness import CHAIN, MS, Net, digest_of, make_epoch, signed


def solo(me: int | None = 0, last_height: int = 100) -> SoloEngine:
    engine = SoloEngine(EngineParameters())
    engine.recover(0, make_epoch((1,), me, last_height=last_height), genesis_floor(CHAIN), [])
    return engine


def vote_for(name: str, engine: SoloEngine) -> Signed:
    """Let a validator's engine decide its next height."""
    height = engine._floor.height + 1
    (draft,) = engine.step(0, Built(height, digest_of(name)))
    assert isinstance(draft, Broadcast)
    assert isinstance(draft.item, Draft)
    return signed(0, draft.item.body)


def test_one_validator_makes_a_block_every_interval_and_delivers_at_once() -> None:
    net = Net((1,), engine=SoloEngine, seed=1)
    net.start()
    net.run(10)
    assert 45 <= net.nodes[0].height <= 51
    assert net.nodes[0].floor.height == net.nodes[0].height


def test_restart_goes_on_and_signs_no_height_twice() -> None:
    net = Net((1,), engine=SoloEngine, seed=2)
    for _ in range(20):
        net.start()
        net.run(0.33)
        net.crash(0)
    assert net.nodes[0].height > 20
    assert net.nodes[0].refused == 0


def test_signed_but_undelivered_height_is_delivered_after_a_crash() -> None:
    engine = solo()
    vote = vote_for("a", engine)
    again = SoloEngine(EngineParameters())
    effects = again.recover(0, make_epoch((1,)), genesis_floor(CHAIN), [encode_signed(vote)])
    (deliver,) = [e for e in effects if isinstance(e, Deliver)]
    assert (deliver.height, deliver.anchor) == (1, digest_of("a"))
    assert deliver.proof is not None
    assert SoloEngine.verify_proof(deliver.proof, make_epoch((1,)), 1, digest_of("a"))


def test_proof_of_something_else_is_refused() -> None:
    proof = encode_signed(vote_for("a", solo()))
    with pytest.raises(RemoteProtocolError):
        SoloEngine.verify_proof(proof, make_epoch((1,)), 2, digest_of("a"))
    with pytest.raises(RemoteProtocolError):
        SoloEngine.verify_proof(proof, make_epoch((1,)), 1, digest_of("b"))


def test_two_payloads_at_one_height_share_a_slot() -> None:
    first, second = (SoloEngine.slots(vote_for(name, solo()).body) for name in "ab")
    assert first.keys() == second.keys()
    assert first != second


def test_observer_follows_in_order_and_asks_for_what_is_missing() -> None:
    validator, observer = solo(), solo(me=None)
    items = []
    for name in "abc":
        vote = vote_for(name, validator)
        validator.step(0, Msg(0, vote))
        items.append(vote)
    assert observer.interest(items[2]) is Interest.NOW
    (behind,) = observer.step(0, Msg(0, items[2]))
    assert behind == Behind(3, (0,))
    delivered = observer.step(0, Synced(Floor(2, digest_of("b"), encode_signed(items[1]))))
    assert [e.height for e in delivered if isinstance(e, Deliver)] == [3]
    assert observer.interest(items[0]) is Interest.DROP


def test_summary_is_answered_with_the_newest_proof() -> None:
    validator, observer = solo(), solo(me=None)
    validator.step(0, Msg(0, vote_for("a", validator)))
    (send,) = validator.step(0, Summary(1, observer.summary()))
    assert isinstance(send, Send)
    assert validator.step(0, Summary(1, validator.summary())) == []
    assert validator.step(0, Summary(1, b"garbage")) == []


def test_nothing_is_built_after_the_last_height() -> None:
    engine = solo(last_height=1)
    effects = engine.step(0, Msg(0, vote_for("a", engine)))
    assert not any(isinstance(e, Build) for e in effects)


def test_build_is_paced_by_the_block_interval() -> None:
    engine = solo()
    effects = engine.step(7, Msg(0, vote_for("a", engine)))
    (build,) = [e for e in effects if isinstance(e, Build)]
    assert build.not_before_ns == 7 + 200 * MS


def test_more_than_one_validator_is_refused() -> None:
    with pytest.raises(SoloValidatorsError, match="this chain has 4"):
        SoloEngine(EngineParameters()).recover(0, make_epoch(), genesis_floor(CHAIN), [])


def test_vote_of_anybody_else_is_malformed() -> None:
    body = vote_for("a", solo()).body
    with pytest.raises(RemoteProtocolError, match="signer 1"):
        SoloEngine.claims(signed(1, body), make_epoch((1,)))


def test_recovering_twice_is_recovering_once() -> None:
    record = encode_signed(vote_for("a", solo()))
    found = []
    for records in ([record], [record, record]):
        engine = SoloEngine(EngineParameters())
        effects = engine.recover(0, make_epoch((1,)), genesis_floor(CHAIN), records)
        found.append((effects, engine.fingerprint()))
    assert found[0] == found[1]
