"""Did any key sign two values in one slot? Read from the logs, by other code than wrote them.

Nothing of p2pnode is imported: a fault in its idea of a record must not hide here. A log is
searched at every multiple of 8 for records whose checksum holds, so that neither a wrong sequence
nor damage between two records makes this blind to what comes after.

    python -m testnet.checks.double_sign NODE/log …
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cbor2

from testnet.checks.violation import Violation

_HEADER_BYTES = 4096
_SLOTS = (0, 2048)
_MAGIC = b"p2pn-log"
_RECORD_HEAD_BYTES = 24
_SIGNED = 1


class UnreadableLogError(Exception):
    """A file has no header of a log: nothing can be said about it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One value that a key signed in one slot."""

    path: Path
    offset: int
    """Where in the file its record begins."""
    value: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class DoubleSignature:
    """One key, one slot, two values."""

    public_key: bytes
    chain: bytes
    epoch: int
    kind: str
    slot: bytes
    """Canonical encoding of the slot's name."""
    first: Signature
    second: Signature

    def __str__(self) -> str:
        first, second = (
            f"{signature.value.hex()[:16] or 'nothing'} ({signature.path} at {signature.offset})"
            for signature in (self.first, self.second)
        )
        return (
            f"key {self.public_key.hex()[:16]} signed two values in {self.kind},"
            f" epoch {self.epoch}, slot {cbor2.loads(self.slot)!r}: {first} and {second}"
        )


def check_logs(paths: Sequence[Path]) -> list[Violation]:
    """Report what `find_double_signatures` finds in some logs."""
    return [Violation("double signature", str(found)) for found in find_double_signatures(paths)]


def find_double_signatures(paths: Sequence[Path]) -> list[DoubleSignature]:
    """Compare everything signed in some logs, within and between them.

    Args:
        paths: Log files, of any nodes and any of their lives; two logs of one node count together.

    Returns:
        One for every value beyond the first of a slot, in the order found.

    Raises:
        UnreadableLogError: A file is no log.
    """
    seen: dict[tuple[bytes, bytes, int, bytes, bytes], dict[bytes, Signature]] = {}
    found: list[DoubleSignature] = []
    for path in paths:
        for offset, record in read_records(path):
            if record[:1] < b"\x81" or record[1:2] != bytes((_SIGNED,)):
                continue
            _, public_key, chain, epoch, kind, body, _, _, slots = cbor2.loads(record)
            for slot, value in slots:
                place = (public_key, chain, epoch, kind, slot)
                values = seen.setdefault(place, {})
                signature = Signature(path, offset, value, body)
                if values and value not in values:
                    first = next(iter(values.values()))
                    found.append(
                        DoubleSignature(
                            public_key, chain, epoch, kind.decode(), slot, first, signature
                        )
                    )
                values.setdefault(value, signature)
    return found


def read_records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, body) of every record whose checksum holds.

    Raises:
        UnreadableLogError: Neither slot of the header is valid.
    """
    content = path.read_bytes()
    salt = _salt(content)
    if salt is None:
        raise UnreadableLogError(f"{path}: {len(content)} bytes without a valid header")
    offset = _HEADER_BYTES
    end = len(content.rstrip(b"\x00"))
    while offset < end:
        body = _body_at(content, offset, salt)
        if body is not None:
            yield offset, body
            offset += _RECORD_HEAD_BYTES + len(body)
            offset += -offset % 8
        else:
            offset += 8


def _salt(content: bytes) -> bytes | None:
    newest: tuple[int, bytes] | None = None
    for start in _SLOTS:
        raw = content[start : start + 40]
        checksum = content[start + 40 : start + 56]
        if raw[:8] == _MAGIC and hashlib.blake2b(raw, digest_size=16).digest() == checksum:
            generation = int.from_bytes(raw[16:24], "little")
            if newest is None or generation > newest[0]:
                newest = (generation, raw[24:40])
    return None if newest is None else newest[1]


def _body_at(content: bytes, offset: int, salt: bytes) -> bytes | None:
    head = content[offset : offset + _RECORD_HEAD_BYTES]
    if len(head) < _RECORD_HEAD_BYTES or head[:8] == bytes(8) or head[6:8] != bytes(2):
        return None
    length = int.from_bytes(head[8:12], "little")
    body = content[offset + _RECORD_HEAD_BYTES : offset + _RECORD_HEAD_BYTES + length]
    if len(body) != length:
        return None
    expected = hashlib.blake2b(head[:12] + body, digest_size=12, key=salt).digest()
    return body if expected == head[12:] else None


def main(arguments: Sequence[str]) -> int:
    """Check the files named; 1 when a violation was found."""
    violations = check_logs([Path(argument) for argument in arguments])
    for violation in violations:
        print(violation.detail)
    print(f"{len(arguments)} logs read, {len(violations)} double signatures")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
