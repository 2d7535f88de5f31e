"""Errors: one base, four families, one class per broken rule.

A family says whose fault it is. A class says which rule was broken, carries the offending numbers
as attributes and puts them into its message. Expected failures are types; programmer errors are
asserts.
"""

from __future__ import annotations


class P2PNodeError(Exception):
    """Base of every error this package raises on purpose."""

    kind: str = ""
    """Name shown to people and to API clients; derived from the class name."""

    def __init_subclass__(cls) -> None:
        if "kind" not in cls.__dict__:
            name = cls.__name__.removesuffix("Error")
            cls.kind = "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class LocalProtocolError(P2PNodeError):
    """We would break the protocol ourselves: a bug or a bad call on our side."""


class RemoteProtocolError(P2PNodeError):
    """Somebody else broke the protocol; `penalty` is what it costs the sender's score."""

    penalty: float = 10.0
    """Points taken from the sender's score; 100 is a ban."""


class ConfigError(P2PNodeError):
    """A configuration value, a flag or a file of the operator can't be used."""


class UsageError(ConfigError):
    """What was typed can't be meant, and typing it again changes nothing: exit code 2."""


class StorageError(P2PNodeError):
    """The disk holds something that can't be used, or refuses to hold what it must."""


class RejectedTransaction(P2PNodeError):
    """A transaction is refused at admission; subclasses name the rule and carry its numbers."""
