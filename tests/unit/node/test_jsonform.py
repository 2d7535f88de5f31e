from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.node.answers import (
    AccountStatus,
    BlockEvent,
    BlockStatus,
    GenesisInfo,
    PeerRow,
    SubmitOutcome,
    TransactionState,
    TransactionStatus,
    ValidatorRow,
)
from p2pnode.node.jsonform import Amount, ValueFormError, from_json, to_json
from p2pnode.node.status import NodeStatus
from tests.unit.node.statuses import STATUS

TYPES = [
    AccountStatus,
    BlockEvent,
    BlockStatus,
    GenesisInfo,
    NodeStatus,
    PeerRow,
    SubmitOutcome,
    TransactionStatus,
    ValidatorRow,
]

st.register_type_strategy(Mapping, lambda _: st.just({}))
AMOUNTS = st.integers(0, (1 << 128) - 1).map(Amount)
st.register_type_strategy(Amount, AMOUNTS)
# NaN is not equal to itself.
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


@given(st.sampled_from(TYPES).flatmap(st.from_type))
def test_every_value_of_the_api_survives_json(value: object) -> None:
    text = json.dumps(to_json(type(value), value))
    assert from_json(type(value), json.loads(text)) == value


@given(st.dictionaries(st.integers(0, 1 << 32), AMOUNTS))
def test_amounts_by_asset_survive_json_as_text(balances: dict[int, Amount]) -> None:
    account = AccountStatus("00" * 32, 1, balances)
    form = to_json(AccountStatus, account)
    assert all(type(amount) is str for amount in form["balances"].values())
    assert from_json(AccountStatus, json.loads(json.dumps(form))) == account


def test_a_status_has_the_names_of_its_fields() -> None:
    form = to_json(NodeStatus, STATUS)
    assert form["mempool"]["transactions_count"] == 4
    assert form["mempool"]["size_bytes"] == 800
    assert form["consensus"]["recent"] == []
    assert form["state_roots"]["1"] == {"height": 809, "root": "11" * 32}
    assert form["supply"]["0"] == str(1 << 100)


def test_a_field_unknown_to_the_reader_is_ignored_and_a_default_fills_an_absent_one() -> None:
    form = {"id": "ab", "state": "executed", "new_field": 1}
    read = from_json(TransactionStatus, form)
    assert read == TransactionStatus("ab", TransactionState.EXECUTED)


@dataclass(frozen=True)
class Nested:
    rows: tuple[bytes, ...]
    flag: bool = False


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (int, True, "an integer expected, True found"),
        (int, 1.0, "an integer expected"),
        (int, "1", "an integer expected"),
        (float, "1", "a number expected"),
        (bool, 1, "true or false expected"),
        (bytes, "0xz", "hex digits expected"),
        (bytes, 5, "hex digits expected"),
        (Amount, -1, "an amount"),
        (Amount, "1e5", "an amount"),
        (Amount, "9" * 49, "an amount"),
        (Amount, "٣", "an amount"),
        (TransactionState, "lost", "one of pooled, batched"),
        (tuple[int, ...], {}, "a list expected"),
        (tuple[int, ...], [1, "x"], r"\[1\]: an integer expected"),
        (Mapping[int, int], {"a": 1}, "integer keys expected"),
        (Nested, {"flag": True}, "a field 'rows' expected"),
        (Nested, {"rows": ["00", "0"]}, r"rows\[1\]: hex digits expected"),
        (Nested, [], "an object expected"),
    ],
)
def test_a_wrong_form_is_refused_with_its_place(hint: object, value: object, message: str) -> None:
    with pytest.raises(ValueFormError, match=message):
        from_json(hint, value)


def test_none_passes_only_where_it_is_allowed() -> None:
    assert from_json(int | None, None) is None
    with pytest.raises(ValueFormError):
        from_json(int, None)


def test_a_long_value_is_shortened_in_the_error() -> None:
    with pytest.raises(ValueFormError) as caught:
        from_json(int, "x" * 100_000)
    assert len(str(caught.value)) < 200
