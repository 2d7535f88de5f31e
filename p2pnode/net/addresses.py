"""Multiaddrs of nodes: which may be dialled, from where they are reached, which ones are ours."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import psutil

from p2pnode.types.record import ADDRESS_CHARS_MAX, ADDRESSES_MAX, Scope

Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

LISTEN_MAX: Final = 8
"""Addresses a node listens on."""


def split_address(address: str) -> tuple[Ip, int] | None:
    """Return IP and port of a plain TCP multiaddr; None for anything else."""
    parts = address.split("/")
    if len(address) > ADDRESS_CHARS_MAX or len(parts) != 5 or parts[0] or parts[3] != "tcp":
        return None
    # `str.isdigit` alone accepts digits of other scripts.
    port = parts[4]
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        return None
    try:
        ip = ipaddress.ip_address(parts[2])
    except ValueError:
        return None
    return (ip, int(port)) if parts[1] == f"ip{ip.version}" else None


def join_address(text: str, port: int) -> str:
    """Return the multiaddr of an IP and a TCP port, as a socket gives them."""
    ip = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return f"/ip{ip.version}/{ip}/tcp/{port}"


def ip_of(address: str) -> str:
    """Return the IP in a multiaddr; nothing if there is none."""
    parts = address.split("/")
    return parts[2] if len(parts) > 2 else ""


def acceptable(address: str) -> bool:
    """Tell whether a multiaddr from a peer may be dialled: a plain TCP address of an IP.

    Names are refused: resolving them would make this node ask any server a peer likes.
    """
    found = split_address(address)
    return found is not None and found[1] > 0 and _is_dialable(found[0])


def _is_dialable(ip: Ip) -> bool:
    if ip.is_unspecified or ip.is_multicast:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        # Link-local ones mean nothing without the name of an interface, and an IPv4 address in the
        # clothes of an IPv6 one would pass for another scope than it has.
        return not ip.is_link_local and ip.ipv4_mapped is None and ip.scope_id is None
    return True


def parse_ip(text: str) -> Ip | None:
    """Return an IP as a socket gives it, one of IPv4 in IPv6's clothes as such; None for none."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def scope_of_ip(text: str) -> Scope:
    """Return from where an IP is reached; what is no IP is taken for the widest scope."""
    ip = parse_ip(text)
    if ip is None:
        return Scope.WORLD
    if ip.is_loopback:
        return Scope.HOST
    return Scope.WORLD if ip.is_global else Scope.PRIVATE


def scope_of(address: str) -> Scope:
    """Return from where a multiaddr is reached."""
    return scope_of_ip(ip_of(address))


def interface_ips() -> list[str]:
    """Return the IPs of this machine's interfaces; unlike a look-up, it asks nobody."""
    return [
        entry.address
        for _, entries in sorted(psutil.net_if_addrs().items())
        for entry in entries
        if entry.family.name in ("AF_INET", "AF_INET6")
    ]


def expanded(listening: Iterable[str], ips: Iterable[str]) -> list[str]:
    """Return the addresses listened on, those of all interfaces for 0.0.0.0 and ::."""
    found: dict[str, None] = {}
    ips = list(ips)
    for address in listening:
        split = split_address(address)
        if split is None:
            continue
        ip, port = split
        if not ip.is_unspecified:
            found[address] = None
            continue
        for text in ips:
            if (":" in text) == (ip.version == 6) and "%" not in text:
                found[join_address(text, port)] = None
    return [address for address in found if acceptable(address)]


def told_within(scope: Scope, own: Sequence[str], announced: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses for the record of a scope, the nearest first.

    Args:
        scope: Who is told: nobody outside it hears of an address that leads nowhere from there.
        own: What is listened on, `expanded`.
        announced: The operator's, told to everybody.
    """
    near = sorted((a for a in own if scope_of(a) <= scope), key=scope_of, reverse=True)
    return tuple(dict.fromkeys([*near[: ADDRESSES_MAX - len(announced)], *announced]))
