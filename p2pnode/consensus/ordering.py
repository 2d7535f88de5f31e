"""What is ordered: payloads built from waiting statements, checked, and turned into blocks when
final.

Here final heights become blocks, and the parts meet: `bodies.py` and `intake.py` hold what arrives,
`builder.py` answers Build, `judge.py` answers Check.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from p2pnode.consensus.bodies import Bodies
from p2pnode.consensus.builder import PayloadBuilder
from p2pnode.consensus.engine import Build, Check, Deliver, Engine, EngineParameters, Floor, Offence
from p2pnode.consensus.evidence import evidence_of
from p2pnode.consensus.host import EngineHost
from p2pnode.consensus.intake import StatementIntake
from p2pnode.consensus.judge import Judge
from p2pnode.consensus.statements import StatementPool
from p2pnode.consensus.tip import Tip
from p2pnode.sync.fetcher import PAYLOAD, Fetcher
from p2pnode.types.chain import Chain
from p2pnode.types.desk import Desk
from p2pnode.types.effects import Write
from p2pnode.types.genesis import genesis_hash
from p2pnode.types.payload import Block, Payload, decode_payload, digest_of
from p2pnode.types.statement import Statement

UNPROVED_MAX: Final = 256
"""Blocks remembered whose proof may still come (an engine may certify later than it delivers)."""

SIGNER_PRUNED_EVERY: Final = 64
"""Heights between two prunings of the signer's table."""

SIGNER_VIEWS_KEPT: Final = 64
"""Positions below the final one that the signer still remembers; votes there decide nothing."""


class BlockSink(Protocol):
    """Who takes final blocks, in order."""

    def block(self, block: Block, statements: tuple[Statement, ...]) -> None:
        """Take a block with its statements, in the payload's order."""

    def statement(self, statement: Statement) -> None:
        """Note a statement that is verified and waits to be ordered."""

    def proposed(self, payload: Payload) -> None:
        """Note a payload that somebody proposed."""

    def batch_expected(self) -> bool:
        """Tell whether a batch certificate is about to come."""

    def synced(self, height: int) -> None:
        """Block sync, not votes, brought the chain to a height."""

    def behind(self, height_at_least: int, hints: Sequence[int]) -> None:
        """Others are further than votes can bring us."""


@dataclass(frozen=True, slots=True)
class OrderingStatistics:
    """What the ordering knows."""

    height: int
    statements_waiting: int
    checks_open: int
    payloads_refused: int
    delivers_waiting: int


