"""The annotated bytes in docs/wire.md, rendered from examples made by the code.

    python -m tests.conformance.wire_document             tells whether the document is up to date
    python -m tests.conformance.wire_document --write     renders its blocks anew

A block begins with ```` ```text NAME ````; its lines are some bytes in hex, then what they say.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

from p2pnode.types.genesis import Parameters
from tests.conformance.wire_examples import EXAMPLES

DOCUMENT = Path(__file__).parents[2] / "docs" / "wire.md"
BLOCK = re.compile(r"```text ([a-z-]+)\n(.*?)```", re.DOTALL)

BYTES_PER_LINE = 16
COLUMN = 2 * BYTES_PER_LINE + 2


@dataclass(frozen=True, slots=True)
class Inside:
    """A byte string that holds a document of its own."""

    title: str
    label: Label


@dataclass(frozen=True, slots=True)
class Items:
    """An array; the last label goes for all further items."""

    title: str
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Plain:
    """Bytes outside of CBOR: so many with such a meaning, then the rest."""

    parts: tuple[tuple[int, str], ...]
    rest: Label | None = None


Label: TypeAlias = str | Inside | Items | Plain
"""What a value means; a `str` for a value that is not taken apart."""


def items(title: str, *labels: Label) -> Items:
    return Items(title, labels)


ACTION = items("an action", "code of a transfer", "asset", "to: receiver's address", "amount")
TRANSACTION_PAYLOAD = items(
    "the payload",
    "version",
    "chain id",
    "sender's public key",
    "nonce",
    "last valid height",
    "fee limit, in asset 0",
    items("actions, 1 to 16", ACTION),
)
HEADER = items(
    "batch header",
    "version",
    "chain id",
    "epoch",
    "uid, the shard",
    "collator's public key",
    "sequence in the feed (uid, collator), from 1",
    "kind (1 transactions, 2 outbox, 3 snapshot)",
    "tx root: RFC 6962 root over the envelopes",
    "scheme",
    "k, data rows",
    "n, parity rows",
    "row size in bytes",
    "data bytes before padding",
    "commitment of the scheme",
)
SIGNERS = (
    "signers: bit i of byte j is validator 8j + i; no zero byte at the end",
    "their signatures, 64 bytes each, ascending",
)
RESULT = items(
    "result",
    "version",
    "chain id",
    "epoch",
    "uid, the shard",
    "height",
    "pre root",
    "post root",
    "outbox root",
    "outcome root",
    "watermarks root",
    items(
        "counters",
        "transactions executed",
        "failed",
        "skipped",
        "fees",
        "bytes of the batches",
        "outboxes sent before this height",
    ),
    "witness commitment",
)
VOTE_FIELDS = ("view", "parent's view", "height", "payload digest")
NOTARIZE = items("a vote", "kind of notarize", *VOTE_FIELDS)
NULLIFY = items("a vote", "kind of nullify", "view")
FINALIZE = items("a vote", "kind of finalize", *VOTE_FIELDS)
PAYLOAD = items(
    "payload",
    "version",
    "chain id",
    "epoch",
    "height; null in a DAG",
    "parent's digest; null in a DAG",
    "proposer, index in the validator set",
    "time, milliseconds since 1970",
    "reveal: preimage of the beacon's hash chain, or empty",
    "hash of this epoch's validator set",
    "hash of the next epoch's validator set",
    items("items, at most 64", "digest of a statement"),
)
STATUS = items(
    "simplex summary",
    "newest height delivered",
    "its view: the floor",
    "highest view known to be final",
    "current view",
    "views above the floor with a notarization, one bit each",
    "views above the floor with a nullification",
)
SUMMARY = items(
    "message", "code of a summary", "epoch", "newest final height", Inside("the engine's", STATUS)
)
ENGINE_ITEM = items(
    "message",
    "code of an engine item",
    "epoch",
    items("signed vote; null for a certificate", "sender", Inside("body", NULLIFY), "signature"),
    "certificate, or empty",
    "payload proposed, or empty",
)

RECORD = items(
    "node record",
    "version",
    "public key of the node; the peer id follows from it",
    "scope (0 world, 1 private networks, 2 the same machine)",
    "sequence: milliseconds since 1970 at signing",
    "roles: 1 validator, 2 executor, 4 light, 8 bootstrap",
    items("addresses, at most 8", "a multiaddr in ASCII, at most 128 characters"),
)

LABELS: dict[str, Label] = {
    "transaction": Plain(
        (
            (1, "tag 18: COSE_Sign1"),
            (1, "array of 4"),
            (1, "protected header, 3 bytes:"),
            (3, "{1: -8}: the algorithm is EdDSA"),
            (1, "unprotected header: an empty map"),
        ),
        Plain(((-66, ""), (2, "signature, 64 bytes:"), (64, "Ed25519 over the Sig_structure"))),
    ),
    "sig-structure": Plain(
        (
            (1, "array of 4"),
            (1, "text, 10 bytes:"),
            (10, '"Signature1"'),
            (1, "protected header, 3 bytes:"),
            (3, "{1: -8}: the algorithm is EdDSA"),
            (1, "external data: none"),
        ),
        Inside("payload", TRANSACTION_PAYLOAD),
    ),
    "signing-input": Plain(
        (
            (9, '"p2pnode/1"'),
            (32, "chain id"),
            (1, "length of the kind, u8"),
            (16, '"engine/simplex/1"'),
            (8, "epoch, u64"),
            (4, "length of the body, u32"),
        ),
        NULLIFY,
    ),
    "batch-header": HEADER,
    "batch-certificate": items(
        "statement",
        "code of a batch certificate",
        Inside("the header as it was signed", HEADER),
        "collator's signature, kind `batch`",
        *SIGNERS,
    ),
    "result": RESULT,
    "result-certificate": items(
        "statement",
        "code of a result certificate",
        Inside("the result as it was signed", RESULT),
        "outbox inline, or empty",
        *SIGNERS,
    ),
    "outbox": items(
        "outbox, ascending by (receiver, index)",
        Inside(
            "a leaf under the outbox root",
            items(
                "receipt",
                "kind (1 transfer, 2 fees, 3 refund)",
                "receiver; empty for the system shard",
                "index within the height",
                "sender to refund; empty where nothing can fail",
                "asset",
                "amount",
            ),
        ),
    ),
    "evidence": items(
        "statement",
        "code of evidence",
        "epoch",
        "signer, index in the validator set",
        "signing kind of both bodies",
        Inside("first body", NULLIFY),
        "first signature",
        Inside("second body", FINALIZE),
        "second signature",
    ),
    "payload": PAYLOAD,
    "block": items(
        "block",
        "height",
        Inside("the payload as it was proposed", PAYLOAD),
        "time, max(parent's + 1, payload's)",
        items("position of the engine, for people", "view"),
        "proof, or empty where a later block's proof covers it",
    ),
    "genesis": items(
        "genesis",
        "version",
        "name",
        "time of height 0, milliseconds since 1970",
        "engine",
        "scheme",
        items(
            "validators, 1 to 256", items("a validator", "public key", "voting power", "peer id")
        ),
        items("parameters", *(f.name for f in fields(Parameters))),
        items(
            "accounts, ascending by address",
            items(
                "an account",
                "address",
                items("balances, ascending by asset", items("balance", "asset", "amount")),
            ),
        ),
    ),
    "notarize": NOTARIZE,
    "nullify": NULLIFY,
    "finalize": FINALIZE,
    "frame": items("frame of 2 messages", ENGINE_ITEM, SUMMARY),
    "stored": items(
        "message", "code of stored", "digest of the batch header", "signer", "signature"
    ),
    "record": items(
        "signed record",
        Inside("record", RECORD),
        "signature, of kind `record` and epoch 0",
    ),
    "lane-frame": Plain(((4, "length of the frame, u32"),), items("frame of 1 message", SUMMARY)),
}


# --- rendering ----------------------------------------------------------------------------------


def line(data: bytes, text: str, depth: int) -> Iterator[str]:
    """Yield bytes with their meaning; what does not fit on a line goes on below."""
    assert data
    for at in range(0, len(data), BYTES_PER_LINE):
        part = data[at : at + BYTES_PER_LINE].hex()
        yield part.ljust(COLUMN) + "  " * depth + (text if at == 0 else "…")


def head_of(data: bytes, at: int) -> tuple[int, int, int]:
    """Return a CBOR item's major type, argument, and where its head ends."""
    initial = data[at]
    more = {24: 1, 25: 2, 26: 4, 27: 8}.get(initial & 31, 0)
    end = at + 1 + more
    argument = int.from_bytes(data[at + 1 : end], "big") if more else initial & 31
    return initial >> 5, argument, end


