"""SafeSigner: one key never signs two values in one slot, over all lives of its node.

A slot is named by (chain, epoch, kind, key); what a body commits to in which slots comes from the
engine, or from the kind's rule (docs/wire.md, "What validators and executors sign"). The signer is
a table made from the log's records. It does no I/O: `prepare` gives the signature together with a
record, and the shell appends the record and syncs the log before the signature leaves the node.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from p2pnode import codec, crypto
from p2pnode.errors import LocalProtocolError, RemoteProtocolError, StorageError
from p2pnode.keys.records import (
    OBSERVE_MARK,
    RECORD_BYTES_MAX,
    RECORD_ENGINE,
    RECORD_EPOCH,
    RECORD_FLOOR,
    RECORD_OBSERVE,
    RECORD_SIGNED,
    SIGNER_CODES,
    SlotKeyError,
    encode_slot,
    record_code,
)

__all__ = [
    "OBSERVE_MARK",
    "RECORD_ENGINE",
    "RECORD_EPOCH",
    "RECORD_FLOOR",
    "RECORD_OBSERVE",
    "RECORD_SIGNED",
    "BelowFloorError",
    "DoubleSignError",
    "ObserveOnlyError",
    "SafeSigner",
    "SignRecord",
    "SignerRecordError",
    "SignerStatistics",
    "SlotKeyError",
    "record_code",
]

Position: TypeAlias = tuple[int, ...]
_Domain: TypeAlias = tuple[int, str]
"""(epoch, kind)."""


class DoubleSignError(LocalProtocolError):
    """A slot is taken by another value: signing would be an offence."""

    def __init__(self, kind: str, epoch: int, slot: bytes, taken: bytes, refused: bytes) -> None:
        super().__init__(
            f"{kind}, epoch {epoch}, slot {slot.hex()}: {taken.hex() or 'nothing'} is signed,"
            f" {refused.hex() or 'nothing'} refused"
        )
        self.signing_kind = kind
        self.epoch = epoch
        self.slot = slot
        """Canonical encoding of the slot's key."""
        self.taken = taken
        self.refused = refused


class BelowFloorError(LocalProtocolError):
    """What was signed down there has been forgotten, so nothing may be signed there."""

    def __init__(self, kind: str, epoch: int, position: Position, floor: str) -> None:
        super().__init__(f"{kind}, epoch {epoch}, position {position} is below {floor}")
        self.signing_kind = kind
        self.epoch = epoch
        self.position = position


class ObserveOnlyError(LocalProtocolError):
    """The log was lost; until the next epoch this node doesn't know what it signed."""

    def __init__(self, kind: str, epoch: int, until_epoch: int) -> None:
        super().__init__(
            f"{kind}, epoch {epoch}: the log was lost, this node signs again after epoch"
            f" {until_epoch}"
        )
        self.signing_kind = kind
        self.epoch = epoch
        self.until_epoch = until_epoch


class SignerRecordError(StorageError):
    """A record that the signer wrote can't be read any more."""


@dataclass(frozen=True, slots=True)
class SignRecord:
    """A signature, and what must be on disk before it leaves."""

    signature: bytes
    """64 bytes."""
    record: bytes | None
    """To be appended to the log; None when there is nothing new to remember. Even then the
    signature leaves only after a sync of everything appended before: the record of an earlier,
    equal call may still be waiting."""


@dataclass(slots=True)
class _Signed:
    body: bytes
    signature: bytes
    position: Position
    slots: dict[bytes, bytes]
    record: bytes


@dataclass(slots=True)
class _Table:
    """Everything signed in one (epoch, kind)."""

    taken: dict[bytes, bytes] = field(default_factory=dict)
    """Slot to value."""
    signed: dict[bytes, _Signed] = field(default_factory=dict)
    """By body, in the order signed."""
    floor: Position | None = None
    """Positions below it are refused."""


