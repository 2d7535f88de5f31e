"""Names of topics and request protocols; each carries the chain and a version."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
"""Version at the end of every name; raised when the bytes on it change."""

TOPICS_FROM_NODES: Final = ((17, 4), (65, 16))
"""(nodes at least, transaction topics): one topic up to 16 nodes, more above."""


def chain_tag(chain: bytes) -> str:
    """Return the chain's mark in names: the first 16 hex digits of its id."""
    assert len(chain) == 32, len(chain)
    return chain.hex()[:16]


def transaction_topic(chain: bytes, index: int) -> str:
    """Return the name of transaction topic `index`, from 0."""
    return f"/p2pnode/{chain_tag(chain)}/tx/{index}/{VERSION}"


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


def head_topic(chain: bytes) -> str:
    """Return the name of the topic of finalized headers."""
    return f"/p2pnode/{chain_tag(chain)}/head/{VERSION}"


def peers_topic(chain: bytes) -> str:
    """Return the name of the topic of node records."""
    return f"/p2pnode/{chain_tag(chain)}/peers/{VERSION}"


def protocol_id(chain: bytes, name: str) -> str:
    """Return the id of a request protocol or stream: lower-case letters, digits and dashes."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
    assert name.strip(letters) == "" != name, name
    return f"/p2pnode/{chain_tag(chain)}/{name}/{VERSION}"
