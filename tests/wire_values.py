"""Values of every wire type, drawn from any source of choices.

One definition serves two uses: property tests draw from hypothesis, which shrinks what fails; the
conformance hashes draw from SHA-256, which gives the same values for ever and everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, Protocol

from hypothesis import strategies as st

from p2pnode import codec, crypto
from p2pnode.types import batch, genesis, messages, payload, record, statement, transaction
from p2pnode.types.genesis import Genesis, GenesisAccount, Parameters, Validator

U64 = (1 << 64) - 1
U128 = (1 << 128) - 1


class Source(Protocol):
    """Where choices come from."""

    def integer(self, least: int, most: int) -> int:
        """Return an integer from `least` to `most`."""

    def octets(self, least: int, most: int) -> bytes:
        """Return so many bytes."""


class Hashed:
    """Choices from SHA-256 in counter mode: stable where `random` might change."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0

    def integer(self, least: int, most: int) -> int:
        span = most - least
        # Small numbers, large ones, and both ends: encodings change length at powers of two.
        bits = self._word() % (span.bit_length() + 1)
        value = min(span, self._word() >> (256 - bits) if bits else 0)
        return most - value if self._word() % 4 == 0 else least + value

    def octets(self, least: int, most: int) -> bytes:
        size = self.integer(least, most)
        blocks = (self._word().to_bytes(32, "big") for _ in range(size // 32 + 1))
        return b"".join(blocks)[:size]

    def _word(self) -> int:
        self._count += 1
        return int.from_bytes(sha256(self._seed + self._count.to_bytes(8, "big")).digest(), "big")


class Drawn:
    """Choices by hypothesis."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self._draw = draw

    def integer(self, least: int, most: int) -> int:
        value: int = self._draw(st.integers(least, most))
        return value

    def octets(self, least: int, most: int) -> bytes:
        value: bytes = self._draw(st.binary(min_size=least, max_size=most))
        return value


# --- values --------------------------------------------------------------------------------------


def ascii_name(source: Source, least: int, most: int) -> str:
    return bytes(97 + octet % 26 for octet in source.octets(least, most)).decode()


def cbor_value(source: Source, depth: int = 4) -> codec.Value:
    match source.integer(0, 4 if depth else 3):
        case 0:
            return source.integer(codec.INTEGER_MIN, codec.INTEGER_MAX)
        case 1:
            return source.integer(-300, 300)
        case 2:
            return source.octets(0, 300)
        case 3:
            return None
        case _:
            return tuple(cbor_value(source, depth - 1) for _ in range(source.integer(0, 5)))


def signed_transaction(source: Source) -> transaction.Transaction:
    actions = tuple(
        transaction.Transfer(
            source.integer(0, (1 << 32) - 1), source.octets(32, 32), source.integer(0, U128)
        )
        for _ in range(source.integer(1, transaction.ACTIONS_MAX))
    )
    return transaction.sign_transaction(
        crypto.SecretKey(source.octets(32, 32)),
        source.octets(32, 32),
        nonce=source.integer(0, U64),
        last_valid_height=source.integer(0, U64),
        fee_limit=source.integer(0, U128),
        actions=actions,
    )


def batch_header(source: Source) -> batch.BatchHeader:
    return batch.BatchHeader(
        chain=source.octets(32, 32),
        epoch=source.integer(0, U64),
        uid=source.integer(0, U64),
        collator=source.octets(32, 32),
        sequence=source.integer(1, U64),
        kind=source.integer(1, 3),
        tx_root=source.octets(32, 32),
        scheme=ascii_name(source, 1, 32),
        k=source.integer(0, 65536),
        n=source.integer(0, 65536),
        row_size=source.integer(0, batch.DATA_BYTES_MAX),
        data_bytes=source.integer(0, batch.DATA_BYTES_MAX),
        commitment=source.octets(32, 32),
    )


def signed_record(source: Source) -> record.SignedRecord:
    key = crypto.SecretKey(source.octets(32, 32))
    return record.sign_record(
        key,
        source.octets(32, 32),
        record.NodeRecord(
            public_key=key.public,
            scope=record.Scope(source.integer(0, 2)),
            sequence=source.integer(0, U64),
            roles=source.integer(0, record.ROLES_MAX),
            addresses=tuple(
                ascii_name(source, 0, record.ADDRESS_CHARS_MAX)
                for _ in range(source.integer(0, record.ADDRESSES_MAX))
            ),
        ),
    )


def batch_data(source: Source) -> tuple[bytes, ...]:
    return tuple(source.octets(0, 300) for _ in range(source.integer(0, 40)))


def signer_list(source: Source) -> statement.SignerList:
    bits = int.from_bytes(source.octets(0, 3), "big")
    bits |= source.integer(0, 1) << (statement.VALIDATORS_MAX - 1)
    signers = tuple(i for i in range(bits.bit_length()) if bits >> i & 1)
    return statement.SignerList(signers, tuple(source.octets(64, 64) for _ in signers))


def batch_certificate(source: Source) -> statement.BatchCertificate:
    return statement.BatchCertificate(
        batch_header(source), source.octets(64, 64), signer_list(source)
    )


def result(source: Source) -> statement.Result:
    return statement.Result(
        chain=source.octets(32, 32),
        epoch=source.integer(0, U64),
        uid=source.integer(0, U64),
        height=source.integer(0, U64),
        pre_root=source.octets(32, 32),
        post_root=source.octets(32, 32),
        outbox_root=source.octets(32, 32),
        outcome_root=source.octets(32, 32),
        watermarks_root=source.octets(32, 32),
        counters=tuple(source.integer(0, U128) for _ in range(source.integer(0, 8))),
        witness=source.octets(32, 32),
    )


def result_certificate(source: Source) -> statement.ResultCertificate:
    outbox = source.octets(0, statement.OUTBOX_INLINE_BYTES_MAX)
    return statement.ResultCertificate(result(source), outbox, signer_list(source))


def evidence(source: Source) -> statement.Evidence:
    return statement.Evidence(
        epoch=source.integer(0, U64),
        signer=source.integer(0, statement.VALIDATORS_MAX - 1),
        signing_kind=ascii_name(source, 1, 64),
        body_a=source.octets(0, 400),
        signature_a=source.octets(64, 64),
        body_b=source.octets(0, 400),
        signature_b=source.octets(64, 64),
    )


def payload_value(source: Source) -> payload.Payload:
    in_dag = source.integer(0, 4) == 0
    return payload.Payload(
        chain=source.octets(32, 32),
        epoch=source.integer(0, U64),
        height=None if in_dag else source.integer(0, U64),
        parent=None if in_dag else source.octets(32, 32),
        proposer=source.integer(0, 65535),
        time_ms=source.integer(0, U64),
        reveal=source.octets(0, 32),
        validators_hash=source.octets(32, 32),
        next_validators_hash=source.octets(32, 32),
        items=tuple(source.octets(32, 32) for _ in range(source.integer(0, payload.ITEMS_MAX))),
    )


def block(source: Source) -> payload.Block:
    body = payload_value(source).encode()
    return payload.Block(
        height=source.integer(0, U64),
        hash=payload.digest_of(body),
        payload=body,
        time_ms=source.integer(0, U64),
        view=tuple(source.integer(0, U64) for _ in range(source.integer(0, 4))),
        proof=source.octets(0, 2000),
    )


def genesis_value(source: Source) -> Genesis:
    # Distinct keys and ascending addresses by construction: drawing until they are is slow.
    validators = tuple(
        Validator(
            bytes([number]) + source.octets(31, 31),
            source.integer(1, (1 << 48) - 1),
            bytes([number]) + source.octets(0, 63),
        )
        for number in range(source.integer(1, 12))
    )
    accounts = tuple(
        GenesisAccount(
            bytes([number]) + source.octets(31, 31),
            tuple(
                (asset * 1000 + source.integer(0, 999), source.integer(1, U128))
                for asset in range(source.integer(0, 4))
            ),
        )
        for number in range(source.integer(0, 12))
    )
    numbers = {f.name: source.integer(1, (1 << 48) - 1) for f in fields(Parameters)}
    numbers["epoch_blocks"] = source.integer(4, (1 << 48) - 1)
    numbers["batch_bytes_max"] = source.integer(1, genesis.BATCH_BYTES_MAX)
    numbers["batch_transactions_max"] = source.integer(1, batch.TRANSACTIONS_MAX)
    numbers["bucket_bits"] = source.integer(1, 20)
    return Genesis(
        name=ascii_name(source, 1, 64),
        time_ms=source.integer(0, U64),
        engine=ascii_name(source, 0, 32),
        scheme=ascii_name(source, 0, 32),
        validators=validators,
        parameters=Parameters(**numbers),
        accounts=accounts,
    )


def message(source: Source) -> messages.Message:
    def some(most: int) -> tuple[bytes, ...]:
        return tuple(source.octets(0, 300) for _ in range(source.integer(0, most)))

    match source.integer(1, 7):
        case 1:
            vote = (source.integer(0, 65535), source.octets(0, 300), source.octets(64, 64))
            return messages.EngineItem(
                source.integer(0, U64),
                vote if source.integer(0, 1) else None,
                source.octets(0, 1000),
                source.octets(0, 4096),
            )
        case 2:
            return messages.Summary(
                source.integer(0, U64), source.integer(0, U64), source.octets(0, 300)
            )
        case 3:
            return messages.BatchOffer(
                source.octets(0, 1024), source.octets(64, 64), source.octets(0, 2000)
            )
        case 4:
            return messages.Stored(
                source.octets(32, 32), source.integer(0, 65535), source.octets(64, 64)
            )
        case 5:
            return messages.ResultVote(
                source.octets(0, 1024),
                source.octets(0, 4096),
                source.integer(0, 65535),
                source.octets(64, 64),
            )
        case 6:
            return messages.Statements(some(64))
        case _:
            return messages.Transactions(some(70))


def frame(source: Source) -> list[messages.Message]:
    return [message(source) for _ in range(source.integer(0, 30))]


# --- types ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WireType:
    """A type that travels: how to make, write and read it."""

    make: Callable[[Source], Any]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _encoded(value: Any) -> bytes:
    encoded: bytes = value.encode()
    return encoded


def _decode_cbor(data: bytes) -> codec.Value:
    return codec.decode(data, size_bytes_max=1 << 20)


def _encode_frame(frame: list[messages.Message]) -> bytes:
    return messages.join_frame([messages.encode_message(m) for m in frame])


WIRE_TYPES: dict[str, WireType] = {
    "cbor value": WireType(cbor_value, codec.encode, _decode_cbor),
    "transaction": WireType(
        signed_transaction, lambda value: value.raw, transaction.decode_transaction
    ),
    "batch header": WireType(batch_header, _encoded, batch.decode_batch_header),
    "batch data": WireType(
        batch_data, lambda raws: batch.encode_transactions(list(raws)), batch.decode_transactions
    ),
    "batch certificate": WireType(batch_certificate, _encoded, statement.decode_statement),
    "result": WireType(result, _encoded, statement.decode_result),
    "result certificate": WireType(result_certificate, _encoded, statement.decode_statement),
    "evidence": WireType(evidence, _encoded, statement.decode_statement),
    "payload": WireType(payload_value, _encoded, payload.decode_payload),
    "block": WireType(block, _encoded, payload.decode_block),
    "genesis": WireType(genesis_value, _encoded, genesis.decode_genesis),
    "frame": WireType(frame, _encode_frame, messages.decode_frame),
    "node record": WireType(signed_record, lambda value: value.raw, record.decode_record),
}
