"""Custody through random offers and blocks: limits hold, and what is kept is what was promised."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.availability.custody import (
    Accepted,
    Custody,
    CustodyConfig,
    Equivocated,
    FeedFullError,
    StaleSequenceError,
)
from p2pnode.types.genesis import Parameters
from tests.unit.availability.helpers import CHAIN, KEYS, SCHEME, batch, validators

BATCHES = {
    (collator, sequence, variant): batch(
        [bytes([variant + 1]) * 50], collator=collator, sequence=sequence
    )
    for collator in range(2)
    for sequence in range(1, 9)
    for variant in range(2)
}
OFFER = st.tuples(st.just("offer"), st.sampled_from(sorted(BATCHES)))
ORDER = st.tuples(st.just("order"), st.tuples(st.integers(0, 1), st.integers(1, 8)))
PRUNE = st.tuples(st.just("prune"), st.just(()))


@given(st.lists(OFFER | ORDER | PRUNE, max_size=60))
def test_feeds_keep_their_limits_and_nothing_promised_is_lost_early(steps: list):
    config = dataclasses.replace(CustodyConfig.of(CHAIN, Parameters()), retention_heights=5)
    custody = Custody(config, SCHEME)
    custody.enter_epoch(0, {}, (), 0)
    custody.enter_epoch(3, {1: [k.public for k in KEYS[:2]]}, validators(1, 1), 0)
    held: dict[tuple[int, int], tuple[int, int | None]] = {}
    ordered = {0: 0, 1: 0}
    for height, (what, detail) in enumerate(steps, start=1):
        if what == "offer":
            collator, sequence, variant = detail
            header, data = BATCHES[detail]
            waiting = [
                s for (c, s), (_, passed) in held.items() if c == collator and passed is None
            ]
            try:
                outcome = custody.accept(0, header, bytes(64), data, height)
            except StaleSequenceError:
                assert (collator, sequence) not in held
                assert sequence <= ordered[collator]
            except FeedFullError:
                assert (collator, sequence) not in held
                assert len(waiting) == 4
            else:
                if isinstance(outcome, Equivocated):
                    assert held[collator, sequence][0] == 1 - variant
                    assert outcome.evidence.signer == collator
                else:
                    assert isinstance(outcome, Accepted)
                    assert outcome.digest == header.digest()
                    assert held.setdefault((collator, sequence), (variant, None))[0] == variant
        elif what == "order":
            collator, sequence = detail
            ordered[collator] = max(ordered[collator], sequence)
            custody.ordered(height, 1, KEYS[collator].public, sequence)
            for (c, s), (variant, passed) in held.items():
                if c == collator and s <= ordered[collator] and passed is None:
                    held[c, s] = (variant, height)
        else:
            over = {
                BATCHES[(*key, variant)][0].digest(): key
                for key, (variant, passed) in held.items()
                if passed is not None and passed + 5 <= height
            }
            assert sorted(custody.prune(height)) == sorted(over)
            for key in over.values():
                del held[key]
        for key, (variant, _) in held.items():
            assert BATCHES[(*key, variant)][0].digest() in custody
        assert custody.statistics().batches_count == len(held)
        for collator in range(2):
            waiting = [s for (c, s), (_, p) in held.items() if c == collator and p is None]
            assert len(waiting) <= 4
