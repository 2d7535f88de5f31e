"""Summaries: what simplex nodes tell each other about what they have, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pnode import codec
from p2pnode.consensus.simplex.views import Views
from p2pnode.consensus.simplex.votes import Kind

ANSWER_CERTIFICATES_MAX: Final = 32
"""Certificates in one answer to a summary; the next summary gets the next ones."""

SUMMARY_VIEWS_MAX: Final = 1024
"""Views above the floor that a summary describes: two bits each, so that it stays under 1 kB."""

SUMMARY_BYTES_MAX: Final = 512
"""Largest summary: two bitmaps of 128 bytes and four numbers."""


@dataclass(frozen=True, slots=True)
class Status:
    """What one node tells another about itself."""

    height: int
    """Newest height delivered."""

    floor: int
    """View of that height."""

    final: int
    """Highest view with a known finalization; above `floor` when something before it is missing."""

    current: int
    """Current view."""

    notarized: int
    """Bit i: holds the notarization of view floor + 1 + i."""

    nullified: int
    """Bit i: holds the nullification of view floor + 1 + i."""


def encode_status(status: Status) -> bytes:
    """Return the canonical array of a summary; bitmaps are little-endian and cut to what they
    need.
    """
    return codec.encode(
        (
            status.height,
            status.floor,
            status.final,
            status.current,
            _bits(status.notarized),
            _bits(status.nullified),
        )
    )


def describe(views: Views, final: int, current: int) -> Status:
    """Return what a node has.

    Args:
        views: What it knows.
        final: Its highest view with a finalization.
        current: Its current view.
    """
    notarized = nullified = 0
    floor = views.floor_view
    for number in range(floor + 1, min(current, floor + SUMMARY_VIEWS_MAX) + 1):
        view = views.get(number)
        if view is not None:
            notarized |= (view.block is not None) << number - floor - 1
            nullified |= (Kind.NULLIFY in view.certificates) << number - floor - 1
    return Status(views.floor.height, floor, final, current, notarized, nullified)


def lacking(status: Status, views: Views, final: int, current: int) -> list[bytes]:
    """Return the certificates that a peer lacks and we have, the most useful first.

    The newest finalization makes everything before it final, or starts block sync; the newest other
    certificate lets the peer enter our view; the rest, oldest first, lets it build and vote there.

    Args:
        status: What the peer said about itself.
        views: What we know.
        final: Our highest view with a finalization.
        current: Our current view.
    """
    answers: list[bytes] = []
    newest = views.get(final)
    if status.final < final and newest is not None:
        answers.append(newest.certificates[Kind.FINALIZE])
    others: list[bytes] = []
    for number in range(max(status.floor + 1, views.lowest()), current + 1):
        view = views.get(number)
        if view is None:
            continue
        bit = number - status.floor - 1
        # Below a finalization only the blocks matter: nothing new can be built there.
        if not status.nullified >> bit & 1 and number > final:
            others += filter(None, [view.certificate(Kind.NULLIFY)])
        if not status.notarized >> bit & 1:
            others += filter(None, [view.certificate(Kind.NOTARIZE)])
    if others and status.current < current:
        answers.append(others.pop())
    return (answers + others)[:ANSWER_CERTIFICATES_MAX]


def _bits(bits: int) -> bytes:
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def decode_status(data: bytes) -> Status:
    """Decode a summary.

    Raises:
        RemoteProtocolError: Not a summary.
    """
    items = codec.array(codec.decode(data, size_bytes_max=SUMMARY_BYTES_MAX), "summary", length=6)
    numbers = [codec.unsigned(item, "summary number") for item in items[:4]]
    bitmaps = [
        int.from_bytes(
            codec.octets(item, "summary bitmap", length_max=SUMMARY_VIEWS_MAX // 8), "little"
        )
        for item in items[4:]
    ]
    return Status(*numbers, *bitmaps)
