"""A client of a node's API: typed calls over JSON-RPC, in Trio or blocking.

Both clients keep their connection alive. Amounts, states and rows come back as the types that the
node itself uses (p2pnode/node/status.py, answers.py).
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, TypeAlias, TypeVar

import httpx

from p2pnode.errors import P2PNodeError
from p2pnode.node.answers import (
    BLOCKS_MAX,
    AccountStatus,
    BannedRow,
    BlockEvent,
    BlockStatus,
    GenesisInfo,
    PeerRow,
    SubmitOutcome,
    TransactionStatus,
    ValidatorRow,
)
from p2pnode.node.jsonform import Amount, Json, ValueFormError, from_json
from p2pnode.node.socket_path import short_path
from p2pnode.node.status import NodeStatus
from p2pnode.telemetry.ring import LogRecord

TIMEOUT_S: Final = 10.0
"""A call that takes longer fails."""
CLOSE_S_MAX: Final = 2.0
"""A subscription whose end the node does not confirm is ended without that."""

METHOD_NOT_FOUND: Final = -32601

_T = TypeVar("_T")
_Send: TypeAlias = Callable[[str], Awaitable[None]]
_Receive: TypeAlias = Callable[[], Awaitable[Json]]


class ClientError(P2PNodeError):
    """A call to a node failed."""


class NodeUnreachableError(ClientError):
    """Nobody answers at the address, or too late."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no node answers at {url}: {reason}")
        self.url = url


class NotANodeError(ClientError):
    """Who answers does not speak this API."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} is not the API of a node: {reason}")
        self.url = url


class CallRefusedError(ClientError):
    """The node understood the call and refuses it."""

    def __init__(self, method: str, code: int, message: str, reason: str) -> None:
        super().__init__(f"{method}: {message}")
        self.method = method
        self.code = code
        """JSON-RPC code."""
        self.reason = reason
        """The error's kind, such as `nonce_too_low`."""


class SubscriptionClosedError(ClientError):
    """The node ended a subscription."""

    def __init__(self, url: str, code: int, reason: str) -> None:
        super().__init__(f"{url} ended the subscription with code {code}: {reason or 'no reason'}")
        self.code = code
        """1013: this reader was too slow, or the node stops."""


@dataclass(frozen=True, slots=True)
class Call(Generic[_T]):
    """A call before it is sent: what to ask, and what type the answer has."""

    method: str
    params: Json
    """A list or an object."""
    hint: Any


def _status() -> Call[NodeStatus]:
    return Call("status", (), NodeStatus)


def _genesis() -> Call[GenesisInfo]:
    return Call("genesis", (), GenesisInfo)


def _submit(raws: Sequence[bytes]) -> Call[tuple[SubmitOutcome, ...]]:
    # Base64: a third less to send than hex.
    texts = [base64.b64encode(raw).decode("ascii") for raw in raws]
    return Call("submit", (texts,), tuple[SubmitOutcome, ...])


def _transaction(id: bytes) -> Call[TransactionStatus | None]:
    return Call("transaction", (id.hex(),), TransactionStatus | None)


def _transactions(ids: Sequence[bytes]) -> Call[tuple[TransactionStatus | None, ...]]:
    return Call("transactions", ([id.hex() for id in ids],), tuple[TransactionStatus | None, ...])


def _account(address: bytes) -> Call[AccountStatus]:
    return Call("account", (address.hex(),), AccountStatus)


def _accounts(addresses: Sequence[bytes]) -> Call[tuple[AccountStatus, ...]]:
    return Call("accounts", ([a.hex() for a in addresses],), tuple[AccountStatus, ...])


def _block(height: int | None) -> Call[BlockStatus | None]:
    return Call("block", (height,), BlockStatus | None)


def _blocks(first: int, blocks_max: int) -> Call[tuple[BlockStatus, ...]]:
    return Call("blocks", (first, blocks_max), tuple[BlockStatus, ...])


def _peers() -> Call[tuple[PeerRow, ...]]:
    return Call("peers", (), tuple[PeerRow, ...])


def _peers_banned() -> Call[tuple[BannedRow, ...]]:
    return Call("peers_banned", (), tuple[BannedRow, ...])


def _validators() -> Call[tuple[ValidatorRow, ...]]:
    return Call("validators", (), tuple[ValidatorRow, ...])


