"""The audit and the ledger find what is wrong in a store, and import nothing of what they check."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cbor2
import pytest

from p2pnode.crypto import SecretKey, merkle_root, sha256, signing_hash
from testnet.checks.audit import Audit, ChainFacts, batch_fault, conflicting
from testnet.checks.ledger import Ledger, compare, compare_counts
from testnet.checks.signatures import SignatureChecks, signing_input, tree_root
from testnet.sim.load import genesis_accounts
from testnet.sim.run import Run, SimSpec, table

ROOT = Path(__file__).parents[4]


@dataclass(frozen=True)
class Stored:
    """What one node of a short run holds."""

    document: bytes
    blocks: dict[bytes, bytes]
    statements: dict[bytes, bytes]
    batches: dict[bytes, bytes]
    accounts: dict[bytes, tuple[int, dict[int, int]]]
    height: int
    keys: list[SecretKey]

    def found(self) -> list[str]:
        """Return the names of the checks that the audit reports."""
        audit = Audit(self.document)
        found = audit.check("node0", self.blocks, self.statements, self.batches)
        return list(dict.fromkeys(v.check for v in found))

    def block(self, height: int) -> list[object]:
        """Return a block's fields."""
        fields: list[object] = cbor2.loads(self.blocks[height.to_bytes(8, "big")])
        return fields

    def with_block(self, height: int, fields: list[object]) -> Stored:
        """Return the same with another block."""
        blocks = {**self.blocks, height.to_bytes(8, "big"): cbor2.dumps(fields)}
        return replace(self, blocks=blocks)

    def first_of(self, code: int) -> tuple[bytes, list[object]]:
        """Return (digest, fields) of an ordered statement of a kind."""
        for raw in self.blocks.values():
            for digest in cbor2.loads(cbor2.loads(raw)[1])[10]:
                fields: list[object] = cbor2.loads(self.statements[digest])
                if fields[0] == code:
                    return digest, fields
        raise AssertionError(code)


@pytest.fixture(scope="module")
def stored() -> Stored:
    held: list[Stored] = []

    async def script(run: Run) -> None:
        await run.wait_for_height(12)
        machine = run.world.machines[0]
        node = machine.node
        assert node is not None
        accounts = {}
        for account in run.world.genesis.accounts:
            status = node.account(account.address)
            balances = {asset: int(amount) for asset, amount in status.balances.items()}
            accounts[account.address] = (status.nonce, balances)
        held.append(
            Stored(
                run.world.document,
                dict(table(machine, "blocks")),
                dict(table(machine, "statements")),
                dict(table(machine, "batches")),
                accounts,
                node.core.pipeline.height,
                [m.validator_key for m in run.world.machines if m.validator_key],
            )
        )

    Run(SimSpec(duration_s=1.0), 3, script=script).run()
    return held[0]


def test_a_good_store_has_no_fault(stored: Stored) -> None:
    assert stored.found() == []
    assert len(stored.blocks) >= 12


def _other_time(fields: list[object]) -> None:
    fields[2] = int(str(fields[2])) + 1


def _other_payload(fields: list[object]) -> None:
    payload = cbor2.loads(fields[1])
    payload[6] += 1
    fields[1] = cbor2.dumps(payload)


def _no_proof(fields: list[object]) -> None:
    fields[4] = b""


def _changed_signature(fields: list[object]) -> None:
    body, bitmap, signatures = cbor2.loads(fields[4])
    fields[4] = cbor2.dumps([body, bitmap, signatures[:-1] + bytes([signatures[-1] ^ 1])])


def _one_signer_less(fields: list[object]) -> None:
    body, bitmap, signatures = cbor2.loads(fields[4])
    bits = int.from_bytes(bitmap, "little")
    fields[4] = cbor2.dumps([body, bytes([bits & bits - 1]), signatures[64:]])


