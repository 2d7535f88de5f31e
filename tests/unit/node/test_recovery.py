"""Starting: what store and log say a node was, and when they can't be believed."""

from __future__ import annotations

import pytest

from p2pnode import codec
from p2pnode.consensus.engine import Floor, decode_signed
from p2pnode.consensus.host import RECORD_ENGINE
from p2pnode.crypto import SecretKey
from p2pnode.errors import StorageError
from p2pnode.execution.executor import ShardExecutor
from p2pnode.execution.pipeline import KEY_EXECUTED
from p2pnode.keys.records import RECORD_OBSERVE, record_code
from p2pnode.keys.safesigner import SafeSigner
from p2pnode.node.core import Recovered
from p2pnode.node.recovery import (
    KEY_SIGNED_MARK,
    LogState,
    StoreIncompleteError,
    WrongChainError,
    encode_mark,
    engine_record_epoch,
    head_height,
    log_is_blank,
    log_is_older,
    open_executors,
    read_log,
    recover,
)
from p2pnode.store.memory import MemoryStore
from p2pnode.types.effects import Write
from p2pnode.types.genesis import genesis_hash
from p2pnode.types.payload import decode_block, decode_payload
from p2pnode.types.statement import BatchCertificate
from tests.cluster import Cluster, S, Shell
from tests.spine import make_chain

KIND = "engine/solo/1"


def key_of(height: int) -> bytes:
    return height.to_bytes(8, "big")


def lived(heights: int, *, transactions: int = 4) -> tuple[Cluster, Shell]:
    """Return a validator alone that has finalized and executed exactly so many heights."""
    cluster = Cluster(1, engine="solo", heartbeat_ms=100, block_interval_ms=100)
    (shell,) = cluster.shells
    for number in range(transactions):
        shell.submit(cluster.transfer(number))
    assert cluster.run_until(lambda: shell.height >= heights, 60 * S, step_ns=10_000_000)
    shell.up = False
    # Nothing is cut off: heights come one at a time, and the log has no more than the store.
    assert (shell.height, head_height(shell.store)) == (heights, heights)
    return cluster, shell


def recovered(cluster: Cluster, shell: Shell, *, forgetful: bool = False) -> Recovered:
    chain, store = cluster.chain, shell.store
    executors = open_executors(chain, store)
    return recover(
        chain,
        store,
        log_of(cluster, shell),
        executors,
        shell.key.public,
        forgetful=forgetful,
    )


def log_of(cluster: Cluster, shell: Shell, key: SecretKey | None = None) -> LogState:
    epoch = cluster.chain.epoch_of(head_height(shell.store) + 1)
    return read_log(cluster.chain, shell.log.records(), epoch, KIND, key or shell.key)


def drop(store: MemoryStore, table: str, *keys: bytes) -> None:
    store.commit([Write(table, key, None) for key in keys], sync=True)


# --- a new node -----------------------------------------------------------------------------------


def test_an_empty_store_gets_genesis_and_begins_at_height_0() -> None:
    chain, store = make_chain(1, engine="solo"), MemoryStore()
    executors = open_executors(chain, store)
    log = read_log(chain, [], 0, KIND, None)
    found = recover(chain, store, log, executors, b"", forgetful=True)
    assert found == Recovered(
        head=None,
        floor=Floor(0, genesis_hash(chain.id), b""),
        engine_records=(),
        executed_height=0,
        unexecuted=(),
        batches=(),
        next_sequence=1,
        forgetful=True,
        feeds=(),
        results=(),
        own_results=None,
        inboxes=None,
    )
    assert store.unsynced_count() == 0, "genesis is durable"
    account = executors[1]
    assert isinstance(account, ShardExecutor)
    assert sum(account.supply().values()) == 8 * (1 << 60)
    assert log == LogState((), None, 1)


def test_a_store_that_was_opened_before_gives_the_same_state() -> None:
    chain, store = make_chain(1, engine="solo"), MemoryStore()
    first, second = open_executors(chain, store), open_executors(chain, store)
    assert {uid: e.root() for uid, e in first.items()} == {
        uid: e.root() for uid, e in second.items()
    }


def test_another_chains_store_is_refused() -> None:
    store = MemoryStore()
    open_executors(make_chain(1, engine="solo"), store)
    other = make_chain(2, engine="solo")
    with pytest.raises(WrongChainError, match=other.id.hex()):
        open_executors(other, store)


# --- restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("heights", [1, 7, 19, 21, 33])
def test_a_node_goes_on_where_it_ended(heights: int) -> None:
    cluster, shell = lived(heights)
    found = recovered(cluster, shell)
    head = decode_block(shell.store.get("blocks", key_of(heights)) or b"")
    assert found.head == head
    assert found.floor == Floor(heights, head.hash, head.proof)
    assert found.executed_height == heights
    assert found.unexecuted == ()
    assert found.next_sequence == shell.core.collator.statistics().next_sequence  # type: ignore[union-attr]
    executors = open_executors(cluster.chain, shell.store)
    assert {uid: e.root() for uid, e in executors.items()} == {
        uid: e.root() for uid, e in shell.core.executors.items()
    }


