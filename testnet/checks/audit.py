"""Is everything in a node's store what it claims? Read by other code than wrote it.

Blocks, finality proofs, payloads, statements and batches are decoded with another CBOR library, by
the formats of docs/wire.md, and every signature is checked again. Nothing of p2pnode is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import cbor2

from testnet.checks.signatures import SignatureChecks, hash_of, signing_input, tree_root
from testnet.checks.violation import Violation

Rows: TypeAlias = Mapping[bytes, bytes]
"""A table of a store."""

ProofFault: TypeAlias = Callable[[int, bytes, bytes], str]
"""Says of (height, digest, proof) what is wrong, or nothing."""

READS: Final = ("simplex", "solo")
"""Engines whose proofs are read here."""

_BATCH, _RESULT, _EVIDENCE = 1, 2, 3
_NOTARIZE, _NULLIFY, _FINALIZE = 1, 2, 3
_GRACE_HEIGHTS = 64
_ITEMS_MAX = 64


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """What the genesis document says."""

    id: bytes
    """32 bytes."""
    time_ms: int
    engine: str
    keys: tuple[bytes, ...]
    """Public keys of the validators, in order."""
    powers: tuple[int, ...]
    epoch_blocks: int
    fee_base: int
    fee_action: int
    validators_hash: bytes
    balances: Mapping[bytes, Mapping[int, int]]
    """Funded accounts: address to amounts by asset."""

    @classmethod
    def read(cls, document: bytes) -> ChainFacts:
        """Read a genesis document."""
        _, _, time_ms, engine, _, validators, parameters, accounts = cbor2.loads(document)
        return cls(
            id=hash_of(document),
            time_ms=time_ms,
            engine=engine.decode(),
            keys=tuple(v[0] for v in validators),
            powers=tuple(v[1] for v in validators),
            epoch_blocks=parameters[0],
            fee_base=parameters[12],
            fee_action=parameters[13],
            validators_hash=hash_of(cbor2.dumps(validators)),
            balances={address: dict(assets) for address, assets in accounts},
        )

    @property
    def quorum(self) -> int:
        """Power that more than two thirds have at least."""
        return 2 * sum(self.powers) // 3 + 1

    def epoch_of(self, height: int) -> int:
        """Return the epoch of a height, from 1."""
        return (height - 1) // self.epoch_blocks


class Audit:
    """Checks the stores of a chain's nodes one after the other."""

    def __init__(self, document: bytes, plugged: ProofFault | None = None) -> None:
        """Take a chain.

        Args:
            document: Its genesis.
            plugged: Reads the proofs of an engine that is not among READS.
        """
        self.facts = ChainFacts.read(document)
        self._plugged = plugged
        self.signature_ok = SignatureChecks()
        self.evidence: dict[bytes, int] = {}
        """Ordered evidence by digest: the signer accused."""
        self._statements_ok: dict[bytes, str] = {}
        self._found: list[Violation] = []
        self._node = ""

    def check(self, node: str, blocks: Rows, statements: Rows, batches: Rows) -> list[Violation]:
        """Return everything wrong in one node's store.

        Args:
            node: Its name, for the report.
            blocks: By height, 8 bytes big endian.
            statements: By digest.
            batches: By digest; those that a node has fetched instead of stored may lack.
        """
        self._found, self._node = [], node
        facts = self.facts
        parent, time_ms = hash_of(b"p2pnode/genesis" + facts.id), facts.time_ms
        unproven: list[int] = []
        heights = sorted(int.from_bytes(key, "big") for key in blocks)
        for expected, height in enumerate(heights, 1):
            if height != expected:
                self._report("contiguous heights", f"height {height} where {expected} was due")
                break
            stored, payload, claimed_ms, view, proof = cbor2.loads(
                blocks[height.to_bytes(8, "big")]
            )
            digest = hash_of(payload)
            if stored != height:
                self._report("valid payloads", f"block {stored} stored as {height}")
            time_ms = self._payload(height, parent, time_ms, payload, claimed_ms)
            for item in cbor2.loads(payload)[10]:
                raw = statements.get(item)
                if raw is None:
                    self._report("valid statements", f"height {height}: {item.hex()} is missing")
                    continue
                self._statement(height, item, raw)
            if proof:
                fault = self._proof_fault(height, digest, view, proof)
                if fault:
                    self._report("valid finality proofs", f"height {height}: {fault}")
                unproven = []
            else:
                unproven.append(height)
            parent = digest
        if unproven:
            self._report("valid finality proofs", f"nothing proves heights from {unproven[0]}")
        self._batches(blocks, statements, batches)
        return self._found

    def _report(self, check: str, detail: str) -> None:
        self._found.append(Violation(check, f"{self._node}: {detail}"))

    # --- payloads and proofs ---------------------------------------------------------------------

    def _payload(
        self, height: int, parent: bytes, previous_ms: int, payload: bytes, claimed_ms: int
    ) -> int:
        """Check a payload in its place; return the block's time."""
        facts = self.facts
        fields = cbor2.loads(payload)
        version, chain, epoch, own_height, own_parent, proposer, time_ms = fields[:7]
        items = fields[10]
        wrong = [
            name
            for name, ok in (
                ("version", version == 1),
                ("encoding", cbor2.dumps(fields) == payload),
                ("chain", chain == facts.id),
                ("epoch", epoch == facts.epoch_of(height)),
                ("height", own_height == height),
                ("parent", own_parent == parent),
                ("proposer", 0 <= proposer < len(facts.keys)),
                ("validators", fields[8] == fields[9] == facts.validators_hash),
                ("items", len(items) <= _ITEMS_MAX and len(dict.fromkeys(items)) == len(items)),
            )
            if not ok
        ]
        if wrong:
            self._report("valid payloads", f"height {height}: wrong {', '.join(wrong)}")
        block_ms: int = max(previous_ms + 1, time_ms)
        if claimed_ms != block_ms:
            self._report("valid payloads", f"height {height}: time {claimed_ms}, due {block_ms}")
        return block_ms

    def _proof_fault(self, height: int, digest: bytes, view: Sequence[int], proof: bytes) -> str:
        facts = self.facts
        kind = f"engine/{facts.engine}/1"
        epoch = facts.epoch_of(height)
        if facts.engine not in READS:
            if self._plugged is None:
                return f"nobody here reads the proofs of the engine {facts.engine}"
            return self._plugged(height, digest, proof)
        if facts.engine == "solo":
            signer, body, signature = cbor2.loads(proof)
            own_height, _, own_digest = cbor2.loads(body)
            if (signer, own_height, own_digest) != (0, height, digest):
                return "the vote is for something else"
            message = signing_input(facts.id, kind, epoch, body)
            return "" if self.signature_ok(facts.keys[0], message, signature) else "bad signature"
        body, bitmap, signatures = cbor2.loads(proof)
        vote = cbor2.loads(body)
        if vote[0] != _FINALIZE or vote[3] != height or vote[4] != digest:
            return f"a certificate of {vote[0]}, view {vote[1]}, height {vote[3:4]}"
        if not view or view[0] > vote[1]:
            return f"decided in view {list(view)}, the proof is of view {vote[1]}"
        return self._signers_fault(bitmap, signatures, kind, epoch, body)

    def _signers_fault(
        self, bitmap: bytes, signatures: bytes, kind: str, epoch: int, body: bytes
    ) -> str:
        """Return what is wrong with a quorum's signatures under a body, or nothing."""
        facts = self.facts
        bits = int.from_bytes(bitmap, "little")
        signers = [i for i in range(bits.bit_length()) if bits >> i & 1]
        if bits >> len(facts.keys):
            return f"signers {signers} of {len(facts.keys)} validators"
        if len(signatures) != 64 * len(signers):
            return f"{len(signatures)} bytes of signatures for {len(signers)} signers"
        powers = [facts.powers[i] for i in signers]
        if sum(powers) < facts.quorum:
            return f"power {sum(powers)}, a quorum is {facts.quorum}"
        if sum(powers) - min(powers) >= facts.quorum:
            return f"power {sum(powers)} has a signer too many"
        message = signing_input(facts.id, kind, epoch, body)
        for place, signer in enumerate(signers):
            signature = signatures[64 * place : 64 * place + 64]
            if not self.signature_ok(facts.keys[signer], message, signature):
                return f"signer {signer}: bad signature"
        return ""

    # --- statements ------------------------------------------------------------------------------

    def _statement(self, height: int, digest: bytes, raw: bytes) -> None:
        if hash_of(raw) != digest:
            self._report("valid statements", f"height {height}: {digest.hex()} is something else")
            return
        fields = cbor2.loads(raw)
        fault = self._statements_ok.get(digest)
        if fault is None:
            fault = self._statements_ok[digest] = self._statement_fault(fields)
        if not fault and not self._admissible(fields, height):
            fault = f"inadmissible in epoch {self.facts.epoch_of(height)}"
        if fault:
            name = {_BATCH: "batch", _RESULT: "result", _EVIDENCE: "evidence"}.get(fields[0], "?")
            self._report("valid statements", f"height {height}: {name}: {fault}")
        elif fields[0] == _EVIDENCE:
            self.evidence[digest] = fields[2]

    def _admissible(self, fields: Sequence[Any], height: int) -> bool:
        """Tell whether a payload of a height may list a statement of its epoch."""
        current = self.facts.epoch_of(height)
        if fields[0] == _EVIDENCE:
            return bool(current - 1 <= fields[1] <= current)
        epoch = cbor2.loads(fields[1])[2]
        if fields[0] == _RESULT and fields[2]:
            return bool(epoch <= current)  # receipts must not be lost
        late = height - current * self.facts.epoch_blocks - 1 < _GRACE_HEIGHTS
        return bool(epoch == current or (epoch == current - 1 and late))

    def _statement_fault(self, fields: Sequence[Any]) -> str:
        facts = self.facts
        match fields:
            case [1, header, signature, bitmap, signatures]:
                _, chain, epoch, _, collator, sequence = cbor2.loads(header)[:6]
                if chain != facts.id or collator not in facts.keys or sequence < 1:
                    return "a header of another chain or collator, or without sequence"
                message = signing_input(facts.id, "batch", epoch, header)
                if not self.signature_ok(collator, message, signature):
                    return "the collator's signature is bad"
                return self._signers_fault(bitmap, signatures, "stored", epoch, hash_of(header))
            case [2, result, outbox, bitmap, signatures]:
                parts = cbor2.loads(result)
                receipts = cbor2.loads(outbox) if outbox else []
                if parts[1] != facts.id or parts[7] != tree_root(receipts):
                    return "of another chain, or with another outbox"
                return self._signers_fault(bitmap, signatures, "result", parts[2], result)
            case [3, epoch, signer, kind, body_a, signature_a, body_b, signature_b]:
                if signer >= len(facts.keys):
                    return f"signer {signer} of {len(facts.keys)}"
                key, name = facts.keys[signer], kind.decode()
                for body, signature in ((body_a, signature_a), (body_b, signature_b)):
                    message = signing_input(facts.id, name, epoch, body)
                    if not self.signature_ok(key, message, signature):
                        return f"against {signer}: bad signature"
                if not conflicting(name, key, body_a, body_b):
                    return f"against {signer}: the two bodies do not conflict"
                return ""
        return f"code {fields[0]}"

    # --- batches ---------------------------------------------------------------------------------

    def _batches(self, blocks: Rows, statements: Rows, batches: Rows) -> None:
        """A quorum said "stored" of an ordered batch: its data is then what its header says."""
        for raw_block in blocks.values():
            for item in cbor2.loads(cbor2.loads(raw_block)[1])[10]:
                fields = cbor2.loads(statements.get(item, b"\x80"))
                if not fields or fields[0] != _BATCH:
                    continue
                raw = batches.get(hash_of(fields[1]))
                if raw is not None:
                    fault = batch_fault(fields[1], cbor2.loads(raw)[2])
                    if fault:
                        self._report("valid batches", f"{item.hex()[:12]}: {fault}")


