"""Genesis: the document whose hash is the chain's name."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from p2pnode import codec, crypto
from p2pnode.errors import ConfigError
from p2pnode.types.batch import TRANSACTIONS_MAX
from p2pnode.types.statement import VALIDATORS_MAX

VERSION: Final = 1
SIZE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Largest genesis document: about three million funded accounts."""

BATCH_BYTES_MAX: Final = (1 << 20) - 4096
"""Largest `batch_bytes_max`: an offered batch travels in one frame of 1 MiB, header included."""

SYSTEM_UID: Final = 0
"""The system shard: registry, parameters, fee pot; executed by every validator."""

FIRST_UID: Final = 1
"""The account shard every chain begins with; its prefix is empty."""


class GenesisError(ConfigError):
    """A genesis document can't be used."""


@dataclass(frozen=True, slots=True)
class Validator:
    """A member of the validator set."""

    public_key: bytes
    """Ed25519 key that signs votes, 32 bytes."""
    power: int
    """Voting power, at least 1."""
    peer_id: bytes
    """Its node on the network (libp2p peer id)."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Numbers every node agrees on; integers only, units in the names."""

    epoch_blocks: int = 1000
    """Heights in an epoch."""
    block_interval_ms: int = 200
    """A proposer waits this long after its parent's proposal."""
    heartbeat_ms: int = 10_000
    """An empty block is proposed after this long without one."""
    delta_ms: int = 250
    """Assumed bound on network delay before it has been measured (Δ)."""
    delta_max_ms: int = 10_000
    """Cap of the adaptive Δ."""
    skip_ms: int = 3_000
    """A proposer silent for so long while a quorum was heard is given no time."""
    retry_ms: int = 1_000
    """A nullify is repeated this often."""
    batch_wait_ms: int = 40
    """A collator waits this long for more transactions."""
    batch_bytes_max: int = 128 * 1024
    """Largest batch data a collator packs."""
    batch_transactions_max: int = 2048
    """Most transactions a collator packs."""
    batches_unordered_max: int = 2
    """Batches of one feed that may wait to be ordered."""
    entry_wait_ms: int = 20
    """An entry node sends transactions on at least this often."""
    fee_base: int = 1
    """Fee of a transaction, in asset 0."""
    fee_action: int = 1
    """Fee of each action, in asset 0."""
    validity_heights_max: int = 100_000
    """A transaction may not be valid for longer than this many heights ahead."""
    bucket_bits: int = 12
    """Prefix bits of a state bucket."""

    def validate(self) -> None:
        """Raise GenesisError where a number makes no sense."""
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("fee_base", "fee_action", "batch_wait_ms") else 1
            if type(value) is not int or not least <= value < 1 << 48:
                raise GenesisError(f"parameter {field.name} = {value!r}: at least {least} expected")
        if self.epoch_blocks < 4:
            raise GenesisError(f"epoch_blocks = {self.epoch_blocks}: at least 4 expected")
        if self.batch_bytes_max > BATCH_BYTES_MAX:
            raise GenesisError(
                f"batch_bytes_max = {self.batch_bytes_max}: at most {BATCH_BYTES_MAX} expected"
            )
        if self.batch_transactions_max > TRANSACTIONS_MAX:
            raise GenesisError(
                f"batch_transactions_max = {self.batch_transactions_max}: "
                f"at most {TRANSACTIONS_MAX} expected"
            )
        if self.bucket_bits > 20:
            raise GenesisError(f"bucket_bits = {self.bucket_bits}: at most 20 expected")


@dataclass(frozen=True, slots=True)
class GenesisAccount:
    """An account that exists from the beginning."""

    address: bytes
    """32 bytes."""
    balances: tuple[tuple[int, int], ...]
    """(asset, amount), ascending by asset, amounts above zero."""


