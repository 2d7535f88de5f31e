"""How many parts an RPC of gossip has, told without making any of them.

Two bytes can stand for a message, or an id: an RPC of a mebibyte that holds half a million of them
takes a decoder a seventh of a second, and what looks at each of them ten times that.
"""

from __future__ import annotations

from typing import Final

from p2pnode.net.libp2p.streams import decode_varint

_Fields = dict[int, "_Fields"]

_RPC: Final[_Fields] = {3: {number: {} for number in range(1, 9)}}
"""The fields looked into, by number: the control of an RPC, and there all that is repeated. Of a
published message the caller looks at one field each."""

_VARINT_MAX: Final = (1 << 64) - 1

_FIXED_BYTES: Final = {1: 8, 5: 4}
"""Of the wire types of a known length."""


def has_more_parts(rpc: bytes, parts_max: int) -> bool:
    """Tell whether an RPC holds more than so many messages, subscriptions, parts of control, ids.

    What is cut short is left to the decoder, which makes no more of it than is counted here.

    Raises:
        NegotiationError: An integer of more than 64 bits.
    """
    if len(rpc) <= 2 * parts_max:
        return False
    count = 0
    waiting = [(0, len(rpc), _RPC)]
    while waiting:
        at, end, fields = waiting.pop()
        while at < end:
            count += 1
            if count > parts_max:
                return True
            tag, at = decode_varint(rpc, at, value_max=_VARINT_MAX)
            if at and tag & 7 in (0, 2):
                size, at = decode_varint(rpc, at, value_max=_VARINT_MAX)
                if at and tag & 7 == 2:
                    if (inner := fields.get(tag >> 3)) is not None:
                        waiting.append((at, min(end, at + size), inner))
                    at += size
            elif at:
                at += _FIXED_BYTES.get(tag & 7, 0)
            if not at:
                break
    return False
