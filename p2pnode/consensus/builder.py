"""Build: when a payload is called for, and what it lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pnode.consensus.bodies import Bodies
from p2pnode.consensus.engine import Build
from p2pnode.consensus.host import EngineHost
from p2pnode.consensus.statements import StatementPool
from p2pnode.consensus.tip import Tip
from p2pnode.types.chain import NS_PER_MS, Chain
from p2pnode.types.desk import Desk
from p2pnode.types.payload import Payload, digest_of

BUILD_AT_ONCE_CERTIFICATES: Final = 64
"""A proposer does not wait for the block interval when more certificates than this wait."""


class PayloadBuilder:
    """Answers the engine's Build, and tells it whether there is anything to propose."""

    def __init__(
        self,
        chain: Chain,
        me: int | None,
        host: EngineHost,
        desk: Desk,
        *,
        tip: Tip,
        bodies: Bodies,
        pool: StatementPool,
        batch_expected: Callable[[], bool],
    ) -> None:
        """Start without a question.

        Args:
            chain: Block interval and heartbeat.
            me: Our index among the validators, None for an observer.
            host: Gets the answers.
            desk: Time and timers.
            tip: What payloads stand on.
            bodies: Takes what we propose; knows what ancestors list.
            pool: What waits to be listed.
            batch_expected: Tells whether a batch certificate is about to come.
        """
        self._chain = chain
        self._me = me
        self._host = host
        self._desk = desk
        self._tip = tip
        self._bodies = bodies
        self._pool = pool
        self._batch_expected = batch_expected
        self._question: Build | None = None
        self._question_epoch = 0
        self._grace_ns = chain.genesis.parameters.block_interval_ms * NS_PER_MS // 2
        self.built: bytes = b""
        """Body of the payload proposed last."""

    def build(self, question: Build) -> None:
        """Propose a payload on a parent, now or when there is reason to."""
        self._question = question
        self._question_epoch = self._host.epoch.number
        self.try_build()

    def drop_question(self) -> None:
        """The engine moved on; a question of the view before is void."""
        self._question = None

    def reconsider(self) -> None:
        """Something changed that may call for a block: tell the engine, and propose if asked."""
        self._host.demand(self._demand())
        self.try_build()

    def heartbeat(self) -> None:
        """The heartbeat's timer fired."""
        self.reconsider()
        self.arm_heartbeat()

    def arm_heartbeat(self) -> None:
        """Set the timer after which an empty payload is called for."""
        at_ns = self._heartbeat_due_ns()
        if at_ns > self._desk.now_ns:
            self._desk.arm(("ordering", "heartbeat"), at_ns)

    def _heartbeat_due_ns(self) -> int:
        return self._tip.at_ns + self._chain.genesis.parameters.heartbeat_ms * NS_PER_MS

    def _demand(self) -> bool:
        if self._desk.now_ns >= self._heartbeat_due_ns():
            return True
        return self._pool.may_propose(self._tip.height + 1)

    def try_build(self) -> None:
        """Answer the open question if there is reason to, else set the timer of the next look."""
        question = self._question
        if question is None or self._me is None or self._question_epoch != self._host.epoch.number:
            return
        now_ns = self._desk.now_ns
        tip = self._tip
        excluded = self._bodies.listed_between(question.parent, tip.hash, tip.height)
        items = self._pool.choose(question.height, excluded)
        parent_open = question.may_be_empty and question.parent != tip.hash
        heartbeat = now_ns >= self._heartbeat_due_ns()
        if not items and not heartbeat and not (parent_open and self._demand()):
            return
        hurry = self._pool.waiting_count() > BUILD_AT_ONCE_CERTIFICATES
        if now_ns < question.not_before_ns and not hurry:
            self._desk.arm(("ordering", "build"), question.not_before_ns)
            return
        grace_ns = question.not_before_ns + self._grace_ns
        if now_ns < grace_ns and not self._pool.lists_batch(items) and self._batch_expected():
            # The result of the height before is always ready first: a payload with it alone would
            # make the transactions wait for a whole interval more.
            self._desk.arm(("ordering", "build"), grace_ns)
            return
        self._question = None
        epoch = self._host.epoch.number
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
        self._bodies.keep(digest, body, payload)
        self.built = body
        self._host.built(question.ctx, digest)
