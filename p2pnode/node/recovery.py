"""Starting: what the store and the log say a node was, before its core begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from p2pnode import codec
from p2pnode.availability.shelf import HeldBatch, decode_held_batch
from p2pnode.consensus.engine import Floor, Signed, encode_signed
from p2pnode.consensus.host import RECORD_ENGINE
from p2pnode.consensus.statements import outboxes_before
from p2pnode.crypto import SecretKey
from p2pnode.errors import ConfigError, RemoteProtocolError, StorageError
from p2pnode.execution.block import Executor
from p2pnode.execution.executor import ShardExecutor
from p2pnode.execution.pipeline import KEY_EXECUTED, KEY_INBOXES, KEY_RESULTS
from p2pnode.execution.ranges import Layout, genesis_layout
from p2pnode.execution.record import ShardRecord
from p2pnode.execution.state import ShardState, key_range
from p2pnode.execution.system import SystemExecutor
from p2pnode.keys.records import RECORD_BYTES_MAX, RECORD_SIGNED, SIGNER_CODES, record_code
from p2pnode.keys.safesigner import SafeSigner
from p2pnode.node.core import Recovered
from p2pnode.ports import Store
from p2pnode.types.batch import DATA_BYTES_MAX, decode_batch_header
from p2pnode.types.chain import Chain
from p2pnode.types.effects import Write
from p2pnode.types.genesis import SYSTEM_UID, genesis_hash
from p2pnode.types.payload import Block, decode_block, decode_payload
from p2pnode.types.statement import (
    BatchCertificate,
    ResultCertificate,
    Statement,
    decode_statement,
)

KEY_CHAIN = b"chain"
"""Key in `meta` of the chain id."""

KEY_SIGNED_MARK = b"signed"
"""Key in `meta` of (epoch, position) of a vote that the log must hold: an older log forgot."""

BLOCKS_SCANNED = 256
"""Newest blocks read at start: what waits to execute, the newest proof, what was ordered lately."""

SCAN_ROWS = 10_000


class WrongChainError(ConfigError):
    """The data directory belongs to another chain than the genesis document."""


class StoreIncompleteError(StorageError):
    """The store lacks something that it must hold."""


@dataclass(frozen=True, slots=True)
class LogState:
    """What the log holds for the epoch that the store is in."""

    engine_records: tuple[bytes, ...]
    last_vote: tuple[int, tuple[int, ...]] | None
    """(epoch, position) of the newest vote; None in an empty log."""
    next_sequence: int


def open_executors(chain: Chain, store: Store) -> dict[int, Executor]:
    """Return the shards' executors at the stored state, writing genesis into an empty store.

    Raises:
        WrongChainError: The store is another chain's.
    """
    known = store.get("meta", KEY_CHAIN)
    if known is not None and known != chain.id:
        raise WrongChainError(f"the store holds chain {known.hex()}, genesis is {chain.id.hex()}")
    layout = genesis_layout()
    system = SystemExecutor(chain.genesis)
    executors: dict[int, Executor] = {SYSTEM_UID: system}
    writes: list[Write] = []
    if known is None:
        writes += system.genesis_writes()
        writes.append(Write("meta", KEY_CHAIN, chain.id))
    else:
        system.load(_all(store, "accounts", *key_range(SYSTEM_UID)))
    for uid, state in _shard_states(chain, layout).items():
        if known is None:
            writes += state.fund(chain.genesis.accounts)
        else:
            state.load(_all(store, "accounts", *key_range(uid)))
        executors[uid] = ShardExecutor(chain.id, layout, chain.genesis.parameters, state)
    if writes:
        store.commit(writes, sync=True)
    return executors


def _shard_states(chain: Chain, layout: Layout) -> Mapping[int, ShardState]:
    bits = chain.genesis.parameters.bucket_bits
    return {shard.uid: ShardState(shard, bits) for shard in layout.shards}


def head_height(store: Store) -> int:
    """Return the height of the newest stored block, 0 at genesis."""
    newest = store.last("blocks")
    return 0 if newest is None else int.from_bytes(newest[0], "big")


def read_log(
    chain: Chain, records: Sequence[bytes], epoch: int, engine_kind: str, key: SecretKey | None
) -> LogState:
    """Return what the log's records say about an epoch.

    Args:
        chain: The chain's rules.
        records: All records, oldest first.
        epoch: The epoch that the next height belongs to.
        engine_kind: Signing domain of the engine's bodies.
        key: Our validator key, None for an observer.
    """
    wanted: list[bytes] = []
    last_vote: tuple[int, tuple[int, ...]] | None = None
    next_sequence = 1
    me = None if key is None else chain.validator_index(key.public)
    for record in records:
        code = record_code(record)
        if code == RECORD_ENGINE:
            _, number, inner = codec.array(_decode(record), "engine record", length=3)
            if number == epoch:
                wanted.append(codec.octets(inner, "engine record"))
        elif code == RECORD_SIGNED and key is not None and me is not None:
            fields = codec.array(_decode(record), "signed record", length=9)
            _, public, owner, number, kind, body, signature, position, _ = fields
            if public != key.public or owner != chain.id:
                continue
            signed_epoch = codec.unsigned(number, "epoch")
            if kind == engine_kind.encode():
                place = tuple(
                    codec.unsigned(p, "position") for p in codec.array(position, "position")
                )
                if last_vote is None or (signed_epoch, place) > last_vote:
                    last_vote = (signed_epoch, place)
                if signed_epoch == epoch:
                    vote = Signed(
                        me, codec.octets(body, "body"), codec.octets(signature, "signature")
                    )
                    wanted.append(encode_signed(vote))
            elif kind == b"batch":
                header = decode_batch_header(codec.octets(body, "header"))
                next_sequence = max(next_sequence, header.sequence + 1)
    return LogState(tuple(wanted), last_vote, next_sequence)


def engine_record_epoch(record: bytes) -> int | None:
    """Return the epoch of an engine's own log record; None for any other record."""
    if record_code(record) != RECORD_ENGINE:
        return None
    return codec.unsigned(codec.array(_decode(record), "engine record", length=3)[1], "epoch")


