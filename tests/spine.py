"""A small chain, statements signed by its keys, and a bench that answers a desk's questions.

Shared by the tests of the parts that lead effects: host, ordering, sync, pipeline, certifier and
intake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from p2pnode import codec, crypto
from p2pnode.availability.inline import InlineScheme
from p2pnode.consensus import engine as plug
from p2pnode.consensus.engine import (
    Claim,
    Effect,
    EngineParameters,
    Epoch,
    Event,
    Floor,
    Interest,
    Item,
    MalformedItemError,
    Signed,
)
from p2pnode.execution.receipts import Receipt, encode_outbox, outbox_root
from p2pnode.types import effects as fx
from p2pnode.types.batch import KIND_TRANSACTIONS, BatchHeader, encode_transactions
from p2pnode.types.chain import Chain
from p2pnode.types.desk import Desk
from p2pnode.types.genesis import Genesis, GenesisAccount, Parameters, Validator, genesis_hash
from p2pnode.types.payload import Block, Payload, digest_of
from p2pnode.types.statement import (
    BatchCertificate,
    Evidence,
    Result,
    ResultCertificate,
    SignerList,
)
from p2pnode.types.transaction import Transaction, Transfer, sign_transaction

KEYS = [crypto.SecretKey(bytes([i]) * 32) for i in range(1, 9)]
USERS = [crypto.SecretKey(bytes([0x80 + i]) * 32) for i in range(8)]
RICH = 1 << 60
MS = 1_000_000
S = 1_000_000_000
START_MS = 1_700_000_000_000
"""Time of genesis."""
SCHEME = InlineScheme()

T = TypeVar("T")


def make_chain(count: int = 4, *, engine: str = "toy", **parameters: int) -> Chain:
    """Return a chain of validators with power 1 and rich users."""
    genesis = Genesis(
        "test-spine",
        START_MS,
        engine,
        "inline",
        tuple(Validator(k.public, 1, crypto.peer_id_of(k.public)) for k in KEYS[:count]),
        Parameters(**{"epoch_blocks": 20, "bucket_bits": 4, **parameters}),
        tuple(
            GenesisAccount(address, ((0, RICH),))
            for address in sorted(crypto.address_of(key.public) for key in USERS)
        ),
    )
    genesis.validate()
    return Chain.from_genesis(genesis, genesis.encode())


def peer(index: int) -> bytes:
    """Return the peer id of a validator."""
    return crypto.peer_id_of(KEYS[index].public)


# --- transactions, batches, statements ------------------------------------------------------------


def transaction(
    chain: Chain, user: int = 0, nonce: int = 0, *, amount: int = 1, last_valid_height: int = 500
) -> Transaction:
    to = crypto.address_of(USERS[(user + 1) % len(USERS)].public)
    return sign_transaction(
        USERS[user],
        chain.id,
        nonce=nonce,
        last_valid_height=last_valid_height,
        fee_limit=100,
        actions=(Transfer(0, to, amount),),
    )


def forged(chain: Chain, user: int = 0, nonce: int = 0) -> bytes:
    """Return an envelope that is well formed but for its signature."""
    return transaction(chain, user, nonce).raw[:-64] + bytes(64)


def batch(
    chain: Chain,
    raws: Sequence[bytes] = (b"raw",),
    *,
    collator: int = 0,
    sequence: int = 1,
    epoch: int = 0,
    uid: int = 1,
) -> tuple[BatchHeader, bytes]:
    data = encode_transactions(list(raws))
    header = BatchHeader(
        chain=chain.id,
        epoch=epoch,
        uid=uid,
        collator=KEYS[collator].public,
        sequence=sequence,
        kind=KIND_TRANSACTIONS,
        tx_root=crypto.merkle_root(list(raws)),
        scheme="inline",
        k=1,
        n=0,
        row_size=len(data),
        data_bytes=len(data),
        commitment=SCHEME.encode(data).commitment,
    )
    return header, data


def signature(chain: Chain, key: int, kind: str, epoch: int, body: bytes) -> bytes:
    return KEYS[key].sign(crypto.signing_hash(chain.id, kind, epoch, body))


def sign_header(chain: Chain, header: BatchHeader) -> bytes:
    keys = [key.public for key in KEYS]
    return signature(chain, keys.index(header.collator), "batch", header.epoch, header.encode())


def certify(
    chain: Chain, header: BatchHeader, signers: Sequence[int] = (0, 1, 2)
) -> BatchCertificate:
    stored = tuple(signature(chain, i, "stored", header.epoch, header.digest()) for i in signers)
    return BatchCertificate(header, sign_header(chain, header), SignerList(tuple(signers), stored))


def batch_certificate(
    chain: Chain,
    *,
    collator: int = 0,
    sequence: int = 1,
    epoch: int = 0,
    uid: int = 1,
    raws: Sequence[bytes] = (b"raw",),
    signers: Sequence[int] = (0, 1, 2),
) -> BatchCertificate:
    header, _ = batch(chain, raws, collator=collator, sequence=sequence, epoch=epoch, uid=uid)
    return certify(chain, header, signers)


FEES = (Receipt(2, b"", 0, b"", 0, 5),)
"""An outbox: a fee pot on its way."""


def result(
    chain: Chain,
    height: int,
    *,
    epoch: int | None = None,
    uid: int = 1,
    outboxes: int = 0,
    receipts: Sequence[Receipt] = (),
    root: bytes = bytes(32),
) -> Result:
    return Result(
        chain=chain.id,
        epoch=chain.epoch_of(height) if epoch is None else epoch,
        uid=uid,
        height=height,
        pre_root=bytes(32),
        post_root=root,
        outbox_root=outbox_root(receipts),
        outcome_root=bytes(32),
        watermarks_root=bytes(32),
        counters=(0, 0, 0, 0, 0, outboxes),
        witness=bytes(32),
    )


def result_certificate(
    chain: Chain,
    height: int,
    *,
    signers: Sequence[int] = (0, 1, 2),
    receipts: Sequence[Receipt] = (),
    **changes: Any,
) -> ResultCertificate:
    of = result(chain, height, receipts=receipts, **changes)
    signatures = tuple(signature(chain, i, "result", of.epoch, of.encode()) for i in signers)
    return ResultCertificate(of, encode_outbox(receipts), SignerList(tuple(signers), signatures))


def evidence(chain: Chain, signer: int = 3, view: int = 1, *, epoch: int = 0) -> Evidence:
    """Return two toy votes of one view."""
    kind = "engine/toy/1"
    a, b = toy_body(view, b"a"), toy_body(view, b"b")
    return Evidence(
        epoch,
        signer,
        kind,
        a,
        signature(chain, signer, kind, epoch, a),
        b,
        signature(chain, signer, kind, epoch, b),
    )


# --- payloads and blocks --------------------------------------------------------------------------


def make_payload(
    chain: Chain,
    height: int = 1,
    parent: bytes | None = None,
    items: Sequence[bytes] = (),
    /,
    **changes: Any,
) -> Payload:
    epoch = chain.epoch_of(height)
    fields: dict[str, Any] = {
        "chain": chain.id,
        "epoch": epoch,
        "height": height,
        "parent": genesis_hash(chain.id) if parent is None else parent,
        "proposer": 1,
        "time_ms": START_MS + height * 100,
        "reveal": b"",
        "validators_hash": chain.validators_hash_of(epoch),
        "next_validators_hash": chain.validators_hash_of(epoch + 1),
        "items": tuple(items),
    }
    return Payload(**{**fields, **changes})


def make_blocks(
    chain: Chain,
    count: int,
    *,
    first: int = 1,
    parent: bytes | None = None,
    items: Mapping[int, Sequence[bytes]] | None = None,
    proved: Callable[[int], bool] = lambda height: True,
) -> list[Block]:
    """Return linked blocks; `items` are digests by height."""
    blocks: list[Block] = []
    for height in range(first, first + count):
        body = make_payload(chain, height, parent, (items or {}).get(height, ())).encode()
        parent = digest_of(body)
        proof = toy_proof(chain, height, parent) if proved(height) else b""
        blocks.append(Block(height, parent, body, START_MS + height * 100, (height,), proof))
    return blocks


# --- a scripted engine ----------------------------------------------------------------------------


def toy_body(view: int, value: bytes) -> bytes:
    return codec.encode([view, value])


def toy_vote(
    chain: Chain, sender: int, view: int, value: bytes = b"v", *, epoch: int = 0
) -> Signed:
    body = toy_body(view, value)
    return Signed(sender, body, signature(chain, sender, "engine/toy/1", epoch, body))


def toy_proof(
    chain: Chain, height: int, digest: bytes, signers: Sequence[int] = (0, 1, 2)
) -> bytes:
    body = toy_body(height, digest)
    epoch = chain.epoch_of(height)
    votes = [[i, signature(chain, i, "engine/toy/1", epoch, body)] for i in signers]
    return codec.encode([height, digest, votes])


class ToyEngine:
    """An engine that does what its script says: `script(event)` gives the effects of an event."""

    name: ClassVar[str] = "toy"
    version: ClassVar[int] = 1
    script: Callable[[ToyEngine, Event], list[Effect]]
    judge: Callable[[Item], Interest]
    lives: list[ToyEngine]

    def __init__(self, parameters: EngineParameters) -> None:
        self.events: list[Event] = []
        self.lives.append(self)

    @staticmethod
    def tolerance(power_total: int) -> tuple[int, int]:
        return (power_total - 1) // 3, plug.quorum_of(power_total)

    @staticmethod
    def slots(body: bytes) -> Mapping[plug.Key, bytes]:
        view, value = _toy(body)
        return {("v", view): value}

    @staticmethod
    def position(body: bytes) -> plug.Pos:
        return (_toy(body)[0],)

    @staticmethod
    def claims(item: Item, epoch: Epoch) -> Sequence[Claim]:
        if not isinstance(item, Signed):
            raise MalformedItemError("a toy has no certificates")
        _toy(item.body)
        if item.sender >= len(epoch.validators):
            raise MalformedItemError(f"signer {item.sender}")
        return [Claim(item.sender, item.body, item.sig)]

    @staticmethod
    def verify_proof(proof: bytes, epoch: Epoch, height: int, digest: bytes) -> Sequence[Claim]:
        value = codec.array(codec.decode(proof, size_bytes_max=4096), "proof", length=3)
        if value[:2] != (height, digest):
            raise MalformedItemError(f"a proof of something else than height {height}")
        votes = [codec.array(v, "vote", length=2) for v in codec.array(value[2], "votes")]
        if len(votes) < epoch.quorum():
            raise MalformedItemError(f"{len(votes)} signers")
        body = toy_body(height, digest)
        return [
            Claim(
                codec.unsigned(i, "signer", value_max=len(epoch.validators) - 1),
                body,
                codec.octets(s, "signature", length=64),
            )
            for i, s in votes
        ]

    def recover(
        self, now_ns: int, epoch: Epoch, floor: Floor, records: Iterable[bytes]
    ) -> list[Effect]:
        self.epoch, self.floor, self.records = epoch, floor, list(records)
        return []

    def interest(self, item: Item) -> Interest:
        return type(self).judge(item)

    def step(self, now_ns: int, event: Event) -> list[Effect]:
        self.events.append(event)
        return type(self).script(self, event)

    def summary(self) -> bytes:
        return b"toy"

    def held(self) -> int:
        return len(self.events)

    def fingerprint(self) -> bytes:
        return crypto.sha256(repr(self.events).encode())


def _toy(body: bytes) -> tuple[int, bytes]:
    view, value = codec.array(codec.decode(body, size_bytes_max=4096), "toy vote", length=2)
    return codec.unsigned(view, "view"), codec.octets(value, "value")


def toy(
    script: Callable[[ToyEngine, Event], list[Effect]] = lambda engine, event: [],
    judge: Callable[[Item], Interest] = lambda item: Interest.NOW,
) -> type[ToyEngine]:
    """Return an engine's class of its own; `lives` has its objects."""
    return type("Toy", (ToyEngine,), {"script": script, "judge": staticmethod(judge), "lives": []})