def batch_fault(header: bytes, data: bytes) -> str:
    """Return in what a batch's data is not what its header says, or nothing."""
    fields = cbor2.loads(header)
    if len(data) != fields[12]:
        return f"{len(data)} bytes, the header says {fields[12]}"
    if fields[8] == b"inline" and fields[13] != hash_of(b"p2pnode/inline/1" + data):
        return "another commitment"
    if fields[7] != tree_root(cbor2.loads(data)):
        return "another tx root"
    return ""


def conflicting(kind: str, key: bytes, body_a: bytes, body_b: bytes) -> bool:
    """Tell whether no correct node signs both bodies."""
    if body_a == body_b:
        return False
    a, b = cbor2.loads(body_a), cbor2.loads(body_b)
    rule = _SAME_SLOT.get(kind)
    return rule is not None and rule(key, a, b)


def _same_simplex_slot(key: bytes, a: Sequence[Any], b: Sequence[Any]) -> bool:
    return bool(a[1] == b[1] and (a[0] == _NOTARIZE) == (b[0] == _NOTARIZE))


def _same_solo_slot(key: bytes, a: Sequence[Any], b: Sequence[Any]) -> bool:
    return bool(a[0] == b[0])


def _same_batch(key: bytes, a: Sequence[Any], b: Sequence[Any]) -> bool:
    return bool(a[3] == b[3] and a[5] == b[5] and a[4] == b[4] == key)


def _same_result(key: bytes, a: Sequence[Any], b: Sequence[Any]) -> bool:
    return bool(a[3:5] == b[3:5])


_SAME_SLOT: Mapping[str, Callable[[bytes, Sequence[Any], Sequence[Any]], bool]] = {
    "engine/simplex/1": _same_simplex_slot,
    "engine/solo/1": _same_solo_slot,
    "batch": _same_batch,
    "result": _same_result,
}
