"""Finality: the heights that a chain of views makes final, and the offences of a fork."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from p2pnode.consensus.certs import Certificate
from p2pnode.consensus.engine import Deliver, Index, Offence, Signed
from p2pnode.consensus.simplex.views import View
from p2pnode.consensus.simplex.votes import Kind


def deliveries(
    chain: Sequence[View], floor_height: int, proposer_of: Callable[[int], Index]
) -> list[Deliver]:
    """Return the heights above the floor that become final with a chain of views, in order.

    Args:
        chain: Views with their blocks, oldest first, each the parent of the next.
        floor_height: Newest height delivered.
        proposer_of: Returns the proposer of a view.
    """
    found = []
    # A payload proposed again at the end of the epoch stands in several views: one height.
    at = 0
    while at < len(chain):
        first = chain[at].block
        assert first is not None
        proof = None
        while at < len(chain):
            block = chain[at].block
            if block is None or block.height != first.height:
                break
            proof = chain[at].certificate(Kind.FINALIZE) or proof
            at += 1
        if first.height > floor_height:
            found.append(
                Deliver(
                    height=first.height,
                    payloads=(first.digest,),
                    anchor=first.digest,
                    proposer=proposer_of(first.view),
                    view=(first.view,),
                    proof=proof,
                )
            )
    return found


def offences_of(one: Certificate, other: Certificate) -> list[Offence]:
    """Return the offences of whoever signed both of two certificates that exclude each other."""
    signed = {claim.signer: claim for claim in one.claims()}
    return [
        Offence(
            claim.signer,
            Signed(claim.signer, signed[claim.signer].body, signed[claim.signer].sig),
            Signed(claim.signer, claim.body, claim.sig),
        )
        for claim in other.claims()
        if claim.signer in signed
    ]
