"""Names of topics, as the Network port takes them; the adapter adds the chain and a version."""

from __future__ import annotations

from typing import Final

HEAD: Final = "head"
"""Topic of finalized headers."""

PEERS: Final = "peers"
"""Topic of node records."""

TOPICS_FROM_NODES: Final = ((17, 4), (65, 16))
"""(nodes at least, transaction topics): one topic up to 16 nodes, more above."""


def transaction_topic(index: int) -> str:
    """Return the name of transaction topic `index`, from 0."""
    return f"tx/{index}"


def transaction_topics_count(nodes_count: int) -> int:
    """Return how many transaction topics a network of so many nodes uses."""
    count = 1
    for nodes_min, topics_count in TOPICS_FROM_NODES:
        if nodes_count >= nodes_min:
            count = topics_count
    return count


def transaction_topic_index(sender: bytes, topics_count: int) -> int:
    """Return a sender's topic: one for all its transactions, so their order has a chance.

    Args:
        sender: Address, 32 bytes.
        topics_count: As `transaction_topics_count` gives.
    """
    return int.from_bytes(sender[:8], "big") % topics_count
