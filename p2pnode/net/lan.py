"""Peers on the local network, by multicast DNS as libp2p's specification has it: no I/O here.

A node asks for `_p2p._udp.local` and is answered with a pointer to a random name and TXT records
`dnsaddr=<multiaddr with /p2p/>`. zeroconf's parser reads and writes the packets; its engine is not
used: it runs threads and keeps whatever strangers announce. All that comes out of here is a hint
where to dial, and only within the local network; who answers there is proved by the handshake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zeroconf import (  # type: ignore[attr-defined]
    DNSIncoming,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSService,
    DNSText,
)
from zeroconf.const import (
    _CLASS_IN,
    _CLASS_UNIQUE,
    _FLAGS_AA,
    _FLAGS_QR_QUERY,
    _FLAGS_QR_RESPONSE,
    _TYPE_ANY,
    _TYPE_PTR,
    _TYPE_SRV,
    _TYPE_TXT,
)

from p2pnode.net.addresses import acceptable, scope_of
from p2pnode.types.record import Scope

GROUP: Final = "224.0.0.251"
PORT: Final = 5353
SERVICE: Final = "_p2p._udp.local."

TTL_S: Final = 120

PACKET_BYTES_MAX: Final = 9000
"""Longest packet of multicast DNS (RFC 6762, 17)."""

RECORDS_MAX: Final = 64
"""Records of a packet that are looked at."""

HINTS_MAX: Final = 16
"""Addresses taken from a packet."""

_PREFIX: Final = b"dnsaddr="


def query() -> bytes:
    """Return the question for peers."""
    out = DNSOutgoing(_FLAGS_QR_QUERY)
    out.add_question(DNSQuestion(SERVICE, _TYPE_PTR, _CLASS_IN))
    return out.packets()[0]


def response(name: str, peer: str, addresses: Sequence[str]) -> bytes:
    """Return the answer that names us.

    Args:
        name: A random label, 32 to 63 letters and digits: it says nothing of the node.
        peer: Peer id, base58.
        addresses: Multiaddrs without /p2p/.
    """
    text = b"".join(
        bytes((len(entry),)) + entry
        for address in addresses
        if len(entry := _PREFIX + f"{address}/p2p/{peer}".encode("ascii")) <= 255
    )
    instance = f"{name}.{SERVICE}"
    out = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA)
    # All of them as answers: js-libp2p looks for TXT there, go-libp2p everywhere.
    for record in (
        DNSPointer(SERVICE, _TYPE_PTR, _CLASS_IN, TTL_S, instance),
        DNSService(
            instance, _TYPE_SRV, _CLASS_IN | _CLASS_UNIQUE, TTL_S, 0, 0, PORT, f"{name}.local."
        ),
        DNSText(instance, _TYPE_TXT, _CLASS_IN | _CLASS_UNIQUE, TTL_S, text),
    ):
        out.add_answer_at_time(record, 0)
    return out.packets()[0]


def asks_for_peers(packet: bytes) -> bool:
    """Tell whether a packet is the question for peers."""
    if len(packet) > PACKET_BYTES_MAX:
        return False
    incoming = DNSIncoming(packet)
    return (
        incoming.valid
        and incoming.is_query()
        and any(
            question.name.lower() == SERVICE and question.type in (_TYPE_PTR, _TYPE_ANY)
            for question in incoming.questions[:RECORDS_MAX]
        )
    )


def hints(packet: bytes) -> list[tuple[str, str]]:
    """Return the peers an answer names, each as (peer id, multiaddr without /p2p/).

    Whatever is out of form is left out: anybody on the network may have sent it. So are addresses
    outside the local network: nobody there shall make this node dial somebody elsewhere, nor
    something on this machine.
    """
    if len(packet) > PACKET_BYTES_MAX:
        return []
    incoming = DNSIncoming(packet)
    if not incoming.valid or not incoming.is_response():
        return []
    found: dict[tuple[str, str], None] = {}
    for record in incoming.answers()[:RECORDS_MAX]:
        if isinstance(record, DNSText) and record.name.lower().endswith(f".{SERVICE}"):
            for entry in _strings(record.text):
                address, _, peer = _text(entry).partition("/p2p/")
                if peer and acceptable(address) and scope_of(address) is Scope.PRIVATE:
                    found[peer, address] = None
    return list(found)[:HINTS_MAX]


def _strings(text: bytes) -> list[bytes]:
    """Return the strings of a TXT record, each preceded by its length."""
    found: list[bytes] = []
    at = 0
    while at < len(text) and len(found) < RECORDS_MAX:
        size = text[at]
        found.append(text[at + 1 : at + 1 + size])
        at += 1 + size
    return found


def _text(entry: bytes) -> str:
    if not entry.startswith(_PREFIX) or not entry.isascii():
        return ""
    return entry[len(_PREFIX) :].decode("ascii")