@dataclass(frozen=True, slots=True)
class Genesis:
    """Everything a node must know to join a chain."""

    name: str
    """For people; a chain for tests begins with `test-`."""
    time_ms: int
    """Time of height 0, milliseconds since 1970."""
    engine: str
    """Name of the consensus engine."""
    scheme: str
    """Name of the availability scheme."""
    validators: tuple[Validator, ...]
    parameters: Parameters
    accounts: tuple[GenesisAccount, ...]
    """Ascending by address."""

    def encode(self) -> bytes:
        """Return the canonical document."""
        p = self.parameters
        return codec.encode(
            [
                VERSION,
                self.name.encode(),
                self.time_ms,
                self.engine.encode(),
                self.scheme.encode(),
                [[v.public_key, v.power, v.peer_id] for v in self.validators],
                [getattr(p, field.name) for field in fields(p)],
                [[a.address, a.balances] for a in self.accounts],
            ]
        )

    def validate(self) -> None:
        """Raise GenesisError where the document contradicts itself."""
        if not self.name or len(self.name) > 64 or not self.name.isascii():
            raise GenesisError(f"name {self.name!r}: 1 to 64 ASCII characters expected")
        if not 1 <= len(self.validators) <= VALIDATORS_MAX:
            raise GenesisError(f"{len(self.validators)} validators: 1 to {VALIDATORS_MAX} expected")
        keys = [v.public_key for v in self.validators]
        peers = [v.peer_id for v in self.validators]
        if len(dict.fromkeys(keys)) < len(keys) or len(dict.fromkeys(peers)) < len(peers):
            raise GenesisError("two validators share a key or a peer id")
        for index, validator in enumerate(self.validators):
            if len(validator.public_key) != 32 or not 1 <= validator.power < 1 << 48:
                raise GenesisError(f"validator {index}: key of 32 bytes and power above 0 expected")
        self.parameters.validate()
        previous = b""
        for account in self.accounts:
            if len(account.address) != 32 or account.address <= previous:
                raise GenesisError(f"account {account.address.hex()} is not in ascending order")
            previous = account.address
            assets = [asset for asset, _ in account.balances]
            if assets != sorted(dict.fromkeys(assets)) or any(
                not 0 < amount < 1 << 128 for _, amount in account.balances
            ):
                raise GenesisError(
                    f"account {account.address.hex()}: balances out of order or range"
                )


def decode_genesis(document: bytes) -> Genesis:
    """Read a genesis document.

    Raises:
        GenesisError: It is not one, or contradicts itself.
    """
    try:
        genesis = _from_document(document)
    except (codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError) as error:
        raise GenesisError(f"not a genesis document: {error}") from None
    except UnicodeDecodeError as error:
        raise GenesisError(f"not a genesis document: a name is not ASCII ({error})") from None
    genesis.validate()
    return genesis


def chain_id(document: bytes) -> bytes:
    """Return the SHA-256 of the document, 32 bytes."""
    return crypto.sha256(document)


def genesis_hash(chain: bytes) -> bytes:
    """Return the digest that stands for the block of height 0, 32 bytes."""
    return crypto.sha256(b"p2pnode/genesis" + chain)


def validators_hash(validators: tuple[Validator, ...]) -> bytes:
    """Return the hash of a validator set, 32 bytes."""
    return crypto.sha256(codec.encode([[v.public_key, v.power, v.peer_id] for v in validators]))


def _from_document(document: bytes) -> Genesis:
    parts = codec.array(codec.decode(document, size_bytes_max=SIZE_BYTES_MAX), "genesis", length=8)
    version = codec.unsigned(parts[0], "version")
    if version != VERSION:
        raise GenesisError(f"genesis version {version}, this node knows {VERSION}")
    numbers = codec.array(parts[6], "parameters", length=len(fields(Parameters)))
    return Genesis(
        name=codec.octets(parts[1], "name", length_max=64).decode("ascii"),
        time_ms=codec.unsigned(parts[2], "time"),
        engine=codec.octets(parts[3], "engine", length_max=32).decode("ascii"),
        scheme=codec.octets(parts[4], "scheme", length_max=32).decode("ascii"),
        validators=tuple(_validator(v) for v in codec.array(parts[5], "validators")),
        parameters=Parameters(*(codec.unsigned(n, "parameter") for n in numbers)),
        accounts=tuple(_account(a) for a in codec.array(parts[7], "accounts", length_max=1 << 24)),
    )


def _validator(value: codec.Value) -> Validator:
    public_key, power, peer_id = codec.array(value, "validator", length=3)
    return Validator(
        codec.octets(public_key, "key", length=32),
        codec.unsigned(power, "power"),
        codec.octets(peer_id, "peer id", length_max=64),
    )


def _account(value: codec.Value) -> GenesisAccount:
    address, balances = codec.array(value, "account", length=2)
    pairs = []
    for pair in codec.array(balances, "balances"):
        asset, amount = codec.array(pair, "balance", length=2)
        pairs.append(
            (
                codec.unsigned(asset, "asset", value_max=(1 << 32) - 1),
                codec.unsigned(amount, "amount", value_max=codec.INTEGER_MAX),
            )
        )
    return GenesisAccount(codec.octets(address, "address", length=32), tuple(pairs))
