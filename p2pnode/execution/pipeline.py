"""From final blocks to certified results: batches gathered, heights executed, results signed and
voted.

Heights execute in order, each when all of its batches are on the shelf. Result signatures go to the
executor whose turn it is to gather them; when no certificate follows, to the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from p2pnode import codec
from p2pnode.availability.shelf import Shelf
from p2pnode.errors import RemoteProtocolError
from p2pnode.execution.block import BlockExecution, Executor, ReadyBatch
from p2pnode.execution.receipts import Inbox, decode_outbox, encode_outbox
from p2pnode.execution.results import KIND, ResultTally, inbox_of, result_of
from p2pnode.types.chain import NS_PER_MS, Chain
from p2pnode.types.desk import Desk
from p2pnode.types.effects import Forget, Lane, Write
from p2pnode.types.messages import ResultVote, encode_message
from p2pnode.types.payload import Block
from p2pnode.types.statement import (
    BatchCertificate,
    Evidence,
    Result,
    ResultCertificate,
    Statement,
    decode_result,
)

KEY_EXECUTED: Final = b"executed"
"""Key in the table `meta` of the newest executed height, 8 bytes big endian."""

KEY_RESULTS: Final = b"results"
"""Key in `meta` of our newest result of each shard and of those with receipts not yet ordered."""

KEY_INBOXES: Final = b"inboxes"
"""Key in `meta` of outboxes ordered but not consumed yet."""

SIGNER_HEIGHTS_KEPT: Final = 256
"""Heights whose results the signer still remembers below the newest one."""

META_BYTES_MAX: Final = 1 << 20

BLOCKS_AHEAD_MAX: Final = 16
"""Blocks whose batches are fetched at once; far fewer than the shelf holds."""


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    """A height that has executed here."""

    block: Block
    executions: tuple[BlockExecution, ...]
    """One a shard."""
    batches: tuple[ReadyBatch, ...]
    """In payload order."""
    executed_ms: int
    """Wall clock."""


@dataclass(frozen=True, slots=True)
class PipelineStatistics:
    """How far execution has come."""

    executed_height: int
    blocks_waiting: int
    results_open: int
    transactions_executed: int
    transactions_failed: int
    transactions_skipped: int
    batches_executed: int
    batches_void: int


@dataclass(slots=True)
class _Own:
    """A result of ours that is not ordered yet."""

    result: Result
    body: bytes
    outbox: bytes
    signature: bytes | None = None
    attempts: int = 0


class Pipeline:
    """Executes final blocks and has their results certified."""

    def __init__(
        self,
        chain: Chain,
        me: int | None,
        desk: Desk,
        shelf: Shelf,
        executors: Mapping[int, Executor],
        certify: Callable[[Statement], None],
        on_executed: Callable[[ExecutedBlock], list[Write]],
    ) -> None:
        """Prepare.

        Args:
            chain: Epochs and validator sets.
            me: Our validator index, None for an observer.
            desk: Where effects go.
            shelf: Batches' data.
            executors: By uid, at the state of the newest executed height.
            certify: Takes completed certificates and evidence.
            on_executed: Told of every height; returns writes to be committed with its state.
        """
        self._chain = chain
        self._me = me
        self._desk = desk
        self._shelf = shelf
        self._executors = dict(sorted(executors.items()))
        self._certify = certify
        self._on_executed = on_executed
        self._blocks: deque[tuple[Block, tuple[Statement, ...]]] = deque()
        self._inboxes: dict[int, list[Inbox]] = {uid: [] for uid in self._executors}
        self._tallies: dict[int, ResultTally] = {}
        self._own: dict[tuple[int, int], _Own] = {}
        self._armed = False
        self._counts = dict.fromkeys(("executed", "failed", "skipped", "batches", "void"), 0)
        self.height = 0
        """Newest executed height."""

    def start(self, height: int, results: bytes | None, inboxes: bytes | None) -> None:
        """Go on after the newest executed height.

        Args:
            height: That height.
            results: What the store holds under `KEY_RESULTS`.
            inboxes: What it holds under `KEY_INBOXES`.
        """
        self.height = height
        if inboxes is not None:
            self._load_inboxes(inboxes)
        if results is not None:
            for item in codec.array(
                codec.decode(results, size_bytes_max=META_BYTES_MAX), "results"
            ):
                body, outbox = codec.array(item, "result", length=2)
                result = decode_result(codec.octets(body, "result"))
                self._vote(result, codec.octets(outbox, "outbox"))

    def statistics(self) -> PipelineStatistics:
        """Return how far execution has come."""
        c = self._counts
        return PipelineStatistics(
            self.height,
            len(self._blocks),
            len(self._own),
            c["executed"],
            c["failed"],
            c["skipped"],
            c["batches"],
            c["void"],
        )

    # --- blocks ----------------------------------------------------------------------------------

    def block(self, block: Block, statements: tuple[Statement, ...]) -> None:
        """Take a final block; it executes when its batches are here."""
        for statement in statements:
            if isinstance(statement, ResultCertificate):
                self._settle(statement)
        self._blocks.append((block, statements))
        self.advance()

    def advance(self) -> None:
        """Execute what can be executed."""
        while self._blocks:
            block, statements = self._blocks[0]
            batches = self._gather(statements)
            if batches is None:
                # The next heights' batches are fetched meanwhile: one after the other, each behind
                # the timeout of a silent peer, they would come more slowly than new blocks.
                for _, later in islice(self._blocks, 1, BLOCKS_AHEAD_MAX):
                    self._gather(later)
                return
            self._blocks.popleft()
            self._execute(block, statements, batches)

    def _gather(self, statements: tuple[Statement, ...]) -> list[ReadyBatch] | None:
        found: list[ReadyBatch] = []
        missing = False
        for statement in statements:
            if not isinstance(statement, BatchCertificate):
                continue
            header, digest = statement.header, statement.header.digest()
            executor = self._executors.get(header.uid)
            if executor is None or header.sequence <= executor.last_sequence(header.collator):
                # Ignored, whatever is in it: it may be so old that nobody has it any more.
                found.append(ReadyBatch(header, digest, (), (), True))
                continue
            ready = self._shelf.ready(digest)
            if ready is None:
                missing = True
                self._shelf.want(header, self._holders(statement))
            else:
                found.append(ready)
        return None if missing else found

    def _holders(self, certificate: BatchCertificate) -> list[bytes]:
        """Return the peers that said they hold a batch, its collator first."""
        validators = self._chain.validators_of(certificate.header.epoch)
        signers = [i for i in certificate.signers.signers if i != self._me]
        collator = self._chain.validator_index(certificate.header.collator)
        signers.sort(key=lambda i: i != collator)
        return [validators[i].peer_id for i in signers]

    def _execute(
        self, block: Block, statements: tuple[Statement, ...], batches: list[ReadyBatch]
    ) -> None:
        epoch = self._chain.epoch_of(block.height)
        epoch_last = block.height == self._chain.last_height(epoch)
        for statement in statements:
            if isinstance(statement, ResultCertificate):
                # Once more: it may have been ordered before we had executed its height.
                self._settle(statement)
                inbox = inbox_of(statement)
                if inbox is not None:
                    for uid, waiting in self._inboxes.items():
                        if uid != inbox.uid:
                            waiting.append(inbox)
        executions: list[BlockExecution] = []
        for uid, executor in self._executors.items():
            execution = executor.execute(
                block.height,
                epoch,
                epoch_last,
                self._inboxes[uid],
                [b for b in batches if b.header.uid == uid],
            )
            self._inboxes[uid] = list(execution.inboxes_waiting)
            executions.append(execution)
        self.height = block.height
        ignored = dict.fromkeys(d for e in executions for d in e.batches_ignored)
        self._counts["batches"] += len(batches)
        self._counts["void"] += sum(b.void and b.digest not in ignored for b in batches)
        for execution in executions:
            self._counts["executed"] += execution.counters[0]
            self._counts["failed"] += execution.counters[1]
            self._counts["skipped"] += execution.counters[2]
        done = ExecutedBlock(block, tuple(executions), tuple(batches), self._desk.wall_ms)
        writes = self._on_executed(done)
        for execution in executions:
            writes.extend(execution.writes)
        for execution in executions:
            if execution.has_result:
                self._vote(*result_of(self._chain.id, execution))
        writes.append(Write("meta", KEY_EXECUTED, block.height.to_bytes(8, "big")))
        writes.append(Write("meta", KEY_RESULTS, self._encode_results()))
        writes.append(Write("meta", KEY_INBOXES, self._encode_inboxes()))
        self._desk.put(*writes)
        for tally in self._tallies.values():
            tally.advance(block.height)
        for batch in batches:
            self._shelf.forget(batch.digest)
        if block.height % 64 == 0 and block.height > SIGNER_HEIGHTS_KEPT:
            self._desk.add(Forget(KIND, epoch, (block.height - SIGNER_HEIGHTS_KEPT,)))

    # --- results ---------------------------------------------------------------------------------

    def vote_from(self, peer: bytes, vote: ResultVote) -> None:
        """Take a result signature that an executor sent us."""
        try:
            result = decode_result(vote.result)
            tally = self._tally(result.epoch)
            if tally is None or not tally.wants(result.uid, result.height, vote.signer):
                return
            claim = tally.claim(vote.result, vote.signer, vote.signature)
        except RemoteProtocolError as error:
            self._desk.penalize(peer, error.penalty, f"result: {error}")
            return

        def verified(ok: tuple[bool, ...]) -> None:
            if all(ok):
                self._count(tally, peer, vote)
            else:
                self._desk.penalize(peer, 50.0, "bad signature of a result")

        self._desk.verify((claim,), verified)

    def _count(self, tally: ResultTally, peer: bytes | None, vote: ResultVote) -> None:
        try:
            made = tally.add(vote.signer, vote.result, vote.outbox, vote.signature)
        except RemoteProtocolError as error:
            if peer is None:
                raise  # our own result is malformed: a bug
            self._desk.penalize(peer, error.penalty, f"result: {error}")
            return
        if isinstance(made, Evidence):
            self._desk.emit("offence", culprit=vote.signer, signing_kind=KIND)
        if made is not None:
            self._certify(made)

    def _tally(self, epoch: int) -> ResultTally | None:
        """Return the tally of an epoch that can still matter, or None."""
        current = self._chain.epoch_of(self.height + 1)
        # Receipts must be certified, however late: their results stay open until then.
        open_epochs = [own.result.epoch for own in self._own.values() if own.outbox]
        if not max(0, current - 1) <= epoch <= current + 1 and epoch not in open_epochs:
            return None
        tally = self._tallies.get(epoch)
        if tally is None:
            tally = ResultTally(
                self._chain.id,
                epoch,
                self._chain.validators_of(epoch),
                tuple(self._executors),
                head=self.height,
            )
            self._tallies[epoch] = tally
            for old in [e for e in self._tallies if e < current - 1 and e not in open_epochs]:
                del self._tallies[old]
        return tally

    def _vote(self, result: Result, outbox: bytes) -> None:
        """Sign a result of ours and send the signature to who gathers."""
        key = (result.uid, result.height)
        own = _Own(result, result.encode(), outbox)
        # A result certifies every earlier height of its shard; only receipts must not be lost.
        for older in [k for k, o in self._own.items() if k[0] == result.uid and not o.outbox]:
            del self._own[older]
        self._own[key] = own
        if self._me is None:
            return

        def signed(signature: bytes | None) -> None:
            if signature is None or self._own.get(key) is not own:
                return
            own.signature = signature
            self._send_vote(own)

        self._desk.sign(
            KIND,
            result.epoch,
            own.body,
            {("result", result.uid, result.height): own.body},
            (result.height,),
            signed,
        )
        self._arm()

    def _send_vote(self, own: _Own) -> None:
        assert own.signature is not None
        assert self._me is not None
        validators = self._chain.validators_of(own.result.epoch)
        gatherer = (own.result.height + own.attempts) % len(validators)
        vote = ResultVote(own.body, own.outbox, self._me, own.signature)
        if gatherer == self._me:
            tally = self._tally(own.result.epoch)
            if tally is not None:
                self._count(tally, None, vote)
            return
        # Our own signature counts in our own tally too: we may gather at a later attempt.
        if own.attempts > 0:
            tally = self._tally(own.result.epoch)
            if tally is not None:
                self._count(tally, None, vote)
        self._desk.send([validators[gatherer].peer_id], Lane.PROPOSAL, encode_message(vote))

    def fired(self) -> None:
        """The retry timer fired: send open signatures to the next gatherer."""
        self._armed = False
        for own in list(self._own.values()):
            if own.signature is not None:
                own.attempts += 1
                self._send_vote(own)
        self._arm()

    def _arm(self) -> None:
        if self._own and not self._armed and self._me is not None:
            self._armed = True
            wait_ns = 2 * self._chain.genesis.parameters.delta_ms * NS_PER_MS
            self._desk.arm(("pipeline",), self._desk.now_ns + 2 * wait_ns)

    def _settle(self, certificate: ResultCertificate) -> None:
        """An ordered result needs no more votes, nor do those it includes."""
        result = certificate.result
        for key, own in list(self._own.items()):
            covered = key[0] == result.uid and key[1] <= result.height
            if covered and (not own.outbox or key[1] == result.height):
                del self._own[key]
        open_heights = [h for uid, h in self._own if uid == result.uid]
        settled = min([result.height, *(h - 1 for h in open_heights if h <= result.height)])
        for tally in self._tallies.values():
            tally.settle(result.uid, settled)

    # --- what survives a restart -----------------------------------------------------------------

    def _encode_results(self) -> bytes:
        return codec.encode([[own.body, own.outbox] for own in self._own.values()])

    def _encode_inboxes(self) -> bytes:
        return codec.encode(
            [
                [uid, i.uid, i.height, i.number, encode_outbox(i.receipts)]
                for uid, waiting in self._inboxes.items()
                for i in waiting
            ]
        )

    def _load_inboxes(self, data: bytes) -> None:
        for item in codec.array(codec.decode(data, size_bytes_max=META_BYTES_MAX), "inboxes"):
            to, uid, height, number, receipts = codec.array(item, "inbox", length=5)
            self._inboxes[codec.unsigned(to, "uid")].append(
                Inbox(
                    codec.unsigned(uid, "uid"),
                    codec.unsigned(height, "height"),
                    codec.unsigned(number, "number"),
                    decode_outbox(codec.octets(receipts, "receipts")),
                )
            )

    def unexecuted(self) -> Sequence[Block]:
        """Return final blocks that wait for their batches."""
        return [block for block, _ in self._blocks]