def encode_mark(epoch: int, position: tuple[int, ...]) -> bytes:
    """Return the value under `KEY_SIGNED_MARK`."""
    return codec.encode([epoch, position])


def log_is_older(store: Store, log: LogState) -> bool:
    """Tell whether the log lacks votes that the store knows to have been signed.

    Args:
        store: Holds the mark.
        log: What the log holds; votes at the mark are above every floor, since floors follow
            finality.
    """
    raw = store.get("meta", KEY_SIGNED_MARK)
    if raw is None:
        return False
    epoch, position = codec.array(codec.decode(raw, size_bytes_max=64), "mark", length=2)
    mark = (
        codec.unsigned(epoch, "epoch"),
        tuple(codec.unsigned(p, "position") for p in codec.array(position, "position")),
    )
    return log.last_vote is None or log.last_vote < mark


def log_is_blank(records: Sequence[bytes]) -> bool:
    """Tell whether the log says nothing of the signer, as on the day it was made.

    A start that made it new may have crashed before it signed, or before the record that it only
    observes: the next one has forgotten as much. Blocks beside such a log came by block sync.
    """
    return not any(record_code(r) in SIGNER_CODES for r in records)


def recover(
    chain: Chain,
    store: Store,
    log: LogState,
    executors: Mapping[int, Executor],
    public_key: bytes,
    *,
    forgetful: bool,
) -> Recovered:
    """Return everything the core needs to go on.

    Raises:
        StoreIncompleteError: A block, statement or height is missing.
    """
    height = head_height(store)
    raw_executed = store.get("meta", KEY_EXECUTED)
    executed = 0 if raw_executed is None else int.from_bytes(raw_executed, "big")
    first = max(1, min(executed + 1, height - BLOCKS_SCANNED + 1))
    blocks = {block.height: block for block in _blocks(store, first, height)}
    for needed in range(executed + 1, height + 1):
        if needed not in blocks:
            raise StoreIncompleteError(f"block {needed} is missing, the newest is {height}")
    statements = {h: _statements(store, block, needed=h > executed) for h, block in blocks.items()}
    unexecuted = tuple((blocks[h], statements[h]) for h in range(executed + 1, height + 1))
    held: list[HeldBatch] = []
    for _, listed in unexecuted:
        for statement in listed:
            if isinstance(statement, BatchCertificate):
                raw = store.get("batches", statement.header.digest())
                if raw is not None:
                    held.append(decode_held_batch(raw, DATA_BYTES_MAX + 4096))
    feeds: dict[tuple[int, bytes], int] = {}
    results: dict[int, tuple[int, int]] = {}
    for executor in executors.values():
        record = _record(executor)
        for collator, sequence in record.feeds.items():
            feeds[executor.uid, collator] = sequence
        # An outbox that was consumed was ordered, however long ago.
        for source, (sent_height, number) in record.watermarks.items():
            results[source] = max(results.get(source, (0, 0)), (sent_height, number))
    for h in sorted(statements):
        for statement in statements[h]:
            if isinstance(statement, BatchCertificate):
                feed = (statement.header.uid, statement.header.collator)
                feeds[feed] = max(feeds.get(feed, 0), statement.header.sequence)
            elif isinstance(statement, ResultCertificate):
                result = statement.result
                top, outboxes = results.get(result.uid, (0, 0))
                outboxes = max(outboxes, outboxes_before(result) + bool(statement.outbox))
                results[result.uid] = (max(top, result.height), outboxes)
    own = max([log.next_sequence - 1, *(s for (_, key), s in feeds.items() if key == public_key)])
    return Recovered(
        head=blocks.get(height),
        floor=_floor(chain, blocks, height, store),
        engine_records=log.engine_records,
        executed_height=executed,
        unexecuted=unexecuted,
        batches=tuple(held),
        next_sequence=own + 1,
        forgetful=forgetful,
        feeds=tuple((uid, key, s) for (uid, key), s in sorted(feeds.items())),
        results=tuple((uid, top, n) for uid, (top, n) in sorted(results.items())),
        own_results=store.get("meta", KEY_RESULTS),
        inboxes=store.get("meta", KEY_INBOXES),
    )


