"""Keys, transactions, batches and executors for the tests of execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from p2pnode import crypto
from p2pnode.execution.block import ReadyBatch
from p2pnode.execution.executor import ShardExecutor
from p2pnode.execution.ranges import Layout, genesis_layout
from p2pnode.execution.state import ShardState
from p2pnode.types.batch import KIND_TRANSACTIONS, BatchHeader
from p2pnode.types.genesis import GenesisAccount, Parameters
from p2pnode.types.transaction import Transaction, Transfer, sign_transaction

CHAIN = crypto.sha256(b"test-execution")
FAR = 1_000_000
"""A last valid height that no test reaches."""
PARAMETERS = Parameters(fee_base=2, fee_action=3, bucket_bits=4)
KEYS = [crypto.SecretKey(bytes([n]) * 32) for n in range(1, 9)]
ADDRESSES = [crypto.address_of(key.public) for key in KEYS]
COLLATORS = [bytes([0xC0 + n]) * 32 for n in range(4)]


def transfer(
    sender: int,
    nonce: int,
    *moves: tuple[int, int, int],
    fee_limit: int = 100,
    last: int = FAR,
    chain: bytes = CHAIN,
) -> Transaction:
    """Return a signed transaction of key number `sender`; a move is (receiver, asset, amount)."""
    return sign_transaction(
        KEYS[sender],
        chain,
        nonce=nonce,
        last_valid_height=last,
        fee_limit=fee_limit,
        actions=tuple(Transfer(asset, ADDRESSES[to], amount) for to, asset, amount in moves),
    )


def batch_of(
    transactions: Sequence[Transaction | None],
    *,
    sequence: int = 1,
    collator: int = 0,
    uid: int = 1,
    forged: Sequence[int] = (),
    void: bool = False,
    kind: int = KIND_TRANSACTIONS,
) -> ReadyBatch:
    """Return a batch; those at the indices `forged` carry a bad signature."""
    header = BatchHeader(
        chain=CHAIN,
        epoch=0,
        uid=uid,
        collator=COLLATORS[collator],
        sequence=sequence,
        kind=kind,
        tx_root=bytes(32),
        scheme="inline",
        k=1,
        n=0,
        row_size=1,
        data_bytes=100 * len(transactions),
        commitment=bytes(32),
    )
    return ReadyBatch(
        header,
        header.digest(),
        tuple(transactions),
        tuple(t is not None and i not in forged for i, t in enumerate(transactions)),
        void,
    )


def genesis_accounts(balances: Mapping[bytes, Mapping[int, int]]) -> list[GenesisAccount]:
    """Return genesis accounts, ascending."""
    return [
        GenesisAccount(address, tuple(sorted(held.items())))
        for address, held in sorted(balances.items())
    ]


def executor_of(
    balances: Mapping[int, Mapping[int, int]],
    *,
    uid: int = 1,
    layout: Layout | None = None,
    parameters: Parameters = PARAMETERS,
) -> ShardExecutor:
    """Return the executor of a shard; `balances` are by key number."""
    layout = layout or genesis_layout()
    shard = next(shard for shard in layout.shards if shard.uid == uid)
    state = ShardState(shard, parameters.bucket_bits)
    state.fund(genesis_accounts({ADDRESSES[n]: held for n, held in balances.items()}))
    return ShardExecutor(CHAIN, layout, parameters, state)
