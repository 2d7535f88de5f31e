"""Simplex consensus (eprint 2023/463): the default engine."""

from p2pnode.consensus.simplex.engine import SimplexEngine

__all__ = ["SimplexEngine"]
