"""The collator's side: a quorum of answers makes a certificate, silence is asked again."""

from __future__ import annotations

import pytest

from p2pnode.availability.certificate import certificate_claims
from p2pnode.availability.dispersal import (
    Dispersal,
    DispersalConfig,
    Resend,
    TooManyDispersalsError,
)
from p2pnode.crypto import verify
from tests.unit.availability.helpers import CHAIN, batch, sign_header, sign_stored, validators

S = 1_000_000_000


def begin(d: Dispersal, *powers: int, sequence: int = 1, now_ns: int = 0, height: int = 0):
    header, data = batch(sequence=sequence)
    d.begin(now_ns, height, header, sign_header(header), data, validators(*powers))
    return header, data


def test_a_quorum_of_answers_makes_the_certificate_once():
    d = Dispersal(DispersalConfig())
    header, _ = begin(d, 1, 1, 1, 1)
    digest = header.digest()
    assert d.stored(digest, 3, sign_stored(header, 3)) is None
    assert d.stored(digest, 0, sign_stored(header, 0)) is None
    made = d.stored(digest, 1, sign_stored(header, 1))
    assert made is not None
    assert made.signers.signers == (0, 1, 3)
    claims = certificate_claims(made, validators(1, 1, 1, 1), CHAIN)
    assert all(verify(*claim) for claim in claims)
    assert d.stored(digest, 2, sign_stored(header, 2)) is None
    assert d.statistics().certified_count == 1
    assert d.next_ns is None


def test_an_answer_given_twice_counts_once():
    d = Dispersal(DispersalConfig())
    header, _ = begin(d, 1, 1, 1, 1)
    for _ in range(5):
        assert d.stored(header.digest(), 0, sign_stored(header, 0)) is None


def test_the_certificate_leaves_out_the_weak_ones_that_a_strong_one_made_needless():
    d = Dispersal(DispersalConfig())
    header, _ = begin(d, 1, 1, 4, 4)
    for weak in (0, 1, 2):
        assert d.stored(header.digest(), weak, bytes(64)) is None
    made = d.stored(header.digest(), 3, bytes(64))
    assert made is not None
    assert made.signers.signers == (2, 3)


def test_only_answers_that_can_help_are_worth_checking():
    d = Dispersal(DispersalConfig())
    header, _ = begin(d, 1, 1, 1, 1)
    digest = header.digest()
    assert d.wants(digest, 2) == validators(1, 1, 1, 1)[2]
    assert d.wants(bytes(32), 2) is None
    assert d.wants(digest, 4) is None
    assert d.wants(digest, -1) is None
    d.stored(digest, 2, bytes(64))
    assert d.wants(digest, 2) is None


def test_those_who_have_not_answered_get_the_batch_again_after_the_retry_time():
    d = Dispersal(DispersalConfig(retry_ns=S))
    header, data = begin(d, 1, 1, 1, 1)
    d.stored(header.digest(), 1, bytes(64))
    assert d.next_ns == S
    assert d.resend(S - 1) == []
    assert d.resend(S) == [Resend(header, sign_header(header), data, (0, 2, 3))]
    assert d.resend(S) == []
    assert d.next_ns == 2 * S
    assert d.statistics().resent_count == 3


def test_a_batch_is_given_up_when_the_chain_grew_without_it():
    d = Dispersal(DispersalConfig(heights_max=16))
    header, _ = begin(d, 1, 1, 1, 1, height=100)
    assert d.give_up(0, 115) == []
    assert d.give_up(0, 116) == [header]
    assert d.stored(header.digest(), 0, bytes(64)) is None
    assert d.statistics().given_up_count == 1


def test_a_batch_is_given_up_after_its_attempts_though_the_chain_stands_still():
    d = Dispersal(DispersalConfig(retry_ns=S, attempts_max=3))
    header, _ = begin(d, 1, 1, 1, 1)
    for second in (1, 2):
        assert d.give_up(second * S, 0) == []
        assert len(d.resend(second * S)) == 1
    assert d.resend(3 * S) == []
    assert d.give_up(3 * S - 1, 0) == []
    assert d.give_up(3 * S, 0) == [header]


def test_what_a_later_batch_of_the_feed_passed_over_is_forgotten():
    d = Dispersal(DispersalConfig())
    begin(d, 1, 1, 1, 1, sequence=1)
    second, _ = begin(d, 1, 1, 1, 1, sequence=2)
    d.passed(2, 9)
    assert d.statistics().batches_count == 2
    d.passed(1, 1)
    assert [again.header for again in d.resend(S)] == [second]


def test_no_more_batches_than_allowed_are_on_their_way():
    d = Dispersal(DispersalConfig(batches_max=2))
    begin(d, 1, sequence=1)
    begin(d, 1, sequence=2)
    with pytest.raises(TooManyDispersalsError) as caught:
        begin(d, 1, sequence=3)
    assert caught.value.batches_max == 2
