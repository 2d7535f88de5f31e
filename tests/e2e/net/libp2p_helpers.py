"""Networks on libp2p over 127.0.0.1 for tests, all in one process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.net.libp2p import Libp2pNetwork, NetworkConfig
from testnet.prepare import free_ports

CHAIN = hashlib.sha256(b"a chain for tests").digest()


def seed_of(index: int) -> bytes:
    return hashlib.sha256(b"node %d" % index).digest()


def peer_id_of_node(index: int) -> bytes:
    return peer_id_of(SecretKey(seed_of(index)).public)


def address_of(index: int, port: int) -> str:
    from libp2p.peer.id import ID

    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{ID(peer_id_of_node(index))}"


def network(index: int, **changes: Any) -> Libp2pNetwork:
    """Return one node that does not run yet; `changes` are fields of its config."""
    return Libp2pNetwork(NetworkConfig(seed=seed_of(index), chain=CHAIN, **changes))


async def make(count: int) -> Sequence[Libp2pNetwork]:
    """Return nodes that find one another through the first: what the contract asks for."""
    ports = free_ports(count)
    return [
        network(i, port=ports[i], bootstrap=(address_of(0, ports[0]),) if i else ())
        for i in range(count)
    ]
