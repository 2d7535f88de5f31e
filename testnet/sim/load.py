"""Transactions for a seeded run: submitted to running nodes, and again until they are final."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import trio

from p2pnode.crypto import SecretKey, address_of
from p2pnode.errors import StorageError
from p2pnode.keys.keystore import derive_test_key
from p2pnode.node.node import Node
from p2pnode.types.genesis import GenesisAccount
from p2pnode.types.transaction import Transaction, Transfer, sign_transaction
from testnet.sim.world import Machine, World

ACCOUNTS: Final = 64
BALANCE: Final = 10**12

RESUBMIT_S: Final = 3.0
"""A transaction that is not final after so long is submitted again, to another node."""

PATIENCE_S: Final = 1.0
"""How long a client waits for the answer of a node, which may be killed meanwhile."""


@dataclass(slots=True)
class Submitted:
    """A transaction on its way."""

    transaction: Transaction
    first_s: float
    last_s: float
    """When it was submitted last."""
    final_s: float | None = None
    """When the first node had executed it."""


def account_keys(seed: int) -> list[SecretKey]:
    """Return the keys of the funded accounts of a run."""
    return [derive_test_key(seed, "account", i) for i in range(ACCOUNTS)]


def genesis_accounts(keys: list[SecretKey]) -> tuple[GenesisAccount, ...]:
    """Return the funded accounts."""
    return tuple(GenesisAccount(address_of(k.public), ((0, BALANCE),)) for k in keys)


class Load:
    """Clients of a run: random transfers at a mean rate."""

    def __init__(self, world: World, seed: int, rate_tx_s: float, entries: list[Machine]) -> None:
        """Take a world.

        Args:
            world: Where to submit.
            seed: Decides everything random.
            rate_tx_s: Mean rate, exponentially spaced.
            entries: Machines that clients know.
        """
        self.keys = account_keys(seed)
        self.submitted: dict[bytes, Submitted] = {}
        self.refused: dict[str, int] = {}
        self._world = world
        self._rate_tx_s = rate_tx_s
        self._entries = entries
        self._rng = random.Random(f"{seed}/load")
        self._nonces = [0] * ACCOUNTS
        self._chain: bytes | None = None

    def running(self) -> list[Machine]:
        """Return the machines that clients can reach."""
        return [m for m in self._entries if m.node is not None]

    async def run(self) -> None:
        """Submit at the rate until cancelled."""
        if self._rate_tx_s <= 0:
            return
        rng = self._rng
        while True:
            await trio.sleep(rng.expovariate(self._rate_tx_s))
            i, j = rng.randrange(ACCOUNTS), rng.randrange(ACCOUNTS)
            amount = rng.randrange(1, 1000)
            running = self.running()
            if not running:
                continue
            node = running[i % len(running)].node
            assert node is not None
            transaction = self.transfer(node.chain.id, i, j, amount)
            now = trio.current_time()
            self.submitted[transaction.id] = Submitted(transaction, now, now)
            await self._submit(node, transaction)

    def transfer(self, chain: bytes, sender: int, receiver: int, amount: int) -> Transaction:
        """Return the next transaction of an account."""
        nonce = self._nonces[sender]
        self._nonces[sender] += 1
        return sign_transaction(
            self.keys[sender],
            chain,
            nonce=nonce,
            last_valid_height=50_000,
            fee_limit=10,
            actions=(Transfer(0, address_of(self.keys[receiver].public), amount),),
        )

    async def repeat(self) -> None:
        """Submit again what is not final, until cancelled."""
        while True:
            await trio.sleep(1.0)
            await self.repeat_once()

    async def repeat_once(self) -> None:
        """Submit again, to another node, what has waited too long."""
        now = trio.current_time()
        for submitted in list(self.submitted.values()):
            running = self.running()
            if submitted.final_s is None and now - submitted.last_s >= RESUBMIT_S and running:
                submitted.last_s = now
                node = running[int(now) % len(running)].node
                if node is not None:
                    await self._submit(node, submitted.transaction)

    def executed(self, id: bytes) -> None:
        """Note that a node has executed a transaction."""
        submitted = self.submitted.get(id)
        if submitted is not None and submitted.final_s is None:
            submitted.final_s = trio.current_time()

    def unfinished(self) -> list[Submitted]:
        """Return what is not final."""
        return [s for s in self.submitted.values() if s.final_s is None]

    def latencies_s(self) -> list[float]:
        """Return the times from submission to finality, ascending."""
        return sorted(
            s.final_s - s.first_s for s in self.submitted.values() if s.final_s is not None
        )

    async def _submit(self, node: Node, transaction: Transaction) -> None:
        with trio.move_on_after(PATIENCE_S):
            try:
                outcomes = await node.submit([transaction.raw])
            except StorageError:
                return  # its disk is full: another node gets it, later
            for outcome in outcomes:
                if not outcome.accepted and outcome.kind != "nonce_too_low":
                    self.refused[outcome.kind] = self.refused.get(outcome.kind, 0) + 1
