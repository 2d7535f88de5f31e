"""A simplex engine whose host a test plays. Proposers of views 1, 2, 3, 4 are 1, 2, 3, 0."""

from __future__ import annotations

from p2pnode.consensus.certs import CertScheme
from p2pnode.consensus.engine import (
    NS_PER_S,
    Broadcast,
    Check,
    Checked,
    Deliver,
    Demand,
    Draft,
    Effect,
    EngineParameters,
    Entered,
    Event,
    Fired,
    Floor,
    Interest,
    Item,
    Msg,
    Persist,
    Send,
    SetTimer,
    Summary,
    encode_signed,
    genesis_floor,
)
from p2pnode.consensus.simplex import SimplexEngine, votes
from p2pnode.consensus.simplex.votes import Proposal
from tests.unit.consensus.harness import CHAIN, MS, digest_of, make_epoch, signed

DELTA = 100 * MS


class Bench:
    """One engine with its host played by the test."""

    def __init__(
        self,
        me: int | None = 0,
        powers: tuple[int, ...] = (1, 1, 1, 1),
        *,
        parameters: EngineParameters | None = None,
        floor: Floor | None = None,
        records: tuple[bytes, ...] = (),
        last_height: int = 1000,
    ) -> None:
        self.now_ns = 100 * NS_PER_S
        self.parameters = parameters or EngineParameters(delta_ns=DELTA)
        self.epoch = make_epoch(powers, me, last_height=last_height)
        self.me = me
        self.engine = SimplexEngine(self.parameters)
        self.certs = CertScheme(self.epoch)
        self.records: list[bytes] = []
        self._delivered: list[bytes] = []
        self.first = self._log(
            self.engine.recover(
                self.now_ns, self.epoch, floor or genesis_floor(CHAIN), list(records)
            )
        )

    def _log(self, effects: list[Effect]) -> list[Effect]:
        """Sign drafts and hand them back, as a host does."""
        out: list[Effect] = []
        for effect in effects:
            out.append(effect)
            if isinstance(effect, Deliver):
                self._delivered.append(effect.anchor)
            if isinstance(effect, Persist):
                self.records.append(effect.record)
            if isinstance(effect, Broadcast | Send) and isinstance(effect.item, Draft):
                assert self.me is not None
                vote = signed(self.me, effect.item.body)
                self.records.append(encode_signed(vote))
                out += self.do(Msg(self.me, vote))
        return out

    def do(self, event: Event, after_ns: int = 0) -> list[Effect]:
        self.now_ns += after_ns
        return self._log(self.engine.step(self.now_ns, event))

    def vote(self, signer: int, body: bytes) -> list[Effect]:
        return self.do(Msg(signer, signed(signer, body)))

    def all_vote(self, body: bytes, signers: tuple[int, ...] = (1, 2, 3)) -> list[Effect]:
        return [effect for i in signers for effect in self.vote(i, body)]

    def certificate(self, body: bytes, signers: tuple[int, ...] = (1, 2, 3)) -> bytes:
        return self.certs.assemble(signed(i, body) for i in signers)

    def show(self, body: bytes, sender: int = 1) -> list[Effect]:
        return self.do(Msg(sender, self.certificate(body)))

    def show_certificate(self, body: bytes, signers: tuple[int, ...]) -> list[Effect]:
        return self.do(Msg(None, self.certificate(body, signers)))

    def do_timeout(self) -> list[Effect]:
        self.do(Demand(True))
        return self.do(Fired(("advance", 1)), after_ns=3 * DELTA)

    def delivered(self) -> list[bytes]:
        return self._delivered

    def propose(self, proposal: Proposal) -> list[Effect]:
        return self.vote(proposal.view % 4, votes.notarize(proposal))

    def check(self, effects: list[Effect], ok: bool = True) -> list[Effect]:
        (check,) = [e for e in effects if isinstance(e, Check)]
        return self.do(Checked(check.ctx, ok))


def proposal(view: int, parent: int, height: int, name: str = "") -> Proposal:
    return Proposal(view, parent, height, digest_of("block", view, name))


def drafts(effects: list[Effect]) -> list[bytes]:
    return [
        e.item.body
        for e in effects
        if isinstance(e, Broadcast | Send) and isinstance(e.item, Draft)
    ]


def timers(effects: list[Effect]) -> dict[object, int]:
    return {e.key: e.after_ns for e in effects if isinstance(e, SetTimer)}


def of(effects: list[Effect], kind: type) -> list[Effect]:
    return [e for e in effects if isinstance(e, kind)]


P1 = proposal(1, 0, 1)
P2 = proposal(2, 1, 2)


def views_entered(effects: list[Effect]) -> list[int]:
    return [effect.at[0] for effect in effects if isinstance(effect, Entered)]


def interest(bench: Bench, item: Item) -> Interest:
    return bench.engine.interest(item)


def answers(bench: Bench, peer: Bench) -> list[Effect]:
    assert peer.me is not None
    return of(bench.do(Summary(peer.me, peer.engine.summary())), Send)
