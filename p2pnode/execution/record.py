"""What a shard remembers beside its accounts: pot, feeds, watermarks, sums sent and received.

It stays outside the state root, so that the root of a range remains the hash of the roots of its
halves; its hash is the result's watermarks root, so the executors sign it all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pnode import codec, crypto

RECORD_BYTES_MAX = 1 << 20
"""Largest encoded record: 256 feeds take 11 KiB."""


@dataclass(slots=True)
class ShardRecord:
    """A shard's memory; execution works on a copy and swaps it in when the block is done."""

    height: int = 0
    """Last height that had input here; 0 is genesis."""
    outboxes: int = 0
    """Outboxes that were not empty so far; numbers them without gaps."""
    feeds: dict[bytes, int] = field(default_factory=dict)
    """Last sequence used, by the collator's public key."""
    watermarks: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By source uid: height and number of the last outbox consumed."""
    pot: dict[int, int] = field(default_factory=dict)
    """Fees collected and not yet sent on, by asset."""
    sent: dict[int, int] = field(default_factory=dict)
    """Everything that left in receipts, ever, by asset."""
    received: dict[int, int] = field(default_factory=dict)
    """Everything that arrived in receipts, ever, by asset."""

    def copy(self) -> ShardRecord:
        """Return an independent copy."""
        return ShardRecord(
            self.height,
            self.outboxes,
            dict(self.feeds),
            dict(self.watermarks),
            dict(self.pot),
            dict(self.sent),
            dict(self.received),
        )

    def encode(self) -> bytes:
        """Return the canonical bytes; a function of the content, not of the dicts' order."""
        return codec.encode(
            [
                1,
                self.height,
                self.outboxes,
                sorted(self.feeds.items()),
                [[uid, *mark] for uid, mark in sorted(self.watermarks.items())],
                _encode_sums(self.pot),
                _encode_sums(self.sent),
                _encode_sums(self.received),
            ]
        )

    def root(self) -> bytes:
        """Return the watermarks root of results, 32 bytes."""
        return crypto.sha256(b"\x02" + self.encode())

    def use_sequence(self, collator: bytes, sequence: int) -> bool:
        """Move a feed on; False if the sequence is not above its last one."""
        if sequence <= self.feeds.get(collator, 0):
            return False
        self.feeds[collator] = sequence
        return True

    def outboxes_used(self, uid: int) -> int:
        """Return the number of a source's last outbox consumed here."""
        return self.watermarks.get(uid, (0, 0))[1]

    def use_outbox(self, uid: int, height: int, number: int) -> bool:
        """Move a watermark on; False if the outbox is not the one that follows the last one."""
        if number != self.outboxes_used(uid) + 1:
            return False
        self.watermarks[uid] = (height, number)
        return True


def decode_record(data: bytes) -> ShardRecord:
    """Read what `ShardRecord.encode` gave.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    fields = codec.array(
        codec.decode(data, size_bytes_max=RECORD_BYTES_MAX), "shard record", length=8
    )
    version = codec.unsigned(fields[0], "version")
    if version != 1:
        raise codec.WrongShapeError(f"shard record version {version}, this node knows 1")
    record = ShardRecord(codec.unsigned(fields[1], "height"), codec.unsigned(fields[2], "outboxes"))
    for feed in codec.array(fields[3], "feeds"):
        collator, sequence = codec.array(feed, "feed", length=2)
        record.feeds[codec.octets(collator, "collator", length=32)] = codec.unsigned(
            sequence, "sequence"
        )
    for mark in codec.array(fields[4], "watermarks"):
        uid, height, number = codec.array(mark, "watermark", length=3)
        record.watermarks[codec.unsigned(uid, "uid")] = (
            codec.unsigned(height, "height"),
            codec.unsigned(number, "number"),
        )
    record.pot = _decode_sums(fields[5])
    record.sent = _decode_sums(fields[6])
    record.received = _decode_sums(fields[7])
    if record.encode() != data:
        raise codec.NotCanonicalError(f"shard record of {len(data)} bytes is not in order")
    return record


def add_to(sums: dict[int, int], asset: int, amount: int) -> None:
    """Add to a sum per asset; sums of zero leave no entry, so equal contents are equal dicts."""
    total = sums.get(asset, 0) + amount
    if total:
        sums[asset] = total
    else:
        sums.pop(asset, None)


def supply_of(accounts_and_pot: dict[int, int], record: ShardRecord) -> dict[int, int]:
    """Return what a shard answers for: what it holds, and sent, less what it received.

    Receipts in flight count at their source until a destination has received them, so the sum over
    all shards never changes, whatever is in flight.
    """
    sums = dict(accounts_and_pot)
    for asset, amount in record.sent.items():
        add_to(sums, asset, amount)
    for asset, amount in record.received.items():
        add_to(sums, asset, -amount)
    return dict(sorted(sums.items()))


def _encode_sums(sums: dict[int, int]) -> list[list[int | bytes]]:
    # Byte strings: sums over many accounts may reach 2^128, where the codec's integers end.
    return [
        [asset, amount.to_bytes((amount.bit_length() + 7) // 8, "big")]
        for asset, amount in sorted(sums.items())
    ]


def _decode_sums(value: codec.Value) -> dict[int, int]:
    sums = {}
    for pair in codec.array(value, "sums"):
        asset, amount = codec.array(pair, "sum", length=2)
        sums[codec.unsigned(asset, "asset")] = int.from_bytes(
            codec.octets(amount, "amount", length_max=64), "big"
        )
    return sums
