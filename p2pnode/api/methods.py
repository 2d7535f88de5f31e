"""The methods of the JSON-RPC API: typed functions, and the table made from them.

Parameter names, forms and defaults come from the functions' signatures. A parameter whose name is a
keyword of Python ends with an underscore here, which is not part of its name outside.
"""

from __future__ import annotations

import base64
import binascii
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, get_type_hints

import trio

from p2pnode.api.view import NodeView
from p2pnode.errors import P2PNodeError
from p2pnode.node.answers import (
    BLOCKS_MAX,
    AccountStatus,
    BannedRow,
    BlockStatus,
    GenesisInfo,
    PeerRow,
    SubmitOutcome,
    TransactionStatus,
    ValidatorRow,
)
from p2pnode.node.jsonform import Amount, Json, from_json, to_json
from p2pnode.node.status import NodeStatus
from p2pnode.telemetry.metrics import status_metrics

T = TypeVar("T")

SUBMIT_MAX: Final = 4096
"""Most envelopes in one `submit`."""

LOOKUPS_MAX: Final = 8192
"""Most ids in one `transactions`, most addresses in one `accounts`."""


_SLICE: Final = 128
"""Rows looked up or written at a time: between them others have their turn."""


class ApiError(P2PNodeError):
    """A call that is well formed can't be answered."""


class TooManyItemsError(ApiError):
    """A list is longer than its limit."""

    def __init__(self, what: str, count: int, count_max: int) -> None:
        super().__init__(f"{count} {what}, at most {count_max} allowed in one call")
        self.count = count
        self.count_max = count_max


class WrongLengthError(ApiError):
    """Bytes given in hex are not as many as they must be."""

    def __init__(self, what: str, size_bytes: int, expected_bytes: int) -> None:
        super().__init__(f"{what} of {size_bytes} bytes, {expected_bytes} expected")


class NotAnEnvelopeError(ApiError):
    """The text of a transaction is neither hex nor base64."""

    def __init__(self, index: int) -> None:
        super().__init__(f"transaction {index} is neither hex nor base64")
        self.index = index


class ParametersError(P2PNodeError):
    """The parameters are not those of the method."""


# --- the methods --------------------------------------------------------------------------------


async def status(node: NodeView) -> NodeStatus:
    """Return the node at this moment."""
    return node.status()


async def genesis(node: NodeView) -> GenesisInfo:
    """Return what the chain began with."""
    return node.genesis()


async def submit(node: NodeView, transactions: tuple[str, ...]) -> tuple[SubmitOutcome, ...]:
    """Offer signed envelopes to the pool: hex or base64, one or a list; one outcome each."""
    _limit("transactions", len(transactions), SUBMIT_MAX)
    raws = [_envelope(index, text) for index, text in enumerate(transactions)]
    return tuple(await node.submit(raws))


async def transaction(node: NodeView, id: bytes) -> TransactionStatus | None:
    """Return what the node knows of a transaction, null when nothing."""
    return node.transaction(_exactly("id", id))


async def transactions(
    node: NodeView, ids: tuple[bytes, ...]
) -> tuple[TransactionStatus | None, ...]:
    """Return what the node knows of many transactions, in order."""
    _limit("ids", len(ids), LOOKUPS_MAX)
    return await _each(lambda id: node.transaction(_exactly("id", id)), ids)


async def account(node: NodeView, address: bytes) -> AccountStatus:
    """Return an account; one never used has nonce 0 and no balance."""
    return node.account(_exactly("address", address))


async def accounts(node: NodeView, addresses: tuple[bytes, ...]) -> tuple[AccountStatus, ...]:
    """Return many accounts, in order."""
    _limit("addresses", len(addresses), LOOKUPS_MAX)
    return await _each(lambda address: node.account(_exactly("address", address)), addresses)


async def block(node: NodeView, height: int | None = None) -> BlockStatus | None:
    """Return the block at a height, or the newest; null where there is none."""
    return node.block(height)


async def blocks(node: NodeView, from_: int, count: int = BLOCKS_MAX) -> tuple[BlockStatus, ...]:
    """Return the blocks from a height on, ascending; those not there or pruned are left out."""
    _limit("blocks", count, BLOCKS_MAX)
    found = (node.block(height) for height in range(max(from_, 0), max(from_, 0) + count))
    return tuple(entry for entry in found if entry is not None)


async def peers(node: NodeView) -> tuple[PeerRow, ...]:
    """Return the connected peers."""
    return node.peers()


async def peers_banned(node: NodeView) -> tuple[BannedRow, ...]:
    """Return the peers that are refused for a while, and why."""
    return node.banned()


async def validators(node: NodeView) -> tuple[ValidatorRow, ...]:
    """Return the validator set of the current epoch."""
    return node.validators()


