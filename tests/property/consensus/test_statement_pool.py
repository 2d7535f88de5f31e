"""Any statements in any order: what is listed keeps the rules, and all that is useful is listed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode import crypto
from p2pnode.consensus.statements import RETAINED_HEIGHTS, StatementPool, outboxes_before
from p2pnode.types.payload import ITEMS_MAX
from p2pnode.types.statement import (
    BatchCertificate,
    Evidence,
    ResultCertificate,
    SignerList,
    Statement,
)
from tests.spine import FEES, batch, make_chain, result

CHAIN = make_chain(epoch_blocks=10)
NOBODY = SignerList((), ())


def batch_of(feed: tuple[int, int], sequence: int, epoch: int) -> BatchCertificate:
    uid, collator = feed
    header, _ = batch(CHAIN, collator=collator, sequence=sequence, epoch=epoch, uid=uid)
    return BatchCertificate(header, bytes(64), NOBODY)


def result_of(uid: int, height: int, outboxes: int, sends: bool) -> ResultCertificate:
    made = result(CHAIN, height, uid=uid, outboxes=outboxes, receipts=FEES if sends else ())
    return ResultCertificate(made, b"outbox" if sends else b"", NOBODY)


def evidence_of(signer: int, number: int) -> Evidence:
    return Evidence(0, signer, "batch", b"a", bytes(64), bytes([number]), bytes(64))


FEEDS = st.tuples(st.integers(1, 2), st.integers(0, 2))
STATEMENTS = st.one_of(
    st.builds(batch_of, FEEDS, st.integers(1, 6), st.integers(0, 2)),
    st.builds(result_of, st.integers(0, 1), st.integers(1, 25), st.integers(0, 3), st.booleans()),
    st.builds(evidence_of, st.integers(0, 3), st.integers(0, 5)),
)


def digest(statement: Statement) -> bytes:
    return crypto.sha256(repr(statement).encode())


@settings(max_examples=150)
@given(
    arriving=st.lists(st.lists(STATEMENTS, max_size=6), min_size=1, max_size=24),
    foreign=st.data(),
)
def test_what_is_listed_height_by_height_keeps_the_rules(
    arriving: list[list[Statement]], foreign: st.DataObject
) -> None:
    pool = StatementPool(CHAIN)
    feeds: dict[tuple[int, bytes], int] = {}
    outboxes: dict[int, int] = {}
    listed_before: dict[bytes, Statement] = {}
    pending: dict[bytes, None] = {}
    for height, statements in enumerate(arriving, 1):
        for statement in statements:
            pool.add(digest(statement), b"", statement)
        # A height may stay open while the next is proposed: what it lists is excluded.
        chosen = pool.choose(height, pending)
        assert len(chosen) == len(dict.fromkeys(chosen)) <= ITEMS_MAX
        assert not any(d in pending or d in listed_before for d in chosen)
        seen: dict[tuple[str, int], None] = {}
        for listed in chosen:
            statement = pool.get(listed)
            assert statement is not None
            match statement:
                case BatchCertificate(header):
                    assert ("batch", header.uid) not in seen
                    seen["batch", header.uid] = None
                    assert CHAIN.admissible(header.epoch, height)
                    feed = (header.uid, header.collator)
                    assert header.sequence > feeds.get(feed, 0), "it would be ignored"
                    feeds[feed] = header.sequence
                case ResultCertificate(of, outbox):
                    assert ("result", of.uid) not in seen
                    seen["result", of.uid] = None
                    # Receipts are certified however late (docs/adr/011).
                    assert outbox or CHAIN.admissible(of.epoch, height)
                    assert outboxes_before(of) == outboxes.get(of.uid, 0), "one is missing"
                    outboxes[of.uid] = outboxes_before(of) + bool(outbox)
            listed_before[listed] = statement
        pending.update(dict.fromkeys(chosen))
        if foreign.draw(st.booleans(), label="final"):
            pool.ordered(height, tuple(pending))
            pending = {}


@settings(max_examples=100)
@given(statements=st.lists(STATEMENTS, max_size=30), height=st.integers(1, 20))
def test_blocks_one_after_the_other_leave_nothing_that_could_be_listed(
    statements: list[Statement], height: int
) -> None:
    pool = StatementPool(CHAIN)
    for statement in statements:
        pool.add(digest(statement), b"", statement)
    for _ in range(len(statements) + 1):
        chosen = pool.choose(height, ())
        if not chosen:
            break
        pool.ordered(height, chosen)
    assert pool.choose(height, ()) == ()


@settings(max_examples=60)
@given(
    statements=st.lists(STATEMENTS, max_size=30),
    order=st.lists(st.lists(STATEMENTS, max_size=4), max_size=20),
)
def test_everything_but_what_still_waits_is_forgotten_in_time(
    statements: list[Statement], order: list[list[Statement]]
) -> None:
    pool = StatementPool(CHAIN)
    every: dict[bytes, Statement] = {}
    for statement in [*statements, *(s for listed in order for s in listed)]:
        every[digest(statement)] = statement
        pool.add(digest(statement), b"", statement)
    for height, listed in enumerate(order, 1):
        pool.ordered(height, tuple(dict.fromkeys(digest(s) for s in listed)))
    end = len(order) + 1
    # Twice: what is dropped with the first height is forgotten with the second.
    pool.ordered(end + RETAINED_HEIGHTS, ())
    pool.ordered(end + 2 * RETAINED_HEIGHTS, ())
    kept = [d for d in every if pool.get(d) is not None]
    assert len(kept) == pool.waiting_count()
    # Receipts must not be lost, however late: only a result that carries some still waits.
    assert all(getattr(every[d], "outbox", b"") for d in kept), "the rest is out of date"