class Ordering:
    """The application side of the engine host."""

    def __init__(
        self,
        chain: Chain,
        engine: type[Engine],
        parameters: EngineParameters,
        me: int | None,
        desk: Desk,
        fetcher: Fetcher,
        sink: BlockSink,
    ) -> None:
        """Prepare; `start` begins."""
        self._chain = chain
        self._desk = desk
        self._fetcher = fetcher
        self._sink = sink
        self._tip = Tip(0, genesis_hash(chain.id), chain.genesis.time_ms)
        self.host = EngineHost(chain, engine, parameters, me, desk, self)
        self.pool = StatementPool(chain)
        self.bodies = Bodies(
            chain,
            desk,
            fetcher,
            kept=sink.proposed,
            available=self.host.available,
            arrived=self._body_arrived,
        )
        self._intake = StatementIntake(
            chain,
            self.host,
            self.pool,
            desk,
            fetcher,
            waits=sink.statement,
            kept=self._statement_kept,
        )
        self._builder = PayloadBuilder(
            chain,
            me,
            self.host,
            desk,
            tip=self._tip,
            bodies=self.bodies,
            pool=self.pool,
            batch_expected=sink.batch_expected,
        )
        self._judge = Judge(chain, self.host, desk, self.bodies, self._intake)
        self._delivers: deque[Deliver] = deque()
        self._unproved: dict[int, Block] = {}

    def start(self, head: Block | None, floor: Floor, records: Sequence[bytes]) -> None:
        """Begin after the newest stored block.

        Args:
            head: That block, None at genesis.
            floor: Newest height whose proof is stored in this epoch, or the epoch's beginning.
            records: The log's records for the engine.
        """
        if head is not None:
            self._move_tip(head)
        self._tip.at_ns = self._desk.now_ns
        self._builder.arm_heartbeat()
        self.host.start(floor, records)

    @property
    def height(self) -> int:
        """Newest final height."""
        return self._tip.height

    @property
    def head(self) -> bytes:
        """Hash of the newest final block."""
        return self._tip.hash

    @property
    def last_block_ns(self) -> int:
        """When the newest final block became final here, or this life began."""
        return self._tip.at_ns

    def statistics(self) -> OrderingStatistics:
        """Return what the ordering knows."""
        return OrderingStatistics(
            self.height,
            self.pool.waiting_count(),
            len(self._judge),
            self._judge.refused_count,
            len(self._delivers),
        )

    # --- what arrives ----------------------------------------------------------------------------

    def statement_from(self, peer: bytes, raw: bytes) -> None:
        """Take a statement that a peer sent; it is verified before it counts."""
        self._intake.from_peer(peer, raw)

    def own_statement(self, statement: Statement) -> None:
        """Take a statement we completed ourselves, and send it to all validators."""
        self._intake.own(statement)

    def payload_from(self, peer: bytes, body: bytes) -> None:
        """Take a payload's body that came beside a proposal.

        Nobody has checked the proposal yet: the body is put aside until the engine asks about it,
        else everybody could fill memory and disk with payloads.
        """
        digest = digest_of(body)
        if digest in self._judge or self._fetcher.wants(PAYLOAD + digest):
            self.bodies.accept(digest, body)
        else:
            self.bodies.put_aside(peer, digest, body)

    def unlisted_batches(self, uid: int) -> int:
        """Return how many certified batches of a shard no payload above the final height lists."""
        return self.pool.unordered_batches(uid, self.bodies.listed_above(self.height))

    def timer(self, name: str) -> None:
        """One of our timers fired."""
        if name == "build":
            self._builder.try_build()
        elif name == "heartbeat":
            self._builder.heartbeat()
        elif name == "recheck":
            self._judge.recheck()

    def reconsider(self) -> None:
        """Something changed that may call for a block: tell the engine, and propose if asked."""
        self._builder.reconsider()

    def _body_arrived(self) -> None:
        self._judge.recheck()
        self._advance()

    def _statement_kept(self) -> None:
        self._judge.recheck()
        self._advance()
        self.reconsider()

    # --- what the engine asks and tells (host.Application) ---------------------------------------

    def build(self, question: Build) -> None:
        """Propose a payload on a parent."""
        self._builder.build(question)

    def check(self, question: Check) -> None:
        """Judge a payload, now or when everything is here."""
        self._judge.check(question)

    def fetch(self, payloads: Sequence[bytes], hints: Sequence[int]) -> None:
        """Get payload bodies that the engine asks for."""
        for digest in payloads:
            if self.bodies.find(digest) is None:
                self.bodies.want(digest, self.host.peers(hints))

    def payload_body(self, body: bytes) -> bytes:
        """Return the payload body that a proposal needs beside it."""
        return self._builder.built

    def entered(self, view: tuple[int, ...]) -> None:
        """The engine moved on."""
        self._builder.drop_question()

    def offence(self, epoch: int, kind: str, offence: Offence) -> None:
        """Make evidence of a double sign and have it ordered."""
        self._desk.emit("offence", culprit=offence.culprit, signing_kind=kind)
        self.own_statement(evidence_of(epoch, kind, offence))

    def behind(self, height_at_least: int, hints: Sequence[int]) -> None:
        """Others are further than votes can bring us."""
        self._sink.behind(height_at_least, hints)

    def deliver(self, final: Deliver) -> None:
        """Take a final height; it becomes a block once its body and statements are here."""
        self._delivers.append(final)
        self._advance()

    def certified(self, height: int, proof: bytes) -> None:
        """Take a proof that came after its Deliver."""
        block = self._unproved.pop(height, None)
        if block is not None:
            self._put_block(replace(block, proof=proof))

    # --- final heights become blocks -------------------------------------------------------------

    def _put_block(self, block: Block) -> None:
        self._desk.put(Write("blocks", block.height.to_bytes(8, "big"), block.encode()))

    def _advance(self) -> None:
        while self._delivers:
            final = self._delivers[0]
            if final.height <= self.height:
                self._delivers.popleft()
                continue
            assert final.height == self.height + 1, (final.height, self.height)
            payload = self.bodies.find(final.anchor)
            if payload is None:
                self.bodies.want(final.anchor, self.host.peers((final.proposer,)), final=True)
                return
            statements = self._intake.gather(payload.items, (final.proposer,), final=True)
            if statements is None:
                return
            self._delivers.popleft()
            assert payload.parent == self.head, (final.height, payload.parent, self.head)
            block = Block(
                height=final.height,
                hash=final.anchor,
                payload=payload.encode(),
                time_ms=payload.time_ms,
                view=final.view,
                proof=final.proof or b"",
            )
            block = self._append(block, payload, statements)
            self._prune_signer(final)
            if final.height == self._chain.last_height(payload.epoch):
                self.host.start(Floor(block.height, block.hash, block.proof), ())

    def _prune_signer(self, final: Deliver) -> None:
        """Let the signer forget what is far below finality: as our own engine saw it.

        The view in a block that came by block sync is its sender's word: a large one would have us
        refuse every vote until the epoch ends.
        """
        if final.height % SIGNER_PRUNED_EVERY == 0 and final.view:
            below = max(0, final.view[-1] - SIGNER_VIEWS_KEPT)
            self.host.prune_signer((*final.view[:-1], below))

    def adopt(self, blocks: Sequence[tuple[Block, dict[bytes, tuple[bytes, Statement]]]]) -> None:
        """Take blocks from block sync: verified, contiguous after our head, the last one proved."""
        for block, known in blocks:
            payload = decode_payload(block.payload)
            for digest, (raw, statement) in known.items():
                self._intake.verified(digest, raw, statement)
            statements = tuple(known[digest][1] for digest in payload.items)
            self.bodies.keep(block.hash, block.payload, payload)
            last = self._append(block, payload, statements)
        self._sink.synced(last.height)
        self.host.synced(Floor(last.height, last.hash, last.proof))
        self._advance()
        self.reconsider()

    def _append(self, block: Block, payload: Payload, statements: tuple[Statement, ...]) -> Block:
        # The header's time is a function of the chain, whoever gave the block.
        block = replace(block, time_ms=max(self._tip.time_ms + 1, payload.time_ms))
        self._move_tip(block)
        self._builder.arm_heartbeat()
        self._put_block(block)
        if not block.proof:
            self._unproved[block.height] = block
            while len(self._unproved) > UNPROVED_MAX:
                del self._unproved[next(iter(self._unproved))]
        unlisted = self.pool.ordered(block.height, payload.items)
        # A payload on its way may list it all the same; then nobody may lose it.
        listed = self.bodies.listed_above(block.height)
        self._desk.put(*(Write("statements", d, None) for d in unlisted if d not in listed))
        self._judge.finalized(block.height)
        self.bodies.finalized(block.height, block.hash)
        self._sink.block(block, statements)
        self.reconsider()
        return block

    def _move_tip(self, block: Block) -> None:
        tip = self._tip
        tip.height, tip.hash, tip.time_ms = block.height, block.hash, block.time_ms
        tip.at_ns = self._desk.now_ns