@dataclass(frozen=True, slots=True)
class SignerStatistics:
    """Totals since start."""

    signed_count: int
    repeated_count: int
    """Times a signature was asked for again."""
    refused_count: int
    remembered_count: int
    """Signatures in the table now."""


class SafeSigner:
    """The double-sign guard of one key on one chain."""

    def __init__(
        self,
        key: crypto.SecretKey,
        chain: bytes,
        log_records: Iterable[bytes],
        *,
        log_lost: bool = False,
        epoch: int = 0,
    ) -> None:
        """Rebuild the table from the log.

        Args:
            key: Signs.
            chain: Chain id, 32 bytes.
            log_records: All records of the log, oldest first; those of others are passed over.
            log_lost: The log is missing, or was repaired, or is older than the store.
            epoch: Epoch that the store is in; matters only when the log was lost.

        Raises:
            DoubleSignError: The log itself holds two values for a slot.
            SignerRecordError: A record of the signer's is malformed.
        """
        self._key = key
        self._chain = chain
        self._tables: dict[_Domain, _Table] = {}
        self._epoch_floor = 0
        self._observe_until: int | None = None
        self._foreign: list[bytes] = []
        """Records of the signer of another key or chain, kept for the day it comes back."""
        self._signed_count = 0
        self._repeated_count = 0
        self._refused_count = 0
        self.unwritten: tuple[bytes, ...] = ()
        """Records to append and sync before the first `prepare`: that the log was lost must outlive
        this process, or its next life would sign."""
        if self._restore_all(log_records) or log_lost:
            self._observe(epoch)

    @property
    def public_key(self) -> bytes:
        """The key's public half, 32 bytes."""
        return self._key.public

    @property
    def observing_until_epoch(self) -> int | None:
        """Last epoch in which nothing is signed since the log was lost; None when it never was."""
        return self._observe_until

    def prepare(
        self,
        kind: str,
        epoch: int,
        body: bytes,
        slots: Mapping[Hashable, bytes],
        position: Position,
    ) -> SignRecord:
        """Sign a body unless a slot of it is taken by another value.

        The slots are taken at once; when the record can't be made durable, the node must stop.

        Args:
            kind: Signing domain.
            epoch: Epoch whose keys sign.
            body: Canonical encoding of what is signed.
            slots: What the body commits to; empty for a receipt, of which nothing is remembered.
            position: Where it belongs, for pruning.

        Raises:
            ObserveOnlyError: The log was lost in this epoch or a later one.
            BelowFloorError: The position was pruned.
            DoubleSignError: A slot is taken.
            SlotKeyError: A slot's key can't be encoded.
        """
        try:
            return self._prepare(kind, epoch, body, slots, position)
        except LocalProtocolError:
            self._refused_count += 1
            raise

    def prune(self, kind: str, epoch: int, below: Position) -> bytes:
        """Forget what was signed below a position; from now on it is refused.

        Args:
            kind: Signing domain.
            epoch: Epoch whose keys signed.
            below: Least position that may still be signed.

        Returns:
            The record to append. It needs no sync of its own: as long as it may be lost, what was
            forgotten is still in the log, and a compaction writes it in the same stroke.
        """
        self._lower(kind, epoch, below)
        table = self._tables.get((epoch, kind))
        floor = below if table is None or table.floor is None else table.floor
        return self._floor_record(epoch, kind, floor)

    def observe(self, until_epoch: int) -> tuple[bytes, ...]:
        """Sign nothing up to and including an epoch: what was signed in it may have been forgotten.

        Returns:
            The records to append.
        """
        self.unwritten = ()
        self._observe(until_epoch)
        records, self.unwritten = self.unwritten, ()
        return records

    def prune_epochs(self, below: int) -> bytes:
        """Forget all epochs below one; from now on they are refused.

        Returns:
            The record to append.
        """
        self._lower_epochs(below)
        return self._floor_record(self._epoch_floor, None, None)

    def signed_drafts(self, epoch: int, kind: str) -> list[tuple[bytes, bytes]]:
        """Return (body, signature) of everything remembered, in the order signed."""
        table = self._tables.get((epoch, kind))
        return [] if table is None else [(s.body, s.signature) for s in table.signed.values()]

    def compacted(self, records: Iterable[bytes]) -> list[bytes]:
        """Return a log's records without those that the signer needs no more.

        The order stays, since an engine recovers from its own records and the signed drafts in the
        order written; records of others stay all.
        """
        needed = dict.fromkeys(self.records_to_keep())
        kept: list[bytes] = []
        for record in records:
            if record_code(record) not in SIGNER_CODES:
                kept.append(record)
            elif record in needed:
                kept.append(record)
                del needed[record]
        return kept + list(needed)

    def records_to_keep(self) -> list[bytes]:
        """Return the signer's records that a compacted log needs; those of others come beside."""
        kept = list(self._foreign)
        if self._observe_until is not None and self._observe_until >= self._epoch_floor:
            kept.append(codec.encode([RECORD_OBSERVE, self._observe_until]))
        if self._epoch_floor:
            kept.append(self._floor_record(self._epoch_floor, None, None))
        for (epoch, kind), table in self._tables.items():
            if table.floor is not None:
                kept.append(self._floor_record(epoch, kind, table.floor))
            kept.extend(signed.record for signed in table.signed.values())
        return kept

    def statistics(self) -> SignerStatistics:
        """Totals since start."""
        return SignerStatistics(
            self._signed_count,
            self._repeated_count,
            self._refused_count,
            sum(len(table.signed) for table in self._tables.values()),
        )

    # --- inside ----------------------------------------------------------------------------------

    def _prepare(
        self,
        kind: str,
        epoch: int,
        body: bytes,
        slots: Mapping[Hashable, bytes],
        position: Position,
    ) -> SignRecord:
        if self._observe_until is not None and epoch <= self._observe_until:
            raise ObserveOnlyError(kind, epoch, self._observe_until)
        if epoch < self._epoch_floor:
            raise BelowFloorError(kind, epoch, position, f"epoch {self._epoch_floor}")
        table = self._tables.get((epoch, kind))
        if table is not None and table.floor is not None and position < table.floor:
            raise BelowFloorError(kind, epoch, position, str(table.floor))
        assert all(type(part) is int and 0 <= part < 1 << 64 for part in position), position
        named = {encode_slot(key): bytes(value) for key, value in slots.items()}
        if len(named) != len(slots):
            raise SlotKeyError(f"{len(slots)} slots have {len(named)} different names")
        message = crypto.signing_hash(self._chain, kind, epoch, body)
        if not named:
            self._signed_count += 1
            return SignRecord(self._key.sign(message), None)
        if table is None:
            table = self._tables[epoch, kind] = _Table()
        for slot, value in named.items():
            taken = table.taken.get(slot)
            if taken is not None and taken != value:
                raise DoubleSignError(kind, epoch, slot, taken, value)
        before = table.signed.get(body)
        if before is not None and all(slot in before.slots for slot in named):
            self._repeated_count += 1
            return SignRecord(before.signature, None)
        signature = self._key.sign(message)
        if before is not None:
            # One body with slots it did not have before: one entry, with all of them.
            named = before.slots | named
            position = max(position, before.position)
        record = codec.encode(
            [
                RECORD_SIGNED,
                self._key.public,
                self._chain,
                epoch,
                kind.encode(),
                body,
                signature,
                position,
                sorted(named.items()),
            ]
        )
        assert len(record) <= RECORD_BYTES_MAX, len(record)
        self._take(table, _Signed(body, signature, position, named, record))
        self._signed_count += 1
        return SignRecord(signature, record)

    def _take(self, table: _Table, signed: _Signed) -> None:
        table.taken.update(signed.slots)
        table.signed[signed.body] = signed

    def _observe(self, until_epoch: int) -> None:
        if self._observe_until is None or until_epoch > self._observe_until:
            self._observe_until = until_epoch
            self.unwritten = (codec.encode([RECORD_OBSERVE, until_epoch]),)

    def _restore_all(self, records: Iterable[bytes]) -> bool:
        """Take the log in; True when it was repaired and no life since has named the epoch."""
        unnamed = False
        for record in records:
            code = record_code(record)
            if code == RECORD_OBSERVE:
                unnamed = self._restore_observe(record)
            elif code in SIGNER_CODES:
                self._restore(record)
        return unnamed

    def _restore_observe(self, record: bytes) -> bool:
        _, until = _fields(record, "observe record", 2)
        if type(until) is not int:
            return True
        self._observe_until = max(until, self._observe_until or 0)
        return False

    def _restore(self, record: bytes) -> None:
        signed = record_code(record) == RECORD_SIGNED
        fields = _fields(record, "signer's record", 9 if signed else 6)
        if fields[1] != self._key.public or fields[2] != self._chain:
            self._foreign.append(record)
            return
        try:
            if signed:
                self._restore_signed(fields, record)
            else:
                self._restore_floor(fields)
        except (RemoteProtocolError, UnicodeDecodeError) as error:
            raise SignerRecordError(f"a record of the signer is malformed: {error}") from None

    def _restore_signed(self, fields: tuple[codec.Value, ...], record: bytes) -> None:
        _, _, _, epoch_, kind_, body_, signature_, position_, slots_ = fields
        epoch = codec.unsigned(epoch_, "epoch")
        kind = codec.octets(kind_, "kind").decode()
        position = _position(position_)
        slots: dict[bytes, bytes] = {}
        for pair in codec.array(slots_, "slots"):
            slot, value = codec.array(pair, "slot", length=2)
            slots[codec.octets(slot, "slot")] = codec.octets(value, "value")
        if epoch < self._epoch_floor:
            return
        table = self._tables.setdefault((epoch, kind), _Table())
        if table.floor is not None and position < table.floor:
            return
        for slot, value in slots.items():
            if table.taken.get(slot, value) != value:
                raise DoubleSignError(kind, epoch, slot, table.taken[slot], value)
        body = codec.octets(body_, "body")
        signature = codec.octets(signature_, "signature", length=crypto.SIGNATURE_BYTES)
        self._take(table, _Signed(body, signature, position, slots, record))

    def _restore_floor(self, fields: tuple[codec.Value, ...]) -> None:
        _, _, _, epoch_, kind, position = fields
        epoch = codec.unsigned(epoch_, "epoch")
        if kind is None:
            self._lower_epochs(epoch)
        else:
            self._lower(codec.octets(kind, "kind").decode(), epoch, _position(position))

    def _lower(self, kind: str, epoch: int, below: Position) -> None:
        if epoch < self._epoch_floor:
            return
        table = self._tables.setdefault((epoch, kind), _Table())
        if table.floor is not None and below <= table.floor:
            return
        table.floor = below
        table.signed = {b: s for b, s in table.signed.items() if s.position >= below}
        table.taken = {}
        for signed in table.signed.values():
            table.taken.update(signed.slots)

    def _lower_epochs(self, below: int) -> None:
        self._epoch_floor = max(below, self._epoch_floor)
        self._tables = {d: t for d, t in self._tables.items() if d[0] >= self._epoch_floor}

    def _floor_record(self, epoch: int, kind: str | None, below: Position | None) -> bytes:
        name = None if kind is None else kind.encode()
        return codec.encode([RECORD_FLOOR, self._key.public, self._chain, epoch, name, below])


def _fields(record: bytes, what: str, length: int) -> tuple[codec.Value, ...]:
    try:
        value = codec.decode(record, size_bytes_max=RECORD_BYTES_MAX)
        return codec.array(value, what, length=length)
    except RemoteProtocolError as error:
        raise SignerRecordError(f"a record of the signer is malformed: {error}") from None


def _position(value: codec.Value) -> Position:
    return tuple(codec.unsigned(part, "position") for part in codec.array(value, "position"))
