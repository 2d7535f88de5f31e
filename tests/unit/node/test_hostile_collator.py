"""A collator that makes batches nobody needs: nothing stops, nothing grows, nobody starves."""

from __future__ import annotations

from collections.abc import Sequence

from p2pnode import crypto
from p2pnode.availability.inline import InlineScheme
from p2pnode.types import effects as fx
from p2pnode.types.batch import BatchHeader, encode_transactions
from p2pnode.types.effects import Lane, Write
from p2pnode.types.messages import BatchOffer, Stored, decode_frame, join_frame
from p2pnode.types.statement import BatchCertificate, SignerList, decode_statement
from tests.cluster import MS, Cluster, S, Shell

HOSTILE = 3


def make_batch(
    cluster: Cluster, sequence: int, raws: Sequence[bytes], *, epoch: int = 0, size: int = 0
) -> tuple[BatchHeader, bytes, bytes]:
    """Return a batch of the hostile collator: header, signature, data."""
    key = cluster.shells[HOSTILE].key
    data = encode_transactions(list(raws))
    encoded = InlineScheme().encode(data)
    header = BatchHeader(
        chain=cluster.chain.id,
        epoch=epoch,
        uid=1,
        collator=key.public,
        sequence=sequence,
        kind=1,
        tx_root=crypto.merkle_root(list(raws)),
        scheme="inline",
        k=1,
        n=0,
        row_size=len(data),
        data_bytes=len(data),
        commitment=encoded.commitment,
    )
    message = crypto.signing_hash(cluster.chain.id, "batch", epoch, header.encode())
    return header, key.sign(message), data


def offer(cluster: Cluster, header: BatchHeader, signature: bytes, data: bytes) -> None:
    """Send a batch to all other nodes."""
    for shell in cluster.shells[:HOSTILE]:
        shell.frame(cluster.shells[HOSTILE].peer, BatchOffer(header.encode(), signature, data))


def certify(cluster: Cluster, header: BatchHeader, signature: bytes) -> BatchCertificate:
    """Return the certificate that the three others' answers make."""
    message = crypto.signing_hash(cluster.chain.id, "stored", header.epoch, header.digest())
    stored = tuple(cluster.shells[i].key.sign(message) for i in range(3))
    return BatchCertificate(header, signature, SignerList((0, 1, 2), stored))


def held(shell: Shell, header: BatchHeader) -> bool:
    return shell.store.get("batches", header.digest()) is not None


def test_an_old_batch_that_nobody_has_any_more_does_not_stop_execution() -> None:
    cluster = Cluster()
    assert cluster.finalizes()
    cluster.run(S)
    node = cluster.shells[0]
    listed = [
        (digest, statement)
        for digest, raw in node.store.scan("statements", limit=100)
        if isinstance(statement := decode_statement(raw), BatchCertificate)
    ]
    digest, statement = listed[0]
    for shell in cluster.shells:
        key = statement.header.digest()
        shell.store.commit([Write("batches", key, None)], sync=True)
    hostile = cluster.shells[HOSTILE].core.ordering.pool
    hostile.choose = lambda height, excluded: (digest,)  # type: ignore[method-assign]
    for i in range(6):
        assert cluster.finalizes(by=i % 3, account=i)
    blocks = [raw for shell in cluster.shells for _, raw in shell.store.scan("blocks", limit=999)]
    assert sum(digest in raw for raw in blocks) > 4, "it was listed again"


def test_a_stored_batch_outlives_any_number_of_later_ones_while_it_can_be_listed() -> None:
    """Its certificate may be held back while validators are flooded; then it must still be here."""
    cluster = Cluster(epoch_blocks=1000)
    first, *_ = made = make_batch(cluster, 1, [cluster.transfer(5).raw])
    offer(cluster, *made)
    cluster.run(S)
    assert all(held(shell, first) for shell in cluster.shells[:3])
    for sequence in range(2, 80):
        offer(cluster, *make_batch(cluster, sequence, [b"%d" % sequence]))
        cluster.run(8 * S)
    cluster.shells[HOSTILE].core.ordering.own_statement(certify(cluster, first, made[1]))
    cluster.run(5 * S)
    transaction = cluster.transfer(5, nonce=0)
    assert transaction.id in cluster.executed
    assert cluster.finalizes()


