"""What is ordered: payloads built from waiting statements, checked, and turned into blocks when
final.

Check's verdict depends on the payload's body and the epoch only. Missing bodies and statements
are fetched, never judged; duplicates and stale items are ignored when the block executes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from p2pnode import codec, crypto
from p2pnode.availability.certificate import KIND_BATCH, batch_evidence_claims
from p2pnode.availability.certificate import certificate_claims as batch_claims
from p2pnode.consensus.engine import Build, Check, Deliver, Engine, EngineParameters, Floor, Offence
from p2pnode.consensus.host import EngineHost
from p2pnode.consensus.statements import StatementPool
from p2pnode.errors import RemoteProtocolError
from p2pnode.execution.results import KIND as KIND_RESULT
from p2pnode.execution.results import verify_certificate_claims as result_claims
from p2pnode.sync.fetcher import PAYLOAD, STATEMENT, Fetcher
from p2pnode.types.chain import NS_PER_MS, Chain
from p2pnode.types.desk import Desk
from p2pnode.types.effects import Lane, Write
from p2pnode.types.genesis import genesis_hash
from p2pnode.types.messages import Statements, encode_message
from p2pnode.types.payload import EVIDENCE_MAX, Block, Payload, decode_payload, digest_of
from p2pnode.types.statement import (
    BatchCertificate,
    Evidence,
    ResultCertificate,
    Statement,
    decode_result,
    decode_statement,
)
from p2pnode.types.statement import digest_of as statement_digest

BUILD_AT_ONCE_CERTIFICATES: Final = 64
"""A proposer does not wait for the block interval when more certificates than this wait."""

TIME_AHEAD_MS: Final = 500
"""A payload whose time is further ahead than this is judged later, not refused."""

CHECKS_MAX: Final = 64
"""Most payloads under judgement; the oldest is forgotten (pending is not no)."""

RECHECK_NS_MAX: Final = 1_000_000_000
"""A payload from the future is looked at again after so long at the latest: one that is years ahead
must not hold up one that is milliseconds ahead."""

OFFERED_MAX: Final = 16
"""Bodies that a validator sent beside proposals, kept until the engine asks about them."""

UNPROVED_MAX: Final = 256
"""Blocks remembered whose proof may still come (an engine may certify later than it delivers)."""

SIGNER_PRUNED_EVERY: Final = 64
"""Heights between two prunings of the signer's table."""

SIGNER_VIEWS_KEPT: Final = 64
"""Positions below the final one that the signer still remembers; votes there decide nothing."""

BODIES_RETAINED_HEIGHTS: Final = 64
"""Heights below the final one whose payloads stay in memory."""

BODIES_AHEAD_HEIGHTS: Final = 256
"""A payload that says it is further above the final height than this is nobody's."""

BODIES_MAX: Final = 1024
"""Payloads in memory; a final one that is forgotten comes from the store, or from peers."""


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


