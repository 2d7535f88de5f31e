"""Adapters of the Network port: libp2p, and memory for the simulator."""