def _record(executor: Executor) -> ShardRecord:
    if isinstance(executor, ShardExecutor):
        return executor.state.record
    return executor.record if isinstance(executor, SystemExecutor) else ShardRecord()


def _floor(chain: Chain, blocks: Mapping[int, Block], height: int, store: Store) -> Floor:
    """Return the newest height with a proof in the running epoch, or the last of the one before."""
    epoch = chain.epoch_of(height + 1)
    bottom = chain.first_height(epoch) - 1
    for h in range(height, bottom, -1):
        block = blocks.get(h) or _block(store, h)
        if block is not None and block.proof:
            return Floor(h, block.hash, block.proof)
    if bottom == 0:
        return Floor(0, genesis_hash(chain.id), b"")
    last = blocks.get(bottom) or _block(store, bottom)
    if last is None:
        raise StoreIncompleteError(f"block {bottom}, the last of epoch {epoch - 1}, is missing")
    return Floor(bottom, last.hash, last.proof)


def _block(store: Store, height: int) -> Block | None:
    raw = store.get("blocks", height.to_bytes(8, "big"))
    return None if raw is None else decode_block(raw)


def _blocks(store: Store, first: int, last: int) -> Iterator[Block]:
    start, stop = first.to_bytes(8, "big"), (last + 1).to_bytes(8, "big")
    for _, raw in _all(store, "blocks", start, stop):
        yield decode_block(raw)


def _statements(store: Store, block: Block, *, needed: bool) -> tuple[Statement, ...]:
    found: list[Statement] = []
    for digest in decode_payload(block.payload).items:
        raw = store.get("statements", digest)
        if raw is not None:
            found.append(decode_statement(raw))
        elif needed:
            raise StoreIncompleteError(
                f"block {block.height} lists statement {digest.hex()}, which the store lacks"
            )
    return tuple(found)


def _all(store: Store, table: str, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
    while True:
        rows = store.scan(table, start=start, stop=stop, limit=SCAN_ROWS)
        yield from rows
        if len(rows) < SCAN_ROWS:
            return
        start = rows[-1][0] + b"\x00"


def _decode(record: bytes) -> codec.Value:
    try:
        return codec.decode(record, size_bytes_max=RECORD_BYTES_MAX)
    except RemoteProtocolError as error:
        raise StorageError(f"the log holds a malformed record: {error}") from error


def make_signer(
    key: SecretKey, chain: Chain, records: Sequence[bytes], *, log_lost: bool, epoch: int
) -> SafeSigner:
    """Return the guard of a validator's key, rebuilt from the log."""
    return SafeSigner(key, chain.id, records, log_lost=log_lost, epoch=epoch)
