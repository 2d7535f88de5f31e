"""A validator that signs whatever it likes: others stay small, keep their pace and each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pnode import codec, crypto
from p2pnode.consensus.simplex import votes
from p2pnode.execution.receipts import EMPTY_ROOT
from p2pnode.gossip.frames import encode_frame
from p2pnode.types import effects as fx
from p2pnode.types.effects import Lane
from p2pnode.types.messages import (
    EngineItem,
    Statements,
    Summary,
    Transactions,
    decode_frame,
    encode_message,
    join_frame,
)
from p2pnode.types.payload import Payload, digest_of
from p2pnode.types.statement import (
    BatchCertificate,
    Evidence,
    Result,
    ResultCertificate,
    SignerList,
    decode_statement,
)
from p2pnode.types.transaction import Transfer, sign_transaction
from tests.cluster import STRANGER, Cluster, S, Shell

HOSTILE = 3
KIND = "engine/simplex/1"


def offence(cluster: Cluster, view: int, *, epoch: int = 0, other: int = 0) -> Evidence:
    """Return evidence of a double vote by the hostile validator."""
    key = cluster.shells[HOSTILE].key
    bodies = [
        votes.notarize(votes.Proposal(view, 0, 1, crypto.sha256(b"%d/%d" % (view, i + other))))
        for i in range(2)
    ]
    signed = [key.sign(crypto.signing_hash(cluster.chain.id, KIND, epoch, body)) for body in bodies]
    return Evidence(epoch, HOSTILE, KIND, bodies[0], signed[0], bodies[1], signed[1])


def test_offences_without_end_fill_no_pool_and_no_disk() -> None:
    cluster = Cluster()
    node, peer = cluster.shells[0], cluster.shells[HOSTILE].peer
    for view in range(1, 1500):
        node.frame(peer, Statements((offence(cluster, view).encode(),)))
    for epoch in range(2, 400):
        node.frame(peer, Statements((offence(cluster, 1, epoch=epoch).encode(),)))
    assert node.core.ordering.pool.waiting_count() <= 16
    assert len(node.store.scan("statements", limit=10_000)) <= 16
    assert cluster.finalizes()
    cluster.run(5 * S)
    assert node.core.ordering.pool.waiting_count() == 0
    assert cluster.honest_blamed(HOSTILE) == []


def test_votes_against_itself_are_told_to_others_once_an_epoch_not_once_a_view() -> None:
    cluster = Cluster(epoch_blocks=1000)
    hostile, told = cluster.shells[HOSTILE], 0

    def outgoing(sender: Shell, peer: bytes, lane: Lane, message: bytes) -> bytes:
        nonlocal told
        (decoded,) = decode_frame(join_frame([message]))
        if isinstance(decoded, Statements):
            told += isinstance(decode_statement(decoded.statements[0]), Evidence)
        return message

    cluster.outgoing = outgoing
    for step in range(60):
        cluster.shells[step % 3].submit(cluster.transfer(step % 8))
        for node in cluster.shells[:3]:
            found = offence(cluster, node.core.ordering.host.view[0])
            for body, signature in (
                (found.body_a, found.signature_a),
                (found.body_b, found.signature_b),
            ):
                node.frame(hostile.peer, EngineItem(0, (HOSTILE, body, signature), b"", b""))
        cluster.run(S // 4)
    assert 0 < told <= 3 * 3 * 8
    assert cluster.finalizes()


def test_one_batch_with_many_choices_of_signers_is_one_certificate() -> None:
    cluster = Cluster(7)
    assert cluster.finalizes()
    cluster.run(S)
    node = cluster.shells[0]
    certificate = next(
        statement
        for _, raw in node.store.scan("statements", limit=100)
        if isinstance(statement := decode_statement(raw), BatchCertificate)
    )
    before = len(node.store.scan("statements", limit=10_000))
    header = certificate.header
    message = crypto.signing_hash(cluster.chain.id, "stored", header.epoch, header.digest())
    for left_out in range(7):
        for another in range(left_out):
            signers = tuple(i for i in range(7) if i not in (left_out, another))
            stored = tuple(cluster.shells[i].key.sign(message) for i in signers)
            other = BatchCertificate(
                header, certificate.header_signature, SignerList(signers, stored)
            )
            node.frame(cluster.shells[6].peer, Statements((other.encode(),)))
    assert len(node.store.scan("statements", limit=10_000)) == before


def test_payloads_that_nobody_proposed_are_kept_neither_in_memory_nor_on_disk() -> None:
    cluster = Cluster()
    node = cluster.shells[0]
    for peer in (cluster.shells[HOSTILE].peer, STRANGER):
        for i in range(200):
            body = Payload(
                chain=cluster.chain.id,
                epoch=0,
                height=1 << 50 | i,
                parent=bytes(32),
                proposer=HOSTILE,
                time_ms=i,
                reveal=b"",
                validators_hash=bytes(32),
                next_validators_hash=bytes(32),
                items=(crypto.sha256(b"%d" % i),),
            ).encode()
            node.frame(peer, EngineItem(0, None, b"", body))
            assert node.store.get("bodies", digest_of(body)) is None
    assert len(node.core.ordering.bodies) == 0
    assert sum(len(offered) for offered in node.core.ordering.bodies._offered.values()) <= 16
    assert cluster.finalizes()


def test_a_published_forgery_costs_who_published_it() -> None:
    """And not who forwarded it: forwarders check frames, not signatures."""
    cluster = Cluster()
    good = cluster.transfer(0)
    for number in range(20):
        forged = good.raw[:-64] + bytes([number]) * 64
        for shell in cluster.shells:
            shell.input(fx.TopicIn(cluster.topic, STRANGER, encode_frame([forged])))
    cluster.run(1 * S)
    assert {p.peer for p in cluster.penalties} == {STRANGER}
    assert len(cluster.penalties) == 4 * 20
    assert cluster.shells[0].submit(good) == (None,)
    cluster.run(5 * S)
    assert good.id in cluster.executed


def test_no_account_is_blamed_only_while_nobody_says_it_is_ahead() -> None:
    cluster = Cluster()
    assert cluster.finalizes()
    cluster.run(3 * S)
    node, ahead = cluster.shells[0], cluster.shells[1]

    def publish(nonce: int) -> None:
        unfunded = sign_transaction(
            crypto.SecretKey(b"u" * 32),
            cluster.chain.id,
            nonce=nonce,
            last_valid_height=100,
            fee_limit=1000,
            actions=(Transfer(0, bytes(32), 1),),
        )
        node.input(fx.TopicIn(cluster.topic, STRANGER, encode_frame([unfunded.raw])))

    publish(0)
    assert [p.points for p in cluster.blamed(STRANGER)] == [0.25]
    node.frame(ahead.peer, Summary(0, node.height + 2, b""))
    publish(1)
    assert len(cluster.blamed(STRANGER)) == 1


def test_a_published_message_that_is_no_frame_raises_nothing() -> None:
    cluster = Cluster()
    for data in (b"", b"\x80", b"\xff" * 10, codec.encode([[1]])):
        cluster.shells[0].input(fx.TopicIn(cluster.topic, STRANGER, data))
    assert cluster.finalizes()


def test_a_frame_of_forgeries_costs_its_sender_everything_and_us_little() -> None:
    cluster = Cluster()
    node = cluster.shells[0]
    good = [cluster.transfer(i, nonce=n) for i in range(16) for n in range(60)]
    forged = tuple(t.raw[:-64] + bytes(64) for t in good)
    checked = 0

    def verify(check: tuple[bytes, bytes, bytes]) -> bool:
        nonlocal checked
        checked += 1
        return False

    cluster.verify = verify  # type: ignore[method-assign]
    node.frame(STRANGER, Transactions(forged))
    assert checked <= 128
    assert sum(p.points for p in cluster.blamed(STRANGER)) >= 100


@pytest.mark.parametrize(("who", "most"), [("stranger", 256), ("validator", 8192)])
def test_signatures_that_wait_for_their_check_are_bounded_by_sender(who: str, most: int) -> None:
    cluster = Cluster()
    cluster.run(S)
    node = cluster.shells[0]
    peer = STRANGER if who == "stranger" else cluster.shells[HOSTILE].peer
    votes_ = [
        EngineItem(0, (i % 4, votes.nullify(1 + i // 4 % 2), i.to_bytes(64, "big")), b"", b"")
        for i in range(4000)
    ]
    rubbish = [
        Statements((replace(offence(cluster, 1), signature_b=i.to_bytes(64, "big")).encode(),) * 1)
        for i in range(100)
    ]
    checks = 0
    for _ in range(8):
        frame = join_frame([encode_message(m) for m in (*votes_, *rubbish)[:4096]])
        for effect in node.core.handle(
            cluster.now_ns(), cluster.wall_ms(), fx.FrameIn(peer, frame)
        ):
            checks += len(effect.checks) if isinstance(effect, fx.Verify) else 0
    assert checks <= most + 8
    assert checks > most // 2


def test_a_result_that_waits_for_another_is_no_reason_to_run_through_views() -> None:
    cluster = Cluster()
    assert cluster.finalizes()
    cluster.run(S)
    skipped = cluster.shells[0].core.ordering.host.statistics().views_skipped
    result = Result(
        chain=cluster.chain.id,
        epoch=0,
        uid=1,
        height=cluster.shells[0].height + 1,
        pre_root=bytes(32),
        post_root=bytes(32),
        outbox_root=EMPTY_ROOT,
        outcome_root=bytes(32),
        watermarks_root=bytes(32),
        counters=(0, 0, 0, 0, 0, 5),
        witness=bytes(32),
    )
    message = crypto.signing_hash(cluster.chain.id, "result", 0, result.encode())
    signatures = tuple(shell.key.sign(message) for shell in cluster.shells[:3])
    certificate = ResultCertificate(result, b"", SignerList((0, 1, 2), signatures))
    cluster.shells[0].core.ordering.own_statement(certificate)
    cluster.run(30 * S)
    assert cluster.shells[1].core.ordering.pool.waiting_count() == 1
    assert cluster.shells[0].core.ordering.host.statistics().views_skipped == skipped
    assert cluster.finalizes()
