"""The host: what reaches an engine, in which order its effects are carried out, and who signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from p2pnode import codec, crypto
from p2pnode.consensus.engine import (
    Available,
    Behind,
    Broadcast,
    Build,
    Built,
    CancelTimer,
    Certified,
    Check,
    Checked,
    Deliver,
    Demand,
    Draft,
    Effect,
    EngineParameters,
    Entered,
    Event,
    Fetch,
    Fired,
    Floor,
    Interest,
    Item,
    Msg,
    Offence,
    Persist,
    Report,
    Send,
    SetTimer,
    Signed,
    Synced,
    TrafficClass,
    Tune,
)
from p2pnode.consensus.engine import Summary as EngineSummary
from p2pnode.consensus.host import RECORD_ENGINE, EngineHost
from p2pnode.errors import RemoteProtocolError
from p2pnode.types import effects as fx
from p2pnode.types.genesis import genesis_hash
from p2pnode.types.messages import EngineItem, Message, Summary, decode_frame, join_frame
from tests.spine import (
    Bench,
    ToyEngine,
    make_chain,
    peer,
    toy,
    toy_body,
    toy_proof,
    toy_vote,
)

CHAIN = make_chain()
GENESIS = Floor(0, genesis_hash(CHAIN.id), b"")
END = Floor(20, bytes(32), b"proof")
"""The end of epoch 0."""

Script = Callable[[ToyEngine, Event], list[Effect]]


class App:
    """What is ordered: writes down what it is asked, and answers as a test says."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.on: Callable[[object], None] = lambda question: None

    def _note(self, question: object) -> None:
        self.asked.append(question)
        self.on(question)

    def build(self, question: Build) -> None:
        self._note(question)

    def check(self, question: Check) -> None:
        self._note(question)

    def fetch(self, payloads: Sequence[bytes], hints: Sequence[int]) -> None:
        self._note(("fetch", tuple(payloads), tuple(hints)))

    def deliver(self, final: Deliver) -> None:
        self._note(final)

    def certified(self, height: int, proof: bytes) -> None:
        self._note(("certified", height, proof))

    def offence(self, epoch: int, kind: str, offence: Offence) -> None:
        self._note(("offence", epoch, kind, offence))

    def behind(self, height_at_least: int, hints: Sequence[int]) -> None:
        self._note(("behind", height_at_least, tuple(hints)))

    def payload_body(self, body: bytes) -> bytes:
        return b"the payload"

    def entered(self, view: tuple[int, ...]) -> None:
        self._note(("entered", view))


class At:
    """A host with a scripted engine."""

    def __init__(
        self,
        script: Script = lambda engine, event: [],
        *,
        judge: Callable[[Item], Interest] = lambda item: Interest.NOW,
        me: int | None = 0,
        floor: Floor = GENESIS,
        records: Sequence[bytes] = (),
        parameters: EngineParameters | None = None,
    ) -> None:
        self.engine_type = toy(script, judge)
        self.bench = Bench(CHAIN, me or 0)
        self.app = App()
        self.host = EngineHost(
            CHAIN,
            self.engine_type,
            parameters or EngineParameters(deferred_per_sender_max=3),
            me,
            self.bench.desk,
            self.app,
        )
        self.host.start(floor, records)

    @property
    def engine(self) -> ToyEngine:
        return self.engine_type.lives[-1]

    def seen(self, kind: type) -> list[Event]:
        self.bench.settle()
        return [event for event in self.engine.events if isinstance(event, kind)]

    def sent(self) -> list[tuple[tuple[bytes, ...], fx.Lane, Message]]:
        found = []
        for effect in self.bench.take(fx.SendTo):
            (message,) = decode_frame(join_frame([effect.message]))
            found.append((effect.peers, effect.lane, message))
        return found

    def receive(self, vote: Signed, sender: bytes = b"", epoch: int = 0) -> None:
        signed = (vote.sender, vote.body, vote.sig)
        item = EngineItem(epoch, signed, b"", b"")
        self.host.receive(sender or peer(vote.sender), item)


