"""Wallets made of public libraries and this node understand each other's transactions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycose.algorithms import EdDSA
from pycose.headers import Algorithm
from pycose.keys import OKPKey
from pycose.keys.curves import Ed25519
from pycose.messages import Sign1Message

from p2pnode import crypto
from p2pnode.types.transaction import (
    AMOUNT_MAX,
    Transaction,
    Transfer,
    decode_transaction,
    sign_transaction,
)

ROOT = Path(__file__).parents[3]
WALLET = ROOT / "tests" / "interop"
SEED, CHAIN, TO = bytes(range(32)), bytes([0xC4]) * 32, bytes([0x70]) * 32
KEY = crypto.SecretKey(SEED)
AMOUNTS = [0, 23, 24, 2**32, 2**53 + 1, 2**64 - 1, 2**64, 2**80 + 7, AMOUNT_MAX]


def assert_accepted(raw: bytes, amount: int) -> Transaction:
    tx = decode_transaction(raw)
    assert crypto.verify(tx.sender_key, tx.signed, tx.signature)
    assert (tx.chain, tx.sender_key, tx.nonce) == (CHAIN, KEY.public, 7)
    assert tx.actions == (Transfer(1, TO, amount),)
    return tx


def made_here(amount: int) -> Transaction:
    return sign_transaction(
        KEY,
        CHAIN,
        nonce=7,
        last_valid_height=2**40,
        fee_limit=amount,
        actions=(Transfer(1, TO, amount),),
    )


# --- Python: pycose ------------------------------------------------------------------------------


def made_by_pycose(amount: int) -> bytes:
    payload = cbor2.dumps([1, CHAIN, KEY.public, 7, 2**40, amount, [[1, 1, TO, amount]]])
    message = Sign1Message(phdr={Algorithm: EdDSA}, payload=payload)
    message.key = OKPKey(crv=Ed25519, x=KEY.public, d=SEED)
    encoded: bytes = message.encode()
    return encoded


@settings(max_examples=30)
@given(amount=st.integers(0, AMOUNT_MAX))
def test_a_transaction_made_with_pycose_is_accepted(amount: int) -> None:
    tx = assert_accepted(made_by_pycose(amount), amount)
    # Ed25519 signatures are deterministic: both made the same bytes.
    assert tx.raw == made_here(amount).raw


def test_pycose_verifies_our_transactions() -> None:
    for amount in AMOUNTS:
        # Its `decode` expects lists and dicts; inside of tags, today's cbor2 gives frozen ones.
        outer = cbor2.loads(made_here(amount).raw)
        assert outer.tag == Sign1Message.cbor_tag
        protected, unprotected, payload, signature = outer.value
        parts = [protected, dict(unprotected), payload, signature]
        message = Sign1Message.from_cose_obj(parts, True)
        message.key = OKPKey(crv=Ed25519, x=KEY.public)
        assert message.verify_signature()
        assert cbor2.loads(message.payload)[6] == [[1, 1, TO, amount]]


# --- JavaScript: cbor2 and @noble/ed25519 --------------------------------------------------------


def run(*command: str | Path, cwd: Path, given: str | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, input=given, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise OSError(f"{command[0]} {command[1]}: {done.stderr.strip()[-300:]}")
    return done.stdout


def installed() -> Path:
    """Return a folder with the wallet and its packages, from the cache or from the registry."""
    lock = (WALLET / "package-lock.json").read_bytes()
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    folder = cache / f"interop-{sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        fresh = cache / f"interop-{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        try:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(WALLET / name, fresh)
            flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0")
            run("npm", "ci", *flags, cwd=fresh)
            # Tests in other processes may have finished first; either copy will do.
            if not folder.exists():
                fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    shutil.copy(WALLET / "wallet.mjs", folder)
    return folder


@pytest.fixture(scope="module")
def node_wallet() -> Path:
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on this machine")
    version = run("node", "--version", cwd=ROOT).strip()
    if int(version.removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"node {version} is older than 20")
    try:
        return installed()
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"the npm registry can't be used: {error}")


def ask_wallet(folder: Path, tasks: list[dict[str, Any]]) -> list[Any]:
    answers: list[Any] = json.loads(run("node", "wallet.mjs", cwd=folder, given=json.dumps(tasks)))
    return answers


def test_a_transaction_made_with_npm_packages_is_accepted(node_wallet: Path) -> None:
    tasks = [
        {
            "sign": {
                "seed": SEED.hex(),
                "chain": CHAIN.hex(),
                "nonce": "7",
                "lastValidHeight": str(2**40),
                "feeLimit": str(amount),
                "actions": [["1", TO.hex(), str(amount)]],
            }
        }
        for amount in AMOUNTS
    ]
    for amount, raw in zip(AMOUNTS, ask_wallet(node_wallet, tasks), strict=True):
        tx = assert_accepted(bytes.fromhex(raw), amount)
        assert tx.raw == made_here(amount).raw


def test_npm_packages_read_and_verify_our_transactions(node_wallet: Path) -> None:
    ours = [made_here(amount) for amount in AMOUNTS]
    answers = ask_wallet(node_wallet, [{"read": tx.raw.hex()} for tx in ours])
    for amount, answer in zip(AMOUNTS, answers, strict=True):
        assert answer == {
            "valid": True,
            "version": "1",
            "chain": CHAIN.hex(),
            "key": KEY.public.hex(),
            "nonce": "7",
            "lastValidHeight": str(2**40),
            "feeLimit": str(amount),
            "actions": [["1", "1", TO.hex(), str(amount)]],
        }


def test_the_packages_are_pinned_without_download_addresses() -> None:
    wanted = json.loads((WALLET / "package.json").read_text())["dependencies"]
    lock = json.loads((WALLET / "package-lock.json").read_text())["packages"]
    for name, version in wanted.items():
        assert version[0].isdigit(), f"{name} is not pinned: {version}"
        assert lock[f"node_modules/{name}"]["version"] == version
    for name, package in lock.items():
        assert "resolved" not in package
        assert not name or package["integrity"].startswith("sha512-")
