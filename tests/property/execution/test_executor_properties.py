"""The executor against a naive model, over random blocks of honest and broken transactions."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import event, given, settings
from hypothesis import strategies as st

from p2pnode.execution.block import BlockExecution, ReadyBatch
from p2pnode.execution.executor import ShardExecutor
from p2pnode.execution.outcomes import Outcome, Status, decode_outcome
from p2pnode.execution.ranges import Layout, Shard
from p2pnode.execution.receipts import Inbox, decode_outbox, encode_outbox, sums_of
from p2pnode.execution.state import ShardState
from p2pnode.execution.system import SystemExecutor
from p2pnode.types.genesis import Genesis
from p2pnode.types.transaction import AMOUNT_MAX, Transaction
from tests.unit.execution.scaffold import (
    ADDRESSES,
    CHAIN,
    PARAMETERS,
    batch_of,
    executor_of,
    genesis_accounts,
    transfer,
)

PEOPLE = 4
BALANCES = {
    0: {0: 200, 7: 50},
    1: {0: 60, 7: AMOUNT_MAX - 10},
    2: {0: 9},
}


@dataclass
class Model:
    """The rules of execution written down again, the slow and plain way."""

    balances: dict[tuple[int, int], int] = field(default_factory=dict)
    nonces: dict[int, int] = field(default_factory=dict)
    pot: int = 0
    left: int = 0
    feeds: dict[bytes, int] = field(default_factory=dict)

    def block(
        self, height: int, plans: list[tuple[ReadyBatch, list[Plan]]], last: bool
    ) -> list[str]:
        seen = []
        for batch, plan in plans:
            feed = batch.header.collator
            if batch.header.sequence <= self.feeds.get(feed, 0):
                continue
            self.feeds[feed] = batch.header.sequence
            if not batch.void:
                seen += [self.transaction(height, item) for item in plan]
        if last:
            self.left += self.pot
            self.pot = 0
        return seen

    def transaction(self, height: int, plan: Plan) -> str:
        if plan.junk or plan.forged or plan.foreign:
            return "skipped"
        fee = 2 + 3 * len(plan.moves)
        money = self.balances.get((plan.sender, 0), 0)
        if (
            plan.nonce != self.nonces.get(plan.sender, 0)
            or height > plan.last
            or fee > plan.limit
            or money < plan.limit
        ):
            return "skipped"
        self.nonces[plan.sender] = plan.nonce + 1
        self.balances[plan.sender, 0] = money - fee
        self.pot += fee
        tried = dict(self.balances)
        for to, asset, amount in plan.moves:
            tried[plan.sender, asset] = tried.get((plan.sender, asset), 0) - amount
            if tried[plan.sender, asset] < 0:
                return "failed"
            tried[to, asset] = tried.get((to, asset), 0) + amount
            if tried[to, asset] >= 1 << 128:
                return "failed"
        self.balances = tried
        return "executed"


@dataclass(frozen=True)
class Plan:
    """A transaction before it is signed."""

    sender: int
    nonce: int
    moves: tuple[tuple[int, int, int], ...]
    limit: int
    last: int
    junk: bool
    forged: bool
    foreign: bool

    def sign(self) -> Transaction | None:
        if self.junk:
            return None
        chain = bytes(32) if self.foreign else CHAIN
        return transfer(
            self.sender, self.nonce, *self.moves, fee_limit=self.limit, last=self.last, chain=chain
        )


def rarely() -> st.SearchStrategy[bool]:
    return st.integers(0, 19).map(lambda n: n == 19)


moves = st.tuples(
    st.integers(0, PEOPLE - 1),
    st.sampled_from([0, 0, 7]),
    st.one_of(st.integers(0, 40), st.sampled_from([0, 10, 11, AMOUNT_MAX])),
)
plans = st.builds(
    Plan,
    sender=st.integers(0, PEOPLE - 1),
    nonce=st.integers(0, 3),
    moves=st.lists(moves, min_size=1, max_size=3).map(tuple),
    limit=st.sampled_from([20, 20, 20, 12, 5, 4, 300]),
    last=st.sampled_from([1000, 1000, 1000, 2, 3]),
    junk=rarely(),
    forged=rarely(),
    foreign=rarely(),
)


@st.composite
def chains(draw: st.DrawFn) -> list[tuple[list[tuple[ReadyBatch, list[Plan]]], bool]]:
    """Draw blocks; a batch may repeat transactions of earlier ones, in block or chain."""
    old: list[Plan] = []
    blocks = []
    for _ in range(draw(st.integers(1, 4))):
        batches = []
        for _ in range(draw(st.integers(0, 3))):
            content = draw(st.lists(plans, max_size=6))
            if old:
                content += draw(st.lists(st.sampled_from(old), max_size=3))
            old += content
            batch = batch_of(
                [plan.sign() for plan in content],
                sequence=draw(st.integers(1, 6)),
                collator=draw(st.integers(0, 1)),
                void=draw(rarely()),
                forged=[n for n, plan in enumerate(content) if plan.forged],
            )
            batches.append((batch, content))
        blocks.append((batches, draw(st.booleans())))
    return blocks


def labels(outcomes: tuple[Outcome, ...]) -> list[str]:
    return [outcome.status.name.lower() for outcome in outcomes]


@settings(max_examples=100)
@given(chains())
def test_random_blocks_do_what_the_naive_model_does(
    blocks: list[tuple[list[tuple[ReadyBatch, list[Plan]]], bool]],
) -> None:
    executor, again = executor_of(BALANCES), executor_of(BALANCES)
    model = Model({(who, a): n for who, held in BALANCES.items() for a, n in held.items()})
    supply = executor.supply()
    executed: dict[bytes, None] = {}
    for height, (batches, last) in enumerate(blocks, start=1):
        ready = [batch for batch, _ in batches]
        before = executor.root(), executor.state.record.root()
        block = executor.execute(height, 0, last, (), ready)
        assert labels(block.outcomes) == model.block(height, batches, last)
        for outcome in block.outcomes:
            event(outcome.reason.label())
            assert decode_outcome(outcome.encode()) == outcome
            if outcome.status is not Status.SKIPPED:
                assert outcome.id not in executed, "a transaction executed twice"
                executed[outcome.id] = None
        check_accounts(executor, model)
        check_block(block, executor, before)
        assert executor.supply() == supply
        # The same block from the same state gives the same bytes, whatever object runs it.
        assert again.execute(height, 0, last, (), ready) == block


def check_accounts(executor: ShardExecutor, model: Model) -> None:
    for who in range(PEOPLE):
        account = executor.state.account(ADDRESSES[who])
        assert account.nonce == model.nonces.get(who, 0)
        for asset in (0, 7):
            assert account.balance(asset) == model.balances.get((who, asset), 0)
    assert executor.state.record.pot.get(0, 0) == model.pot
    assert executor.state.record.sent.get(0, 0) == model.left


def check_block(
    block: BlockExecution, executor: ShardExecutor, before: tuple[bytes, bytes]
) -> None:
    after = executor.root(), executor.state.record.root()
    assert (block.pre_root, block.post_root) == (before[0], after[0])
    assert block.watermarks_root == after[1]
    if not block.has_result:
        assert before == after
        assert not block.writes
    assert block.counters[:3] == tuple(
        sum(outcome.status is status for outcome in block.outcomes) for status in Status
    )
    assert block.counters[3] == sum(outcome.fee for outcome in block.outcomes)
    assert decode_outbox(encode_outbox(block.outbox)) == block.outbox
    gone = sums_of(block.outbox)
    assert dict(block.supply_delta) == {asset: -amount for asset, amount in gone.items()}


@settings(max_examples=60)
@given(chains())
def test_a_state_rebuilt_from_the_writes_of_all_blocks_has_the_same_root(
    blocks: list[tuple[list[tuple[ReadyBatch, list[Plan]]], bool]],
) -> None:
    executor = executor_of({})
    funded = ShardState(executor.state.shard, PARAMETERS.bucket_bits)
    writes = funded.fund(genesis_accounts({ADDRESSES[n]: held for n, held in BALANCES.items()}))
    executor = ShardExecutor(CHAIN, executor.layout, PARAMETERS, funded)
    for height, (batches, last) in enumerate(blocks, start=1):
        writes += executor.execute(height, 0, last, (), [b for b, _ in batches]).writes
    table: dict[bytes, bytes] = {}
    for write in writes:
        if write.value is None:
            del table[write.key]
        else:
            table[write.key] = write.value
    rebuilt = ShardState(funded.shard, PARAMETERS.bucket_bits)
    rebuilt.load(sorted(table.items()))
    assert rebuilt.root() == executor.root()
    assert rebuilt.record == executor.state.record
    assert rebuilt.supply() == executor.supply()


@settings(max_examples=60)
@given(st.data())
def test_two_shards_and_the_system_conserve_every_asset_whatever_is_in_flight(
    data: st.DataObject,
) -> None:
    layout = Layout((Shard(2, 0, 1), Shard(3, 1, 1)))
    shards: dict[int, ShardExecutor | SystemExecutor] = {
        uid: executor_of(BALANCES | {3: {0: 500}}, uid=uid, layout=layout) for uid in (2, 3)
    }
    shards[0] = SystemExecutor(Genesis("test-", 0, "solo", "inline", (), PARAMETERS, ()))
    total = sum_of(shards)
    # Every outbox, kept whole; a destination is offered what it has not consumed, and repetitions.
    sent: dict[int, list[Inbox]] = {uid: [] for uid in shards}
    nonces = [0] * PEOPLE
    sequence = dict.fromkeys(shards, 0)
    for height in range(1, data.draw(st.integers(2, 6)) + 1):
        for uid, executor in shards.items():
            batches = []
            if uid and data.draw(st.booleans()):
                sequence[uid] += 1
                batches.append(draw_batch(data, uid, sequence[uid], nonces, layout))
            offered = [
                inbox
                for source, boxes in sent.items()
                if source != uid
                for inbox in boxes[data.draw(st.integers(0, len(boxes))) :]
            ]
            if offered and data.draw(st.booleans()):
                offered.append(offered[0])
            block = executor.execute(height, 0, data.draw(rarely()), offered, batches)
            if block.outbox:
                number = block.counters[-1] + 1
                assert number == len(sent[uid]) + 1
                sent[uid].append(Inbox(uid, height, number, block.outbox))
        assert sum_of(shards) == total
    # Let everything arrive, refunds of refusals included: nothing stays in flight.
    for height in range(100, 140):
        for uid, executor in shards.items():
            boxes = [b for source, kept in sent.items() if source != uid for b in kept]
            block = executor.execute(height, 0, False, boxes[::-1], [])
            if block.outbox:
                number = block.counters[-1] + 1
                sent[uid].append(Inbox(uid, height, number, block.outbox))
    assert sum_of(shards) == total
    for asset in (0, 7):
        records = [
            e.record if isinstance(e, SystemExecutor) else e.state.record for e in shards.values()
        ]
        out = sum(record.sent.get(asset, 0) for record in records)
        arrived = sum(record.received.get(asset, 0) for record in records)
        event(f"asset {asset} travelled: {out > 0}")
        assert out == arrived


def draw_batch(
    data: st.DataObject, uid: int, sequence: int, nonces: list[int], layout: Layout
) -> ReadyBatch:
    shard = next(shard for shard in layout.shards if shard.uid == uid)
    content = []
    for plan in data.draw(st.lists(plans, max_size=4)):
        if shard.contains(ADDRESSES[plan.sender]):
            signed = transfer(plan.sender, nonces[plan.sender], *plan.moves, fee_limit=20)
            nonces[plan.sender] += 1
            content.append(signed)
    return batch_of(content, uid=uid, sequence=sequence)


def sum_of(shards: dict[int, ShardExecutor | SystemExecutor]) -> dict[int, int]:
    sums: dict[int, int] = {}
    for executor in shards.values():
        for asset, amount in executor.supply().items():
            sums[asset] = sums.get(asset, 0) + amount
    return {asset: amount for asset, amount in sums.items() if amount}
