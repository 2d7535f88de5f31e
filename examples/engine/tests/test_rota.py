"""The contract of an engine, checked on Rota: by itself, between engines, and in whole nodes."""

from __future__ import annotations

import random

import pytest
import trio
from rota import RotaEngine

from p2pnode import codec
from p2pnode.consensus.engine import Msg, Offence, Send, Summary
from p2pnode.consensus.registry import load_engine
from p2pnode.crypto import sha256
from testnet.checks.proofs import PluggedProofs
from testnet.sim.run import Run, run_seeded, table
from testnet.sim.spec import SimSpec
from tests.sim.scenes import assert_ok
from tests.unit.consensus.harness import NS_PER_S, Net, digest_of, make_epoch, signed


def rota_net(*, seed: int = 0, drop: float = 0.0) -> Net:
    return Net(engine=RotaEngine, seed=seed, drop=drop, summary_s=0.3)


def storm(seed: int) -> Net:
    """Return a network that has been through crashes, cuts, loss and duplicates."""
    rng = random.Random(seed)
    net = Net(
        rng.choice([(1, 1, 1, 1), (3, 2, 2, 1, 1), (1, 1, 1)]),
        engine=RotaEngine,
        seed=seed,
        drop=rng.choice((0.0, 0.1)),
        duplicate=rng.choice((0.0, 0.2)),
        summary_s=0.5,
        crash_between_effects=rng.choice((0.0, 0.005)),
    )
    everybody = range(len(net.nodes))
    net.start()
    for _ in range(6):
        net.run(rng.uniform(0.2, 2.0))
        match rng.randrange(3):
            case 0:
                net.crash(*rng.sample(everybody, rng.randint(1, len(everybody))))
            case 1:
                side = {i: rng.random() < 0.5 for i in everybody}
                net.cut = lambda a, b, side=side: side[a] != side[b]
            case 2:
                deaf = rng.choice(everybody)
                net.cut = lambda a, b, deaf=deaf: b == deaf
    return net


def heal(net: Net, seconds: float) -> None:
    net.cut = lambda a, b: False
    net.drop = net.crash_between_effects = 0.0
    net.run(0.6)
    dead = [node.index for node in net.nodes if node.engine is None]
    if dead:
        net.start(*dead)
    net.run(seconds)


def test_the_entry_point_is_found_under_its_name() -> None:
    assert load_engine("rota") is RotaEngine


def test_every_validator_proposes_in_its_turn() -> None:
    net = rota_net()
    net.start()
    net.run(4.0)
    proposers = [final.proposer for final in net.nodes[0].chain[:8]]
    assert proposers == [1, 2, 3, 0, 1, 2, 3, 0]
    net.check_agreement()


def test_a_height_waits_for_its_proposer_and_goes_on_when_it_is_back() -> None:
    net = rota_net()
    net.start()
    net.run(2.0)
    net.crash(2)
    net.run(10.0)
    stuck = max(net.heights())
    assert (stuck + 1) % 4 == 2, "it stands at the turn of the one that is away"
    net.start(2)
    net.run(5.0)
    assert min(net.heights()) > stuck


def test_lost_votes_are_found_by_summaries() -> None:
    net = rota_net(seed=3, drop=0.3)
    net.start()
    net.run(30.0)
    assert min(net.heights()) > 10
    net.check_agreement()


@pytest.mark.parametrize("seed", range(12))
def test_through_crashes_cuts_and_loss_one_digest_a_height_and_nobody_signs_twice(
    seed: int,
) -> None:
    net = storm(seed)
    before = max(net.heights())
    heal(net, 6.0)
    net.check_agreement()
    for node in net.nodes:
        assert not node.offences
        assert node.refused == 0
    assert min(net.heights()) > before + 5


@pytest.mark.parametrize("seed", range(4))
def test_recovering_from_a_log_twice_is_recovering_once(seed: int) -> None:
    net = storm(seed)
    for node in net.nodes:
        found = []
        for records in (node.log, node.log + node.log):
            engine = RotaEngine(net.parameters)
            epoch = make_epoch(net.powers, node.index)
            effects = engine.recover(net.now_ns, epoch, node.floor, list(records))
            found.append((effects, engine.fingerprint()))
        assert found[0] == found[1]


def test_two_proposals_of_one_height_are_an_offence() -> None:
    net = rota_net()
    net.start()
    engine = net.nodes[0].engine
    assert engine is not None
    parent = net.nodes[0].floor.digest
    one, two = (signed(1, codec.encode((1, parent, digest_of(n)))) for n in (1, 2))
    engine.step(net.now_ns, Msg(1, one))
    assert engine.step(net.now_ns, Msg(1, two)) == [Offence(1, one, two)]


def test_who_lacks_nothing_is_sent_nothing_and_who_is_behind_gets_the_proof() -> None:
    net = rota_net()
    net.start()
    behind = net.nodes[0].engine
    assert behind is not None
    begin = behind.summary()
    net.run(3.0)
    engine = net.nodes[1].engine
    assert engine is not None
    assert engine.step(net.now_ns, Summary(0, engine.summary())) == []
    (answer,) = engine.step(net.now_ns, Summary(0, begin))
    assert isinstance(answer, Send)
    assert answer.item == net.nodes[1].floor.proof
    assert engine.step(net.now_ns, Summary(0, b"\xff")) == []


def test_whole_nodes_agree_and_a_restart_catches_up_within_an_epoch() -> None:
    async def script(run: Run) -> None:
        machine = run.world.machines[2]
        await trio.sleep(6.0)
        await run.kill(machine)
        await trio.sleep(4.0)
        await run.start(machine)

    spec = SimSpec(engine="rota", duration_s=20.0)
    report = assert_ok(run_seeded(spec, 7, script=script))
    assert report.heights[0] > 15
    # The chain stood while the proposer was away: that is what views are for.
    assert report.longest_pause_s > 2.0


def test_block_interval_is_kept() -> None:
    net = rota_net()
    net.start()
    net.run(5.0)
    assert max(net.heights()) <= 5 * NS_PER_S / net.parameters.block_interval_ns + 1


def test_the_checks_of_a_run_refuse_a_proof_of_something_else_or_with_a_bad_signature() -> None:
    seen: list[Run] = []

    async def keep(run: Run) -> None:
        seen.append(run)

    assert_ok(run_seeded(SimSpec(engine="rota", duration_s=3.0), 7, script=keep))
    world = seen[0].world
    rows = table(world.machines[0], "blocks")
    _, payload, _, _, proof = codec.array(
        codec.decode(rows[(1).to_bytes(8, "big")], size_bytes_max=1 << 20), "block"
    )
    assert isinstance(payload, bytes)
    assert isinstance(proof, bytes)
    proofs = PluggedProofs(world.document)
    digest = sha256(payload)
    assert proofs.fault(1, digest, proof) == ""
    assert "a proof of height 1, not of 2" in proofs.fault(2, digest, proof)
    broken = proof[:-1] + bytes([proof[-1] ^ 1])
    assert "bad signature" in proofs.fault(1, digest, broken)
