"""Faults: the rules of Check, which a payload keeps or is refused.

A verdict depends on the payload's body, its place and the epoch only, so that correct validators
never differ. Duplicates and stale items are no fault: they are ignored when the block executes.
"""

from __future__ import annotations

from p2pnode.consensus.engine import Check
from p2pnode.types.chain import Chain
from p2pnode.types.payload import EVIDENCE_MAX, Payload
from p2pnode.types.statement import BatchCertificate, Evidence, ResultCertificate, Statement


def payload_fault(payload: Payload, question: Check, chain: Chain, epoch: int) -> str | None:
    """Return what is wrong with a payload itself, or None.

    Args:
        payload: Under judgement.
        question: Where the engine has it.
        chain: Its rules.
        epoch: Of the engine that asks.
    """
    if payload.chain != chain.id:
        return "it is of another chain"
    if payload.epoch != epoch:
        return f"it is of epoch {payload.epoch}, not {epoch}"
    if payload.height != question.height:
        return f"its height is {payload.height}, its place is {question.height}"
    if payload.parent != question.parent:
        return "its parent is not the payload it was proposed on"
    if payload.proposer != question.proposer:
        return f"it names proposer {payload.proposer}, proposed by {question.proposer}"
    if payload.validators_hash != chain.validators_hash_of(epoch):
        return "its validators hash is wrong"
    if payload.next_validators_hash != chain.validators_hash_of(epoch + 1):
        return "its next validators hash is wrong"
    if len(dict.fromkeys(payload.items)) != len(payload.items):
        return "it lists a statement twice"
    return None


def items_fault(payload: Payload, statements: tuple[Statement, ...], chain: Chain) -> str | None:
    """Return what is wrong with the statements a payload lists, or None.

    Args:
        payload: Without a fault of its own.
        statements: Those it lists, verified, in its order.
        chain: Its rules.
    """
    assert payload.height is not None
    seen: dict[tuple[str, int], None] = {}
    accusations = 0
    for statement in statements:
        match statement:
            case BatchCertificate(header):
                key, epoch = ("batch", header.uid), header.epoch
                admissible = chain.admissible(epoch, payload.height)
            case ResultCertificate(result, outbox):
                key, epoch = ("result", result.uid), result.epoch
                admissible = chain.result_admissible(epoch, payload.height, outbox=bool(outbox))
            case Evidence(epoch):
                accusations += 1
                if accusations > EVIDENCE_MAX:
                    return f"it lists more than {EVIDENCE_MAX} pieces of evidence"
                if not chain.evidence_admissible(epoch, payload.height):
                    return f"evidence of epoch {epoch} is not admissible there"
                continue
        if key in seen:
            return f"it lists more than one {key[0]} of shard {key[1]}"
        seen[key] = None
        if not admissible:
            return f"a {key[0]} certificate of epoch {epoch} is not admissible there"
    return None
