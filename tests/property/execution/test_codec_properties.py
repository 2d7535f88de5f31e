"""Everything execution encodes survives its encoding, and no other bytes decode."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pnode import codec
from p2pnode.execution.accounts import decode_account, encode_account, flatten
from p2pnode.execution.outcomes import Outcome, Reason, decode_outcome
from p2pnode.execution.record import ShardRecord, decode_record

amounts = st.integers(0, (1 << 128) - 1)
digests = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, (1 << 64) - 1)
assets = st.integers(0, (1 << 32) - 1)
sums = st.dictionaries(assets, st.integers(1, 1 << 140), max_size=4)
outcomes = st.builds(
    lambda identity, reason, fee, batch, index, has, needs: Outcome(
        identity, reason.status(), reason, fee, batch, index, has, needs
    ),
    st.one_of(st.just(b""), digests),
    st.sampled_from(Reason),
    amounts,
    digests,
    numbers,
    amounts,
    amounts,
)
records = st.builds(
    ShardRecord,
    height=numbers,
    outboxes=numbers,
    feeds=st.dictionaries(digests, numbers, max_size=4),
    watermarks=st.dictionaries(numbers, st.tuples(numbers, numbers), max_size=4),
    pot=sums,
    sent=sums,
    received=sums,
)


@given(numbers, st.dictionaries(assets, amounts, max_size=5))
def test_accounts_survive_their_encoding(nonce: int, balances: dict[int, int]) -> None:
    flat = flatten(nonce, balances.items())
    assert decode_account(encode_account(flat)) == flat
    assert len(flat) == 1 + 2 * sum(amount > 0 for amount in balances.values())


@given(outcomes)
def test_outcomes_survive_their_encoding(outcome: Outcome) -> None:
    assert decode_outcome(outcome.encode()) == outcome
    assert outcome.describe()


@given(records)
def test_records_survive_their_encoding(record: ShardRecord) -> None:
    assert decode_record(record.encode()) == record


@given(st.one_of(records.map(ShardRecord.encode), outcomes.map(Outcome.encode)), st.data())
def test_changed_bytes_decode_to_something_else_or_not_at_all(
    encoded: bytes, data: st.DataObject
) -> None:
    torn = bytearray(encoded)
    torn[data.draw(st.integers(0, len(torn) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for decode in (decode_record, decode_outcome, decode_account):
        try:
            value = decode(bytes(torn))
        except (codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError):
            continue
        encoder = encode_account if isinstance(value, tuple) else type(value).encode
        assert encoder(value) == bytes(torn)  # type: ignore[arg-type]