# --- the bench ------------------------------------------------------------------------------------


class Bench:
    """A desk whose questions are answered as a shell would; everything else is kept in order."""

    def __init__(self, chain: Chain, me: int = 0) -> None:
        self.chain = chain
        self.me = me
        self.desk = Desk()
        self.desk.now_ns = S
        self.desk.wall_ms = START_MS
        self.out: list[fx.Effect] = []
        self.refuse: Callable[[fx.Sign], bool] = lambda sign: False
        self.verified_count = 0

    def settle(self) -> None:
        """Answer signatures and their checks until no such question is open."""
        while effects := self.desk.drain():
            for effect in effects:
                self.out.append(effect)
                match effect:
                    case fx.Sign():
                        self.desk.answer(fx.SignedIn(effect.ticket, self._sign(effect)))
                    case fx.Verify(ticket, checks):
                        self.verified_count += len(checks)
                        ok = tuple(crypto.verify(*check) for check in checks)
                        self.desk.answer(fx.VerifiedIn(ticket, ok))

    def _sign(self, effect: fx.Sign) -> bytes | None:
        if self.refuse(effect):
            return None
        return signature(self.chain, self.me, effect.kind, effect.epoch, effect.body)

    def take(self, kind: type[T]) -> list[T]:
        """Settle; return and forget the effects of a kind."""
        self.settle()
        taken = [effect for effect in self.out if isinstance(effect, kind)]
        self.out = [effect for effect in self.out if not isinstance(effect, kind)]
        return taken

    def emitted(self, event: str) -> list[Mapping[str, object]]:
        """Return and forget the data of events of a name."""
        self.settle()
        found = [e.data for e in self.out if isinstance(e, fx.Emit) and e.event == event]
        self.out = [e for e in self.out if not (isinstance(e, fx.Emit) and e.event == event)]
        return found

    def answer(self, request: fx.Request, body: bytes | None) -> None:
        """Answer a request."""
        self.desk.answer(fx.AnswerIn(request.ticket, body))
        self.settle()

    def pass_ns(self, ns: int) -> None:
        """Let time pass."""
        self.desk.now_ns += ns
        self.desk.wall_ms += ns // MS
