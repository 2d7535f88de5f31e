"""Where the transactions of a load come from: a recording, or pairs of test accounts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from p2pnode.crypto import SecretKey, address_of
from p2pnode.types.transaction import Transfer, sign_transaction
from testnet.genesis import LOAD_ACCOUNTS, load_key
from testnet.load.options import LoadOptions
from testnet.load.trace import Keys, Trace


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction ready to go."""

    raw: bytes
    id: bytes
    sender: bytes
    """Address, 32 bytes."""
    nonce: int


class Source(Protocol):
    """Gives transactions one by one, those of a sender in the order of nonces."""

    def next(self, last_valid_height: int) -> Signed | None:
        """Sign the next one; None while there is none."""
        ...

    def skipped(self, unused: int) -> dict[str, int]:
        """Return how many recorded transactions of each kind were passed over.

        Args:
            unused: How many of the last ones given were not sent.
        """
        ...

    @property
    def repetitions(self) -> int:
        """Repetitions of the recording that were begun, by this load and all before it."""
        ...


class TraceSource:
    """Replays a recording, with other keys each time it begins anew."""

    def __init__(self, options: LoadOptions, trace: Trace) -> None:
        """Begin at the options' first repetition."""
        self._options = options
        self._trace = trace
        self._keys = Keys(options.seed)
        self._nonces: dict[bytes, int] = {}
        self.first = options.first_repetition * len(trace.transfers)
        """Index of the first transfer, counted through repetitions."""
        self.index = self.first
        """Index of the next one."""
        funded = options.funded_count if options.first_repetition == 0 else 0
        self.covered = self.first + funded
        """Index after the last transfer whose sender has funds."""

    @property
    def trace(self) -> Trace:
        """The recording."""
        return self._trace

    @property
    def keys(self) -> Keys:
        """Derives the accounts."""
        return self._keys

    def next(self, last_valid_height: int) -> Signed | None:
        if self.index >= self.covered:
            return None
        repetition, transfer = self._trace.at(self.index)
        self.index += 1
        key = self._keys.key(transfer.sender, repetition)
        to = self._keys.address(transfer.to, repetition)
        sender = self._keys.address(transfer.sender, repetition)
        nonce = self._nonces.get(sender, 0)
        self._nonces[sender] = nonce + 1
        return _sign(
            self._options,
            key,
            sender,
            nonce,
            last_valid_height,
            Transfer(transfer.asset, to, transfer.amount),
        )

    def skipped(self, unused: int) -> dict[str, int]:
        return self._trace.skipped_before(max(0, self.index - self.first - unused))

    @property
    def repetitions(self) -> int:
        return -(-self.index // len(self._trace.transfers))


class SyntheticSource:
    """Small transfers between random pairs of test accounts; the seed decides which."""

    def __init__(self, options: LoadOptions, nonces: Mapping[bytes, int]) -> None:
        """Begin.

        Args:
            options: The load.
            nonces: Next nonce of each account, by address.
        """
        self._options = options
        self._rng = random.Random(f"load/{options.seed}/{sorted(nonces.items())[:4]}")
        self._keys = [load_key(options.seed, index) for index in range(LOAD_ACCOUNTS)]
        self._addresses = [address_of(key.public) for key in self._keys]
        self._nonces = [nonces.get(address, 0) for address in self._addresses]

    @staticmethod
    def addresses(seed: int) -> list[bytes]:
        """Return the accounts it sends from."""
        return [address_of(load_key(seed, index).public) for index in range(LOAD_ACCOUNTS)]

    def next(self, last_valid_height: int) -> Signed | None:
        sender, to = self._rng.sample(range(LOAD_ACCOUNTS), 2)
        nonce = self._nonces[sender]
        self._nonces[sender] += 1
        return _sign(
            self._options,
            self._keys[sender],
            self._addresses[sender],
            nonce,
            last_valid_height,
            Transfer(0, self._addresses[to], self._rng.randrange(1, 1000)),
        )

    def skipped(self, unused: int) -> dict[str, int]:
        return {}

    @property
    def repetitions(self) -> int:
        return 0


def _sign(
    options: LoadOptions,
    key: SecretKey,
    sender: bytes,
    nonce: int,
    last_valid_height: int,
    transfer: Transfer,
) -> Signed:
    made = sign_transaction(
        key,
        options.chain,
        nonce=nonce,
        last_valid_height=last_valid_height,
        fee_limit=options.fee,
        actions=(transfer,),
    )
    return Signed(made.raw, made.id, sender, nonce)
