"""Transactions that are well formed but signed by nobody: the pool checks no signature itself."""

from __future__ import annotations

from p2pnode import crypto
from p2pnode.mempool.admission import Rules
from p2pnode.mempool.pool import Pool, PoolConfig
from p2pnode.types.transaction import Transaction, Transfer, decode_transaction, encode_payload

CHAIN = bytes(31) + b"\x07"
OWN = bytes([1]) * 32
OTHER = bytes([2]) * 32
RICH = 1 << 60
RULES = Rules(chain=CHAIN, fee_base=1, fee_action=1, validity_heights_max=1000)
_HEAD = bytes.fromhex("d28443a10127a0")


def transaction(
    sender: int,
    nonce: int,
    *,
    last_valid_height: int = 500,
    fee_limit: int = 10,
    chain: bytes = CHAIN,
    actions: int = 1,
    salt: int = 0,
    signature: bytes = bytes(64),
) -> Transaction:
    key = crypto.sha256(b"key" + sender.to_bytes(4, "big"))
    transfers = (Transfer(0, bytes(32), 1 + salt),) * actions
    payload = encode_payload(chain, key, nonce, last_valid_height, fee_limit, transfers)
    size = len(payload)
    head = b"\x58" + bytes([size]) if size < 256 else b"\x59" + size.to_bytes(2, "big")
    return decode_transaction(_HEAD + head + payload + b"\x58\x40" + signature)


def address(sender: int) -> bytes:
    return crypto.address_of(crypto.sha256(b"key" + sender.to_bytes(4, "big")))


def pool(**changes: int) -> Pool:
    return Pool(PoolConfig(rules=RULES, collator=OWN, **changes))


def put(
    pool: Pool, *transactions: Transaction, now_ns: int = 0, account_nonce: int = 0, height: int = 0
) -> None:
    for t in transactions:
        pool.admit(now_ns, t, (account_nonce, RICH), height)
        pool.verified(now_ns, t, True)


def take(
    pool: Pool,
    sequence: int,
    *,
    now_ns: int = 0,
    count_max: int = 1000,
    bytes_max: int = 1 << 20,
    since_max_ns: int | None = None,
) -> list[Transaction]:
    return pool.take(
        now_ns,
        sequence,
        bytes_max=bytes_max,
        count_max=count_max,
        since_max_ns=now_ns if since_max_ns is None else since_max_ns,
    )
