"""Evidence: what an engine's offence becomes, and what has to be verified about a piece of it."""

from __future__ import annotations

from p2pnode import codec, crypto
from p2pnode.availability.certificate import KIND_BATCH, batch_evidence_claims
from p2pnode.consensus.engine import Offence
from p2pnode.consensus.host import EngineHost
from p2pnode.execution.results import KIND as KIND_RESULT
from p2pnode.types.chain import Chain
from p2pnode.types.statement import Evidence, decode_result


def evidence_of(epoch: int, kind: str, offence: Offence) -> Evidence:
    """Return the statement that proves an offence.

    Args:
        epoch: Of both votes.
        kind: Their signing domain.
        offence: What the engine saw.
    """
    return Evidence(
        epoch,
        offence.culprit,
        kind,
        offence.a.body,
        offence.a.sig,
        offence.b.body,
        offence.b.sig,
    )


def evidence_claims(
    e: Evidence, chain: Chain, host: EngineHost
) -> list[tuple[bytes, bytes, bytes]]:
    """Check that no correct node signs both bodies, and return the signatures to verify.

    Args:
        e: Decoded.
        chain: Whose validators are accused.
        host: Of the engine whose `slots` tell which votes conflict.

    Returns:
        (public key, message, signature) twice; the offence is proved when both hold.

    Raises:
        RemoteProtocolError: It proves nothing.
    """
    validators = chain.validators_of(e.epoch)
    if e.signer >= len(validators) or e.body_a == e.body_b:
        raise codec.WrongShapeError(f"evidence against signer {e.signer} proves nothing")
    if e.signing_kind == KIND_BATCH:
        return batch_evidence_claims(e, validators, chain.id)
    if e.signing_kind == host.kind:
        slots_a = host.engine_type.slots(e.body_a)
        slots_b = host.engine_type.slots(e.body_b)
        if not any(slots_b.get(key, value) != value for key, value in slots_a.items()):
            raise codec.WrongShapeError("evidence: the two bodies do not conflict")
    elif e.signing_kind == KIND_RESULT:
        a, b = decode_result(e.body_a), decode_result(e.body_b)
        if (a.chain, a.epoch, a.uid, a.height) != (b.chain, b.epoch, b.uid, b.height):
            raise codec.WrongShapeError("evidence: the two results are of different heights")
    else:
        raise codec.WrongShapeError(f"evidence: no rule forbids two of {e.signing_kind!r}")
    key = validators[e.signer].public_key
    return [
        (key, crypto.signing_hash(chain.id, e.signing_kind, e.epoch, body), signature)
        for body, signature in ((e.body_a, e.signature_a), (e.body_b, e.signature_b))
    ]