def on(kind: type[Event], *effects: Effect) -> Script:
    """Return a script that answers events of a kind."""
    return lambda engine, event: list(effects) if isinstance(event, kind) else []


OTHERS = (peer(1), peer(2), peer(3))
BUILD = Build("ctx", bytes(32), 1, 0, False)


# --- order ----------------------------------------------------------------------------------------


def test_effects_keep_their_order_though_the_application_answers_inside_one() -> None:
    def script(engine: ToyEngine, event: Event) -> list[Effect]:
        match event:
            case Demand():
                return [BUILD, Persist(b"first", sync=False), Broadcast(b"cert", TrafficClass.CERT)]
            case Built():
                return [Persist(b"second", sync=True)]
        return []

    at = At(script)
    at.app.on = lambda question: at.host.built("ctx", bytes(32)) if question is BUILD else None
    at.host.demand(True)
    order = [type(e) for e in at.bench.desk.drain()]
    assert order == [fx.Append, fx.SendTo, fx.Append]
    assert at.engine.events == [Demand(True), Built("ctx", bytes(32))]


def test_a_draft_is_signed_then_sent_then_handed_back() -> None:
    at = At(on(Demand, Broadcast(Draft(toy_body(7, b"v")), TrafficClass.VOTE)))
    at.host.demand(True)
    (sign,) = at.bench.desk.drain()
    assert isinstance(sign, fx.Sign)
    assert (sign.kind, sign.epoch, sign.body) == ("engine/toy/1", 0, toy_body(7, b"v"))
    assert (sign.slots, sign.position) == ({("v", 7): b"v"}, (7,))
    assert at.engine.events == [Demand(True)], "only incoming messages change an engine"
    vote = toy_vote(CHAIN, 0, 7)
    at.bench.desk.answer(fx.SignedIn(sign.ticket, vote.sig))
    assert at.sent() == [(OTHERS, fx.Lane.VOTE, EngineItem(0, (0, vote.body, vote.sig), b"", b""))]
    assert at.seen(Msg) == [Msg(0, vote)]


def test_a_refused_draft_never_comes_back() -> None:
    at = At(on(Demand, Broadcast(Draft(toy_body(7, b"v")), TrafficClass.VOTE)))
    at.bench.refuse = lambda sign: True
    at.host.demand(True)
    assert at.sent() == []
    assert at.seen(Msg) == []
    assert at.host.statistics().drafts_refused == 1
    assert len(at.bench.emitted("draft_refused")) == 1


def test_a_draft_of_an_epoch_that_has_ended_is_neither_sent_nor_handed_in() -> None:
    at = At(on(Demand, Broadcast(Draft(toy_body(7, b"v")), TrafficClass.VOTE)))
    at.host.demand(True)
    (sign,) = at.bench.desk.drain()
    assert isinstance(sign, fx.Sign)
    at.host.start(END, ())
    at.bench.desk.drain()  # the new engine was told of the demand, and drafts too
    at.bench.desk.answer(fx.SignedIn(sign.ticket, toy_vote(CHAIN, 0, 7).sig))
    assert at.bench.desk.drain() == []
    assert at.seen(Msg) == []


# --- items from peers -----------------------------------------------------------------------------


def test_a_vote_reaches_the_engine_once_its_signature_is_verified() -> None:
    at = At()
    vote = toy_vote(CHAIN, 2, 1)
    at.receive(vote, peer(3))
    assert at.engine.events == [], "not before"
    assert at.seen(Msg) == [Msg(3, vote)], "who sent it, not who signed it"
    assert at.bench.take(fx.Penalize) == []


