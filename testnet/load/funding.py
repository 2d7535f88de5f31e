"""Funding accounts of a recording from the faucets, where genesis has not."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

from p2pnode.client import ClientError
from p2pnode.crypto import SecretKey, address_of
from p2pnode.types.transaction import ACTIONS_MAX, Transfer, sign_transaction
from testnet.genesis import FAUCETS, faucet_key
from testnet.load.options import LoadOptions
from testnet.load.source import TraceSource
from testnet.load.trace import NATIVE, TOKEN, needs
from testnet.load.tracked import Client

CHUNK: Final = 1500
"""Transfers whose senders are funded in one go."""

AHEAD: Final = 3000
"""Funding stays this many transfers ahead."""

ON_THE_WAY_MAX: Final = 24
"""Most transactions of a faucet that are not executed."""

POLL_S: Final = 0.1

STUCK_S: Final = 20.0

AMOUNT_MAX: Final = 10**33
"""Most that faucets give of an asset at once: a recording has amounts near 2^128."""


class Funder:
    """Keeps the senders of a recording in funds."""

    def __init__(
        self, options: LoadOptions, clients: Sequence[Client], source: TraceSource
    ) -> None:
        """Prepare.

        Args:
            options: The load.
            clients: Nodes; each faucet keeps to one.
            source: Its `covered` is moved on as accounts are funded.
        """
        self._options = options
        self._clients = clients
        self._source = source
        self._keys = [faucet_key(options.seed, index) for index in range(FAUCETS)]

    async def run(self, valid_until: int) -> None:
        """Fund ahead of the load until cancelled.

        Args:
            valid_until: Last height at which the transfers may execute.
        """
        while True:
            if self._source.covered - self._source.index >= AHEAD:
                await trio.sleep(POLL_S)
                continue
            first = self._source.covered
            last = first + CHUNK
            await self._fund(self._actions(first, last), valid_until)
            self._source.covered = last

    def _actions(self, first: int, last: int) -> list[Transfer]:
        found = []
        wanted = needs(self._source.trace, first, last, self._options.fee)
        for (address, repetition), amounts in wanted.items():
            to = self._source.keys.address(address, repetition)
            for asset in (NATIVE, TOKEN):
                if amounts[asset]:
                    found.append(Transfer(asset, to, min(amounts[asset], AMOUNT_MAX)))
        return found

    async def _fund(self, actions: list[Transfer], valid_until: int) -> None:
        packs = [actions[i : i + ACTIONS_MAX] for i in range(0, len(actions), ACTIONS_MAX)]
        async with trio.open_nursery() as nursery:
            for index, key in enumerate(self._keys):
                mine = deque(packs[index :: len(self._keys)])
                if mine:
                    nursery.start_soon(self._pay, index, key, mine, valid_until)

    async def _pay(
        self, index: int, key: SecretKey, packs: deque[list[Transfer]], valid_until: int
    ) -> None:
        """Have one faucet make all its payments, and wait until they are executed."""
        address = address_of(key.public)
        turn = index
        nonce = await self._nonce(turn, address)
        sent: deque[tuple[int, bytes]] = deque()
        moved_s = trio.current_time()
        while packs or sent:
            while packs and len(sent) < ON_THE_WAY_MAX:
                raw = self._sign(key, nonce, packs.popleft(), valid_until)
                sent.append((nonce, raw))
                nonce += 1
            try:
                # Those that are in already are told from new ones by the node.
                await self._client(turn).submit([raw for _, raw in sent])
                await trio.sleep(POLL_S)
                done = await self._nonce(turn, address)
            except ClientError:
                turn += 1
                await trio.sleep(POLL_S)
                continue
            while sent and sent[0][0] < done:
                sent.popleft()
                moved_s = trio.current_time()
            if trio.current_time() - moved_s > STUCK_S:
                turn += 1
                moved_s = trio.current_time()

    async def _nonce(self, turn: int, address: bytes) -> int:
        while True:
            try:
                (account,) = await self._client(turn).accounts([address])
            except ClientError:
                turn += 1
                await trio.sleep(POLL_S)
            else:
                return account.nonce

    def _client(self, turn: int) -> Client:
        return self._clients[turn % len(self._clients)]

    def _sign(self, key: SecretKey, nonce: int, actions: list[Transfer], valid_until: int) -> bytes:
        fee = self._options.fee_base + self._options.fee_action * len(actions)
        return sign_transaction(
            key,
            self._options.chain,
            nonce=nonce,
            last_valid_height=valid_until,
            fee_limit=fee,
            actions=tuple(actions),
        ).raw
