from __future__ import annotations

from p2pnode.consensus.simplex.chronicle import Chronicle
from p2pnode.consensus.simplex.summaries import Status
from p2pnode.consensus.simplex.views import Verdict, View
from p2pnode.consensus.simplex.votes import Ballot, Kind, Proposal
from p2pnode.consensus.standing import VIEWS_MAX, SkipReason, ViewOutcome, ViewRow, standing_of
from p2pnode.consensus.tally import Tally

MS = 1_000_000
BLOCK = Proposal(5, 4, 9, b"\x01" * 32)


def chronicle() -> Chronicle:
    found = Chronicle(4)
    found.entered(0, 5)
    return found


def view(*, proposal: Proposal | None = None, voted: bytes | None = None) -> View:
    powers = (1, 1, 1, 1)
    return View(5, Tally(powers), Tally(powers), proposal=proposal, voted=voted)


def first_row(found: Chronicle, floor: int = 0) -> ViewRow:
    return found.rows(proposer=2, floor=floor)[0]


def skipped(found: Chronicle) -> ViewRow:
    found.certified(Ballot(Kind.NULLIFY, 5, None))
    return first_row(found)


def test_a_view_without_a_proposal_is_skipped_for_silence() -> None:
    found = chronicle()
    found.gave_up(300 * MS, view(), timed=True)
    assert skipped(found).skip is SkipReason.SILENT


def test_a_proposal_after_the_timer_says_by_how_much_it_was_late() -> None:
    found = chronicle()
    found.gave_up(300 * MS, view(), timed=True)
    found.proposed(610 * MS, 5)
    row = skipped(found)
    assert (row.skip, row.late_ms) == (SkipReason.LATE, 310)


def test_a_proposal_that_was_never_checked_was_unavailable() -> None:
    found = chronicle()
    found.gave_up(300 * MS, view(proposal=BLOCK), timed=True)
    assert skipped(found).skip is SkipReason.UNAVAILABLE


def test_a_proposal_that_was_voted_for_lacked_the_votes_of_others() -> None:
    found = chronicle()
    found.gave_up(300 * MS, view(proposal=BLOCK, voted=b"x"), timed=True)
    assert skipped(found).skip is SkipReason.VOTES


def test_a_view_that_this_node_never_gave_up_was_skipped_by_others() -> None:
    assert skipped(chronicle()).skip is SkipReason.OTHERS


def test_a_view_below_the_final_one_is_final_or_was_skipped() -> None:
    found = chronicle()
    assert first_row(found).outcome is ViewOutcome.OPEN
    assert first_row(found, floor=6).outcome is ViewOutcome.SKIPPED
    found.certified(Ballot(Kind.NOTARIZE, 5, BLOCK))
    assert first_row(found).outcome is ViewOutcome.NOTARIZED
    assert first_row(found, floor=6).outcome is ViewOutcome.FINAL
    found.finalized([5])
    assert first_row(found).outcome is ViewOutcome.FINAL


def test_a_view_lasts_from_its_entering_to_the_next() -> None:
    found = chronicle()
    found.entered(250 * MS, 6)
    before, now = found.rows(proposer=3, floor=0)
    assert (before.proposer, before.duration_ms) == (2, 250)
    assert (now.proposer, now.duration_ms) == (3, None)


def test_votes_and_summaries_tell_how_far_everybody_is() -> None:
    found = chronicle()
    found.voted(Ballot(Kind.NOTARIZE, 5, BLOCK), 0)
    found.voted(Ballot(Kind.FINALIZE, 5, BLOCK), 1)
    found.told(2, Status(height=3, floor=1, final=1, current=2, notarized=0, nullified=0))
    standing = found.standing(
        view(), 2, 0, (1, 1, 1, 1), armed=False, delta_ns=MS, delta_max_ns=2 * MS
    )
    seen = [(where.view, where.height) for where in standing.whereabouts]
    assert seen == [(5, 8), (6, 9), (2, 3), (None, None)]
    assert first_row(found).voters == (0, 1)


def test_a_check_without_an_answer_names_its_payload() -> None:
    waiting = view(proposal=BLOCK)
    waiting.checked = Verdict.PENDING
    standing = chronicle().standing(
        waiting, 2, 0, (1, 1, 1, 1), armed=False, delta_ns=MS, delta_max_ns=2 * MS
    )
    assert standing.checking == BLOCK.digest
    assert standing.proposal_seen


def test_only_the_newest_views_are_kept() -> None:
    found = chronicle()
    for number in range(6, 400):
        found.entered(number * MS, number)
    rows = found.rows(proposer=0, floor=0)
    assert len(rows) == VIEWS_MAX
    assert rows[-1].view == 399


def test_an_engine_that_tells_nothing_is_shown_with_nothing() -> None:
    assert standing_of(object(), 5).recent == ()