def test_at_the_end_of_an_epoch_the_next_one_begins_from_its_last_block() -> None:
    cluster, shell = lived(20, transactions=0)
    found = recovered(cluster, shell)
    assert found.floor.height == 20
    assert found.floor.proof
    assert found.engine_records == (), "votes of the epoch that ended are of no use"


def test_votes_of_the_running_epoch_are_given_back_in_the_order_written() -> None:
    cluster, shell = lived(23)
    votes = [decode_signed(record) for record in recovered(cluster, shell).engine_records]
    heights = [codec.decode(v.body, size_bytes_max=128)[0] for v in votes]  # type: ignore[index]
    assert heights == [21, 22, 23]
    assert all(v.sender == 0 for v in votes)


def test_recovering_twice_gives_the_same() -> None:
    cluster, shell = lived(21)
    assert recovered(cluster, shell) == recovered(cluster, shell)


def test_after_a_restart_the_chain_goes_on_and_no_sequence_is_used_again() -> None:
    cluster, shell = lived(5)
    before = shell.core.ordering.head
    shell.start()
    shell.submit(cluster.transfer(9))
    assert cluster.run_until(lambda: shell.height >= 25, 60 * S)
    sixth = decode_block(shell.store.get("blocks", key_of(6)) or b"")
    assert decode_payload(sixth.payload).parent == before
    assert SafeSigner(shell.key, cluster.chain.id, shell.log.records())


def test_final_blocks_that_have_not_executed_come_with_statements_and_batches() -> None:
    cluster, shell = lived(12)
    shell.store.commit([Write("meta", KEY_EXECUTED, key_of(0))], sync=True)
    found = recovered(cluster, shell)
    assert [block.height for block, _ in found.unexecuted] == list(range(1, 13))
    for block, statements in found.unexecuted:
        digests = decode_payload(block.payload).items
        raws = [shell.store.get("statements", digest) for digest in digests]
        assert [s.encode() for s in statements] == raws
    ordered = [
        s.header
        for _, listed in found.unexecuted
        for s in listed
        if isinstance(s, BatchCertificate)
    ]
    assert ordered, "the test ordered batches"
    assert [held.header for held in found.batches] == ordered


def test_a_batch_that_is_missing_is_fetched_later() -> None:
    cluster, shell = lived(12)
    shell.store.commit([Write("meta", KEY_EXECUTED, key_of(0))], sync=True)
    batches = [key for key, _ in shell.store.scan("batches", limit=100)]
    drop(shell.store, "batches", *batches)
    assert recovered(cluster, shell).batches == ()


def test_a_missing_block_above_the_executed_height_is_an_incomplete_store() -> None:
    cluster, shell = lived(12)
    shell.store.commit([Write("meta", KEY_EXECUTED, key_of(4))], sync=True)
    drop(shell.store, "blocks", key_of(9))
    with pytest.raises(StoreIncompleteError, match="block 9 is missing, the newest is 12"):
        recovered(cluster, shell)


def listed_at(shell: Shell) -> dict[int, tuple[bytes, ...]]:
    """Return the digests that blocks list, by height."""
    blocks = [decode_block(raw) for _, raw in shell.store.scan("blocks", limit=1000)]
    return {b.height: decode_payload(b.payload).items for b in blocks}


def test_a_missing_statement_is_an_incomplete_store_only_where_it_must_execute() -> None:
    cluster, shell = lived(12)
    height, items = next((h, items) for h, items in listed_at(shell).items() if items)
    drop(shell.store, "statements", items[0])
    assert recovered(cluster, shell).executed_height == 12
    shell.store.commit([Write("meta", KEY_EXECUTED, key_of(height - 1))], sync=True)
    with pytest.raises(StoreIncompleteError, match=f"block {height} lists statement"):
        recovered(cluster, shell)


def test_pruned_blocks_are_not_missed() -> None:
    cluster, shell = lived(12)
    drop(shell.store, "blocks", *(key_of(h) for h in range(1, 12)))
    assert recovered(cluster, shell).floor.height == 12


def test_without_its_last_block_an_epoch_cannot_be_left() -> None:
    cluster, shell = lived(20, transactions=0)
    shell.store.commit(
        [
            Write("blocks", key_of(20), None),
            Write("blocks", key_of(21), shell.store.get("blocks", key_of(19))),
        ],
        sync=True,
    )
    # A block of height 21 without a proof, and nothing below it.
    raw = shell.store.get("blocks", key_of(21)) or b""
    items = codec.decode(raw, size_bytes_max=1 << 20)
    assert isinstance(items, tuple)
    bare = codec.encode([21, *items[1:4], b""])
    shell.store.commit(
        [Write("blocks", key_of(21), bare), Write("meta", KEY_EXECUTED, key_of(21))], sync=True
    )
    with pytest.raises(StoreIncompleteError, match="block 20, the last of epoch 0, is missing"):
        recovered(cluster, shell)


