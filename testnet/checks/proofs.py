"""Finality proofs of engines that the audit has no reader of its own for.

The proofs of the engines in this repository are read by other code than wrote them (audit.py).
Those of an engine that somebody plugged in nobody else can read: its own `verify_proof` says which
signatures it needs, and those are checked.
"""

from __future__ import annotations

from p2pnode.consensus.engine import Epoch
from p2pnode.consensus.registry import load_engine
from p2pnode.crypto import signing_hash, verify
from p2pnode.errors import RemoteProtocolError
from p2pnode.types.chain import Chain
from p2pnode.types.genesis import decode_genesis


class PluggedProofs:
    """Checks the finality proofs of a chain by its engine's own rule."""

    def __init__(self, document: bytes) -> None:
        """Take a chain.

        Args:
            document: Its genesis.
        """
        genesis = decode_genesis(document)
        self._chain = Chain.from_genesis(genesis, document)
        self._engine = load_engine(genesis.engine)

    def fault(self, height: int, digest: bytes, proof: bytes) -> str:
        """Return what is wrong with a proof, or nothing."""
        epoch = self._epoch(self._chain.epoch_of(height))
        kind = f"engine/{self._engine.name}/{self._engine.version}"
        try:
            claims = self._engine.verify_proof(proof, epoch, height, digest)
        except RemoteProtocolError as error:
            return str(error)
        for claim in claims:
            message = signing_hash(epoch.chain, kind, epoch.number, claim.body)
            if not verify(epoch.validators[claim.signer][0], message, claim.sig):
                return f"signer {claim.signer}: bad signature"
        return "" if claims else "nobody signed it"

    def _epoch(self, number: int) -> Epoch:
        chain = self._chain
        return Epoch(
            chain=chain.id,
            number=number,
            validators=tuple((v.public_key, v.power) for v in chain.validators_of(number)),
            me=None,
            first_height=chain.first_height(number),
            last_height=chain.last_height(number),
            seed=chain.proposer_seed(number),
        )
