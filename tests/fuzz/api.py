"""Mutants of calls: every method of the API and of the admin socket, bodies over HTTP, WebSockets.

A node of one validator runs in virtual time behind them, so that what is submitted executes.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import trio
from starlette.websockets import WebSocket

from p2pnode.api.admin import ADMIN_METHODS, Admin
from p2pnode.api.app import ApiOptions, make_app
from p2pnode.api.jsonrpc import Dispatcher
from p2pnode.api.methods import METHODS
from p2pnode.api.openrpc import with_discovery
from p2pnode.api.subscriptions import Sockets
from p2pnode.keys.verifier import InlineVerifier
from p2pnode.net.memory import MemoryHub, MemoryNetwork
from p2pnode.node.node import Node, NodeSetup
from p2pnode.node.shell import Ports
from p2pnode.store.memory import MemoryLog, MemoryStore
from tests.fuzz.tally import Tally
from tests.spine import KEYS, make_chain, peer, transaction

CHAIN = make_chain(1, engine="solo", block_interval_ms=500)
RPC = with_discovery(METHODS, "p2pnode")
ADMIN = with_discovery(ADMIN_METHODS, "p2pnode admin")
HANDLERS = (
    *(f"rpc {name}" for name in sorted(RPC)),
    *(f"admin {name}" for name in sorted(ADMIN)),
    "http body",
    "web socket",
)
TEXTS = (
    "",
    "0x",
    "ab" * 32,
    "ab" * 31,
    "zz",
    "0x" + "00" * 32,
    "1" * 5000,
    "\ud800",
    "é",
    "blocks",
)
NUMBERS = (0, 1, -1, 63, 1 << 31, 1 << 63, 1 << 64, 10**40, -(10**30), 1.5, 1e300)
ATOMS = ("1e999", "-1e999", "NaN", "1" * 5000, '"\\ud800"', "[" * 2000, "\x00", "\ufeff", "{}")
NOT_REACHED = (-32700, -32600, -32601, -32602)
"""Errors of the decoders: bytes, frame, name, parameters. With others, the method has run."""
OUR_ERRORS = range(-32768, -31999)


class TrioClock:
    """Virtual time."""

    def now_ns(self) -> int:
        return int(trio.current_time() * 1e9)

    def wall_ms(self) -> int:
        return CHAIN.genesis.time_ms + int(trio.current_time() * 1e3)


class ApiFuzz:
    """One run against one node."""

    def __init__(self, rng: random.Random, node: Node) -> None:
        self.rng = rng
        self.node = node
        self.tally = Tally()
        self.stops = 0
        admin = Admin(
            peers=node.peers,
            disconnect=lambda name: False,
            ban=lambda name: name == "known",
            set_log_level=lambda level: None,
            stop=self._stop,
        )
        self._dispatchers = {"rpc": Dispatcher(node, RPC), "admin": Dispatcher(admin, ADMIN)}
        self._app = make_app(node, ApiOptions(calls_per_s_max=0))
        self._nonce = 0
        self._raws = [transaction(CHAIN, 1, nonce).raw for nonce in range(20)]

    def _stop(self) -> None:
        self.stops += 1

    async def throw(self, kind: str, mutants: int) -> None:
        """Throw mutants of a kind.

        Args:
            kind: One of `HANDLERS`.
            mutants: How many.
        """
        surface, _, name = kind.partition(" ")
        for number in range(mutants):
            if surface == "http":
                await self._http()
            elif surface == "web":
                await self._web_socket()
            else:
                await self._call(surface, name)
            if number % 100 == 0:
                await trio.sleep(1)

    async def judge(self) -> None:
        """Submit an honest transaction and see it executed."""
        sent = transaction(CHAIN, 0, self._nonce)
        self._nonce += 1
        answer = await self._answer("rpc", "submit", [[sent.raw.hex()]])
        assert answer["result"][0]["accepted"], answer
        for _ in range(60):
            await trio.sleep(1)
            found = await self._answer("rpc", "transaction", [sent.id.hex()])
            if found["result"] and found["result"]["state"] in ("executed", "certified"):
                return
        raise AssertionError(f"an honest transaction was not executed: {found}")

    async def _answer(self, surface: str, name: str, params: Any) -> Any:
        call = {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}
        raw = await self._dispatchers[surface].answer(json.dumps(call).encode())
        assert raw is not None
        return json.loads(raw)

    # --- mutants ---------------------------------------------------------------------------------

    async def _call(self, surface: str, name: str) -> None:
        call = self._mutant(self._true_call(surface, name), keep=("method",))
        body = self._text(call)
        raw = await self._dispatchers[surface].answer(body)
        self._judge_answer(raw)

    def _judge_answer(self, raw: bytes | None) -> None:
        """Count an answer; whatever it is, it must be JSON, and say a result or an error."""
        if raw is None:
            self.tally.count(passed=True, penalized=False)  # a notification, carried out
            return
        answer = json.loads(raw, parse_constant=_no_constant)
        answers = answer if isinstance(answer, list) else [answer]
        passed = refused = False
        for one in answers:
            assert one["jsonrpc"] == "2.0"
            assert ("result" in one) != ("error" in one), one
            code = one.get("error", {}).get("code", 0)
            assert code == 0 or code in OUR_ERRORS
            passed = passed or code not in NOT_REACHED
            refused = refused or code != 0
        self.tally.count(passed=passed, penalized=refused)

    def _true_call(self, surface: str, name: str) -> dict[str, Any]:
        rng = self.rng
        digest = rng.randbytes(32).hex()
        raw = rng.choice(self._raws)
        params: Any = {
            "submit": [[raw.hex(), (raw[:-3] + rng.randbytes(3)).hex()]],
            "transaction": [digest],
            "transactions": [[digest, digest]],
            "account": [digest],
            "accounts": [[digest]],
            "block": [rng.randrange(50)],
            "blocks": {"from": rng.randrange(50), "count": rng.randrange(20)},
            "log_level": ["info"],
            "peers_ban": ["known"],
            "peers_disconnect": ["16Uiu2HAm"],
        }.get(name, [])
        return {"jsonrpc": "2.0", "id": rng.randrange(1000), "method": name, "params": params}

    def _mutant(self, call: dict[str, Any], keep: tuple[str, ...] = ()) -> Any:
        """Change some members of a call."""
        rng = self.rng
        call = copy.deepcopy(call)
        for _ in range(rng.choice((1, 1, 1, 2))):
            field = rng.choice(("params",) * 4 + ("id", "id", "more", "more", "more", "jsonrpc"))
            if field in keep and rng.random() < 0.9:
                field = "more"
            if field == "params":
                call["params"] = self._change(call.get("params"))
            elif rng.random() < 0.2:
                call.pop(field, None)
            else:
                call[field] = self._value(2)
        chance = rng.random()
        if chance < 0.03:
            return [call] * rng.choice((0, 1, 2, 1001))
        if chance < 0.06:
            return self._value(3)
        return call

    def _change(self, value: Any) -> Any:
        rng = self.rng
        if isinstance(value, dict) and value and rng.random() < 0.8:
            name = rng.choice(list(value))
            return {**value, name: self._change(value[name])}
        if isinstance(value, list) and value and rng.random() < 0.8:
            changed = list(value)
            match rng.randrange(4):
                case 0:
                    changed.append(rng.choice(changed))
                case 1:
                    del changed[rng.randrange(len(changed))]
                case _:
                    at = rng.randrange(len(changed))
                    changed[at] = self._change(changed[at])
            return changed
        if isinstance(value, str) and value and rng.random() < 0.7:
            at = rng.randrange(len(value))
            return value[:at] + rng.choice("0aF z\u00e9=+/") + value[at + 1 :]
        if isinstance(value, int) and rng.random() < 0.7:
            return rng.choice((value + 1, -value, value * 2, *NUMBERS))
        return self._value(2)

    def _value(self, depth: int) -> Any:
        rng = self.rng
        match rng.randrange(7 if depth else 4):
            case 0:
                return rng.choice(NUMBERS)
            case 1:
                return rng.choice(TEXTS)
            case 2:
                return rng.choice((None, True, False))
            case 3:
                return rng.choice(([], {}, [[]], [None]))
            case 4 | 5:
                return [
                    self._value(depth - 1)
                    for _ in range(rng.choice((1, 2, 3, 3, 9000 * (rng.random() < 0.01))))
                ]
            case _:
                return {rng.choice(("a", "id", "from", "ids", "é")): self._value(depth - 1)}

    def _text(self, value: Any) -> bytes:
        """Write JSON, and then change some of its characters."""
        rng = self.rng
        text = json.dumps(value)
        chance = rng.random()
        if chance < 0.05:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(ATOMS) + text[at + rng.randrange(3) :]
        elif chance < 0.1:
            text = text.replace(str(rng.choice((0, 1, 2))), rng.choice(ATOMS), 1)
        body = text.encode(
            rng.choice(("utf-8",) * 30 + ("utf-16", "utf-32", "utf-8-sig")), "surrogatepass"
        )
        if rng.random() < 0.03 and body:
            at = rng.randrange(len(body))
            body = body[:at] + rng.randbytes(1) + body[at + 1 :]
        return body

    def _any_call(self) -> Any:
        name = self.rng.choice(sorted(METHODS))
        return self._mutant(self._true_call("rpc", name))

    async def _http(self) -> None:
        """Post a mutant in pieces, with headers that may be wrong."""
        rng = self.rng
        body = self._text(self._any_call())
        cut = rng.randrange(len(body) + 1)
        pieces = [body[:cut], body[cut:]]
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        if rng.random() < 0.3:
            headers.append(
                (
                    b"content-length",
                    rng.choice((b"1", b"-1", b"\xff", "²".encode("latin-1"), b"9" * 40, b"")),
                )
            )
        if rng.random() < 0.1:
            headers.append((rng.choice((b"host", b"origin")), rng.randbytes(9)))
        gone = rng.random() < 0.05
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/rpc",
            "raw_path": b"/rpc",
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "state": {},
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            if gone or not pieces:
                return {"type": "http.disconnect"}
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(message)

        await self._app(scope, receive, send)
        status = sent[0]["status"]
        assert status in (200, 204, 403, 413), status
        answer = b"".join(m.get("body", b"") for m in sent[1:])
        self._judge_answer(answer or None)

    async def _web_socket(self) -> None:
        """Send mutants in one socket: calls, subscriptions, frames of either kind."""
        rng = self.rng
        frames: list[dict[str, Any]] = []
        for _ in range(rng.randrange(1, 4)):
            call = self._any_call()
            if rng.random() < 0.6:
                topic = rng.choice(("blocks", "status", "blocks", "x", None, 5))
                subscribe = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": [topic]}
                call = subscribe if rng.random() < 0.3 else self._mutant(subscribe)
            body = self._text(call)
            text = body.decode("utf-8", "replace")
            if rng.random() < 0.8:
                frames.append({"type": "websocket.receive", "text": text})
            else:
                frames.append({"type": "websocket.receive", "bytes": body, "text": None})
        sent: list[Any] = []
        inbox = [{"type": "websocket.connect"}, *frames]

        async def receive() -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            return inbox.pop(0) if inbox else {"type": "websocket.disconnect", "code": 1000}

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(message)

        scope = {"type": "websocket", "headers": [], "path": "/ws", "state": {"stream": None}}
        websocket = WebSocket(scope, receive, send)
        await self._sockets().serve(websocket)
        texts = [m["text"] for m in sent if m["type"] == "websocket.send"]
        answers = [json.loads(text, parse_constant=_no_constant) for text in texts]
        flat = [one for a in answers for one in (a if isinstance(a, list) else [a])]
        codes = [one["error"]["code"] for one in flat if "error" in one]
        reached = any("error" not in one or one["error"]["code"] not in NOT_REACHED for one in flat)
        self.tally.count(passed=reached or not answers, penalized=bool(codes))

    def _sockets(self) -> Sockets:
        if not hasattr(self, "_sockets_made"):
            self._sockets_made = Sockets(self.node, self._dispatchers["rpc"])
        return self._sockets_made


@asynccontextmanager
async def api_fuzz(seed: int) -> AsyncIterator[ApiFuzz]:
    """Run a node of one validator, under Trio's mock clock."""
    rng = random.Random(f"fuzz/api/{seed}")
    hub = MemoryHub(rng)
    network = MemoryNetwork(hub, peer(0))
    verifier = InlineVerifier()
    ports = Ports(
        cast("Any", network),
        TrioClock(),
        MemoryStore(),
        MemoryLog(),
        verifier,
        False,
        verifier.check,
    )
    node = Node(NodeSetup("node", CHAIN.genesis.encode(), KEYS[0], log_new=True), ports)
    node.attach()
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        await nursery.start(network.run)
        await nursery.start(node.run)
        yield ApiFuzz(rng, node)
        nursery.cancel_scope.cancel()


def _no_constant(name: str) -> Any:
    raise AssertionError(f"an answer holds {name}, which is no JSON")