def render(data: bytes, at: int, label: Label, depth: int, out: list[str]) -> int:
    """Append the lines of the CBOR item at `at`, and return where it ends."""
    major, argument, end = head_of(data, at)
    if isinstance(label, Items):
        assert major == 4, (label.title, data[at:].hex())
        out += line(data[at:end], f"{label.title}: array of {argument}", depth)
        for number in range(argument):
            inner = label.labels[min(number, len(label.labels) - 1)]
            end = render(data, end, inner, depth + 1, out)
        return end
    if isinstance(label, Inside):
        assert major == 2, label.title
        out += line(data[at:end], f"{label.title}, {argument} bytes:", depth)
        assert render(data, end, label.label, depth + 1, out) == end + argument
        return end + argument
    assert isinstance(label, str), label
    match major:
        case 0:
            out += line(data[at:end], f"{label} = {argument}", depth)
        case 2 if argument == 0:
            out += line(data[at:end], f"{label}: no bytes", depth)
        case 2:
            content = data[end : end + argument]
            out += line(data[at:end], f"{argument} bytes:", depth)
            name = f' "{content.decode()}"' if label in NAMES else ""
            out += line(content, label + name, depth)
            end += argument
        case 6:
            assert argument == 2, argument
            _, size, start = head_of(data, end)
            end = start + size
            number = int.from_bytes(data[start:end], "big")
            out += line(data[at:start], f"tag 2, {size} bytes: an integer above 2^64-1", depth)
            out += line(data[start:end], f"{label} = {number}", depth)
        case 7 if argument == 22:
            out += line(data[at:end], f"{label} = null", depth)
        case _:
            raise AssertionError((label, major, argument))
    return end


