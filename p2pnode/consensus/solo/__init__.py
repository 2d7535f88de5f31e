"""Solo: the engine of one validator."""

from p2pnode.consensus.solo.engine import SoloEngine

__all__ = ["SoloEngine"]
