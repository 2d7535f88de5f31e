"""Statements: the certified facts that a payload orders by their digests.

A statement is canonical CBOR `[code, …]`; its digest is the SHA-256 of its bytes. Three exist: a
batch certificate, a result certificate, and evidence of an offence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from p2pnode import codec, crypto
from p2pnode.types.batch import BatchHeader, decode_batch_header

CODE_BATCH: Final = 1
CODE_RESULT: Final = 2
CODE_EVIDENCE: Final = 3

SIZE_BYTES_MAX: Final = 64 * 1024
"""Largest statement: 256 signers take 16.4 KiB; an inline outbox up to 4 KiB more."""

OUTBOX_INLINE_BYTES_MAX: Final = 4096
"""Largest outbox that travels inside its result certificate."""

VALIDATORS_MAX: Final = 256
"""Most validators of an epoch, hence most signers of a certificate."""


@dataclass(frozen=True, slots=True)
class SignerList:
    """Signatures of several validators under one statement, ascending by index."""

    signers: tuple[int, ...]
    """Indices in the epoch's validator set, strictly ascending."""
    signatures: tuple[bytes, ...]
    """One 64-byte signature a signer, in the same order."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a shard's executors sign about its execution up to and including a height."""

    chain: bytes
    """Chain id, 32 bytes."""
    epoch: int
    """Epoch of the height; its committee signs."""
    uid: int
    """The shard."""
    height: int
    """Certifies this height and every earlier one of the shard."""
    pre_root: bytes
    """State root before the first height after the previous result's, 32 bytes."""
    post_root: bytes
    """State root after this height, 32 bytes."""
    outbox_root: bytes
    """Root of the receipts this height sends, 32 bytes."""
    outcome_root: bytes
    """Merkle root over the transactions' outcomes, 32 bytes."""
    watermarks_root: bytes
    """Hash of the last consumed source heights, 32 bytes."""
    counters: tuple[int, ...]
    """Transactions executed, failed, skipped; fees; bytes."""
    witness: bytes
    """Commitment to the state proofs that checkers need, 32 bytes."""

    def encode(self) -> bytes:
        """Return the canonical body that is signed under the kind `result`."""
        return codec.encode(
            [
                1,
                self.chain,
                self.epoch,
                self.uid,
                self.height,
                self.pre_root,
                self.post_root,
                self.outbox_root,
                self.outcome_root,
                self.watermarks_root,
                self.counters,
                self.witness,
            ]
        )


@dataclass(frozen=True, slots=True)
class BatchCertificate:
    """A quorum has stored the batch: it can be rebuilt from its honest signers alone."""

    header: BatchHeader
    header_signature: bytes
    """The collator's, kind `batch`, 64 bytes."""
    signers: SignerList
    """Kind `stored`, over the header's digest."""

    def encode(self) -> bytes:
        """Return the statement's bytes."""
        return codec.encode(
            [
                CODE_BATCH,
                self.header.encode(),
                self.header_signature,
                *_encode_signers(self.signers),
            ]
        )