async def supply(node: NodeView) -> Mapping[int, Amount]:
    """Count what exists of each asset: accounts, pots, and outboxes in flight."""
    return {asset: Amount(amount) for asset, amount in node.supply().items()}


async def metrics(node: NodeView) -> Mapping[str, float]:
    """Return the numbers that /metrics exports, by name."""
    return snapshot(node)


def snapshot(node: NodeView) -> dict[str, float]:
    """Return everything that is exported: the status as metrics, and the node's own."""
    return {**status_metrics(node.status()), **node.metrics()}


async def _each(look: Callable[[bytes], T], names: Sequence[bytes]) -> tuple[T, ...]:
    """Look up many things, a few at a time: they may be as of different moments."""
    found: list[T] = []
    for start in range(0, len(names), _SLICE):
        found += [look(name) for name in names[start : start + _SLICE]]
        await trio.lowlevel.checkpoint()
    return tuple(found)


def _limit(what: str, count: int, count_max: int) -> None:
    if count > count_max:
        raise TooManyItemsError(what, count, count_max)


def _exactly(what: str, value: bytes, size_bytes: int = 32) -> bytes:
    if len(value) != size_bytes:
        raise WrongLengthError(what, len(value), size_bytes)
    return value


def _envelope(index: int, text: str) -> bytes:
    # Never ambiguous: the base64 of an envelope begins with `0oRD`, which is not hex.
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        pass
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotAnEnvelopeError(index) from None


# --- the table ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as clients see it."""

    name: str
    """Name in JSON."""
    argument: str
    """Name in the function."""
    hint: Any
    """Its type."""
    required: bool


@dataclass(frozen=True, slots=True)
class Method:
    """A function that clients can call."""

    name: str
    summary: str
    """First line of its docstring."""
    parameters: tuple[Parameter, ...]
    result: Any
    """Type of the result."""
    function: Callable[..., Awaitable[Any]]
    cost: float = 1.0
    """What a call counts for in its connection's rate."""

    async def call(self, node: Any, params: Json) -> Json:
        """Call it with parameters from JSON, by position or by name.

        Raises:
            ParametersError: Too many, too few, or unknown ones.
            ValueFormError: One is not of its form.
            P2PNodeError: What the function refuses.
        """
        arguments = {
            parameter.argument: from_json(parameter.hint, value, parameter.name)
            for parameter, value in self._bind(params)
        }
        result = await self.function(node, **arguments)
        if not isinstance(result, tuple):
            return to_json(self.result, result)
        rows: list[Json] = []
        for start in range(0, len(result), _SLICE):
            rows += to_json(self.result, result[start : start + _SLICE])
            await trio.lowlevel.checkpoint()
        return rows

    def _bind(self, params: Json) -> list[tuple[Parameter, Json]]:
        if isinstance(params, list):
            if len(params) > len(self.parameters):
                raise ParametersError(
                    f"{self.name} takes {len(self.parameters)} parameters, {len(params)} given"
                )
            given = {p.name: value for p, value in zip(self.parameters, params, strict=False)}
        else:
            given = params
        known = {parameter.name for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise ParametersError(f"{self.name} has no parameter {name[:60]!r}")
        for parameter in self.parameters:
            if parameter.required and parameter.name not in given:
                raise ParametersError(f"{self.name} needs the parameter {parameter.name!r}")
        return [(p, _listed(p.hint, given[p.name])) for p in self.parameters if p.name in given]


def _listed(hint: Any, value: Json) -> Json:
    """Let one text stand for a list of one."""
    return [value] if hint == tuple[str, ...] and isinstance(value, str) else value


COSTS: Final[Mapping[str, float]] = {"supply": 100.0, "blocks": 10.0, "accounts": 10.0}
"""Calls that cost more than one look: over every account, or over many rows."""


def method_of(function: Callable[..., Awaitable[Any]]) -> Method:
    """Return a function as a method; its first parameter is what it asks, such as the node."""
    hints = get_type_hints(function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return Method(
        name=function.__name__,
        summary=(inspect.getdoc(function) or "").partition("\n")[0],
        parameters=tuple(
            Parameter(
                parameter.name.rstrip("_"),
                parameter.name,
                hints[parameter.name],
                parameter.default is parameter.empty,
            )
            for parameter in parameters
        ),
        result=hints["return"],
        function=function,
        cost=COSTS.get(function.__name__, 1.0),
    )


_FUNCTIONS: Final[tuple[Callable[..., Awaitable[Any]], ...]] = (
    account,
    accounts,
    block,
    blocks,
    genesis,
    metrics,
    peers,
    peers_banned,
    status,
    submit,
    supply,
    transaction,
    transactions,
    validators,
)

METHODS: Final[Mapping[str, Method]] = {
    function.__name__: method_of(function) for function in _FUNCTIONS
}
"""Every method, by name."""
