"""The rules of one chain as every part of a node asks for them: epochs, validator sets, shards."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pnode import crypto
from p2pnode.types.genesis import Genesis, Validator, chain_id, validators_hash

CERTIFICATE_GRACE_HEIGHTS: int = 64
"""A certificate of epoch e is admissible in this many first heights of e+1."""

NS_PER_MS: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain's constant facts, from its genesis document."""

    genesis: Genesis
    id: bytes
    """Chain id: SHA-256 of the genesis document, 32 bytes."""
    _index: dict[bytes, int] = field(repr=False)
    """Public key to index."""
    _peers: dict[bytes, int] = field(repr=False)
    """Peer id to index."""

    @classmethod
    def from_genesis(cls, genesis: Genesis, document: bytes) -> Chain:
        """Make the rules from a genesis and the document it was read from."""
        index = {v.public_key: i for i, v in enumerate(genesis.validators)}
        peers = {v.peer_id: i for i, v in enumerate(genesis.validators)}
        return cls(genesis, chain_id(document), index, peers)

    def epoch_of(self, height: int) -> int:
        """Return the epoch that `height` (from 1) belongs to; epochs count from 0."""
        return max(0, height - 1) // self.genesis.parameters.epoch_blocks

    def first_height(self, epoch: int) -> int:
        """Return the first height of an epoch."""
        return epoch * self.genesis.parameters.epoch_blocks + 1

    def last_height(self, epoch: int) -> int:
        """Return the last height of an epoch."""
        return (epoch + 1) * self.genesis.parameters.epoch_blocks

    def validators_of(self, epoch: int) -> tuple[Validator, ...]:
        """Return the validator set of an epoch; unchanged for now."""
        return self.genesis.validators

    def validators_hash_of(self, epoch: int) -> bytes:
        """Return the hash of an epoch's validator set, 32 bytes."""
        return validators_hash(self.validators_of(epoch))

    def validator_index(self, public_key: bytes) -> int | None:
        """Return a key's index in the validator set, or None."""
        return self._index.get(public_key)

    def validator_of_peer(self, peer: bytes) -> int | None:
        """Return the index of the validator that runs on a peer, or None."""
        return self._peers.get(peer)

    def proposer_seed(self, epoch: int) -> bytes:
        """Return what orders an epoch's proposers, 32 bytes."""
        return crypto.sha256(b"p2pnode/proposers" + self.id + epoch.to_bytes(8, "big"))

    def evidence_admissible(self, evidence_epoch: int, height: int) -> bool:
        """Tell whether a payload of `height` may list evidence of an epoch: its own or the last.

        Without a limit, evidence listed again near the tip would outlive its statement, which
        retention deletes with the block that listed it first.
        """
        return 0 <= self.epoch_of(height) - evidence_epoch <= 1

    def admissible(self, certificate_epoch: int, height: int) -> bool:
        """Tell whether a payload of `height` may list a certificate of an epoch."""
        epoch = self.epoch_of(height)
        if certificate_epoch == epoch:
            return True
        return (
            certificate_epoch == epoch - 1
            and height - self.first_height(epoch) < CERTIFICATE_GRACE_HEIGHTS
        )

    def result_admissible(self, epoch: int, height: int, *, outbox: bool) -> bool:
        """Tell whether a payload of `height` may list a result certificate of an epoch.

        One that carries receipts stays admissible: outboxes are consumed in order, so that none of
        the shard's later results could ever be listed were it lost. It can be ordered once only,
        and its own epoch's set still judges it.
        """
        return self.admissible(epoch, height) or (outbox and epoch < self.epoch_of(height))