def test_a_bad_signature_costs_the_sender_and_reaches_nobody() -> None:
    at = At()
    vote = toy_vote(CHAIN, 2, 1)
    at.receive(Signed(2, vote.body, bytes(64)), peer(3))
    at.receive(Signed(1, vote.body, vote.sig), peer(3))
    assert [(p.peer, p.points) for p in at.bench.take(fx.Penalize)] == [(peer(3), 50.0)] * 2
    assert at.seen(Msg) == []
    assert at.host.statistics().items_invalid == 2


def test_a_signature_of_another_epoch_is_a_bad_one() -> None:
    at = At()
    at.receive(toy_vote(CHAIN, 2, 1, epoch=1))
    assert len(at.bench.take(fx.Penalize)) == 1
    assert at.seen(Msg) == []


@pytest.mark.parametrize(
    "vote", [Signed(4, toy_body(1, b"v"), bytes(64)), Signed(1, b"", bytes(64))]
)
def test_a_malformed_item_costs_the_sender_no_signature_check(vote: Signed) -> None:
    at = At()
    at.receive(vote, b"stranger")
    assert [p.peer for p in at.bench.take(fx.Penalize)] == [b"stranger"]
    assert at.bench.verified_count == 0


def test_items_of_other_epochs_are_dropped_unseen() -> None:
    at = At()
    for epoch in (1, 7):
        at.receive(toy_vote(CHAIN, 2, 1, epoch=epoch), epoch=epoch)
    assert at.seen(Msg) == []
    assert (at.bench.verified_count, at.host.statistics().items_dropped) == (0, 2)


def test_what_the_engine_drops_is_not_verified() -> None:
    at = At(judge=lambda item: Interest.DROP)
    at.receive(toy_vote(CHAIN, 2, 1))
    assert at.seen(Msg) == []
    assert at.bench.verified_count == 0


def test_a_vote_verified_after_its_epoch_has_ended_is_dropped() -> None:
    at = At()
    at.receive(toy_vote(CHAIN, 2, 1))
    at.host.start(END, ())
    assert at.seen(Msg) == []


def test_deferred_items_are_bounded_by_sender_and_offered_again_on_entered() -> None:
    allowed = [False]

    def judge(item: Item) -> Interest:
        return Interest.NOW if allowed[0] else Interest.DEFER

    at = At(on(Fired, Entered((2,))), judge=judge)
    votes = {i: [toy_vote(CHAIN, i, view) for view in range(5)] for i in (3, 1)}
    for sender, sent in votes.items():
        for vote in sent:
            at.receive(vote, peer(sender))
    assert at.host.statistics().items_deferred == 6
    assert at.host.statistics().items_dropped == 4
    at.host.fired(0, "not now")
    assert at.seen(Msg) == [], "offered again, deferred again"
    allowed[0] = True
    at.host.fired(0, "now")
    # By sender, each in the order it came, the newest beyond the limit lost.
    assert at.seen(Msg) == [Msg(i, vote) for i in (1, 3) for vote in votes[i][:3]]
    assert at.host.view == (2,)


def test_strangers_share_one_queue_of_deferred_items() -> None:
    at = At(judge=lambda item: Interest.DEFER)
    for number in range(10):
        at.receive(toy_vote(CHAIN, 2, number), b"stranger %d" % number)
    assert at.host.statistics().items_deferred == 3


def test_deferred_items_end_with_their_epoch() -> None:
    judgements: list[Item] = []

    def judge(item: Item) -> Interest:
        judgements.append(item)
        return Interest.DEFER

    at = At(on(Fired, Entered((2,))), judge=judge)
    at.receive(toy_vote(CHAIN, 2, 1))
    at.host.start(END, ())
    judgements.clear()
    at.host.fired(1, "key")
    assert judgements == []


def test_a_certificate_is_verified_as_the_engine_says() -> None:
    at = At()
    at.host.receive(peer(1), EngineItem(0, None, b"cert", b""))
    assert len(at.bench.take(fx.Penalize)) == 1, "a toy has no certificates"


# --- what an engine asks for ----------------------------------------------------------------------


