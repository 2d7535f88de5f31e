"""Send transfers with the typed client, and wait until their results are certified.

    testnet up --detach --name tour
    python examples/send_transactions.py http://127.0.0.1:41001 .testnet/tour/keys/account0.key 5

Under Trio; `BlockingClient` has the same calls for programs without an event loop.
"""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

import trio

from p2pnode.client import NodeClient
from p2pnode.crypto import address_of
from p2pnode.keys import keystore
from p2pnode.keys.keystore import Purpose
from p2pnode.node.answers import FINAL_STATES, TransactionState
from p2pnode.types.transaction import Transfer, sign_transaction

VALID_HEIGHTS = 100
"""A transaction that no block has by then can never come into one."""

DONE = FINAL_STATES - {TransactionState.EXECUTED}
"""Nothing changes any more: certified by a quorum of executors, or failed, or too late."""


async def main(url: str, key_file: Path, count: int, timeout_s: float) -> int:
    """Send `count` transfers to a fresh address; return the exit code."""
    # A key file without a passphrase, as testnets write them.
    key = keystore.load(key_file, Purpose.ACCOUNT).secret
    sender, receiver = address_of(key.public), secrets.token_bytes(32)
    async with NodeClient(url) as node:
        genesis = await node.genesis()
        height = (await node.status()).height
        nonce = (await node.account(sender)).nonce
        fee = genesis.parameters["fee_base"] + genesis.parameters["fee_action"]
        transactions = [
            sign_transaction(
                key,
                bytes.fromhex(genesis.chain),  # worth nothing on any other chain
                nonce=nonce + i,
                last_valid_height=height + VALID_HEIGHTS,
                fee_limit=fee,
                actions=(Transfer(0, receiver, 1 + i),),
            )
            for i in range(count)
        ]
        outcomes = await node.submit([transaction.raw for transaction in transactions])
        for outcome in outcomes:
            if not outcome.accepted:
                print(f"refused, {outcome.kind}: {outcome.message}")
                return 1
        with trio.move_on_after(timeout_s):
            while True:
                found = await node.transactions([transaction.id for transaction in transactions])
                if all(status and status.state in DONE for status in found):
                    break
                await trio.sleep(0.1)
        for transaction, status in zip(transactions, found, strict=True):
            state = "unknown" if status is None else f"{status.state} at height {status.height}"
            print(f"{transaction.id.hex()[:16]}…  {state}")
        account = await node.account(receiver)
        print(f"receiver {account.address[:16]}…  holds {account.balances.get(0, 0)}")
        print(f"  at height {account.height}, state root {account.root}")
        print(f"  proof {account.proof or 'none yet: this is what the node says'}")
    certified = TransactionState.CERTIFIED
    return 0 if all(status and status.state is certified for status in found) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send transfers and wait for them.")
    parser.add_argument("url", help="a node's API, http://host:port")
    parser.add_argument("key_file", type=Path, help="of the account that pays")
    parser.add_argument("count", type=int, nargs="?", default=3)
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS")
    given = parser.parse_args()
    raise SystemExit(trio.run(main, given.url, given.key_file, given.count, given.timeout))