@dataclass(slots=True)
class _Verdict:
    question: Check
    epoch: int
    """Of the engine that asked; views of another one have the same numbers."""


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
        self._me = me
        self._desk = desk
        self._fetcher = fetcher
        self._sink = sink
        self.host = EngineHost(chain, engine, parameters, me, desk, self)
        self.pool = StatementPool(chain)
        self._bodies: dict[bytes, Payload] = {}
        self._offered: dict[int, dict[bytes, bytes]] = {}
        self._final: dict[bytes, None] = {}
        self._checks: dict[bytes, _Verdict] = {}
        self._refused: dict[bytes, str] = {}
        self._verifying: dict[bytes, None] = {}
        self._question: Build | None = None
        self._question_epoch = 0
        self._built: bytes = b""
        self._recheck_ns = 0
        self._delivers: deque[Deliver] = deque()
        self._unproved: dict[int, Block] = {}
        self.last_block_ns = 0
        self._refused_count = 0
        self._grace_ns = chain.genesis.parameters.block_interval_ms * NS_PER_MS // 2
        self.height = 0
        """Newest final height."""
        self.head = genesis_hash(chain.id)
        """Hash of the newest final block."""
        self.time_ms = chain.genesis.time_ms
        """Time of the newest final block."""
        self.finalized_view: tuple[int, ...] = ()

    def start(self, head: Block | None, floor: Floor, records: Sequence[bytes]) -> None:
        """Begin after the newest stored block.

        Args:
            head: That block, None at genesis.
            floor: Newest height whose proof is stored in this epoch, or the epoch's beginning.
            records: The log's records for the engine.
        """
        if head is not None:
            self.height, self.head, self.time_ms = head.height, head.hash, head.time_ms
        self.last_block_ns = self._desk.now_ns
        self._arm_heartbeat()
        self.host.start(floor, records)

    def statistics(self) -> OrderingStatistics:
        """Return what the ordering knows."""
        return OrderingStatistics(
            self.height,
            self.pool.waiting_count(),
            len(self._checks),
            self._refused_count,
            len(self._delivers),
        )

    # --- statements ------------------------------------------------------------------------------

    def statement_from(self, peer: bytes, raw: bytes) -> None:
        """Take a statement that a peer sent; it is verified before it counts."""
        digest = statement_digest(raw)
        if self.pool.get(digest) is not None or digest in self._verifying:
            return
        self._accept_statement(peer, digest, raw)

    def own_statement(self, statement: Statement) -> None:
        """Take a statement we completed ourselves, and send it to all validators."""
        if isinstance(statement, Evidence) and not self.pool.is_news(
            statement, self.host.epoch.number
        ):
            return
        raw = statement.encode()
        self._keep_statement(statement_digest(raw), raw, statement)
        validators = self._chain.validators_of(self.host.epoch.number)
        peers = [v.peer_id for i, v in enumerate(validators) if i != self._me]
        self._desk.send(peers, Lane.PROPOSAL, encode_message(Statements((raw,))))

    def _accept_statement(
        self, peer: bytes, digest: bytes, raw: bytes, *, listed: bool = False
    ) -> bool:
        """Verify a statement's signatures; returns False when it is malformed.

        Args:
            peer: Who sent it.
            digest: What was asked for, or its own.
            raw: Its bytes.
            listed: A payload lists it.
        """
        if statement_digest(raw) != digest:
            return False
        try:
            statement = decode_statement(raw)
            if not listed and not self.pool.is_news(statement, self.host.epoch.number):
                return True
            claims = self._claims(statement)
        except RemoteProtocolError as error:
            self._desk.penalize(peer, error.penalty, f"statement: {error}")
            return False
        self._verifying[digest] = None

        def verified(ok: tuple[bool, ...]) -> None:
            self._verifying.pop(digest, None)
            if all(ok):
                self._keep_statement(digest, raw, statement, listed=listed)
            else:
                self._desk.penalize(peer, 50.0, "bad signature in a statement")

        self._desk.verify(claims, verified)
        return True

    def _claims(self, statement: Statement) -> list[tuple[bytes, bytes, bytes]]:
        match statement:
            case BatchCertificate():
                validators = self._chain.validators_of(statement.header.epoch)
                return batch_claims(statement, validators, self._chain.id)
            case ResultCertificate():
                validators = self._chain.validators_of(statement.result.epoch)
                return result_claims(statement, validators, self._chain.id)
            case Evidence():
                return self._evidence_claims(statement)

    def _evidence_claims(self, e: Evidence) -> list[tuple[bytes, bytes, bytes]]:
        validators = self._chain.validators_of(e.epoch)
        if e.signer >= len(validators) or e.body_a == e.body_b:
            raise codec.WrongShapeError(f"evidence against signer {e.signer} proves nothing")
        if e.signing_kind == KIND_BATCH:
            return batch_evidence_claims(e, validators, self._chain.id)
        if e.signing_kind == self.host.kind:
            slots_a = self.host.engine_type.slots(e.body_a)
            slots_b = self.host.engine_type.slots(e.body_b)
            if not any(slots_b.get(key, value) != value for key, value in slots_a.items()):
                raise codec.WrongShapeError("evidence: the two bodies do not conflict")
        elif e.signing_kind == KIND_RESULT:
            a, b = decode_result(e.body_a), decode_result(e.body_b)
            if (a.chain, a.epoch, a.uid, a.height) != (b.chain, b.epoch, b.uid, b.height):
                raise codec.WrongShapeError("evidence: the two results are of different heights")
        else:
            raise codec.WrongShapeError(f"evidence: no rule forbids two of {e.signing_kind!r}")
        key = validators[e.signer].public_key
        return [
            (key, crypto.signing_hash(self._chain.id, e.signing_kind, e.epoch, body), signature)
            for body, signature in ((e.body_a, e.signature_a), (e.body_b, e.signature_b))
        ]

    def _keep_statement(
        self, digest: bytes, raw: bytes, statement: Statement, *, listed: bool = False
    ) -> None:
        self._fetcher.arrived(STATEMENT + digest)
        if self.pool.get(digest) is None:
            self._desk.put(Write("statements", digest, raw))
        if self.pool.add(digest, raw, statement, listed=listed):
            self._sink.statement(statement)
        self._recheck()
        self._advance()
        self.reconsider()

    def unlisted_batches(self, uid: int) -> int:
        """Return how many certified batches of a shard no payload above the final height lists."""
        return self.pool.unordered_batches(uid, self._listed_above(self.height))

    def _listed_above(self, height: int) -> dict[bytes, None]:
        """Return the digests that any payload above a height lists."""
        listed: dict[bytes, None] = {}
        for payload in self._bodies.values():
            if (payload.height or 0) > height:
                listed.update(dict.fromkeys(payload.items))
        return listed

    # --- Build -----------------------------------------------------------------------------------

    def build(self, question: Build) -> None:
        """Propose a payload on a parent."""
        self._question = question
        self._question_epoch = self.host.epoch.number
        self._try_build()

    def reconsider(self) -> None:
        """Something changed that may call for a block: tell the engine, and propose if asked."""
        self.host.demand(self._demand())
        self._try_build()

    def _heartbeat_due_ns(self) -> int:
        return self.last_block_ns + self._chain.genesis.parameters.heartbeat_ms * NS_PER_MS

    def _demand(self) -> bool:
        if self._desk.now_ns >= self._heartbeat_due_ns():
            return True
        return self.pool.may_propose(self.height + 1)

    def _try_build(self) -> None:
        question = self._question
        if question is None or self._me is None or self._question_epoch != self.host.epoch.number:
            return
        now_ns = self._desk.now_ns
        items = self.pool.choose(question.height, self._listed_above_final(question.parent))
        parent_open = question.may_be_empty and question.parent != self.head
        heartbeat = now_ns >= self._heartbeat_due_ns()
        if not items and not heartbeat and not (parent_open and self._demand()):
            return
        hurry = self.pool.waiting_count() > BUILD_AT_ONCE_CERTIFICATES
        if now_ns < question.not_before_ns and not hurry:
            self._desk.arm(("ordering", "build"), question.not_before_ns)
            return
        grace_ns = question.not_before_ns + self._grace_ns
        if now_ns < grace_ns and not self.pool.lists_batch(items) and self._sink.batch_expected():
            # The result of the height before is always ready first: a payload with it alone would
            # make the transactions wait for a whole interval more.
            self._desk.arm(("ordering", "build"), grace_ns)
            return
        self._question = None
        epoch = self.host.epoch.number
        payload = Payload(
            chain=self._chain.id,
            epoch=epoch,
            height=question.height,
            parent=question.parent,
            proposer=self._me,
            time_ms=self._desk.wall_ms,
            reveal=b"",
            validators_hash=self._chain.validators_hash_of(epoch),
            next_validators_hash=self._chain.validators_hash_of(epoch + 1),
            items=items,
        )
        body = payload.encode()
        digest = digest_of(body)
        self._keep_body(digest, body, payload)
        self._built = body
        self.host.built(question.ctx, digest)

    def _listed_above_final(self, parent: bytes) -> dict[bytes, None]:
        """Return the digests that ancestors list which are not final yet."""
        listed: dict[bytes, None] = {}
        digest: bytes | None = parent
        while digest is not None and digest != self.head:
            payload = self._bodies.get(digest)
            if payload is None or (payload.height or 0) <= self.height:
                break
            listed.update(dict.fromkeys(payload.items))
            digest = payload.parent
        return listed

    def payload_body(self, body: bytes) -> bytes:
        """Return the payload body that a proposal needs beside it."""
        return self._built

    def entered(self, view: tuple[int, ...]) -> None:
        """The engine moved on; a question of the view before is void."""
        self._question = None

    def timer(self, name: str) -> None:
        """One of our timers fired."""
        if name == "build":
            self._try_build()
        elif name == "heartbeat":
            self.reconsider()
            self._arm_heartbeat()
        elif name == "recheck":
            self._recheck()

    def _arm_heartbeat(self) -> None:
        at_ns = self._heartbeat_due_ns()
        if at_ns > self._desk.now_ns:
            self._desk.arm(("ordering", "heartbeat"), at_ns)

    # --- bodies and Check ------------------------------------------------------------------------

    def payload_from(self, peer: bytes, body: bytes) -> None:
        """Take a payload's body that came beside a proposal.

        Nobody has checked the proposal yet: the body is put aside until the engine asks about it,
        else everybody could fill memory and disk with payloads.
        """
        digest = digest_of(body)
        if digest in self._checks or self._fetcher.wants(PAYLOAD + digest):
            self._accept_body(peer, digest, body)
            return
        sender = self._chain.validator_of_peer(peer)
        if sender is None or digest in self._bodies:
            return
        offered = self._offered.setdefault(sender, {})
        offered[digest] = body
        if len(offered) > OFFERED_MAX:
            del offered[next(iter(offered))]

    def fetch(self, payloads: Sequence[bytes], hints: Sequence[int]) -> None:
        """Get payload bodies that the engine asks for."""
        for digest in payloads:
            if self._body(digest) is None:
                self._want_body(digest, hints)

    def check(self, question: Check) -> None:
        """Judge a payload, now or when everything is here."""
        if len(self._checks) >= CHECKS_MAX:
            self._checks.pop(next(iter(self._checks)))
        self._checks[question.payload] = _Verdict(question, self.host.epoch.number)
        self._judge(question.payload)

    def _want_body(self, digest: bytes, hints: Sequence[int], *, final: bool = False) -> None:
        if digest in self._bodies or digest in self._refused:
            return
        self._fetcher.want(
            PAYLOAD + digest,
            self._peer_ids(hints),
            lambda peer, body: self._accept_body(peer, digest, body),
            final=final,
        )

    def _body(self, digest: bytes) -> Payload | None:
        """Return a payload that is here, or was put aside."""
        payload = self._bodies.get(digest)
        if payload is None:
            for offered in self._offered.values():
                body = offered.pop(digest, None)
                if body is not None:
                    self._read_body(digest, body)
                    return self._bodies.get(digest)
        return payload

    def _accept_body(self, peer: bytes, digest: bytes, body: bytes) -> bool:
        if digest_of(body) != digest:
            return False
        if digest not in self._bodies and digest not in self._refused:
            self._read_body(digest, body)
            self._recheck()
            self._advance()
        return True

    def _read_body(self, digest: bytes, body: bytes) -> None:
        try:
            payload = decode_payload(body)
        except RemoteProtocolError as error:
            # A digest of such bytes is never voted for; a Check of it is answered with no.
            self._refused[digest] = str(error)
            while len(self._refused) > CHECKS_MAX:
                self._refused.pop(next(iter(self._refused)))
            return
        self._keep_body(digest, body, payload)
        self.host.available(digest)

    def _keep_body(self, digest: bytes, body: bytes, payload: Payload) -> None:
        self._fetcher.arrived(PAYLOAD + digest)
        self._bodies[digest] = payload
        if len(self._bodies) > BODIES_MAX:
            del self._bodies[next(iter(self._bodies))]
        self._desk.put(Write("bodies", digest, body))
        self._sink.proposed(payload)

    def _recheck(self) -> None:
        self._recheck_ns = self._desk.now_ns + RECHECK_NS_MAX
        for digest in list(self._checks):
            self._judge(digest)

    def _judge(self, digest: bytes) -> None:
        verdict = self._checks.get(digest)
        if verdict is None:
            return
        question = verdict.question
        if verdict.epoch != self.host.epoch.number:
            del self._checks[digest]
            return
        payload = self._body(digest)
        if digest in self._refused:
            self._answer(question, self._refused[digest])
            return
        if payload is None:
            self._want_body(digest, (question.proposer,))
            return
        fault = self._fault(payload, question)
        if fault is not None:
            self._answer(question, fault)
            return
        statements = self._gather(payload.items, (question.proposer,))
        if statements is None:
            return
        fault = self._items_fault(payload, statements)
        if fault is not None:
            self._answer(question, fault)
            return
        ahead_ms = payload.time_ms - TIME_AHEAD_MS - self._desk.wall_ms
        if ahead_ms > 0:
            at_ns = self._desk.now_ns + min(ahead_ms * NS_PER_MS, RECHECK_NS_MAX)
            armed = self._recheck_ns > self._desk.now_ns
            self._recheck_ns = min(self._recheck_ns, at_ns) if armed else at_ns
            self._desk.arm(("ordering", "recheck"), self._recheck_ns)
            return
        self._answer(question, None)

    def _answer(self, question: Check, fault: str | None) -> None:
        self._checks.pop(question.payload, None)
        if fault is not None:
            self._refused_count += 1
            self._desk.emit(
                "payload_refused", proposer=question.proposer, height=question.height, reason=fault
            )
        self.host.checked(question.ctx, fault is None)

    def _fault(self, payload: Payload, question: Check) -> str | None:
        """Return what is wrong with a payload itself, or None."""
        epoch = self.host.epoch.number
        if payload.chain != self._chain.id:
            return "it is of another chain"
        if payload.epoch != epoch:
            return f"it is of epoch {payload.epoch}, not {epoch}"
        if payload.height != question.height:
            return f"its height is {payload.height}, its place is {question.height}"
        if payload.parent != question.parent:
            return "its parent is not the payload it was proposed on"
        if payload.proposer != question.proposer:
            return f"it names proposer {payload.proposer}, proposed by {question.proposer}"
        if payload.validators_hash != self._chain.validators_hash_of(epoch):
            return "its validators hash is wrong"
        if payload.next_validators_hash != self._chain.validators_hash_of(epoch + 1):
            return "its next validators hash is wrong"
        if len(dict.fromkeys(payload.items)) != len(payload.items):
            return "it lists a statement twice"
        return None

    def _items_fault(self, payload: Payload, statements: tuple[Statement, ...]) -> str | None:
        """Return what is wrong with the statements a payload lists, or None."""
        assert payload.height is not None
        seen: dict[tuple[str, int], None] = {}
        accusations = 0
        for statement in statements:
            match statement:
                case BatchCertificate(header):
                    key, epoch = ("batch", header.uid), header.epoch
                    admissible = self._chain.admissible(epoch, payload.height)
                case ResultCertificate(result, outbox):
                    key, epoch = ("result", result.uid), result.epoch
                    admissible = self._chain.result_admissible(
                        epoch, payload.height, outbox=bool(outbox)
                    )
                case Evidence(epoch):
                    accusations += 1
                    if accusations > EVIDENCE_MAX:
                        return f"it lists more than {EVIDENCE_MAX} pieces of evidence"
                    if not self._chain.evidence_admissible(epoch, payload.height):
                        return f"evidence of epoch {epoch} is not admissible there"
                    continue
            if key in seen:
                return f"it lists more than one {key[0]} of shard {key[1]}"
            seen[key] = None
            if not admissible:
                return f"a {key[0]} certificate of epoch {epoch} is not admissible there"
        return None

    def _gather(
        self, items: tuple[bytes, ...], hints: Sequence[int], *, final: bool = False
    ) -> tuple[Statement, ...] | None:
        """Return the statements behind digests, or None while some are fetched."""
        found: list[Statement] = []
        missing = False
        for digest in items:
            statement = self.pool.get(digest)
            if statement is not None:
                found.append(statement)
                continue
            missing = True
            if digest not in self._verifying:
                self._fetcher.want(
                    STATEMENT + digest,
                    self._peer_ids(hints),
                    self._statement_taker(digest),
                    final=final,
                )
        return None if missing else tuple(found)

    def _statement_taker(self, digest: bytes) -> Callable[[bytes, bytes], bool]:
        return lambda peer, raw: self._accept_statement(peer, digest, raw, listed=True)

    # --- Deliver ---------------------------------------------------------------------------------

    def deliver(self, final: Deliver) -> None:
        """Take a final height; it becomes a block once its body and statements are here."""
        self._delivers.append(final)
        self._advance()

    def certified(self, height: int, proof: bytes) -> None:
        """Take a proof that came after its Deliver."""
        block = self._unproved.pop(height, None)
        if block is not None:
            self._put_block(replace(block, proof=proof))

    def _put_block(self, block: Block) -> None:
        self._desk.put(Write("blocks", block.height.to_bytes(8, "big"), block.encode()))

    def _advance(self) -> None:
        while self._delivers:
            final = self._delivers[0]
            if final.height <= self.height:
                self._delivers.popleft()
                continue
            assert final.height == self.height + 1, (final.height, self.height)
            payload = self._body(final.anchor)
            if payload is None:
                self._want_body(final.anchor, (final.proposer,), final=True)
                return
            statements = self._gather(payload.items, (final.proposer,), final=True)
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
                if self.pool.get(digest) is None:
                    self._desk.put(Write("statements", digest, raw))
                    self.pool.add(digest, raw, statement)
                self._fetcher.arrived(STATEMENT + digest)
            statements = tuple(known[digest][1] for digest in payload.items)
            self._keep_body(block.hash, block.payload, payload)
            last = self._append(block, payload, statements)
        self._sink.synced(last.height)
        self.host.synced(Floor(last.height, last.hash, last.proof))
        self._advance()
        self.reconsider()

    def _append(self, block: Block, payload: Payload, statements: tuple[Statement, ...]) -> Block:
        # The header's time is a function of the chain, whoever gave the block.
        block = replace(block, time_ms=max(self.time_ms + 1, payload.time_ms))
        self.height, self.head, self.time_ms = block.height, block.hash, block.time_ms
        self.finalized_view = block.view
        self.last_block_ns = self._desk.now_ns
        self._arm_heartbeat()
        self._put_block(block)
        if not block.proof:
            self._unproved[block.height] = block
            while len(self._unproved) > UNPROVED_MAX:
                del self._unproved[next(iter(self._unproved))]
        unlisted = self.pool.ordered(block.height, payload.items)
        # A payload on its way may list it all the same; then nobody may lose it.
        listed = self._listed_above(block.height)
        self._desk.put(*(Write("statements", d, None) for d in unlisted if d not in listed))
        self._forget_payloads(block)
        self._sink.block(block, statements)
        self.reconsider()
        return block

    def _forget_payloads(self, block: Block) -> None:
        """Drop questions that a final height answers, and payloads that it leaves behind."""
        for digest in [d for d, v in self._checks.items() if v.question.height <= block.height]:
            del self._checks[digest]
        self._final[block.hash] = None
        while len(self._final) > 2 * BODIES_RETAINED_HEIGHTS:
            del self._final[next(iter(self._final))]
        old = block.height - BODIES_RETAINED_HEIGHTS
        ahead = block.height + BODIES_AHEAD_HEIGHTS
        for digest in [d for d, p in self._bodies.items() if not old <= (p.height or 0) <= ahead]:
            # From the disk only what can't be final any more.
            if (self._bodies.pop(digest).height or 0) < old and digest not in self._final:
                self._desk.put(Write("bodies", digest, None))

    # --- the rest --------------------------------------------------------------------------------

    def offence(self, epoch: int, kind: str, offence: Offence) -> None:
        """Make evidence of a double sign and have it ordered."""
        evidence = Evidence(
            epoch,
            offence.culprit,
            kind,
            offence.a.body,
            offence.a.sig,
            offence.b.body,
            offence.b.sig,
        )
        self._desk.emit("offence", culprit=offence.culprit, signing_kind=kind)
        self.own_statement(evidence)

    def behind(self, height_at_least: int, hints: Sequence[int]) -> None:
        """Others are further than votes can bring us."""
        self._sink.behind(height_at_least, hints)

    def _peer_ids(self, indices: Sequence[int]) -> list[bytes]:
        validators = self._chain.validators_of(self.host.epoch.number)
        return [validators[i].peer_id for i in indices if i != self._me and i < len(validators)]