def test_feeds_and_results_are_what_blocks_ordered() -> None:
    cluster, shell = lived(19, transactions=6)
    found = recovered(cluster, shell)
    pool = shell.core.ordering.pool
    ((uid, collator, sequence),) = found.feeds
    assert (uid, collator) == (1, shell.key.public)
    assert sequence == pool.feed_sequence(1, collator) > 0
    tops = {uid: top for uid, top, _ in found.results}
    assert tops[1] == pool.certified_height(1) > 0


def test_outboxes_ordered_long_ago_are_known_though_nothing_recent_names_them() -> None:
    # On an idle chain the blocks read at start list no result at all; counted from zero, the next
    # result would look as if outboxes were missing before it, and never be proposed again.
    cluster, shell = lived(24)
    assert {u: n for u, _, n in recovered(cluster, shell).results}[1] == 1
    drop(shell.store, "statements", *(k for k, _ in shell.store.scan("statements", limit=1000)))
    assert (1, 20, 1) in recovered(cluster, shell).results


# --- the log --------------------------------------------------------------------------------------


def test_the_next_sequence_is_above_every_batch_ever_signed() -> None:
    cluster, shell = lived(12, transactions=6)
    signed = log_of(cluster, shell).next_sequence
    assert signed == shell.core.collator.statistics().next_sequence  # type: ignore[union-attr]
    # Even where the log has forgotten, the feed has not.
    empty = LogState((), None, 1)
    executors = open_executors(cluster.chain, shell.store)
    found = recover(cluster.chain, shell.store, empty, executors, shell.key.public, forgetful=True)
    assert found.next_sequence == signed


def test_records_of_other_keys_and_chains_are_passed_over() -> None:
    cluster, shell = lived(5)
    assert log_of(cluster, shell).last_vote is not None
    other = SecretKey(bytes(32))
    assert log_of(cluster, shell, other) == LogState((), None, 1)
    # The same key on another chain.
    chain = Cluster(1, engine="solo", heartbeat_ms=101, block_interval_ms=100).chain
    assert chain.id != cluster.chain.id
    assert chain.validator_index(shell.key.public) == 0
    records = shell.log.records()
    assert read_log(chain, records, 0, KIND, shell.key) == LogState((), None, 1)
    assert read_log(cluster.chain, records, 0, KIND, None).next_sequence == 1


def test_an_engines_own_records_are_found_by_epoch() -> None:
    chain = make_chain(1, engine="solo")
    records = [codec.encode([RECORD_ENGINE, epoch, bytes([epoch])]) for epoch in (0, 1, 0)]
    assert read_log(chain, records, 0, KIND, None).engine_records == (b"\x00", b"\x00")
    assert [engine_record_epoch(r) for r in records] == [0, 1, 0]
    assert engine_record_epoch(codec.encode([RECORD_OBSERVE, 3])) is None


def test_a_malformed_record_is_named_as_damage() -> None:
    broken = codec.encode([RECORD_ENGINE, 0, b"x"]) + b"\x00"
    with pytest.raises(StorageError):
        read_log(make_chain(1, engine="solo"), [broken], 0, KIND, None)


@pytest.mark.parametrize(
    ("last_vote", "mark", "older"),
    [
        (None, None, False),
        ((0, (5,)), None, False),
        (None, (0, (5,)), True),
        ((0, (4,)), (0, (5,)), True),
        ((0, (5,)), (0, (5,)), False),
        ((0, (6,)), (0, (5,)), False),
        ((0, (9,)), (1, (1,)), True),
        ((1, (1,)), (0, (9,)), False),
    ],
)
def test_a_log_without_the_stores_newest_vote_is_no_memory(
    last_vote: tuple[int, tuple[int, ...]] | None,
    mark: tuple[int, tuple[int, ...]] | None,
    older: bool,
) -> None:
    store = MemoryStore()
    if mark is not None:
        store.commit([Write("meta", KEY_SIGNED_MARK, encode_mark(*mark))], sync=True)
    assert log_is_older(store, LogState((), last_vote, 1)) is older


def test_a_log_without_a_word_of_the_signer_is_as_good_as_new() -> None:
    _, shell = lived(5)
    assert not log_is_blank(shell.log.records())
    assert log_is_blank([])
    assert log_is_blank([codec.encode([RECORD_ENGINE, 0, b""])])


def test_a_node_whose_log_was_lost_observes_and_its_next_life_does_too() -> None:
    cluster, shell = lived(5)
    votes = len(shell.log.records())
    shell.log.rewrite([])
    shell.start()
    assert shell.signer.observing_until_epoch == 0
    cluster.run(5 * S)
    assert shell.height == 5, "alone it can't go on"
    shell.up = False
    shell.start()
    assert shell.signer.observing_until_epoch == 0
    assert not [r for r in shell.log.records() if record_code(r) != RECORD_OBSERVE]
    assert votes > 0
