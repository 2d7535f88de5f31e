"""An ordering alone: its engine does what a test says, and its sink writes everything down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from p2pnode.consensus.engine import (
    Check,
    Checked,
    Deliver,
    Effect,
    EngineParameters,
    Event,
    Fired,
    Floor,
)
from p2pnode.consensus.ordering import Ordering
from p2pnode.sync.fetcher import Fetcher
from p2pnode.types import effects as fx
from p2pnode.types.chain import Chain
from p2pnode.types.effects import Request
from p2pnode.types.genesis import genesis_hash
from p2pnode.types.messages import (
    decode_list,
)
from p2pnode.types.payload import (
    Block,
    Payload,
    digest_of,
)
from p2pnode.types.statement import Statement
from p2pnode.types.statement import digest_of as statement_digest
from tests.spine import (
    MS,
    Bench,
    S,
    ToyEngine,
    make_chain,
    peer,
    toy,
    toy_proof,
)

CHAIN = make_chain()
LONG = make_chain(epoch_blocks=1000)
GENESIS = genesis_hash(CHAIN.id)
INTERVAL_NS = 200 * MS
HEARTBEAT_NS = 10 * S
OTHERS = (peer(1), peer(2), peer(3))


class Sink:
    """Who takes blocks: writes everything down."""

    def __init__(self) -> None:
        self.blocks: list[tuple[Block, tuple[Statement, ...]]] = []
        self.statements: list[Statement] = []
        self.payloads: list[Payload] = []
        self.levels: list[int] = []
        self.late: list[tuple[int, tuple[int, ...]]] = []
        self.expected = False

    def block(self, block: Block, statements: tuple[Statement, ...]) -> None:
        self.blocks.append((block, statements))

    def statement(self, statement: Statement) -> None:
        self.statements.append(statement)

    def proposed(self, payload: Payload) -> None:
        self.payloads.append(payload)

    def batch_expected(self) -> bool:
        return self.expected

    def synced(self, height: int) -> None:
        self.levels.append(height)

    def behind(self, height_at_least: int, hints: Sequence[int]) -> None:
        self.late.append((height_at_least, tuple(hints)))


class At:
    """An ordering with an engine that does what a test says."""

    def __init__(self, chain: Chain = CHAIN, me: int | None = 0, head: Block | None = None) -> None:
        self.chain = chain
        self.bench = Bench(chain, me or 0)
        self.sink = Sink()
        self.fetcher = Fetcher(self.bench.desk)
        self.todo: list[Effect] = []

        def script(engine: ToyEngine, event: Event) -> list[Effect]:
            return self.todo if isinstance(event, Fired) else []

        self.engine_type = toy(script)
        self.ordering = Ordering(
            chain,
            self.engine_type,
            EngineParameters(),
            me,
            self.bench.desk,
            self.fetcher,
            self.sink,
        )
        floor = Floor(0, genesis_hash(chain.id), b"")
        if head is not None:
            floor = Floor(head.height, head.hash, head.proof)
        self.ordering.start(head, floor, ())
        for other in OTHERS:
            self.fetcher.connected(other)
        self.bench.settle()

    @property
    def engine(self) -> ToyEngine:
        return self.engine_type.lives[-1]

    def engine_does(self, *effects: Effect) -> None:
        self.todo = list(effects)
        self.ordering.host.fired(self.ordering.host.epoch.number, "test")
        self.bench.settle()

    def told(self, kind: type[Event]) -> list[Any]:
        self.bench.settle()
        return [event for event in self.engine.events if isinstance(event, kind)]

    def knows(self, *statements: Statement) -> list[bytes]:
        """Have peers send statements; return their digests."""
        raws = [statement.encode() for statement in statements]
        for raw in raws:
            self.ordering.statement_from(peer(1), raw)
        self.bench.settle()
        return [statement_digest(raw) for raw in raws]

    def check(self, payload: Payload, **changes: Any) -> bytes:
        """Have the engine ask about a payload that came beside its proposal."""
        body = payload.encode()
        self.ordering.payload_from(peer(1), body)
        self.ask(digest_of(body), **changes)
        return digest_of(body)

    def ask(self, digest: bytes, **changes: Any) -> None:
        question = Check("ctx", digest, genesis_hash(self.chain.id), 1, 1)
        self.engine_does(replace(question, **changes))

    def verdicts(self) -> list[bool]:
        return [event.ok for event in self.told(Checked)]

    def wanted(self) -> list[tuple[bytes, list[bytes]]]:
        """Return (peer, names) of the requests that left."""
        found = []
        for request in self.bench.take(Request):
            names = decode_list(request.body, size_bytes_max=8192, count_max=64, item_bytes_max=33)
            found.append((request.peer, list(names)))
            self.open = request
        return found

    def timers(self) -> dict[object, int]:
        self.bench.settle()
        return {e.key: e.at_ns for e in self.bench.out if isinstance(e, fx.ArmTimer)}

    def deliver(self, payload: Payload, *, view: int = 1, bodies: bool = True) -> None:
        body = payload.encode()
        if bodies:
            self.ordering.payload_from(peer(1), body)
        digest, height = digest_of(body), payload.height
        assert height is not None
        proof = toy_proof(self.chain, height, digest)
        self.engine_does(Deliver(height, (digest,), digest, payload.proposer, (view,), proof))


def reason_of(at: At) -> object:
    (data,) = at.bench.emitted("payload_refused")
    return data["reason"]
