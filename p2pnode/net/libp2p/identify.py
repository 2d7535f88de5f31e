"""Identify: what peers in other languages are told of this node when they ask.

libp2p's own handler tells everybody every address listened on, private and loopback ones too, and
signs them all into a peer record. Here a peer hears of those it could use, from where it is; what
is signed is told in the exchange of peers, whose records have scopes as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from libp2p.identity.identify.pb.identify_pb2 import Identify
from multiaddr import Multiaddr

from p2pnode.net.libp2p.streams import encode_varint

_PROTOCOL_VERSION: Final = "ipfs/0.1.0"
_AGENT: Final = "p2pnode"


def identity(
    public_key: bytes, protocols: Iterable[str], addresses: Iterable[str], observed: str
) -> bytes:
    """Return the answer, with its length before it.

    Args:
        public_key: Ours, as libp2p writes keys.
        protocols: What we speak; others gossip only with who says it does.
        addresses: Our multiaddrs that the peer may be told.
        observed: The peer's multiaddr as we see it; empty when there is none.
    """
    message = Identify(
        protocol_version=_PROTOCOL_VERSION,
        agent_version=_AGENT,
        public_key=public_key,
        listen_addrs=[Multiaddr(address).to_bytes() for address in addresses],
        protocols=list(protocols),
    )
    if observed:
        message.observed_addr = Multiaddr(observed).to_bytes()
    encoded = message.SerializeToString()
    return encode_varint(len(encoded)) + encoded
