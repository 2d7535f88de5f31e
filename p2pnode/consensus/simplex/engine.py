"""Simplex as commonware runs it: round-robin proposers, certificate relay, skip of silent
proposers.

Source of the rules: eprint 2023/463, §2-3 ("Simplex" below), in the form of docs/protocol. Views
count from 1; view 0 is the floor of the epoch, final by definition. In each view a proposer signs
`notarize(c, v)`; a quorum of notarize is a notarization, lets everybody enter v+1 and send
`finalize(c, v)`; a quorum of finalize makes c and its ancestors final. Who waited too long sends
`nullify(v)` instead of finalize, never both; a quorum of nullify lets everybody enter v+1 past v.
From "never both" and "one notarize a view": a final view cannot be skipped, and a view has one
notarized block. That is the whole safety proof.

How this file reads: an event changes what is known (`_on_…`), then `_settle` fires every rule
that the knowledge enables. Every vote is drafted here, but for a proposer's own (`proposing.py`).
Beside it stand what only sends on (`relay.py`), answers (`answers.py`), asks (`missing.py`), waits
(`timers.py`) and says what is worth a check (`interest.py`). Drafting a vote takes its slot at
once (`View.voted`, `View.closed`), so that no second one is drafted while the first is being
signed; it counts when it comes back as a message.

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
from p2pnode.consensus.certs import Certificate, CertScheme
from p2pnode.consensus.engine import (
    Available,
    Broadcast,
    Built,
    Check,
    Checked,
    Claim,
    Demand,
    Digest,
    Draft,
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
    Offence,
    Persist,
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
from p2pnode.consensus.simplex.finality import deliveries, offences_of
from p2pnode.consensus.simplex.interest import Interests
from p2pnode.consensus.simplex.missing import Missing
from p2pnode.consensus.simplex.pace import Pace
from p2pnode.consensus.simplex.proposing import Proposing
from p2pnode.consensus.simplex.relay import Relay
from p2pnode.consensus.simplex.timers import ViewTimers
from p2pnode.consensus.simplex.views import Verdict, View, Views
from p2pnode.consensus.simplex.votes import Ballot, Kind, Proposal
from p2pnode.consensus.standing import Standing
from p2pnode.consensus.tally import Counted
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
        self._now_ns = now_ns
        self._epoch = epoch
        self._me = epoch.me
        self._certs = CertScheme(epoch)
        self._offset = int.from_bytes(epoch.seed, "big")
        self._pace = Pace(self._parameters, epoch, now_ns)
        self._views = Views(
            tuple(power for _, power in epoch.validators), self._parameters.tail_views
        )
        self._relay = Relay(
            self._parameters,
            epoch,
            self._views,
            self._pace,
            proposer_of=self.proposer_of,
            emit=self._emit,
        )
        self._timers = ViewTimers(
            self._parameters,
            self._views,
            self._pace,
            proposer_of=self.proposer_of,
            emit=self._emit,
        )
        self._missing = Missing(epoch, self._views, self._emit)
        self._proposing = Proposing(epoch, self._views, self._pace, self._missing, self._emit)
        self._interests = Interests(
            self._parameters,
            epoch,
            self._certs,
            self._views,
            self._pace,
            proposer_of=self.proposer_of,
        )
        self._answers = Answers(epoch, self._views, proposer_of=self.proposer_of, emit=self._emit)
        self._chronicle = Chronicle(len(epoch.validators))
        self._demand = False
        self._current = 0
        self._next = 1
        # Highest view with a finalization; above the floor's view when an ancestor is missing.
        self._final = 0
        self._done = False
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
                self._relay.due(number, self._final)
            case Fired(("repropose", int(number))):
                if not self._done:
                    self._proposing.again(number, self._current, now_ns)
            case Fired(("final", int(number))):
                self._on_unfinal(number)
            case Fired(("fetch",)):
                if not self._done:
                    self._missing.due(self._final, self._timers.retry_ns())
            case Fired():
                pass
            case Built(ctx, payload):
                if not self._done:
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
        self._deliver()
        if self._done:
            return
        if self._parameters.certify:
            for view in self._views.notarized_views():
                if view.certified is Verdict.UNASKED:
                    self._certify(view)
        self._enter()
        self._missing.wanted = ()
        if self._me is not None and self._me == self.proposer_of(self._current):
            self._proposing.propose(self._current, self._now_ns)
        self._vote()
        if self._me is not None:
            after_ns = self._timers.keep(self._current, self._now_ns, demand=self._demand)
            if after_ns is not None:
                self._chronicle.armed(self._now_ns, after_ns)
        self._missing.settle(self._pace.delta_ns)

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
        return self._interests.of(item, self._current, self._now_ns, done=self._done)

    def _on_vote(self, sender: Index | None, vote: Signed) -> None:
        ballot = votes.decode_body(vote.body)
        number = ballot.view
        if self._done or not self._views.lowest() <= number <= self._current + 1:
            return
        view = self._views.make(number)
        if not self._count(view, ballot, vote):
            return
        # Only news counts: a proposer that sends but hears nothing repeats itself, and must not be
        # waited for.
        self._pace.hear(vote.sender, self._now_ns)
        by_proposer = vote.sender == self.proposer_of(number)
        if vote.sender == self._me:
            self._take_slot(view, ballot.kind, vote.body)
        if ballot.proposal is None:
            view.alive = True
            # Rule: the proposer itself gave its view up, so nobody need wait for the timer.
            if by_proposer and number == self._current:
                self._nullify(view)
        else:
            self._late(view)
            if ballot.kind is Kind.NOTARIZE and by_proposer:
                view.proposal = ballot.proposal
                self._chronicle.proposed(self._now_ns, number)
                view.alive = True
            view.seen_ns = view.seen_ns or self._now_ns
            self._relay.note_holdings(vote.sender, ballot)
        tally = view.notarizes if ballot.kind is Kind.NOTARIZE else view.finals
        if ballot.kind not in view.certificates and (
            tally.power_of(vote.body) >= self._certs.quorum
        ):
            self._learn(view, ballot, self._certs.assemble(tally.votes_for(vote.body)))

    def _on_certificate(self, sender: Index | None, data: bytes) -> None:
        certificate = self._certs.decode(data)
        ballot = votes.decode_body(certificate.body)
        if self._done or ballot.view < self._views.lowest():
            return
        view = self._views.make(ballot.view)
        view.show(ballot.kind, sender)
        self._accuse(view, ballot, certificate)
        if ballot.view > self._views.floor_view:
            self._pace.hear(sender, self._now_ns)
            if ballot.kind is not Kind.NULLIFY:
                self._late(view)
        # Its votes are votes: a conflict with one we know is evidence like any other, and the
        # proposer's is the proposal, whose own message is not waited for any more.
        for claim in certificate.claims():
            self._count(view, ballot, Signed(claim.signer, claim.body, claim.sig))
            proposed = ballot.kind is Kind.NOTARIZE and claim.signer == self.proposer_of(
                view.number
            )
            if proposed and view.proposal is None:
                view.proposal = ballot.proposal
                self._chronicle.proposed(self._now_ns, view.number)
        self._learn(view, ballot, data)

    def _count(self, view: View, ballot: Ballot, vote: Signed) -> bool:
        """Count a vote; tell whether it was new. Two values in a slot are an offence."""
        tally = view.notarizes if ballot.kind is Kind.NOTARIZE else view.finals
        counted = tally.add(vote)
        if counted is Counted.CONFLICT:
            first = tally.vote_of(vote.sender)
            assert first is not None
            self._emit(Offence(vote.sender, first, vote))
            if ballot.kind is Kind.NOTARIZE and vote.sender == self.proposer_of(view.number):
                view.equivocated = True
        if counted is Counted.NEW:
            self._chronicle.voted(ballot, vote.sender)
        return counted is Counted.NEW

    def _accuse(self, view: View, ballot: Ballot, certificate: Certificate) -> None:
        """Two certificates that cannot both be: whoever signed both is guilty, and is > 1/3."""
        rivals = [ballot.kind] if ballot.kind is Kind.NOTARIZE else [Kind.NULLIFY, Kind.FINALIZE]
        for kind in rivals:
            data = view.certificates.get(kind)
            if data is None or view.forked:
                continue
            other = self._certs.decode(data)
            if other.body == certificate.body:
                continue
            view.forked = True
            self._emit(Report("fork", {"view": view.number}))
            for offence in offences_of(other, certificate):
                self._emit(offence)

    def _late(self, view: View) -> None:
        """Rule (protocol.md, "Adaptive Δ"): x1.5 if something valid comes after our nullify."""
        if view.timed_out and not view.lengthened:
            view.lengthened = True
            self._pace.late()
            self._emit(Report("delta", {"delta_ns": self._pace.delta_ns, "view": view.number}))

    # --- certificates -----------------------------------------------------------------------------

    def _learn(self, view: View, ballot: Ballot, data: bytes) -> None:
        """Take a certificate that formed here or came from somebody."""
        kind, number = ballot.kind, view.number
        if ballot.proposal is not None and view.block not in (None, ballot.proposal):
            return
        if kind in view.certificates:
            return
        view.certificates[kind] = data
        self._chronicle.certified(ballot)
        if number > self._views.floor_view:
            self._emit(Persist(data, sync=False))
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
            self._final = max(self._final, number)
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
        if (
            self._me is not None
            and view.closed is None
            and not view.equivocated
            and view.number > self._views.floor_view
            and Kind.NULLIFY not in view.certificates
            and Kind.FINALIZE not in view.certificates
        ):
            body = votes.finalize(view.block)
            view.closed = body
            self._emit(Broadcast(Draft(body), TrafficClass.VOTE))
            self._emit(SetTimer(("final", view.number), 4 * self._pace.delta_ns))

    # --- rules, in the order of a view ------------------------------------------------------------

    def _deliver(self) -> None:
        """Rule: Q finalize(c, v) → c and all its ancestors are final."""
        if self._final <= self._views.floor_view:
            return
        chain = self._views.chain_to(self._final)
        if isinstance(chain, int):
            if chain < self._views.floor_view:
                self._emit(Report("fork", {"view": self._final}))
                self._halt()
            else:
                self._missing.fell_behind(self._final)
            return
        for final in deliveries(chain, self._views.floor.height, self.proposer_of):
            self._emit(final)
        self._chronicle.finalized(view.number for view in chain)
        top = chain[-1]
        assert top.block is not None
        self._views.raise_floor(
            Floor(top.block.height, top.block.digest, top.certificates[Kind.FINALIZE]), top.block
        )
        self._end_if_last()

    def _end_if_last(self) -> None:
        if self._views.floor.height >= self._epoch.last_height and not self._done:
            self._halt()

    def _halt(self) -> None:
        """Be quiet from here on: the epoch is over (or broken); summaries are still answered."""
        self._timers.disarm(self._current)
        self._missing.stop()
        self._done = True

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
                self._nullify(view)

    def _vote(self) -> None:
        """Rule: first notarize(c, v) of the proposer, parent usable, gaps nullified, Check ok →
        notarize.

        Check says no → nullify at once. Not answered yet → wait.
        """
        view = self._views.get(self._current)
        if self._me is None or view is None or view.proposal is None:
            return
        if view.voted is not None or view.closed is not None or view.equivocated:
            return
        proposal = view.proposal
        if proposal.parent < self._views.floor_view:
            self._nullify(view)  # it would skip a final view
            return
        missing = self._views.missing_between(proposal.parent, view.number)
        parent = self._views.get(proposal.parent)
        if parent is None or parent.block is None:
            missing.insert(0, proposal.parent)
        if missing:
            self._missing.wanted += tuple(missing)
            return
        assert parent is not None
        assert parent.block is not None
        if not parent.usable:
            return  # the host has not certified it yet
        last = parent.block.height >= self._epoch.last_height
        expected = parent.block.height if last else parent.block.height + 1
        if proposal.height != expected or (last and proposal.digest != parent.block.digest):
            self._nullify(view)
            return
        if view.checked is Verdict.UNASKED:
            view.checked = Verdict.PENDING
            digest = self._views.parent_digest(proposal)
            if digest is None:
                # Proposed again, and the parent of the first proposal is below what we kept: it is
                # final or notarized, so checked by somebody correct.
                view.checked = Verdict.YES
            else:
                self._emit(
                    Check(
                        ("check", view.number, proposal.digest),
                        proposal.digest,
                        digest,
                        self.proposer_of(view.number),
                        proposal.height,
                    )
                )
        if view.checked is Verdict.YES:
            view.voted = votes.notarize(proposal)
            self._emit(Broadcast(Draft(view.voted), TrafficClass.VOTE))
        elif view.checked is Verdict.NO:
            self._nullify(view)

    def _on_checked(self, ctx: Key, ok: bool) -> None:
        match ctx:
            case ("check", int(number), bytes(digest)):
                view = self._views.get(number)
                asked = view is not None and view.checked is Verdict.PENDING
                if view is not None and asked and view.proposal is not None:
                    assert view.proposal.digest == digest
                    view.checked = Verdict.YES if ok else Verdict.NO
            case ("certify", int(number)):
                view = self._views.get(number)
                if view is not None and view.certified is Verdict.PENDING:
                    view.certified = Verdict.YES if ok else Verdict.NO
                    if ok:
                        self._certify(view)
                    elif number == self._current:
                        self._nullify(view)

    # --- time -------------------------------------------------------------------------------------

    def _on_timeout(self, number: int) -> None:
        if self._done or number != self._current or not self._timers.armed:
            return
        view = self._views.make(number)
        if self._nullify(view, timed=True):
            view.timed_out = self._timers.full_time
            self._emit(Report("timeout", {"view": number}))

    def _nullify(self, view: View, *, timed: bool = False) -> bool:
        """Rule: send nullify(v) once, unless finalize(v) was sent; tell whether it was."""
        if self._me is None or view.closed is not None:
            return False
        view.closed = votes.nullify(view.number)
        self._chronicle.gave_up(self._now_ns, view, timed=timed)
        self._emit(Broadcast(Draft(view.closed), TrafficClass.VOTE))
        return True

    def _on_retry(self, number: int) -> None:
        """Rule: repeat nullify(v) with the best certificate that let us enter v."""
        if self._done or number != self._current or not self._timers.retrying or self._me is None:
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
        if not self._done and self._final < number:
            self._missing.ask_for((number,))

    def _on_synced(self, floor: Floor) -> None:
        if floor.height > self._views.floor.height:
            self._start_from(floor)

    def _start_from(self, floor: Floor) -> None:
        """Take a floor that the host has verified."""
        base = self._epoch.first_height - 1
        if floor.height == base:
            block = Proposal(0, 0, floor.height, floor.digest)
        else:
            block = votes.proven(floor.proof, self._epoch)
            assert (block.height, block.digest) == (floor.height, floor.digest), block
        if block.view > self._views.floor_view:
            self._views.raise_floor(floor, block)
            if block.view > 0:
                self._views.make(block.view).certificates[Kind.FINALIZE] = floor.proof
                self._final = max(self._final, block.view)
            self._next = max(self._next, block.view + 1)
        self._end_if_last()

    def _replay(self, record: bytes) -> int:
        """Take a record of the log back; return the view of a vote of ours, else 0."""
        items = codec.array(codec.decode(record, size_bytes_max=1 << 20), "record", length=3)
        if isinstance(items[0], int):
            vote = decode_signed(record)
            ballot = votes.decode_body(vote.body)
            if vote.sender != self._me or ballot.view <= self._views.floor_view:
                return 0
            view = self._views.make(ballot.view)
            tally = view.notarizes if ballot.kind is Kind.NOTARIZE else view.finals
            tally.add(vote)
            self._take_slot(view, ballot.kind, vote.body)
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
            self._final = max(self._final, ballot.view)
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
            if own is not None and tally.power_of(own.body) >= self._certs.quorum:
                ballot = votes.decode_body(own.body)
                self._learn(view, ballot, self._certs.assemble(tally.votes_for(own.body)))

    def _take_slot(self, view: View, kind: Kind, body: bytes) -> None:
        if kind is Kind.NOTARIZE:
            view.voted = body
        else:
            view.closed = body

    # --- summaries --------------------------------------------------------------------------------

    def summary(self) -> bytes:
        return summaries.encode_status(summaries.describe(self._views, self._final, self._current))

    def _on_summary(self, peer: Index, blob: bytes) -> None:
        try:
            status = summaries.decode_status(blob)
        except RemoteProtocolError as error:
            self._emit(Report("malformed_summary", {"peer": peer, "error": str(error)}))
            return
        self._chronicle.told(peer, status)
        if status.current >= self._views.floor_view:
            self._pace.hear(peer, self._now_ns)
        self._answers.give(peer, status, self._final, self._current, done=self._done)

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
                    (self._current, self._next, self._final),
                    self._missing.snapshot(),
                    self._proposing.snapshot(),
                    self._timers.snapshot(),
                    (int(self._demand), int(self._done)),
                )
            )
        )
