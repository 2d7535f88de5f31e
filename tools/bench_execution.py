"""Measure what a transaction costs in execution, part by part.

    python tools/bench_execution.py [--accounts 1000000] [--transactions 2000] [--blocks 5]

A block of transfers between random accounts is decoded, verified, executed and committed as a node
does it, on one core. Prints microseconds a transaction; asserts nothing about speed.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from p2pnode import codec, crypto
from p2pnode.execution.accounts import encode_account
from p2pnode.execution.block import ReadyBatch
from p2pnode.execution.executor import ShardExecutor
from p2pnode.execution.outcomes import outcome_root
from p2pnode.execution.ranges import genesis_layout
from p2pnode.execution.state import ShardState
from p2pnode.execution.tree import BucketTree
from p2pnode.types.batch import KIND_TRANSACTIONS, BatchHeader, decode_transactions
from p2pnode.types.batch import encode_transactions as encode_batch
from p2pnode.types.genesis import GenesisAccount, Parameters
from p2pnode.types.transaction import Transfer, decode_transaction, sign_transaction

T = TypeVar("T")
CHAIN = crypto.sha256(b"test-bench-execution")


@dataclass
class Stopwatch:
    """Adds up time by part."""

    spent_ns: dict[str, int] = field(default_factory=dict)

    def time(self, part: str, what: Callable[[], T]) -> T:
        start = time.perf_counter_ns()
        value = what()
        self.spent_ns[part] = self.spent_ns.get(part, 0) + time.perf_counter_ns() - start
        return value


class TimedState(ShardState):
    """A state that tells how long its parts of a commit take."""

    watch: Stopwatch

    def commit(self, changes, record):  # type: ignore[no-untyped-def]
        return self.watch.time("commit", lambda: super(TimedState, self).commit(changes, record))

    def root(self) -> bytes:
        return self.watch.time("hash", super().root)


class TimedTree(BucketTree):
    """A tree that tells how long its updates take."""

    watch: Stopwatch

    def update(self, changes):  # type: ignore[no-untyped-def]
        self.watch.time("edit", lambda: super(TimedTree, self).update(changes))


def rss_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=1_000_000, help="accounts in the state")
    parser.add_argument("--transactions", type=int, default=2_000, help="transfers in a block")
    parser.add_argument("--blocks", type=int, default=5, help="blocks measured")
    parser.add_argument(
        "--bucket-bits", type=int, default=None, help="default: 2-6 accounts a bucket"
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    dice = random.Random(args.seed)
    bits = args.bucket_bits
    if bits is None:
        bits = max(1, min(20, (args.accounts // 2).bit_length() - 1))
    parameters = Parameters(bucket_bits=bits)

    keys = [
        crypto.SecretKey(dice.randbytes(32)) for _ in range(min(args.accounts, args.transactions))
    ]
    senders = [crypto.address_of(key.public) for key in keys]
    others = [dice.randbytes(32) for _ in range(args.accounts - len(keys))]
    addresses = sorted(senders + others)
    base_mib = rss_mib()
    state = TimedState(genesis_layout().shards[0], bits)
    watch = state.watch = Stopwatch()
    start = time.perf_counter()
    state.fund(GenesisAccount(address, ((0, 10**18), (1, 10**9))) for address in addresses)
    state.root()
    print(
        f"{args.accounts:,} accounts, {bits} bucket bits: funded and hashed in "
        f"{time.perf_counter() - start:.1f} s, {rss_mib() - base_mib:.0f} MiB"
    )
    update_figure(state, addresses, dice)
    state._tree.__class__ = TimedTree
    state._tree.watch = watch  # type: ignore[attr-defined]
    executor = ShardExecutor(CHAIN, genesis_layout(), parameters, state)
    watch.spent_ns.clear()
    for height in range(1, args.blocks + 1):
        raws = [
            sign_transaction(
                keys[n % len(keys)],
                CHAIN,
                nonce=(height - 1) * -(-args.transactions // len(keys)) + n // len(keys),
                last_valid_height=1_000_000,
                fee_limit=1000,
                actions=(Transfer(n % 2, dice.choice(addresses), dice.randrange(1, 10**5)),),
            ).raw
            for n in range(args.transactions)
        ]
        measure(executor, height, encode_batch(raws), watch)
    report(watch, args.transactions * args.blocks)


def measure(executor: ShardExecutor, height: int, data: bytes, watch: Stopwatch) -> None:
    raws = watch.time("decode", lambda: decode_transactions(data))
    transactions = watch.time("decode", lambda: [decode_transaction(raw) for raw in raws])
    ok = watch.time(
        "verify",
        lambda: [crypto.verify(t.sender_key, t.signed, t.signature) for t in transactions],
    )
    header = BatchHeader(
        CHAIN,
        0,
        1,
        bytes(32),
        height,
        KIND_TRANSACTIONS,
        bytes(32),
        "inline",
        1,
        0,
        1,
        1,
        bytes(32),
    )
    batch = ReadyBatch(header, header.digest(), tuple(transactions), tuple(ok), False)
    block = watch.time("block", lambda: executor.execute(height, 0, False, (), [batch]))
    assert block.counters[0] == len(transactions), block.counters
    watch.time("outcomes", lambda: outcome_root(block.outcomes))


def update_figure(state: ShardState, addresses: list[bytes], dice: random.Random) -> None:
    """Time 10,000 updates of the tree alone."""
    picked = dice.sample(addresses, min(10_000, len(addresses)))
    changes = [(address, encode_account(state.flat(address))) for address in picked]
    root = state.root()
    start = time.perf_counter()
    state._tree.update(changes)
    assert state._tree.root() == root
    spent = time.perf_counter() - start
    print(f"tree alone: {spent / len(picked) * 1e6:.1f} us a key at {len(picked):,} updates")
    value = codec.encode([0, []])
    start = time.perf_counter()
    for address in picked[:1000]:
        state.prove(address)
    print(f"proof of an account: {(time.perf_counter() - start) * 1e3:.1f} us, ", end="")
    print(f"{len(state.prove(picked[0])[1].encode()) + len(value):,} bytes")


def report(watch: Stopwatch, count: int) -> None:
    spent = {part: ns / count / 1000 for part, ns in watch.spent_ns.items()}
    edit, hashing, commit = spent["edit"], spent["hash"], spent["commit"]
    rows = {
        "decode": spent["decode"],
        "verify": spent["verify"],
        "execute": spent["block"] - commit - hashing - spent["outcomes"],
        "outcomes": spent["outcomes"],
        "encode": commit - edit,
        "tree": edit + hashing,
    }
    for part, each in rows.items():
        print(f"{part:10} {each:7.2f} us a transaction")
    print(f"{'total':10} {sum(rows.values()):7.2f} us a transaction")


if __name__ == "__main__":
    main()
