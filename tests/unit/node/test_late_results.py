"""Results that are certified late: the chain of outboxes never breaks."""

from __future__ import annotations

from p2pnode.consensus.statements import StatementPool
from p2pnode.types.effects import Lane
from p2pnode.types.messages import ResultVote, decode_frame, join_frame
from p2pnode.types.statement import Statement, digest_of
from tests.cluster import Cluster, S, Shell
from tests.spine import FEES, make_chain, result_certificate


def busy(cluster: Cluster, times: int) -> None:
    for i in range(times):
        cluster.shells[i % 4].submit(cluster.transfer(i % 8))
        cluster.run(S // 2)


def test_results_are_certified_again_after_votes_were_lost_for_epochs() -> None:
    """The pot leaves at the end of an epoch; no later result can pass its outbox by."""
    cluster = Cluster(epoch_blocks=20, heartbeat_ms=300)
    deaf = False

    def outgoing(sender: Shell, peer: bytes, lane: Lane, message: bytes) -> bytes | None:
        (decoded,) = decode_frame(join_frame([message]))
        return None if deaf and isinstance(decoded, ResultVote) else message

    cluster.outgoing = outgoing
    busy(cluster, 10)
    pools = [shell.core.ordering.pool for shell in cluster.shells]
    before = pools[0].certified_height(1)
    assert before > 0
    deaf = True
    while cluster.shells[0].height < 110:
        busy(cluster, 1)
    assert pools[0].certified_height(1) <= before + 2
    deaf = False
    busy(cluster, 40)
    height = cluster.shells[0].height
    assert all(pool.certified_height(1) > height - 10 for pool in pools)
    assert all(shell.core.pipeline.statistics().results_open <= 2 for shell in cluster.shells)
    # What was sent meanwhile has arrived: the system shard has the fees of every epoch.
    supplies = [shell.core.executors[0].supply() for shell in cluster.shells]
    assert supplies[0] == supplies[1]
    assert cluster.honest_blamed() == []


def test_outboxes_listed_out_of_order_are_all_counted() -> None:
    """A proposer may list a later one first; what follows both must not wait for ever."""
    chain = make_chain()
    pool = StatementPool(chain)

    def add(statement: Statement) -> bytes:
        raw = statement.encode()
        pool.add(digest_of(raw), raw, statement)
        return digest_of(raw)

    first = add(result_certificate(chain, 3, receipts=FEES, outboxes=0))
    second = add(result_certificate(chain, 5, receipts=FEES, outboxes=1))
    last = add(result_certificate(chain, 6, outboxes=2))
    assert pool.choose(7, ()) == (first,)
    pool.ordered(7, (second,))
    assert pool.choose(8, ()) == (first,)
    pool.ordered(8, (first,))
    assert pool.choose(9, ()) == (last,)


def test_a_result_with_receipts_may_be_listed_in_any_later_epoch_and_no_other_may() -> None:
    chain = make_chain()
    blocks = chain.genesis.parameters.epoch_blocks
    for height in (blocks + 1, blocks * 2 + 1, blocks * 50):
        assert chain.result_admissible(0, height, outbox=True)
    assert not chain.result_admissible(0, blocks * 3, outbox=False)
    assert not chain.result_admissible(1, blocks, outbox=True), "of an epoch that has not begun"