NAMES = ("name", "engine", "scheme", "signing kind of both bodies")


def annotated(name: str) -> str:
    """Return the lines of one example."""
    data, out = EXAMPLES[name], list[str]()
    end = render_any(data, 0, LABELS[name], out)
    assert end == len(data), name
    return "\n".join(out) + "\n"


def render_any(data: bytes, at: int, label: Label, out: list[str]) -> int:
    if not isinstance(label, Plain):
        return render(data, at, label, 0, out)
    for size, text in label.parts:
        if size < 0:
            # The payload of a transaction: up to the signature, which is at the end.
            assert (
                render(data, at, Inside("payload", TRANSACTION_PAYLOAD), 0, out) == len(data) + size
            ), "the payload ends where the signature begins"
            at = len(data) + size
            continue
        out += line(data[at : at + size], text, 0)
        at += size
    return at if label.rest is None else render_any(data, at, label.rest, out)


def main() -> None:
    before = DOCUMENT.read_text()
    after = BLOCK.sub(lambda m: f"```text {m[1]}\n{annotated(m[1])}```", before)
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(after)
        print(f"{len(BLOCK.findall(after))} blocks rendered in {DOCUMENT}")
    elif before != after:
        sys.exit(f"{DOCUMENT} is out of date")


if __name__ == "__main__":
    main()