def _one_signer_twice(fields: list[object]) -> None:
    body, _, signatures = cbor2.loads(fields[4])
    fields[4] = cbor2.dumps([body, b"\x0f", signatures[:64] + signatures])


def _signer_of_nowhere(fields: list[object]) -> None:
    body, bitmap, signatures = cbor2.loads(fields[4])
    bits = int.from_bytes(bitmap, "little")
    fields[4] = cbor2.dumps([body, bytes([bits | 0x80]), signatures + signatures[:64]])


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (_other_time, "valid payloads"),
        (_other_payload, "valid finality proofs"),
        (_no_proof, "valid finality proofs"),
        (_changed_signature, "valid finality proofs"),
        (_one_signer_less, "valid finality proofs"),
        (_one_signer_twice, "valid finality proofs"),
        (_signer_of_nowhere, "valid finality proofs"),
    ],
)
def test_a_change_to_the_newest_block_is_found(
    stored: Stored, change: Callable[[list[object]], None], check: str
) -> None:
    newest = len(stored.blocks)
    fields = stored.block(newest)
    change(fields)
    assert check in stored.with_block(newest, fields).found()


def test_a_block_that_a_later_proof_covers_needs_none_itself(stored: Stored) -> None:
    fields = stored.block(5)
    fields[4] = b""
    assert stored.with_block(5, fields).found() == []


def test_a_missing_block_and_another_parent_are_found(stored: Stored) -> None:
    without = {k: v for k, v in stored.blocks.items() if k != (4).to_bytes(8, "big")}
    assert "contiguous heights" in replace(stored, blocks=without).found()
    fields = stored.block(4)
    _other_payload(fields)
    assert "valid payloads" in stored.with_block(4, fields).found()


def test_a_missing_or_changed_statement_is_found(stored: Stored) -> None:
    digest, _ = stored.first_of(1)
    without = {k: v for k, v in stored.statements.items() if k != digest}
    assert "valid statements" in replace(stored, statements=without).found()
    changed = {**stored.statements, digest: stored.statements[digest] + b"\x00"}
    assert "valid statements" in replace(stored, statements=changed).found()


@pytest.mark.parametrize("code", [1, 2])
def test_a_certificate_with_a_bad_or_missing_signature_is_found(stored: Stored, code: int) -> None:
    """The digest in the payload is changed with it: only the signatures are wrong."""
    audit = Audit(stored.document)
    _, fields = stored.first_of(code)
    assert audit._statement_fault(fields) == ""
    signatures = fields[4]
    assert isinstance(signatures, bytes)
    flipped = [*fields[:4], signatures[:-1] + bytes([signatures[-1] ^ 1])]
    assert "bad signature" in audit._statement_fault(flipped)
    bitmap = fields[3]
    assert isinstance(bitmap, bytes)
    bits = int.from_bytes(bitmap, "little")
    fewer = [*fields[:3], bytes([bits & bits - 1]), signatures[64:]]
    assert "a quorum is 3" in audit._statement_fault(fewer)


def test_a_batch_that_is_not_what_its_header_says_is_found(stored: Stored) -> None:
    _, fields = stored.first_of(1)
    header = fields[1]
    assert isinstance(header, bytes)
    digest = sha256(header)
    held = cbor2.loads(stored.batches[digest])
    assert batch_fault(header, held[2]) == ""
    held[2] = held[2][:-1] + bytes([held[2][-1] ^ 1])
    batches = {**stored.batches, digest: cbor2.dumps(held)}
    assert "valid batches" in replace(stored, batches=batches).found()


def _evidence(stored: Stored, kind: str, bodies: list[object]) -> list[object]:
    chain = sha256(stored.document)
    fields: list[object] = [3, 0, 2, kind.encode()]
    for body in bodies:
        raw = cbor2.dumps(body)
        fields += [raw, stored.keys[2].sign(signing_hash(chain, kind, 0, raw))]
    return fields


