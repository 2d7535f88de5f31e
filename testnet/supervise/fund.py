"""Funding one account from a faucet."""

from __future__ import annotations

from typing import Any, Final

import trio

from p2pnode.crypto import address_of
from p2pnode.errors import P2PNodeError
from p2pnode.node.answers import FINAL_STATES
from p2pnode.types.transaction import AMOUNT_MAX, Transfer, sign_transaction
from testnet.genesis import FAUCETS, faucet_key
from testnet.supervise.supervisor import Supervisor

WAIT_S: Final = 10.0
POLL_S: Final = 0.05


class FundingError(P2PNodeError):
    """An account can't be funded."""


async def fund(
    supervisor: Supervisor, address: bytes, amount: int, asset: int = 0
) -> dict[str, Any]:
    """Send an account some of an asset, and wait until that is executed.

    Args:
        supervisor: The testnet.
        address: 32 bytes.
        amount: At least 1.
        asset: 0 or 1, what faucets have.

    Raises:
        FundingError: It was refused, or not executed in time.
        ClientError: The node that was asked can't be reached.
    """
    if len(address) != 32 or not 0 < amount <= AMOUNT_MAX or asset not in (0, 1):
        raise FundingError("an address of 32 bytes, an amount above 0, and asset 0 or 1 expected")
    nodes = supervisor.up()
    if not nodes:
        raise FundingError("no node runs")
    client = nodes[0].client
    async with supervisor.fund_lock:
        # The last faucet: loads that need faucets begin with the first.
        key = faucet_key(supervisor.spec.seed, FAUCETS - 1)
        account = await client.account(address_of(key.public))
        parameters = supervisor.prepared.genesis.parameters
        transaction = sign_transaction(
            key,
            supervisor.prepared.chain,
            nonce=account.nonce,
            last_valid_height=account.height + min(1000, parameters.validity_heights_max),
            fee_limit=supervisor.prepared.fee,
            actions=(Transfer(asset, address, amount),),
        )
        (outcome,) = await client.submit([transaction.raw])
        if not outcome.accepted:
            raise FundingError(f"{nodes[0].plan.name} refused: {outcome.message}")
        with trio.move_on_after(WAIT_S):
            while True:
                status = await client.transaction(transaction.id)
                if status is not None and status.state in FINAL_STATES:
                    break
                await trio.sleep(POLL_S)
    state = status.state.value if status is not None else "unknown"
    if status is None or status.state not in FINAL_STATES:
        raise FundingError(f"transaction {transaction.id.hex()} is {state} after {WAIT_S:g} s")
    return {
        "id": transaction.id.hex(),
        "state": state,
        "reason": status.reason,
        "height": status.height,
        "address": address.hex(),
        "asset": asset,
        "amount": str(amount),
    }