def _supply() -> Call[dict[int, Amount]]:
    return Call("supply", (), dict[int, Amount])


def _metrics() -> Call[dict[str, float]]:
    return Call("metrics", (), Any)


class _Wire:
    """What both clients share: requests as bytes, and answers as values."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._ids = count(1)

    def request(self, call: Call[Any]) -> bytes:
        body = {
            "jsonrpc": "2.0",
            "id": next(self._ids),
            "method": call.method,
            "params": call.params,
        }
        return json.dumps(body, separators=(",", ":")).encode()

    def value(self, call: Call[_T], response: httpx.Response) -> _T:
        try:
            answer = response.json()
        except ValueError:
            raise NotANodeError(self.url, f"HTTP {response.status_code} without JSON") from None
        if not isinstance(answer, dict) or answer.get("jsonrpc") != "2.0":
            raise NotANodeError(self.url, f"HTTP {response.status_code}, not JSON-RPC")
        if "error" in answer:
            raise self.refusal(call.method, answer["error"])
        try:
            value: _T = from_json(call.hint, answer.get("result"))
        except ValueFormError as error:
            raise NotANodeError(self.url, f"answer to {call.method}: {error}") from None
        return value

    def refusal(self, method: str, error: Json) -> ClientError:
        try:
            code, message, kind = error["code"], error["message"], error["data"]["kind"]
        except (TypeError, KeyError):
            return NotANodeError(self.url, f"an error without code, message or kind: {error!r}")
        return CallRefusedError(method, int(code), str(message), str(kind))

    def unreachable(self, error: Exception) -> NodeUnreachableError:
        return NodeUnreachableError(self.url, str(error) or type(error).__name__)


class NodeClient:
    """Calls a node from Trio; used with `async with`, by any number of tasks at once.

    Every method raises NodeUnreachableError, NotANodeError or CallRefusedError when it fails.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: `http://host:port`.
            timeout_s: Longest wait for an answer.
        """
        self._wire = _Wire(url)
        # trust_env: a proxy in the environment must not be asked for 127.0.0.1.
        self._http = httpx.AsyncClient(timeout=timeout_s, trust_env=False)

    @property
    def url(self) -> str:
        """The node's address."""
        return self._wire.url

    async def __aenter__(self) -> NodeClient:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def call(self, call: Call[_T]) -> _T:
        """Send one call."""
        try:
            response = await self._http.post(
                f"{self.url}/rpc",
                content=self._wire.request(call),
                headers={"content-type": "application/json"},
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._wire.unreachable(error) from None
        return self._wire.value(call, response)

    async def status(self) -> NodeStatus:
        """Return the node at this moment."""
        return await self.call(_status())

    async def genesis(self) -> GenesisInfo:
        """Return what the chain began with."""
        return await self.call(_genesis())

    async def submit(self, raws: Sequence[bytes]) -> tuple[SubmitOutcome, ...]:
        """Offer signed envelopes (at most 4096); one outcome each, in order."""
        return await self.call(_submit(raws))

    async def transaction(self, id: bytes) -> TransactionStatus | None:
        """Return what the node knows of a transaction."""
        return await self.call(_transaction(id))

    async def transactions(self, ids: Sequence[bytes]) -> tuple[TransactionStatus | None, ...]:
        """Return what the node knows of many transactions (at most 8192), in order."""
        return await self.call(_transactions(ids))

    async def account(self, address: bytes) -> AccountStatus:
        """Return an account."""
        return await self.call(_account(address))

    async def accounts(self, addresses: Sequence[bytes]) -> tuple[AccountStatus, ...]:
        """Return many accounts (at most 8192), in order."""
        return await self.call(_accounts(addresses))

    async def block(self, height: int | None = None) -> BlockStatus | None:
        """Return the block at a height, or the newest."""
        return await self.call(_block(height))

    async def blocks(self, first: int, blocks_max: int = BLOCKS_MAX) -> tuple[BlockStatus, ...]:
        """Return the blocks from a height on, at most 100."""
        return await self.call(_blocks(first, blocks_max))

    async def peers(self) -> tuple[PeerRow, ...]:
        """Return the node's peers."""
        return await self.call(_peers())

    async def peers_banned(self) -> tuple[BannedRow, ...]:
        """Return the peers the node refuses for a while, and why."""
        return await self.call(_peers_banned())

    async def validators(self) -> tuple[ValidatorRow, ...]:
        """Return the validator set."""
        return await self.call(_validators())

    async def supply(self) -> dict[int, Amount]:
        """Return what exists of each asset, counted over every account."""
        return await self.call(_supply())

    async def metrics(self) -> dict[str, float]:
        """Return the numbers of /metrics by name."""
        return await self.call(_metrics())

    async def ready(self) -> bool:
        """Tell whether the node says it is ready; False also when it can't be reached."""
        try:
            response = await self._http.get(f"{self.url}/ready")
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return response.status_code == 200

    @asynccontextmanager
    async def subscribe_blocks(
        self,
    ) -> AsyncIterator[tuple[NodeStatus, AsyncIterator[BlockEvent]]]:
        """Follow the blocks that become final, without gaps.

        Yields:
            The node's status at the beginning, and the events from then on. Iterating raises
            SubscriptionClosedError when the node ends the subscription.
        """
        async with self._follow("blocks", BlockEvent) as events:
            yield await events.next(NodeStatus), events

    @asynccontextmanager
    async def follow_status(
        self, *, period_s: float = 1.0
    ) -> AsyncIterator[AsyncIterator[NodeStatus]]:
        """Follow the node's status: now, and then every period (0.25 to 10 s).

        Nothing connects again by itself: iterating raises SubscriptionClosedError when the node
        ends the subscription or is gone. Entering raises NodeUnreachableError or
        CallRefusedError. So do the other `follow_…`.
        """
        async with self._follow("status", NodeStatus, period_s=period_s) as followed:
            yield followed

    @asynccontextmanager
    async def follow_peers(
        self, *, period_s: float = 1.0
    ) -> AsyncIterator[AsyncIterator[tuple[PeerRow, ...]]]:
        """Follow the connected peers: all rows now, and then every period (0.25 to 10 s)."""
        async with self._follow("peers", tuple[PeerRow, ...], period_s=period_s) as followed:
            yield followed

    @asynccontextmanager
    async def follow_log(self) -> AsyncIterator[AsyncIterator[tuple[LogRecord, ...]]]:
        """Follow the node's log: the newest records, and then new ones, several at a time."""
        async with self._follow("log", tuple[LogRecord, ...]) as followed:
            yield followed

    @asynccontextmanager
    async def _follow(self, topic: str, hint: Any, **wish: Json) -> AsyncIterator[_Events[Any]]:
        params = {"topic": topic, **wish}
        subscribe = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": params}
        async with _socket(self.url) as (send, receive):
            await send(json.dumps(subscribe))
            answer = await receive()
            if "error" in answer:
                raise self._wire.refusal("subscribe", answer["error"])
            yield _Events(receive, hint)


@asynccontextmanager
async def _socket(url: str) -> AsyncIterator[tuple[_Send, _Receive]]:
    """Open a WebSocket, which is closed however the body ends.

    Raises:
        NodeUnreachableError: No node answers there.
        SubscriptionClosedError: It was closed; by receiving.
    """
    # Imported here, since only followers need it; trio-websocket comes with libp2p.
    import trio
    from trio_websocket import ConnectionClosed, HandshakeError, wrap_client_stream

    from p2pnode.node.api_stream import open_api_stream

    failure: BaseException | None = None
    opened = False
    try:
        with trio.fail_after(TIMEOUT_S):
            stream, host = await open_api_stream(url)
        async with stream, trio.open_nursery() as nursery:
            with trio.fail_after(TIMEOUT_S):
                socket = await wrap_client_stream(nursery, stream, host, "/ws")

            async def receive() -> Json:
                try:
                    return json.loads(await socket.get_message())
                except ConnectionClosed as closed:
                    code, reason = 1006, ""
                    if closed.reason is not None:
                        code, reason = closed.reason.code, closed.reason.reason or ""
                    raise SubscriptionClosedError(url, code, reason) from None

            opened = True
            try:
                yield socket.send_message, receive
            finally:
                with trio.move_on_after(CLOSE_S_MAX):
                    await socket.aclose()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # A nursery's group around the one error there is: the body's own, or the handshake's.
        if len(group.exceptions) > 1:
            raise
        failure = group.exceptions[0]
    except (OSError, ValueError, trio.TooSlowError) as error:
        failure = error
    unreachable = (HandshakeError, OSError, ValueError, trio.TooSlowError)
    if not opened and isinstance(failure, unreachable):
        raise NodeUnreachableError(url, str(failure) or type(failure).__name__) from None
    if failure is not None:
        raise failure


class _Events(Generic[_T]):
    """Iterates over a subscription; a class, since an abandoned generator would need closing."""

    def __init__(self, receive: Callable[[], Awaitable[Json]], hint: Any) -> None:
        self._receive = receive
        self._hint = hint

    def __aiter__(self) -> _Events[_T]:
        return self

    async def __anext__(self) -> _T:
        value: _T = await self.next(self._hint)
        return value

    async def next(self, hint: Any) -> Any:
        """Return the next message's value, of the hinted type."""
        params = (await self._receive())["params"]
        return from_json(hint, params["event"] if "event" in params else params["snapshot"])


class BlockingClient:
    """Calls a node without an event loop, for commands; used with `with`.

    Every method raises NodeUnreachableError, NotANodeError or CallRefusedError when it fails.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.HTTPTransport | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: `http://host:port`.
            timeout_s: Longest wait for an answer.
            transport: How to get there, TCP by default.
        """
        self._wire = _Wire(url)
        self._http = httpx.Client(timeout=timeout_s, trust_env=False, transport=transport)

    @property
    def url(self) -> str:
        """The node's address."""
        return self._wire.url

    def __enter__(self) -> BlockingClient:
        self._http.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.__exit__(kind, error, traceback)

    def call(self, call: Call[_T]) -> _T:
        """Send one call."""
        try:
            response = self._http.post(
                f"{self.url}/rpc",
                content=self._wire.request(call),
                headers={"content-type": "application/json"},
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._wire.unreachable(error) from None
        return self._wire.value(call, response)

    def raw(self, method: str, params: Json) -> Json:
        """Call any method with parameters as JSON, and return its result as JSON."""
        call: Call[Json] = Call(method, params, Any)
        return self.call(call)

    def status(self) -> NodeStatus:
        """Return the node at this moment."""
        return self.call(_status())

    def genesis(self) -> GenesisInfo:
        """Return what the chain began with."""
        return self.call(_genesis())

    def submit(self, raws: Sequence[bytes]) -> tuple[SubmitOutcome, ...]:
        """Offer signed envelopes (at most 4096); one outcome each, in order."""
        return self.call(_submit(raws))

    def transaction(self, id: bytes) -> TransactionStatus | None:
        """Return what the node knows of a transaction."""
        return self.call(_transaction(id))

    def transactions(self, ids: Sequence[bytes]) -> tuple[TransactionStatus | None, ...]:
        """Return what the node knows of many transactions (at most 8192), in order."""
        return self.call(_transactions(ids))

    def account(self, address: bytes) -> AccountStatus:
        """Return an account."""
        return self.call(_account(address))

    def block(self, height: int | None = None) -> BlockStatus | None:
        """Return the block at a height, or the newest."""
        return self.call(_block(height))

    def blocks(self, first: int, blocks_max: int = BLOCKS_MAX) -> tuple[BlockStatus, ...]:
        """Return the blocks from a height on, at most 100."""
        return self.call(_blocks(first, blocks_max))

    def peers(self) -> tuple[PeerRow, ...]:
        """Return the node's peers."""
        return self.call(_peers())

    def peers_banned(self) -> tuple[BannedRow, ...]:
        """Return the peers the node refuses for a while, and why."""
        return self.call(_peers_banned())

    def validators(self) -> tuple[ValidatorRow, ...]:
        """Return the validator set."""
        return self.call(_validators())


@contextmanager
def admin_client(path: Path, *, timeout_s: float = TIMEOUT_S) -> Iterator[BlockingClient]:
    """Give a client of a node's admin socket; its methods are called with `raw`.

    Args:
        path: The socket, `admin.sock` in the node's folder.
        timeout_s: Longest wait for an answer.
    """
    with short_path(path) as address:
        transport = httpx.HTTPTransport(uds=address)
        with BlockingClient("http://node", timeout_s=timeout_s, transport=transport) as client:
            yield client
