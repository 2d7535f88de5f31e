"""Errors name themselves, and their families say whose fault they are."""

from __future__ import annotations

from p2pnode import errors
from p2pnode.codec import EncodingTooLargeError, NotCanonicalError
from p2pnode.types.transaction import MalformedTransactionError


def test_an_error_is_called_what_its_class_is_called() -> None:
    assert MalformedTransactionError.kind == "malformed_transaction"
    assert NotCanonicalError.kind == "not_canonical"
    assert EncodingTooLargeError.kind == "encoding_too_large"


def test_a_class_may_choose_its_name() -> None:
    class OddError(errors.RemoteProtocolError):
        kind = "odd_one"

    class PlainError(OddError):
        pass

    assert OddError.kind == "odd_one"
    assert PlainError.kind == "plain"


def test_every_family_has_the_common_base() -> None:
    families = (
        errors.LocalProtocolError,
        errors.RemoteProtocolError,
        errors.ConfigError,
        errors.StorageError,
        errors.RejectedTransaction,
    )
    assert all(issubclass(family, errors.P2PNodeError) for family in families)
    assert errors.RemoteProtocolError.penalty > 0