@dataclass(frozen=True, slots=True)
class ResultCertificate:
    """More than two thirds agree on a result."""

    result: Result
    outbox: bytes
    """The receipts themselves where they fit inline, else empty."""
    signers: SignerList
    """Kind `result`, over the result's body."""

    def encode(self) -> bytes:
        """Return the statement's bytes."""
        return codec.encode(
            [CODE_RESULT, self.result.encode(), self.outbox, *_encode_signers(self.signers)]
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two signed bodies that no correct node signs both."""

    epoch: int
    signer: int
    """Index in the epoch's validator set."""
    signing_kind: str
    """Signing domain of both bodies."""
    body_a: bytes
    signature_a: bytes
    body_b: bytes
    signature_b: bytes

    def encode(self) -> bytes:
        """Return the statement's bytes."""
        return codec.encode(
            [
                CODE_EVIDENCE,
                self.epoch,
                self.signer,
                self.signing_kind.encode(),
                self.body_a,
                self.signature_a,
                self.body_b,
                self.signature_b,
            ]
        )


Statement: TypeAlias = BatchCertificate | ResultCertificate | Evidence


def digest_of(statement: bytes) -> bytes:
    """Return the digest that payloads list: SHA-256 of the statement's bytes."""
    return crypto.sha256(statement)


def decode_statement(data: bytes) -> Statement:
    """Decode a statement; its signatures are not checked here.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    fields = codec.array(
        codec.decode(data, size_bytes_max=SIZE_BYTES_MAX), "statement", length_max=8
    )
    code = codec.unsigned(fields[0], "statement code") if fields else 0
    if code == CODE_BATCH:
        _, header, signature, bitmap, signatures = codec.array(
            fields, "batch certificate", length=5
        )
        return BatchCertificate(
            decode_batch_header(codec.octets(header, "header", length_max=1024)),
            codec.octets(signature, "header signature", length=64),
            _decode_signers(bitmap, signatures),
        )
    if code == CODE_RESULT:
        _, result, outbox, bitmap, signatures = codec.array(fields, "result certificate", length=5)
        return ResultCertificate(
            decode_result(codec.octets(result, "result", length_max=1024)),
            codec.octets(outbox, "outbox", length_max=OUTBOX_INLINE_BYTES_MAX),
            _decode_signers(bitmap, signatures),
        )
    if code == CODE_EVIDENCE:
        _, epoch, signer, kind, a, signature_a, b, signature_b = codec.array(
            fields, "evidence", length=8
        )
        try:
            name = codec.octets(kind, "kind", length_max=64).decode("ascii")
        except UnicodeDecodeError:
            raise codec.WrongShapeError("evidence: kind is not ASCII") from None
        return Evidence(
            codec.unsigned(epoch, "epoch"),
            codec.unsigned(signer, "signer", value_max=VALIDATORS_MAX - 1),
            name,
            codec.octets(a, "first body", length_max=8192),
            codec.octets(signature_a, "first signature", length=64),
            codec.octets(b, "second body", length_max=8192),
            codec.octets(signature_b, "second signature", length=64),
        )
    raise codec.WrongShapeError(f"statement code {code} is unknown")


def decode_result(data: bytes) -> Result:
    """Decode a result's body."""
    fields = codec.array(codec.decode(data, size_bytes_max=1024), "result", length=12)
    version = codec.unsigned(fields[0], "version")
    if version != 1:
        raise codec.WrongShapeError(f"result version {version}, this node knows 1")
    roots = [codec.octets(fields[i], "root", length=32) for i in (1, 5, 6, 7, 8, 9, 11)]
    counters = codec.array(fields[10], "counters", length_max=8)
    return Result(
        chain=roots[0],
        epoch=codec.unsigned(fields[2], "epoch"),
        uid=codec.unsigned(fields[3], "uid"),
        height=codec.unsigned(fields[4], "height"),
        pre_root=roots[1],
        post_root=roots[2],
        outbox_root=roots[3],
        outcome_root=roots[4],
        watermarks_root=roots[5],
        counters=tuple(codec.unsigned(c, "counter", value_max=codec.INTEGER_MAX) for c in counters),
        witness=roots[6],
    )


def _encode_signers(signers: SignerList) -> tuple[bytes, bytes]:
    bits = 0
    for signer in signers.signers:
        bits |= 1 << signer
    size = (bits.bit_length() + 7) // 8
    return bits.to_bytes(size, "little"), b"".join(signers.signatures)


def _decode_signers(bitmap: codec.Value, signatures: codec.Value) -> SignerList:
    """Read a bitmap (little-endian, no trailing zero byte) and its concatenated signatures."""
    raw = codec.octets(bitmap, "signers", length_max=VALIDATORS_MAX // 8)
    if raw.endswith(b"\x00"):
        raise codec.WrongShapeError("signers: the bitmap ends with a zero byte")
    bits = int.from_bytes(raw, "little")
    indices = tuple(i for i in range(bits.bit_length()) if bits >> i & 1)
    joined = codec.octets(signatures, "signatures", length=64 * len(indices))
    return SignerList(indices, tuple(joined[i : i + 64] for i in range(0, len(joined), 64)))
