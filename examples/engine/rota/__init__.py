"""Rota: an engine in which the validators propose by turns."""

from rota.engine import RotaEngine

__all__ = ["RotaEngine"]
