"""The double-sign guard."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import pytest

from p2pnode import codec, crypto
from p2pnode.keys.records import encode_slot, record_code
from p2pnode.keys.safesigner import (
    OBSERVE_MARK,
    RECORD_ENGINE,
    RECORD_EPOCH,
    RECORD_FLOOR,
    RECORD_OBSERVE,
    RECORD_SIGNED,
    BelowFloorError,
    DoubleSignError,
    ObserveOnlyError,
    SafeSigner,
    SignerRecordError,
    SignRecord,
    SlotKeyError,
)

KEY = crypto.SecretKey(b"k" * 32)
CHAIN = b"c" * 32
ENGINE = "engine/simplex/1"
ENGINE_RECORD = codec.encode([RECORD_ENGINE, 0, b"engine's own"])
EPOCH_RECORD = codec.encode([RECORD_EPOCH, 3])


def new(*records: bytes, **more: object) -> SafeSigner:
    return SafeSigner(KEY, CHAIN, records, **more)  # type: ignore[arg-type]


def vote(
    signer: SafeSigner,
    view: int,
    value: bytes,
    *,
    epoch: int = 0,
    kind: str = ENGINE,
    slots: Mapping[Hashable, bytes] | None = None,
) -> SignRecord:
    named = {("n", view): value} if slots is None else slots
    return signer.prepare(kind, epoch, b"vote %d " % view + value, named, (view,))


def record_of(given: SignRecord) -> bytes:
    assert given.record is not None
    return given.record


def test_a_signature_is_valid_for_its_chain_kind_and_epoch_only() -> None:
    given = vote(new(), 1, b"A", epoch=2)
    body = b"vote 1 A"
    assert crypto.verify(KEY.public, crypto.signing_hash(CHAIN, ENGINE, 2, body), given.signature)
    for chain, kind, epoch in [(b"d" * 32, ENGINE, 2), (CHAIN, "result", 2), (CHAIN, ENGINE, 3)]:
        message = crypto.signing_hash(chain, kind, epoch, body)
        assert not crypto.verify(KEY.public, message, given.signature)


def test_a_second_value_in_a_slot_is_refused_with_both_values() -> None:
    signer = new()
    vote(signer, 1, b"A")
    with pytest.raises(DoubleSignError) as caught:
        vote(signer, 1, b"B")
    assert (caught.value.taken, caught.value.refused) == (b"A", b"B")
    assert caught.value.slot == encode_slot(("n", 1))
    assert b"A".hex() in str(caught.value)
    assert b"B".hex() in str(caught.value)


def test_the_empty_value_takes_a_slot_too() -> None:
    signer = new()
    vote(signer, 1, b"", slots={("f", 1): b""})
    with pytest.raises(DoubleSignError, match="nothing is signed"):
        vote(signer, 1, b"A", slots={("f", 1): b"A"})


def test_a_refused_body_takes_none_of_its_slots() -> None:
    signer = new()
    vote(signer, 1, b"A")
    with pytest.raises(DoubleSignError):
        vote(signer, 1, b"B", slots={("f", 1): b"B", ("n", 1): b"B"})
    vote(signer, 1, b"C", slots={("f", 1): b"C"})


def test_the_same_value_again_gives_the_same_signature_and_no_record() -> None:
    signer = new()
    first = vote(signer, 1, b"A")
    again = vote(signer, 1, b"A")
    assert again == SignRecord(first.signature, None)
    assert record_code(record_of(first)) == RECORD_SIGNED


def test_slots_of_other_views_kinds_epochs_and_chains_are_independent() -> None:
    signer = new()
    vote(signer, 1, b"A")
    vote(signer, 2, b"B")
    vote(signer, 1, b"B", epoch=1)
    vote(signer, 1, b"B", kind="result")
    other = SafeSigner(KEY, b"d" * 32, [record_of(vote(new(), 1, b"A"))])
    assert vote(other, 1, b"B").record is not None


def test_another_body_with_the_same_slot_value_is_signed_and_remembered() -> None:
    signer = new()
    one = signer.prepare(ENGINE, 0, b"body 1", {("n", 1): b"A"}, (1,))
    two = signer.prepare(ENGINE, 0, b"body 2", {("n", 1): b"A"}, (1,))
    assert one.signature != two.signature
    assert two.record is not None


def test_the_guard_holds_over_a_restart() -> None:
    signer = new()
    first = vote(signer, 1, b"A")
    again = new(ENGINE_RECORD, record_of(first), EPOCH_RECORD)
    assert vote(again, 1, b"A") == SignRecord(first.signature, None)
    with pytest.raises(DoubleSignError):
        vote(again, 1, b"B")


def test_a_receipt_has_no_slot_and_leaves_no_record() -> None:
    signer = new()
    given = signer.prepare("stored", 0, b"digest", {}, (1,))
    assert given.record is None
    assert crypto.verify(
        KEY.public, crypto.signing_hash(CHAIN, "stored", 0, b"digest"), given.signature
    )
    assert signer.statistics().remembered_count == 0


def test_below_the_floor_nothing_is_signed_and_at_it_the_guard_holds() -> None:
    signer = new()
    records = [record_of(vote(signer, view, b"A")) for view in (1, 2, 3)]
    floor = signer.prune(ENGINE, 0, (3,))
    assert record_code(floor) == RECORD_FLOOR
    for life in (signer, new(*records, floor), new(*signer.records_to_keep())):
        for view, value in [(1, b"A"), (2, b"B"), (0, b"A")]:
            with pytest.raises(BelowFloorError, match=r"below \(3,\)"):
                vote(life, view, value)
        with pytest.raises(DoubleSignError):
            vote(life, 3, b"B")
        assert vote(life, 3, b"A").record is None
        assert vote(life, 4, b"B").record is not None


def test_a_floor_never_moves_back() -> None:
    signer = new()
    high = signer.prune(ENGINE, 0, (5,))
    assert signer.prune(ENGINE, 0, (2,)) == high
    for life in (signer, new(high)):
        with pytest.raises(BelowFloorError):
            vote(life, 4, b"A")


def test_positions_of_several_numbers_are_compared_in_order() -> None:
    signer = new()
    signer.prune("engine/tendermint/1", 0, (7, 2))
    with pytest.raises(BelowFloorError):
        signer.prepare("engine/tendermint/1", 0, b"b", {("pv", 7, 1): b"A"}, (7, 1))
    signer.prepare("engine/tendermint/1", 0, b"b", {("pv", 7, 2): b"A"}, (7, 2))
    signer.prepare("engine/tendermint/1", 0, b"c", {("pv", 8, 0): b"A"}, (8, 0))


def test_pruned_epochs_are_forgotten_and_refused_in_every_kind() -> None:
    signer = new()
    for epoch in range(5):
        vote(signer, 1, b"A", epoch=epoch)
        signer.prune("result", epoch, (3,))
    record = signer.prune_epochs(4)
    assert len(signer.records_to_keep()) == 3  # the epochs' floor, a kind's floor, one signature
    for life in (signer, new(record), new(*signer.records_to_keep())):
        with pytest.raises(BelowFloorError, match="below epoch 4"):
            vote(life, 9, b"A", epoch=3)
        vote(life, 9, b"A", epoch=4)


def test_after_a_lost_log_nothing_is_signed_until_the_next_epoch_over_restarts_too() -> None:
    signer = new(log_lost=True, epoch=3)
    assert signer.observing_until_epoch == 3
    (record,) = signer.unwritten
    assert record_code(record) == RECORD_OBSERVE
    for life in (signer, new(record), new(record, epoch=4), new(*signer.records_to_keep())):
        for epoch in (0, 3):
            with pytest.raises(ObserveOnlyError, match="signs again after epoch 3"):
                vote(life, 1, b"A", epoch=epoch)
            with pytest.raises(ObserveOnlyError):
                life.prepare("stored", epoch, b"d", {}, ())
        vote(life, 1, b"A", epoch=4)
    assert new(record).unwritten == ()


def test_a_repaired_log_is_a_lost_one_in_the_epoch_it_is_first_read_in() -> None:
    first = new(OBSERVE_MARK, epoch=6)
    assert first.observing_until_epoch == 6
    log = [OBSERVE_MARK, *first.unwritten]
    # The next life is in a later epoch: the mark has been answered, and doesn't count again.
    second = new(*log, epoch=7)
    assert second.observing_until_epoch == 6
    assert second.unwritten == ()
    vote(second, 1, b"A", epoch=7)
    # Repaired again.
    third = new(*log, OBSERVE_MARK, epoch=9)
    assert third.observing_until_epoch == 9
    assert len(third.unwritten) == 1


def test_signed_drafts_come_in_the_order_signed_over_restarts_and_compaction() -> None:
    signer = new()
    log: list[bytes] = []
    for view in (5, 1, 9, 3):
        log.append(record_of(vote(signer, view, b"A")))
        log.append(codec.encode([RECORD_ENGINE, view]))
        vote(signer, view, b"A")
    log.append(record_of(vote(signer, 1, b"A", kind="result")))
    drafts = [(b"vote %d A" % v, vote(signer, v, b"A").signature) for v in (5, 1, 9, 3)]
    for life in (signer, new(*log), new(*signer.records_to_keep())):
        assert life.signed_drafts(0, ENGINE) == drafts
        assert len(life.signed_drafts(0, "result")) == 1
        assert life.signed_drafts(1, ENGINE) == []
    log.append(signer.prune(ENGINE, 0, (4,)))
    compact = signer.compacted(log)
    assert compact == [log[0], log[1], log[3], log[4], log[5], log[7], log[8], log[9]]
    assert new(*compact).signed_drafts(0, ENGINE) == [drafts[0], drafts[2]]


def test_compaction_drops_superseded_floors_and_keeps_other_keys_records() -> None:
    signer = new()
    log = [signer.prune(ENGINE, 0, (view,)) for view in range(1, 50)]
    foreign = record_of(vote(SafeSigner(crypto.SecretKey(b"o" * 32), CHAIN, []), 1, b"A"))
    log.insert(3, foreign)
    again = new(*log)
    assert again.compacted(log) == [foreign, log[-1]]
    assert sorted(again.records_to_keep()) == sorted([foreign, log[-1]])


def test_a_log_that_holds_two_values_for_a_slot_is_refused() -> None:
    one, two = record_of(vote(new(), 1, b"A")), record_of(vote(new(), 1, b"B"))
    with pytest.raises(DoubleSignError):
        new(one, two)


def test_a_malformed_record_of_the_signer_is_refused_and_of_others_passed_over() -> None:
    good = record_of(vote(new(), 1, b"A"))
    for bad in (good[:-1], good + b"\x00", codec.encode([1, 2, 3]), codec.encode([5])):
        with pytest.raises(SignerRecordError):
            new(bad)
    new(
        b"", b"\x00", b"\x81", b"\x82\x18\x63\x00", codec.encode([3]), codec.encode([9, 9]), b"\x80"
    )


@pytest.mark.parametrize(
    "slot", [("n", True), ("n", 1.0), None, ("n", None), 1 << 128, ("n", "\ud800")]
)
def test_a_slot_key_that_is_not_canonical_is_refused(slot: Hashable) -> None:
    with pytest.raises(SlotKeyError):
        new().prepare(ENGINE, 0, b"b", {slot: b"A"}, (1,))


def test_slot_keys_that_differ_have_different_encodings() -> None:
    keys: list[Hashable] = [
        0, 1, -1, b"", b"n", "", "n", (), ("n",), (b"n",), ("n", 1), ("n", (1,)), (0, b"n"), ((),),
        (0,), (1,), (("n", 1),), ("n", 1, 0), ("n", b"\x01"), 1 << 127,
    ]  # fmt: skip
    assert len({encode_slot(key) for key in keys}) == len(keys)


def test_statistics_count_what_happened() -> None:
    signer = new()
    vote(signer, 1, b"A")
    vote(signer, 1, b"A")
    with pytest.raises(DoubleSignError):
        vote(signer, 1, b"B")
    counts = signer.statistics()
    assert (counts.signed_count, counts.repeated_count, counts.refused_count) == (1, 1, 1)
    assert counts.remembered_count == 1
