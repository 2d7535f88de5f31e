"""JSON-RPC 2.0: bytes of a request in, bytes of its answer out.

Reserved codes are the specification's. Refusals of our own are `ERROR_CODE` and below. Every error
carries its kind in `data.kind`: clients tell errors apart by it, never by the message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import trio

from p2pnode.api.limiter import RateLimiter
from p2pnode.api.methods import Method, ParametersError
from p2pnode.errors import P2PNodeError
from p2pnode.node.jsonform import Json, ValueFormError

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
ERROR_CODE: Final = -32000
"""The node understood the call and refuses it; `data.kind` says why."""
TOO_LARGE: Final = -32001
"""A request or an answer is over its limit."""
RATE_LIMITED: Final = -32002
"""The connection makes more calls than it may."""

BATCH_MAX: Final = 1000
"""Most calls in one request."""

VALUES_MAX: Final = 1 << 16
"""Most values in one request, and escapes in its texts: 8 MiB of little ones kept a node from all
else for seconds."""

_DIGITS_MAX: Final = 64
"""Longest integer read, its sign included; nothing here has more digits, and to read them costs the
square of their number."""

ANSWER_BYTES_MAX: Final = 32 << 20
"""Largest answer to one request; calls of a batch beyond it are refused."""


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Limits of one request."""

    batch_max: int = BATCH_MAX
    answer_bytes_max: int = ANSWER_BYTES_MAX


def error_answer(id: Json, code: int, message: str, kind: str) -> bytes:
    """Return the answer that says an error."""
    error = {"code": code, "message": message, "data": {"kind": kind}}
    return _bytes({"jsonrpc": "2.0", "id": id, "error": error})


def rate_answer(id: Json, limiter: RateLimiter) -> bytes:
    """Return the answer to a call that its connection may not make yet."""
    text = f"too many calls on this connection: wait {limiter.wait_s():.3f} s"
    return error_answer(id, RATE_LIMITED, text, "rate_limited")


class Dispatcher:
    """Answers requests with a table of methods."""

    def __init__(
        self, node: Any, methods: Mapping[str, Method], limits: RpcLimits | None = None
    ) -> None:
        """Wire up.

        Args:
            node: What the methods ask: their first argument.
            methods: By name.
            limits: Of one request.
        """
        self._node = node
        self._methods = methods
        self._limits = limits or RpcLimits()

    async def answer(self, body: bytes, limiter: RateLimiter | None = None) -> bytes | None:
        """Answer one request, single or batch.

        Args:
            body: JSON, its size checked before.
            limiter: Of the connection it came by; each call of a batch counts.

        Returns:
            JSON, or None when nothing in it asks for an answer.
        """
        if _has_many_values(body):
            text = f"a request has at most {VALUES_MAX} values"
            return error_answer(None, TOO_LARGE, text, "too_many_values")
        try:
            request = json.loads(body, parse_constant=_refuse_constant, parse_int=_integer)
        except RecursionError:
            return error_answer(None, PARSE_ERROR, "the JSON nests too deeply", "parse_error")
        except ValueError as error:
            # ValueError covers bad JSON, bad UTF-8 and integers of too many digits.
            return error_answer(None, PARSE_ERROR, f"not JSON: {error}", "parse_error")
        if isinstance(request, list):
            return await self._answer_batch(request, limiter)
        return await self._answer_call(request, limiter)

    async def _answer_batch(self, calls: list[Json], limiter: RateLimiter | None) -> bytes | None:
        if not calls:
            return error_answer(None, INVALID_REQUEST, "an empty batch", "invalid_request")
        if len(calls) > self._limits.batch_max:
            text = f"{len(calls)} calls in a batch, at most {self._limits.batch_max} allowed"
            return error_answer(None, TOO_LARGE, text, "batch_too_large")
        answers: list[bytes] = []
        size_bytes = 0
        for call in calls:
            if size_bytes > self._limits.answer_bytes_max:
                if not _is_notification(call):
                    text = f"the answer has over {self._limits.answer_bytes_max} bytes already"
                    answers.append(error_answer(id_of(call), TOO_LARGE, text, "answer_too_large"))
                continue
            answer = await self._answer_call(call, limiter)
            if answer is not None:
                answers.append(answer)
                size_bytes += len(answer)
            # A long batch must not keep votes waiting.
            await trio.lowlevel.checkpoint()
        return b"[" + b",".join(answers) + b"]" if answers else None

    async def _answer_call(self, call: Json, limiter: RateLimiter | None) -> bytes | None:
        """Answer one call; a notification is carried out and answered by nothing."""
        refusal = _flaw(call)
        if refusal is not None:
            return error_answer(id_of(call), INVALID_REQUEST, refusal, "invalid_request")
        id = id_of(call)
        method = self._methods.get(call["method"])
        if limiter is not None and not limiter.take(1.0 if method is None else method.cost):
            return None if _is_notification(call) else rate_answer(id, limiter)
        answer = await self._carry_out(id, call["method"], call.get("params", []))
        return None if _is_notification(call) else answer

    async def _carry_out(self, id: Json, name: str, params: Json) -> bytes:
        method = self._methods.get(name)
        if method is None:
            known = ", ".join(sorted(self._methods))
            text = f"no method {name[:60]!r}; there are: {known}"
            return error_answer(id, METHOD_NOT_FOUND, text, "method_not_found")
        try:
            result = await method.call(self._node, params)
        except (ParametersError, ValueFormError) as error:
            return error_answer(id, INVALID_PARAMS, str(error), "invalid_params")
        except P2PNodeError as error:
            return error_answer(id, ERROR_CODE, str(error), error.kind)
        return _bytes({"jsonrpc": "2.0", "id": id, "result": result})


def _has_many_values(body: bytes) -> bool:
    """Tell whether JSON has too many values, as far as that can be told without reading it."""
    return len(body) > VALUES_MAX and sum(map(body.count, (b",", b"[", b"{", b"\\"))) > VALUES_MAX


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _flaw(call: Json) -> str | None:
    """Say what is wrong with a call's frame, if anything is."""
    if not isinstance(call, dict):
        return "a call is an object"
    if call.get("jsonrpc") != "2.0":
        return 'a call says "jsonrpc": "2.0"'
    if not isinstance(call.get("method"), str):
        return "a call names its method"
    if not isinstance(call.get("params", []), (list, dict)):
        return "params are a list or an object"
    if "id" in call and not _is_id(call["id"]):
        return "an id is a text, a number or null"
    return None


def _is_id(id: Json) -> bool:
    # bool is an int and no id; a long text would come back as often as it is asked.
    # 1e999 is read as infinity, which no JSON can say.
    if isinstance(id, str):
        return len(id) <= 256
    if isinstance(id, float):
        return math.isfinite(id)
    return id is None or (isinstance(id, int) and not isinstance(id, bool))


def id_of(call: Json) -> Json:
    """Return a call's id, null where it has none or one that may not be sent back."""
    id = call.get("id") if isinstance(call, dict) else None
    return id if _is_id(id) else None


def _is_notification(call: Json) -> bool:
    return isinstance(call, dict) and "id" not in call and _flaw(call) is None


def _bytes(answer: Json) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