def test_traffic_classes_and_receivers_are_the_engines() -> None:
    vote = toy_vote(CHAIN, 2, 3)
    signed = (2, vote.body, vote.sig)
    at = At(
        on(
            Demand,
            Broadcast(b"cert", TrafficClass.CERT),
            Send((0, 1, 3), vote, TrafficClass.VOTE),
            Send((2,), vote, TrafficClass.PROPOSAL),
            Send((1,), b"answer", TrafficClass.BULK),
            Send((0,), b"to ourselves", TrafficClass.VOTE),
        )
    )
    at.host.demand(True)
    assert at.sent() == [
        (OTHERS, fx.Lane.VOTE, EngineItem(0, None, b"cert", b"")),
        ((peer(1), peer(3)), fx.Lane.VOTE, EngineItem(0, signed, b"", b"")),
        # Only a proposal carries the payload's body.
        ((peer(2),), fx.Lane.PROPOSAL, EngineItem(0, signed, b"", b"the payload")),
        ((peer(1),), fx.Lane.PROPOSAL, EngineItem(0, None, b"answer", b"")),
    ]


def test_timers_belong_to_their_epoch() -> None:
    at = At(on(Demand, SetTimer("t", 500), CancelTimer("u")))
    at.host.demand(True)
    now_ns = at.bench.desk.now_ns
    assert at.bench.desk.drain() == [
        fx.ArmTimer(("engine", 0, "t"), now_ns + 500),
        fx.DisarmTimer(("engine", 0, "u")),
    ]
    at.host.start(END, ())
    at.host.fired(0, "t")
    assert at.seen(Fired) == []
    at.host.fired(1, "t")
    assert at.seen(Fired) == [Fired("t")]


@pytest.mark.parametrize("sync", [True, False])
def test_records_are_filed_under_their_epoch(sync: bool) -> None:
    at = At(on(Demand, Persist(b"mine", sync)), floor=END)
    at.host.demand(True)
    (append,) = at.bench.take(fx.Append)
    assert append == fx.Append(codec.encode([RECORD_ENGINE, 1, b"mine"]), sync)


def test_questions_reach_the_application_and_answers_the_engine() -> None:
    offence = Offence(3, toy_vote(CHAIN, 3, 1, b"a"), toy_vote(CHAIN, 3, 1, b"b"))
    check = Check("c", bytes(32), bytes(32), 1, 1)
    final = Deliver(1, (bytes(32),), bytes(32), 1, (1,), b"proof")
    at = At(
        on(
            Demand,
            check,
            Fetch((b"p",), (), (2,)),
            final,
            Certified(1, b"late"),
            offence,
            Behind(9, (3,)),
            Entered((4,)),
            Report("nullified", {"view": 3}),
        )
    )
    at.host.demand(True)
    assert at.app.asked == [
        check,
        ("fetch", (b"p",), (2,)),
        final,
        ("certified", 1, b"late"),
        ("offence", 0, "engine/toy/1", offence),
        ("behind", 9, (3,)),
        ("entered", (4,)),
    ]
    assert at.host.statistics().views_skipped == 1
    assert at.bench.emitted("engine_nullified") == [{"view": 3}]
    at.host.checked("c", False)
    at.host.available(b"p")
    at.host.built("b", None)
    assert at.engine.events[1:] == [Checked("c", False), Available(b"p"), Built("b", None)]


def test_missing_certificates_are_asked_for_by_a_summary_to_the_hints() -> None:
    final = Deliver(1, (bytes(32),), bytes(32), 1, (1,), b"proof")
    at = At(on(Demand, final, Fetch((), ((5,),), (2, 0))))
    at.host.demand(True)
    assert at.sent() == [((peer(2),), fx.Lane.PROPOSAL, Summary(0, 1, b"toy"))]
    assert at.app.asked == [final]


def test_a_level_of_demand_is_told_when_it_changes() -> None:
    at = At()
    for level in (False, True, True, False, False, True):
        at.host.demand(level)
    assert at.engine.events == [Demand(True), Demand(False), Demand(True)]


