"""The examples that docs/wire.md shows byte for byte, made by the code.

Keys and digests are hashes of words, so that nobody mistakes them for somebody's.
"""

from __future__ import annotations

from p2pnode import crypto
from p2pnode.availability.inline import InlineScheme
from p2pnode.consensus.simplex import summaries, votes
from p2pnode.execution.receipts import KIND_TRANSFER, Receipt, encode_outbox
from p2pnode.net.framing import frame
from p2pnode.types import batch, genesis, messages, payload, statement, transaction
from p2pnode.types.record import NodeRecord, Role, Scope, sign_record


def word(text: str) -> bytes:
    """Return the SHA-256 of a word."""
    return crypto.sha256(text.encode())


ALICE = crypto.SecretKey(word("alice"))
BOB = crypto.address_of(crypto.SecretKey(word("bob")).public)
VALIDATORS = tuple(crypto.SecretKey(word(f"validator {n}")) for n in range(4))

GENESIS = genesis.Genesis(
    name="test-docs",
    time_ms=1_700_000_000_000,
    engine="simplex",
    scheme="inline",
    validators=tuple(
        genesis.Validator(key.public, 1, crypto.peer_id_of(key.public)) for key in VALIDATORS[:1]
    ),
    parameters=genesis.Parameters(),
    accounts=(
        genesis.GenesisAccount(
            crypto.address_of(ALICE.public), ((0, 10**6), (1, 2001900000000000000000))
        ),
    ),
)
CHAIN = genesis.chain_id(GENESIS.encode())

TRANSACTION = transaction.sign_transaction(
    ALICE,
    CHAIN,
    nonce=0,
    last_valid_height=1000,
    fee_limit=3,
    actions=(
        transaction.Transfer(0, BOB, 31337),
        transaction.Transfer(1, BOB, 2001900000000000000000),
    ),
)

DATA = batch.encode_transactions([TRANSACTION.raw])
HEADER = batch.BatchHeader(
    chain=CHAIN,
    epoch=0,
    uid=1,
    collator=VALIDATORS[0].public,
    sequence=1,
    kind=batch.KIND_TRANSACTIONS,
    tx_root=crypto.merkle_root([TRANSACTION.raw]),
    scheme="inline",
    k=1,
    n=0,
    row_size=len(DATA),
    data_bytes=len(DATA),
    commitment=InlineScheme().encode(DATA).commitment,
)


def signed(index: int, kind: str, body: bytes) -> bytes:
    """Return a validator's signature of a body in its domain."""
    return VALIDATORS[index].sign(crypto.signing_hash(CHAIN, kind, 0, body))


def signers(kind: str, body: bytes, *indices: int) -> statement.SignerList:
    return statement.SignerList(indices, tuple(signed(i, kind, body) for i in indices))


BATCH_CERTIFICATE = statement.BatchCertificate(
    HEADER,
    signed(0, "batch", HEADER.encode()),
    signers("stored", HEADER.digest(), 0, 1, 3),
)

RESULT = statement.Result(
    chain=CHAIN,
    epoch=0,
    uid=1,
    height=7,
    pre_root=word("pre root"),
    post_root=word("post root"),
    outbox_root=crypto.merkle_root([]),
    outcome_root=word("outcome root"),
    watermarks_root=word("watermarks root"),
    counters=(1, 0, 0, 3, len(DATA), 0),
    witness=bytes(32),
)
RESULT_CERTIFICATE = statement.ResultCertificate(
    RESULT, b"", signers("result", RESULT.encode(), 0, 1, 2)
)
OUTBOX = encode_outbox([Receipt(KIND_TRANSFER, BOB, 0, crypto.address_of(ALICE.public), 0, 31337)])

PAYLOAD = payload.Payload(
    chain=CHAIN,
    epoch=0,
    height=8,
    parent=word("parent payload"),
    proposer=2,
    time_ms=1_700_000_001_600,
    reveal=b"",
    validators_hash=genesis.validators_hash(GENESIS.validators),
    next_validators_hash=genesis.validators_hash(GENESIS.validators),
    items=(statement.digest_of(BATCH_CERTIFICATE.encode()),),
)
PAYLOAD_DIGEST = payload.digest_of(PAYLOAD.encode())
BLOCK = payload.Block(
    height=8,
    hash=PAYLOAD_DIGEST,
    payload=PAYLOAD.encode(),
    time_ms=1_700_000_001_600,
    view=(9,),
    proof=b"",
)

PROPOSAL = votes.Proposal(view=9, parent=8, height=8, digest=PAYLOAD_DIGEST)
NOTARIZE, NULLIFY = votes.notarize(PROPOSAL), votes.nullify(9)
ENGINE_KIND = "engine/simplex/1"
EVIDENCE = statement.Evidence(
    epoch=0,
    signer=3,
    signing_kind=ENGINE_KIND,
    body_a=votes.nullify(9),
    signature_a=signed(3, ENGINE_KIND, votes.nullify(9)),
    body_b=votes.finalize(PROPOSAL),
    signature_b=signed(3, ENGINE_KIND, votes.finalize(PROPOSAL)),
)

VOTE = messages.EngineItem(0, (1, NULLIFY, signed(1, ENGINE_KIND, NULLIFY)), b"", b"")
STORED = messages.Stored(HEADER.digest(), 3, signed(3, "stored", HEADER.digest()))
SUMMARY = messages.Summary(0, 7, summaries.encode_status(summaries.Status(7, 8, 8, 9, 0, 0)))
FRAME = messages.join_frame([messages.encode_message(m) for m in (VOTE, SUMMARY)])

NODE_KEY = crypto.SecretKey(bytes(range(32)))
RECORD = sign_record(
    NODE_KEY,
    CHAIN,
    NodeRecord(
        NODE_KEY.public,
        Scope.PRIVATE,
        1_700_000_001_600,
        Role.VALIDATOR | Role.EXECUTOR,
        ("/ip4/192.168.1.5/tcp/4001",),
    ),
)

BODY = NULLIFY
SIGNING_INPUT = (
    b"p2pnode/1"
    + CHAIN
    + bytes([len(ENGINE_KIND)])
    + ENGINE_KIND.encode()
    + (0).to_bytes(8, "big")
    + len(BODY).to_bytes(4, "big")
    + BODY
)
assert crypto.sha256(SIGNING_INPUT) == crypto.signing_hash(CHAIN, ENGINE_KIND, 0, BODY)

EXAMPLES: dict[str, bytes] = {
    "transaction": TRANSACTION.raw,
    "sig-structure": TRANSACTION.signed,
    "signing-input": SIGNING_INPUT,
    "batch-header": HEADER.encode(),
    "batch-certificate": BATCH_CERTIFICATE.encode(),
    "result": RESULT.encode(),
    "result-certificate": RESULT_CERTIFICATE.encode(),
    "outbox": OUTBOX,
    "evidence": EVIDENCE.encode(),
    "payload": PAYLOAD.encode(),
    "block": BLOCK.encode(),
    "genesis": GENESIS.encode(),
    "notarize": NOTARIZE,
    "nullify": NULLIFY,
    "finalize": votes.finalize(PROPOSAL),
    "frame": FRAME,
    "stored": messages.encode_message(STORED),
    "record": RECORD.raw,
    "lane-frame": frame(messages.join_frame([messages.encode_message(SUMMARY)])),
}