def test_batches_nobody_orders_leave_memory_at_once_and_the_disk_after_their_epoch() -> None:
    cluster = Cluster(epoch_blocks=20, heartbeat_ms=500)
    made = []
    for sequence in range(1, 120):
        batch = make_batch(
            cluster, sequence, [b"%d" % sequence], epoch=cluster.shells[0].core._epoch
        )
        made.append(batch[0])
        offer(cluster, *batch)
        cluster.run(8 * S)
    node = cluster.shells[0]
    assert len(node.core.shelf) <= 64
    on_disk = [header for header in made if held(node, header)]
    assert made[-1] in on_disk
    # An epoch and the 64 heights of grace are 84 heights: 42 seconds, 6 batches.
    assert len(on_disk) < 12


def test_a_feed_that_always_has_batches_waiting_starves_nobody() -> None:
    """Collators hold back while certified batches wait: a hostile one can see to that for ever."""
    cluster = Cluster(epoch_blocks=1000)
    hostile = cluster.shells[HOSTILE]
    sequence = 0
    transaction = cluster.transfer(0)

    def flood() -> None:
        nonlocal sequence
        while hostile.core.ordering.pool.unordered_batches(1, ()) < 3:
            sequence += 1
            header, signature, data = make_batch(cluster, sequence, [b"%d" % sequence])
            offer(cluster, header, signature, data)
            hostile.core.ordering.own_statement(certify(cluster, header, signature))

    flood()
    cluster.run(2 * S)
    cluster.shells[0].submit(transaction)
    for _ in range(200):
        flood()
        cluster.run(50 * MS)
    assert sequence > 20
    assert transaction.id in cluster.executed


def test_the_same_offer_again_is_answered_without_writing_it_again() -> None:
    cluster = Cluster()
    made = make_batch(cluster, 1, [b"rubbish"])
    cluster.run(S)
    offer(cluster, *made)
    node = cluster.shells[0]
    inputs: list[fx.Input] = []
    cluster.on_input = lambda shell, given: inputs.append(given)
    answers: list[bytes] = []

    def outgoing(sender: Shell, peer: bytes, lane: Lane, message: bytes) -> bytes:
        if sender is node and isinstance(decode_frame(join_frame([message]))[0], Stored):
            answers.append(peer)
        return message

    cluster.outgoing = outgoing
    for _ in range(20):
        node.frame(cluster.shells[HOSTILE].peer, BatchOffer(made[0].encode(), made[1], made[2]))
    assert answers == [cluster.shells[HOSTILE].peer] * 20
    # A signature would wait for the disk.
    assert not any(isinstance(given, fx.SignedIn | fx.VerifiedIn) for given in inputs)


def test_copies_with_broken_signatures_leave_nothing_behind() -> None:
    """They carry the ids of true transactions, and end none of them."""
    cluster = Cluster(epoch_blocks=1000)
    cluster.run(S)
    true = [cluster.transfer(i) for i in range(8)]
    made = make_batch(cluster, 1, [t.raw[:-64] + bytes(64) for t in true])
    offer(cluster, *made)
    cluster.shells[HOSTILE].core.ordering.own_statement(certify(cluster, made[0], made[1]))
    cluster.run(2 * S)
    node = cluster.shells[0].core
    assert node.pipeline.statistics().transactions_skipped == 8
    assert [node.index.ordered_height(t.id) for t in true] == [None] * 8
    assert cluster.shells[0].submit(*true) == (None,) * 8
    cluster.run(5 * S)
    assert all(t.id in cluster.executed for t in true)
