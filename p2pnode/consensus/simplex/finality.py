"""Finality: what becomes final with a chain of views, and the floor that rises with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from p2pnode.consensus.engine import Deliver, Effect, Epoch, Floor, Index, Report
from p2pnode.consensus.simplex import votes
from p2pnode.consensus.simplex.chronicle import Chronicle
from p2pnode.consensus.simplex.missing import Missing
from p2pnode.consensus.simplex.views import View, Views
from p2pnode.consensus.simplex.votes import Kind, Proposal


class Finality:
    """Delivers what is final, and raises the floor."""

    __slots__ = (
        "_chronicle",
        "_emit",
        "_epoch",
        "_missing",
        "_on_end",
        "_proposer_of",
        "_views",
        "highest",
        "over",
    )

    def __init__(
        self,
        epoch: Epoch,
        views: Views,
        missing: Missing,
        chronicle: Chronicle,
        *,
        proposer_of: Callable[[int], Index],
        emit: Callable[[Effect], None],
        on_end: Callable[[], None],
    ) -> None:
        """Start without a floor; `start_from` comes before anything else.

        Args:
            epoch: Where it begins and ends.
            views: What is known of each view.
            missing: Is told of ancestors that are not known.
            chronicle: Is told of final views.
            proposer_of: Returns the proposer of a view.
            emit: Takes effects.
            on_end: Called when the epoch is over, or broken by a fork.
        """
        self._epoch = epoch
        self._views = views
        self._missing = missing
        self._chronicle = chronicle
        self._proposer_of = proposer_of
        self._emit = emit
        self._on_end = on_end
        self.highest = 0
        """Highest view with a finalization; above the floor's view when an ancestor is missing."""
        self.over = False
        """The epoch is over, or broken."""

    def start_from(self, floor: Floor) -> int | None:
        """Take a floor that the host has verified; return its view if it is a higher one."""
        base = self._epoch.first_height - 1
        if floor.height == base:
            block = Proposal(0, 0, floor.height, floor.digest)
        else:
            block = votes.proven(floor.proof, self._epoch)
            assert (block.height, block.digest) == (floor.height, floor.digest), block
        higher = block.view > self._views.floor_view
        if higher:
            self._views.raise_floor(floor, block)
            if block.view > 0:
                self._views.make(block.view).certificates[Kind.FINALIZE] = floor.proof
                self.note(block.view)
        self._end_if_last()
        return block.view if higher else None

    def note(self, number: int) -> None:
        """A finalization of a view is known."""
        self.highest = max(self.highest, number)

    def deliver(self) -> None:
        """Rule: Q finalize(c, v) → c and all its ancestors are final."""
        if self.highest <= self._views.floor_view:
            return
        chain = self._views.chain_to(self.highest)
        if isinstance(chain, int):
            if chain < self._views.floor_view:
                self._emit(Report("fork", {"view": self.highest}))
                self._end()
            else:
                self._missing.fell_behind(self.highest)
            return
        for final in deliveries(chain, self._views.floor.height, self._proposer_of):
            self._emit(final)
        self._chronicle.finalized(view.number for view in chain)
        top = chain[-1]
        assert top.block is not None
        self._views.raise_floor(
            Floor(top.block.height, top.block.digest, top.certificates[Kind.FINALIZE]), top.block
        )
        self._end_if_last()

    def _end_if_last(self) -> None:
        if self._views.floor.height >= self._epoch.last_height and not self.over:
            self._end()

    def _end(self) -> None:
        self.over = True
        self._on_end()


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
