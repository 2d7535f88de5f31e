"""Block sync against peers that lie about what nothing proves, and peers that only forgot."""

from __future__ import annotations

from dataclasses import replace

from p2pnode import codec
from p2pnode.consensus.simplex.summaries import Status, encode_status
from p2pnode.node.serve import ALLOWANCE_BYTES, AllowanceSpentError, StoreServer
from p2pnode.sync import catchup
from p2pnode.types import effects as fx
from p2pnode.types.effects import Write
from p2pnode.types.messages import Summary
from p2pnode.types.payload import decode_block
from tests.cluster import MS, STRANGER, Cluster, S


def busy(cluster: Cluster, seconds: int) -> None:
    for second in range(seconds):
        up = [shell for shell in cluster.shells if shell.up]
        up[second % len(up)].submit(cluster.transfer(second % 8))
        cluster.run(S)


def changed_blocks(answer: bytes, **changes: object) -> bytes:
    """Return an answer to `blocks` with other fields in every block."""
    items = codec.decode(answer, size_bytes_max=1 << 21)
    assert isinstance(items, tuple)
    blocks = []
    for item in items:
        assert isinstance(item, tuple)
        raw, statements = item
        assert isinstance(raw, bytes)
        blocks.append([replace(decode_block(raw), **changes).encode(), statements])  # type: ignore[arg-type]
    return codec.encode(blocks)


def test_a_view_that_nothing_proves_does_not_silence_the_signer() -> None:
    """A pruned signer refuses everything below: with a view of the far future, everything."""
    cluster = Cluster(epoch_blocks=1000, heartbeat_ms=300)
    late = cluster.shells[3]
    busy(cluster, 2)  # it votes: else its log would be as good as new, and it would only observe
    late.stop()
    busy(cluster, 30)
    assert cluster.shells[0].core.ordering.height > 70
    for liar in cluster.shells[:3]:

        def lie(protocol: str, body: bytes, peer: bytes = liar.peer) -> bytes | None:
            script = cluster.answering.pop(peer)
            answer = cluster.serve(peer, protocol, late.peer, body)
            cluster.answering[peer] = script
            if protocol != catchup.PROTOCOL or answer is None:
                return answer
            return changed_blocks(answer, view=(1 << 40,))

        cluster.answering[liar.peer] = lie
    late.start()
    busy(cluster, 10)
    assert late.height == cluster.shells[0].height
    before = late.core.ordering.host.statistics()
    # It votes: without it there is no quorum of the other two.
    cluster.shells[2].stop()
    assert cluster.finalizes(by=0, within_ns=30 * S)
    after = late.core.ordering.host.statistics()
    assert after.drafts_signed > before.drafts_signed
    assert after.drafts_refused == before.drafts_refused


def test_a_peer_that_has_pruned_the_blocks_asked_for_is_not_to_blame() -> None:
    cluster = Cluster(heartbeat_ms=300)
    late = cluster.shells[3]
    busy(cluster, 2)
    late.stop()
    busy(cluster, 10)
    for pruned in cluster.shells[:2]:
        for height in range(1, cluster.shells[0].core.ordering.height - 2):
            key = height.to_bytes(8, "big")
            pruned.store.commit([Write("blocks", key, None)], sync=True)
    late.start()
    busy(cluster, 15)
    assert cluster.honest_blamed() == []
    assert late.height == cluster.shells[0].height


def test_one_liar_about_heights_does_not_make_a_node_call_itself_late() -> None:
    cluster = Cluster()
    busy(cluster, 2)
    honest, liar = cluster.shells[0], cluster.shells[3]
    for peer in (STRANGER, liar.peer):
        honest.input(fx.PeerUp(peer))
        honest.frame(peer, Summary(99, (1 << 64) - 1, b""))
    assert not honest.core.catchup.syncing
    assert cluster.finalizes()


def test_strangers_that_promise_much_and_give_nothing_cost_little_time() -> None:
    cluster = Cluster(heartbeat_ms=300)
    late = cluster.shells[3]
    late.stop()
    busy(cluster, 10)
    late.start()
    strangers = [STRANGER[:-1] + bytes([i]) for i in range(50)]
    for peer in strangers:
        late.input(fx.PeerUp(peer))
        late.frame(peer, Summary(0, 1 << 60, b""))
    # Each of them would take five seconds not to answer.
    assert cluster.run_until(lambda: late.height >= cluster.shells[0].height - 1, 20 * S)


def test_who_asks_for_much_is_made_to_wait_and_nobody_else_is() -> None:
    cluster = Cluster(heartbeat_ms=300)
    busy(cluster, 5)
    server = StoreServer(cluster.shells[0].store, cluster.now_ns)
    body = catchup.encode_request(1, 64)

    def taken(peer: bytes, times: int) -> int:
        size = 0
        for _ in range(times):
            try:
                server.blocks(peer, body).send(None)
            except StopIteration as answer:
                size += len(answer.value)
            except AllowanceSpentError:
                pass
        return size

    one = taken(cluster.shells[1].peer, 1)
    assert one > 1000
    greedy = taken(STRANGER, 10_000)
    assert one < greedy <= ALLOWANCE_BYTES + one
    assert taken(STRANGER, 10) == 0
    assert taken(cluster.shells[1].peer, 10) == 10 * one
    cluster.run(2 * S)
    assert taken(STRANGER, 1) >= one
    for i in range(5000):
        taken(STRANGER[:-2] + i.to_bytes(2, "big"), 1)
    assert len(server._allowances._whole_ns) <= 1024


def test_a_validator_that_asks_by_summaries_without_end_is_answered_now_and_then() -> None:
    cluster = Cluster(heartbeat_ms=300)
    busy(cluster, 2)
    node, peer = cluster.shells[0], cluster.shells[3].peer
    blob = encode_status(Status(0, 0, 0, 0, 0, 0))
    epoch, sent = node.core.ordering.host.epoch.number, 0
    for _ in range(1000):
        effects = node.frame(peer, Summary(epoch, 0, blob))
        sent += sum(isinstance(effect, fx.SendTo) for effect in effects)
    assert 0 < sent < 20 * 40


def test_peers_that_come_and_go_leave_nothing_behind() -> None:
    cluster = Cluster()
    node = cluster.shells[0]
    for i in range(200):
        peer = STRANGER[:-2] + i.to_bytes(2, "big")
        node.input(fx.PeerUp(peer))
        node.frame(peer, Summary(0, 1 << 60, b""))
        cluster.run(10 * MS)
        node.input(fx.PeerDown(peer))
        node.frame(peer, Summary(0, 1 << 60, b""))
        cluster.run(100 * MS)
    sync = node.core.catchup
    assert len(sync._heights) <= 4
    assert len(sync._failures) <= 4
