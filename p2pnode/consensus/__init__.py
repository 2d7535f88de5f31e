"""Engines that agree on one order of payload digests, behind one plug."""