def test_summaries_come_from_validators_of_the_same_epoch() -> None:
    at = At()
    at.host.summary_from(peer(2), Summary(0, 5, b"blob"))
    at.host.summary_from(peer(2), Summary(1, 25, b"blob"))
    at.host.summary_from(b"stranger", Summary(0, 5, b"blob"))
    assert at.seen(EngineSummary) == [EngineSummary(2, b"blob")]


# --- epochs ---------------------------------------------------------------------------------------


def test_an_epoch_has_its_frame_and_its_records() -> None:
    at = At(me=2, floor=END, records=[b"r1", b"r2"])
    epoch = at.engine.epoch
    assert (epoch.number, epoch.first_height, epoch.last_height, epoch.me) == (1, 21, 40, 2)
    assert epoch.chain == CHAIN.id
    assert epoch.validators == tuple((v.public_key, 1) for v in CHAIN.genesis.validators)
    assert epoch.seed == CHAIN.proposer_seed(1)
    assert (at.engine.floor, at.engine.records) == (END, [b"r1", b"r2"])


def test_the_next_epoch_begins_behind_the_effects_that_end_this_one() -> None:
    last = Deliver(20, (bytes(32),), bytes(32), 1, (1,), b"proof")

    def script(engine: ToyEngine, event: Event) -> list[Effect]:
        if isinstance(event, Fired):
            return [last, Persist(b"of the old epoch"), BUILD]
        return []

    at = At(script)
    at.host.demand(True)
    at.host.tune(77)

    def answer(question: object) -> None:
        if question is last:
            at.host.start(END, ())
        elif question is BUILD:
            at.host.built("ctx", bytes(32))  # meant for the engine that ends

    at.app.on = answer
    at.host.fired(0, "t")
    old, new = at.engine_type.lives
    (append,) = at.bench.take(fx.Append)
    assert append.record == codec.encode([RECORD_ENGINE, 0, b"of the old epoch"])
    assert not any(isinstance(event, Built) for event in (*old.events, *new.events))
    assert new.floor == END
    # What it cannot know any more is told again.
    assert new.events == [Tune(77), Demand(True)]
    assert at.host.epoch.number == 1


def test_block_sync_moves_the_engine_on_within_an_epoch_and_beyond() -> None:
    at = At()
    floor = Floor(5, bytes(32), b"proof")
    at.host.synced(floor)
    assert at.engine.events == [Synced(floor)]
    beyond = Floor(40, bytes(32), b"proof")
    at.host.synced(beyond)
    assert len(at.engine_type.lives) == 2
    assert (at.engine.floor, at.engine.epoch.number) == (beyond, 2)


def test_an_observer_has_no_index_and_hears_all_validators() -> None:
    at = At(on(Demand, Broadcast(b"cert", TrafficClass.CERT)), me=None)
    at.host.demand(True)
    assert at.engine.epoch.me is None
    ((receivers, _, _),) = at.sent()
    assert receivers == (peer(0), *OTHERS)


def test_the_signer_may_forget_what_is_below_a_position() -> None:
    at = At(floor=END)
    at.host.prune_signer((9,))
    assert at.bench.desk.drain() == [fx.Forget("engine/toy/1", 1, (9,))]


# --- proofs ---------------------------------------------------------------------------------------


def test_a_proof_is_checked_with_its_own_epochs_keys() -> None:
    at = At()
    digest = bytes(32)
    proof = toy_proof(CHAIN, 25, digest)
    checks = at.host.verify_claims_of_proof(proof, 25, digest)
    assert [key for key, _, _ in checks] == [v.public_key for v in CHAIN.genesis.validators[:3]]
    assert all(crypto.verify(*check) for check in checks)
    assert at.host.epoch.number == 0
    for height, of in ((24, digest), (25, bytes([1]) * 32)):
        with pytest.raises(RemoteProtocolError):
            at.host.verify_claims_of_proof(proof, height, of)