def test_evidence_of_an_offence_is_accepted_and_of_none_refused(stored: Stored) -> None:
    audit = Audit(stored.document)
    vote, other = [3, 7, 6, 7, bytes(32)], [3, 7, 6, 7, b"\x01" * 32]
    kind = "engine/simplex/1"
    assert audit._statement_fault(_evidence(stored, kind, [vote, [2, 7]])) == ""
    assert audit._statement_fault(_evidence(stored, kind, [vote, other])) == ""
    for innocent in ([vote, [2, 8]], [vote, [1, *vote[1:]]], [vote, vote]):
        assert "do not conflict" in audit._statement_fault(_evidence(stored, kind, innocent))
    receipts = _evidence(stored, "stored", [bytes(32), b"\x01" * 32])
    assert "do not conflict" in audit._statement_fault(receipts)
    forged = _evidence(stored, kind, [vote, other])
    forged[2] = 1
    assert "bad signature" in audit._statement_fault(forged)


def test_only_batches_and_results_of_one_slot_conflict() -> None:
    key = b"k" * 32
    header = [1, bytes(32), 0, 1, key, 5, 1, b"a" * 32]
    assert conflicting("batch", key, cbor2.dumps(header), cbor2.dumps([*header[:7], b"b" * 32]))
    later = [*header[:5], 6, *header[6:]]
    assert not conflicting("batch", key, cbor2.dumps(header), cbor2.dumps(later))
    assert not conflicting(
        "batch", b"x" * 32, cbor2.dumps(header), cbor2.dumps([*header[:7], b"b" * 32])
    )
    result = [1, bytes(32), 0, 1, 9, b"a" * 32]
    assert conflicting("result", key, cbor2.dumps(result), cbor2.dumps([*result[:5], b"b" * 32]))
    assert not conflicting("result", key, cbor2.dumps(result), cbor2.dumps([*result[:4], 10, b""]))


# --- the ledger -----------------------------------------------------------------------------------


def _ledger(stored: Stored) -> Ledger:
    return Ledger(ChainFacts.read(stored.document), SignatureChecks())


def test_the_ledger_comes_to_the_balances_of_the_node(stored: Stored) -> None:
    ledger = _ledger(stored)
    ledger.follow(stored.blocks, stored.statements, stored.batches, stored.height)
    assert compare("node0", ledger, stored.accounts) == []
    assert sum(executed for executed, _, _ in ledger.counts.values()) > 5


def test_a_balance_or_nonce_that_does_not_follow_is_found(stored: Stored) -> None:
    ledger = _ledger(stored)
    ledger.follow(stored.blocks, stored.statements, stored.batches, stored.height)
    address, (nonce, balances) = next(iter(stored.accounts.items()))
    richer = {**stored.accounts, address: (nonce, {0: balances[0] + 1})}
    assert len(compare("node0", ledger, richer)) == 1
    used = {**stored.accounts, address: (nonce + 1, balances)}
    assert len(compare("node0", ledger, used)) == 1
    height, counts = next(iter(ledger.counts.items()))
    assert compare_counts(ledger, {height: counts}) == []
    assert compare_counts(ledger, {height: (counts[0] + 1, *counts[1:])}) != []


def test_hashes_and_roots_are_those_of_the_node() -> None:
    leaves = [bytes([i]) * i for i in range(1, 20)]
    for count in range(20):
        assert tree_root(leaves[:count]) == merkle_root(leaves[:count])
    assert signing_input(bytes(32), "batch", 3, b"body") == signing_hash(
        bytes(32), "batch", 3, b"body"
    )
    assert len(genesis_accounts([SecretKey(bytes(32))])) == 1


def test_nothing_of_the_node_is_imported() -> None:
    code = (
        "import sys, testnet.checks.audit, testnet.checks.ledger, testnet.checks.votes,"
        " testnet.checks.chain\n"
        "print([m for m in sys.modules if m.split('.')[0] == 'p2pnode'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
