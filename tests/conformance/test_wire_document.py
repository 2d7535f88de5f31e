"""docs/wire.md shows the bytes that the code makes, and explains every one of them."""

from __future__ import annotations

import re

import pytest

from p2pnode import crypto
from p2pnode.types.batch import decode_batch_header
from p2pnode.types.genesis import decode_genesis
from p2pnode.types.messages import decode_frame
from p2pnode.types.payload import decode_block, decode_payload
from p2pnode.types.statement import decode_result, decode_statement
from p2pnode.types.transaction import decode_transaction
from tests.conformance.wire_document import BLOCK, DOCUMENT, LABELS, annotated
from tests.conformance.wire_examples import CHAIN, EXAMPLES

TEXT = DOCUMENT.read_text()
BLOCKS: dict[str, str] = dict(BLOCK.findall(TEXT))
LINE = re.compile(r"([0-9a-f]{2}(?:[0-9a-f]{2})*) {2,}(\S.*)")


def shown(name: str) -> bytes:
    """Return the bytes in the left column of a block, read without the code that wrote it."""
    hexes = []
    for line in BLOCKS[name].splitlines():
        match = LINE.fullmatch(line)
        assert match, f"no bytes, or no word about them: {line!r}"
        hexes.append(match[1])
    return bytes.fromhex("".join(hexes))


def test_every_example_is_shown_once() -> None:
    assert sorted(name for name, _ in BLOCK.findall(TEXT)) == sorted(EXAMPLES) == sorted(LABELS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_bytes_shown_are_those_of_the_code(name: str) -> None:
    assert shown(name) == EXAMPLES[name]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_explanations_are_up_to_date(name: str) -> None:
    assert BLOCKS[name] == annotated(name), "python -m tests.conformance.wire_document --write"


def test_the_documents_shown_can_be_used() -> None:
    tx = decode_transaction(shown("transaction"))
    assert tx.signed == shown("sig-structure")
    assert tx.id == crypto.sha256(shown("sig-structure"))
    assert crypto.verify(tx.sender_key, tx.signed, tx.signature)
    assert tx.chain == CHAIN == crypto.sha256(shown("genesis"))
    assert decode_genesis(shown("genesis")).name == "test-docs"
    assert decode_batch_header(shown("batch-header")).chain == CHAIN
    assert decode_result(shown("result")).height == 7
    for name in ("batch-certificate", "result-certificate", "evidence"):
        assert decode_statement(shown(name)).encode() == shown(name)
    assert decode_block(shown("block")).payload == shown("payload")
    (item,) = decode_payload(shown("payload")).items
    assert item == crypto.sha256(shown("batch-certificate"))
    assert len(decode_frame(shown("frame"))) == 2
    assert len(decode_frame(shown("lane-frame")[4:])) == 1


def test_no_line_of_the_text_is_too_long_to_read() -> None:
    prose = BLOCK.sub("", TEXT).splitlines()
    assert max(len(line) for line in prose if not line.startswith("|")) <= 120
