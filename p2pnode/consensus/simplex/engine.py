"""Simplex as commonware runs it: round-robin proposers, certificate relay, skip of silent
proposers.

Source of the rules: eprint 2023/463, §2-3, and commonware's consensus/src/simplex. Views count
from 1; view 0 is the floor of the epoch, final by definition. In each view a proposer signs
`notarize(c, v)`; a quorum of notarize is a notarization, lets everybody enter v+1 and send
`finalize(c, v)`; a quorum of finalize makes c and its ancestors final. Who waited too long sends
`nullify(v)` instead of finalize, never both; a quorum of nullify lets everybody enter v+1 past v.
From "never both" and "one notarize a view": a final view cannot be skipped, and a view has one
notarized block. That is the whole safety proof.

How this file reads: an event changes what is known (`_on_…`; `counting.py` counts and keeps), then
`_settle` fires every rule that the knowledge enables. Here are the rules that lead from view to
view. Those that make a block final are in `finality.py`, those under which we sign in `voting.py`
and, for a proposer's own block, in `proposing.py`. Beside it stand what only sends on (`relay.py`),
answers (`answers.py`), asks (`missing.py`), waits (`timers.py`) and says what is worth a check
(`interest.py`).

What is on disk: certificates are persisted without a barrier. They are evidence, not promises; a
lost one comes back from peers or forms again from the votes, which are on disk at their signers.
And they stand in the log before every vote of ours that depends on them, so its fsync covers
them: whoever restarts with a finalize of view v, or a vote in v+1, holds the certificate that led
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from p2pnode import codec, crypto
from p2pnode.consensus.certs import CertScheme
from p2pnode.consensus.engine import (
    Available,
    Broadcast,
    Built,
    Check,
    Checked,
    Claim,
    Demand,
    Digest,
    Effect,
    EngineParameters,
    Entered,
    Epoch,
    Event,
    Fired,
    Floor,
    Index,
    Interest,
    Item,
    Key,
    Msg,
    Pos,
    Report,
    SetTimer,
    Signed,
    Summary,
    Synced,
    TrafficClass,
    Tune,
    decode_signed,
    quorum_of,
)
from p2pnode.consensus.simplex import summaries, votes
from p2pnode.consensus.simplex.answers import Answers
from p2pnode.consensus.simplex.chronicle import Chronicle
from p2pnode.consensus.simplex.counting import Counting
from p2pnode.consensus.simplex.finality import Finality
from p2pnode.consensus.simplex.interest import Interests
from p2pnode.consensus.simplex.missing import Missing
from p2pnode.consensus.simplex.pace import Pace
from p2pnode.consensus.simplex.proposing import Proposing
from p2pnode.consensus.simplex.relay import Relay
from p2pnode.consensus.simplex.timers import ViewTimers
from p2pnode.consensus.simplex.views import Verdict, View, Views
from p2pnode.consensus.simplex.votes import Ballot, Kind
from p2pnode.consensus.simplex.voting import Voting
from p2pnode.consensus.standing import Standing
from p2pnode.errors import RemoteProtocolError


class SimplexEngine:
    """The default engine; the contract is `p2pnode.consensus.engine`."""

    name: ClassVar[str] = "simplex"
    version: ClassVar[int] = 1

    def __init__(self, parameters: EngineParameters) -> None:
        self._parameters = parameters
        self._out: list[Effect] = []
        self._now_ns = 0

    # --- static: used without an engine running ---------------------------------------------------

    @staticmethod
    def tolerance(power_total: int) -> tuple[int, int]:
        quorum = quorum_of(power_total)
        return power_total - quorum, quorum

    @staticmethod
    def slots(body: bytes) -> Mapping[Key, bytes]:
        return votes.slots(body)

    @staticmethod
    def position(body: bytes) -> Pos:
        return votes.position(body)

    @staticmethod
    def claims(item: Item, epoch: Epoch) -> Sequence[Claim]:
        return votes.claims(item, epoch)

    @staticmethod
    def verify_proof(proof: bytes, epoch: Epoch, height: int, digest: Digest) -> Sequence[Claim]:
        return votes.verify_proof(proof, epoch, height, digest)

    # --- life -------------------------------------------------------------------------------------

    def recover(
        self, now_ns: int, epoch: Epoch, floor: Floor, records: Iterable[bytes]
    ) -> list[Effect]:
        self._assemble(now_ns, epoch)
        self._demand = False
        self._current = 0
        self._next = 1
        self._out = []

        self._start_from(floor)
        own_view = 0
        for record in records:
            own_view = max(own_view, self._replay(record))
        # A vote of ours in a view means that we had entered it.
        self._next = max(self._next, own_view)
        for number in range(self._views.floor_view + 1, own_view + 1):
            self._certify_alone(number)
        for view in self._views.notarized_views():
            self._certify(view)
        self._settle()
        return self._take()

    def _assemble(self, now_ns: int, epoch: Epoch) -> None:
        """Put the parts together, with nothing known yet."""
        given, proposer_of, emit = self._parameters, self.proposer_of, self._emit
        powers = tuple(power for _, power in epoch.validators)
        self._now_ns = now_ns
        self._epoch = epoch
        self._me = epoch.me
        self._offset = int.from_bytes(epoch.seed, "big")
        self._certs = certs = CertScheme(epoch)
        self._pace = pace = Pace(given, epoch, now_ns)
        self._views = views = Views(powers, given.tail_views)
        self._chronicle = chronicle = Chronicle(len(powers))
        self._missing = missing = Missing(epoch, views, emit)
        self._counting = Counting(certs, views, chronicle, proposer_of=proposer_of, emit=emit)
        self._voting = Voting(
            epoch, views, pace, missing, chronicle, proposer_of=proposer_of, emit=emit
        )
        self._proposing = Proposing(epoch, views, pace, missing, emit)
        self._finality = Finality(
            epoch,
            views,
            missing,
            chronicle,
            proposer_of=proposer_of,
            emit=emit,
            on_end=self._halt,
        )
        self._timers = ViewTimers(given, views, pace, proposer_of=proposer_of, emit=emit)
        self._relay = Relay(given, epoch, views, pace, proposer_of=proposer_of, emit=emit)
        self._interests = Interests(given, epoch, certs, views, pace, proposer_of=proposer_of)
        self._answers = Answers(epoch, views, proposer_of=proposer_of, emit=emit)

    def step(self, now_ns: int, event: Event) -> list[Effect]:
        assert now_ns >= self._now_ns, (now_ns, self._now_ns)
        self._now_ns = now_ns
        match event:
            case Msg(sender, Signed() as vote):
                self._on_vote(sender, vote)
            case Msg(sender, bytes() as data):
                self._on_certificate(sender, data)
            case Fired(("propose" | "advance", int(number))):
                self._on_timeout(number)
            case Fired(("retry", int(number))):
                self._on_retry(number)
            case Fired(("relay", int(number))):
                self._relay.due(number, self._finality.highest)
            case Fired(("repropose", int(number))):
                if not self._finality.over:
                    self._proposing.again(number, self._current, now_ns)
            case Fired(("final", int(number))):
                self._on_unfinal(number)
            case Fired(("fetch",)):
                if not self._finality.over:
                    self._missing.due(self._finality.highest, self._timers.retry_ns())
            case Fired():
                pass
            case Built(ctx, payload):
                if not self._finality.over:
                    self._proposing.built(ctx, payload, self._current, now_ns)
            case Checked(ctx, ok):
                self._on_checked(ctx, ok)
            case Available():
                # The open Check of the payload is answered by the host itself.
                pass
            case Synced(floor):
                self._on_synced(floor)
            case Summary(peer, blob):
                self._on_summary(peer, blob)
            case Demand(pending):
                self._demand = pending
            case Tune(delta_ns):
                self._pace.tune(delta_ns)
        self._settle()
        return self._take()

    def _settle(self) -> None:
        """Fire the enabled rules; each is idempotent, and their order is that of a view."""
        self._finality.deliver()
        if self._finality.over:
            return
        if self._parameters.certify:
            for view in self._views.notarized_views():
                if view.certified is Verdict.UNASKED:
                    self._certify(view)
        self._enter()
        self._missing.wanted = ()
        if self._me is not None and self._me == self.proposer_of(self._current):
            self._proposing.propose(self._current, self._now_ns)
        self._voting.notarize(self._current, self._now_ns)
        if self._me is not None:
            after_ns = self._timers.keep(self._current, self._now_ns, demand=self._demand)
            if after_ns is not None:
                self._chronicle.armed(self._now_ns, after_ns)
        self._missing.settle(self._pace.delta_ns)

    def _halt(self) -> None:
        """Be quiet from here on: the epoch is over (or broken); summaries are still answered."""
        self._timers.disarm(self._current)
        self._missing.stop()

    def _take(self) -> list[Effect]:
        out, self._out = self._out, []
        return out

    def _emit(self, effect: Effect) -> None:
        self._out.append(effect)

    def proposer_of(self, number: int) -> Index:
        """Return the proposer of a view: round-robin from where the epoch's seed says."""
        return (self._offset + number) % len(self._epoch.validators)

    # --- messages ---------------------------------------------------------------------------------

    def interest(self, item: Item) -> Interest:
        return self._interests.of(item, self._current, self._now_ns, done=self._finality.over)

    def _on_vote(self, sender: Index | None, vote: Signed) -> None:
        ballot = votes.decode_body(vote.body)
        number = ballot.view
        if self._finality.over or not self._views.lowest() <= number <= self._current + 1:
            return
        view = self._views.make(number)
        if not self._counting.count(view, ballot, vote):
            return
        # Only news counts: a proposer that sends but hears nothing repeats itself, and must not be
        # waited for.
        self._pace.hear(vote.sender, self._now_ns)
        by_proposer = vote.sender == self.proposer_of(number)
        if vote.sender == self._me:
            view.take_slot(ballot.kind, vote.body)
        if ballot.proposal is None:
            view.alive = True
            # Rule: the proposer itself gave its view up, so nobody need wait for the timer.
            if by_proposer and number == self._current:
                self._voting.nullify(view, self._now_ns)
        else:
            self._late(view)
            if ballot.kind is Kind.NOTARIZE and by_proposer:
                view.proposal = ballot.proposal
                self._chronicle.proposed(self._now_ns, number)
                view.alive = True
            view.seen_ns = view.seen_ns or self._now_ns
            self._relay.note_holdings(vote.sender, ballot)
        if ballot.kind not in view.certificates:
            formed = self._counting.formed(view, ballot, vote.body)
            if formed is not None:
                self._learn(view, ballot, formed)

    def _on_certificate(self, sender: Index | None, data: bytes) -> None:
        certificate = self._certs.decode(data)
        ballot = votes.decode_body(certificate.body)
        if self._finality.over or ballot.view < self._views.lowest():
            return
        view = self._views.make(ballot.view)
        view.show(ballot.kind, sender)
        self._counting.accuse(view, ballot, certificate)
        if ballot.view > self._views.floor_view:
            self._pace.hear(sender, self._now_ns)
            if ballot.kind is not Kind.NULLIFY:
                self._late(view)
        # Its votes are votes: a conflict with one we know is evidence like any other, and the
        # proposer's is the proposal, whose own message is not waited for any more.
        for claim in certificate.claims():
            self._counting.count(view, ballot, Signed(claim.signer, claim.body, claim.sig))
            proposed = ballot.kind is Kind.NOTARIZE and claim.signer == self.proposer_of(
                view.number
            )
            if proposed and view.proposal is None:
                view.proposal = ballot.proposal
                self._chronicle.proposed(self._now_ns, view.number)
        self._learn(view, ballot, data)

    def _late(self, view: View) -> None:
        """Rule of the adaptive Δ: x1.5 if something valid comes after our nullify."""
        if view.timed_out and not view.lengthened:
            view.lengthened = True
            self._pace.late()
            self._emit(Report("delta", {"delta_ns": self._pace.delta_ns, "view": view.number}))

    # --- certificates -----------------------------------------------------------------------------

    def _learn(self, view: View, ballot: Ballot, data: bytes) -> None:
        """Take a certificate that formed here or came from somebody."""
        if not self._counting.keep(view, ballot, data):
            return
        kind, number = ballot.kind, view.number
        self._relay.learned(view, kind, data)
        if ballot.proposal is not None:
            view.block = ballot.proposal
            view.seen_ns = view.seen_ns or self._now_ns
        if kind is Kind.NOTARIZE:
            self._certify(view)
        elif kind is Kind.NULLIFY:
            self._next = max(self._next, number + 1)
            self._emit(Report("nullified", {"view": number}))
        else:
            view.certified = Verdict.YES
            self._finality.note(number)
            self._next = max(self._next, number + 1)
            self._pace.finalized()

    def _certify(self, view: View) -> None:
        """Rule: Q notarize(c, v) → enter v+1, send finalize(c, v).

        With `certify` the host is asked once more in between (as commonware does for applications
        that must have the whole payload first): only on yes may c be built on or finalized.
        """
        assert view.block is not None
        if view.certified is Verdict.UNASKED:
            if not self._parameters.certify or self._me is None:
                view.certified = Verdict.YES
            else:
                parent = self._views.parent_digest(view.block)
                if parent is None:
                    return  # asked when the parent is known, see _settle
                view.certified = Verdict.PENDING
                self._emit(
                    Check(
                        ("certify", view.number),
                        view.block.digest,
                        parent,
                        self.proposer_of(view.number),
                        view.block.height,
                    )
                )
        if view.certified is not Verdict.YES:
            return
        self._next = max(self._next, view.number + 1)
        self._voting.finalize(view)

    # --- from view to view ------------------------------------------------------------------------

    def _enter(self) -> None:
        """Rule: a notarization, nullification or finalization of v → enter v+1."""
        if self._next <= self._current:
            return
        self._timers.disarm(self._current)
        self._views.compact(self._current - 1, self._next - 1)
        self._current = self._next
        self._proposing.entered()
        self._chronicle.entered(self._now_ns, self._current)
        self._emit(Entered((self._current,), self.proposer_of(self._current)))
        view = self._views.get(self._current)
        if view is not None:
            vote = view.finals.vote_of(self.proposer_of(self._current))
            if vote is not None and vote.body == votes.nullify(self._current):
                self._voting.nullify(view, self._now_ns)

    def _on_checked(self, ctx: Key, ok: bool) -> None:
        match ctx:
            case ("check", int(number), bytes(digest)):
                self._voting.checked(number, digest, ok)
            case ("certify", int(number)):
                view = self._views.get(number)
                if view is not None and view.certified is Verdict.PENDING:
                    view.certified = Verdict.YES if ok else Verdict.NO
                    if ok:
                        self._certify(view)
                    elif number == self._current:
                        self._voting.nullify(view, self._now_ns)

    # --- time -------------------------------------------------------------------------------------

    def _on_timeout(self, number: int) -> None:
        if self._finality.over or number != self._current or not self._timers.armed:
            return
        view = self._views.make(number)
        if self._voting.nullify(view, self._now_ns, timed=True):
            view.timed_out = self._timers.full_time
            self._emit(Report("timeout", {"view": number}))

    def _on_retry(self, number: int) -> None:
        """Rule: repeat nullify(v) with the best certificate that let us enter v."""
        if (
            self._finality.over
            or number != self._current
            or not self._timers.retrying
            or self._me is None
        ):
            return
        self._emit(SetTimer(("retry", number), self._timers.retry_ns()))
        own = self._views.make(number).finals.vote_of(self._me)
        if own is not None:
            self._emit(Broadcast(own, TrafficClass.VOTE))
        entry = self._entry_certificate()
        if entry is not None:
            self._emit(Broadcast(entry, TrafficClass.CERT))

    def _entry_certificate(self) -> bytes | None:
        before = self._views.get(self._current - 1)
        if before is None:
            return None
        for kind in (Kind.FINALIZE, Kind.NULLIFY, Kind.NOTARIZE):
            if kind in before.certificates:
                return before.certificates[kind]
        return None

    # --- what is missing, and taking up from what is known ----------------------------------------

    def _on_unfinal(self, number: int) -> None:
        """We sent finalize and saw no finalization: somebody may hold it, or the votes we lost."""
        if not self._finality.over and self._finality.highest < number:
            self._missing.ask_for((number,))

    def _on_synced(self, floor: Floor) -> None:
        if floor.height > self._views.floor.height:
            self._start_from(floor)

    def _start_from(self, floor: Floor) -> None:
        number = self._finality.start_from(floor)
        if number is not None:
            self._next = max(self._next, number + 1)

    def _replay(self, record: bytes) -> int:
        """Take a record of the log back; return the view of a vote of ours, else 0."""
        items = codec.array(codec.decode(record, size_bytes_max=1 << 20), "record", length=3)
        if isinstance(items[0], int):
            vote = decode_signed(record)
            ballot = votes.decode_body(vote.body)
            if vote.sender != self._me or ballot.view <= self._views.floor_view:
                return 0
            view = self._views.make(ballot.view)
            view.tally(ballot.kind).add(vote)
            view.take_slot(ballot.kind, vote.body)
            if ballot.kind is Kind.NOTARIZE and self.proposer_of(ballot.view) == self._me:
                view.proposal = ballot.proposal
            return ballot.view
        ballot = votes.decode_body(self._certs.decode(record).body)
        if ballot.view <= self._views.floor_view:
            return 0
        view = self._views.make(ballot.view)
        view.certificates[ballot.kind] = record
        view.block = view.block or ballot.proposal
        if ballot.kind is Kind.FINALIZE:
            view.certified = Verdict.YES
            self._finality.note(ballot.view)
        if ballot.kind is not Kind.NOTARIZE:
            self._next = max(self._next, ballot.view + 1)
        return 0

    def _certify_alone(self, number: int) -> None:
        """Make the certificates that our own replayed votes are: a quorum alone hears nobody."""
        view = self._views.get(number)
        if view is None or self._me is None:
            return
        for tally in (view.notarizes, view.finals):
            own = tally.vote_of(self._me)
            if own is not None:
                ballot = votes.decode_body(own.body)
                formed = self._counting.formed(view, ballot, own.body)
                if formed is not None:
                    self._learn(view, ballot, formed)

    # --- summaries --------------------------------------------------------------------------------

    def summary(self) -> bytes:
        return summaries.encode_status(
            summaries.describe(self._views, self._finality.highest, self._current)
        )

    def _on_summary(self, peer: Index, blob: bytes) -> None:
        try:
            status = summaries.decode_status(blob)
        except RemoteProtocolError as error:
            self._emit(Report("malformed_summary", {"peer": peer, "error": str(error)}))
            return
        self._chronicle.told(peer, status)
        if status.current >= self._views.floor_view:
            self._pace.hear(peer, self._now_ns)
        self._answers.give(
            peer, status, self._finality.highest, self._current, done=self._finality.over
        )

    # --- inspection -------------------------------------------------------------------------------

    def standing(self, now_ns: int) -> Standing:
        return self._chronicle.standing(
            self._views.get(self._current),
            self.proposer_of(self._current),
            self._views.floor_view,
            tuple(power for _, power in self._epoch.validators),
            armed=self._timers.armed,
            delta_ns=self._pace.delta_ns,
            delta_max_ns=self._parameters.delta_max_ns,
        )

    def held(self) -> int:
        return len(self._views) + len(self._epoch.validators)

    def fingerprint(self) -> Digest:
        return crypto.sha256(
            codec.encode(
                (
                    self._now_ns,
                    self._views.snapshot(),
                    self._pace.snapshot(),
                    (self._current, self._next, self._finality.highest),
                    self._missing.snapshot(),
                    self._proposing.snapshot(),
                    self._timers.snapshot(),
                    (int(self._demand), int(self._finality.over)),
                )
            )
        )
