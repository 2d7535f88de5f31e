from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from p2pnode.api.app import ApiOptions, Guard
from p2pnode.api.server import AddressInUseError, serve
from p2pnode.api.subscriptions import SubscriptionLimits
from p2pnode.telemetry.ring import LogRing
from tests.unit.api.fake_node import FakeNode, served
from tests.unit.node.statuses import status


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=10)


@asynccontextmanager
async def socket(url: str) -> AsyncIterator[WebSocketConnection]:
    """Open the WebSocket of a node, as a client that buffers nothing."""
    async with open_websocket_url(f"ws{url.removeprefix('http')}/ws", message_queue_size=1) as ws:
        try:
            yield ws
        finally:
            await ws.aclose()
            # trio-websocket leaves its stream open when the other side closed first.
            await trio.aclose_forcefully(ws._stream)


CALL = {"jsonrpc": "2.0", "id": 1, "method": "status"}
SUBSCRIBE = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": ["blocks"]})


async def test_health_and_ready_answer_for_a_ready_node() -> None:
    async with served(FakeNode()) as url, client() as http:
        assert (await http.get(f"{url}/health")).json() == {"alive": True}
        ready = await http.get(f"{url}/ready")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})


async def test_a_node_that_is_not_ready_says_why_with_503() -> None:
    node = FakeNode(status(ready=False, not_ready_reasons=("0 of 3 peers",)))
    async with served(node) as url, client() as http:
        answer = await http.get(f"{url}/ready")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["0 of 3 peers"])
        assert (await http.get(f"{url}/health")).status_code == 200


async def test_metrics_are_the_status_and_the_nodes_own_numbers() -> None:
    node = FakeNode(numbers={"p2pnode_consensus_votes_total": 12.0})
    async with served(node) as url, client() as http:
        answer = await http.get(f"{url}/metrics")
        names = {f.name for f in text_string_to_metric_families(answer.text)}
        assert {"p2pnode_consensus_votes", "p2pnode_chain_height_blocks"} <= names
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_calls_go_over_one_connection() -> None:
    async with served(FakeNode()) as url, client() as http:
        for number in range(3):
            answer = await http.post(f"{url}/rpc", json={**CALL, "id": number})
            assert answer.json()["id"] == number
            assert "connection" not in answer.headers


async def test_a_notification_is_answered_with_no_content() -> None:
    async with served(FakeNode()) as url, client() as http:
        answer = await http.post(f"{url}/rpc", json={"jsonrpc": "2.0", "method": "status"})
        assert (answer.status_code, answer.content) == (204, b"")


async def test_curl_without_a_content_type_is_served() -> None:
    async with served(FakeNode()) as url, client() as http:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await http.post(f"{url}/rpc", content=json.dumps(CALL), headers=headers)
        assert "result" in answer.json()


async def test_a_request_over_the_limit_is_refused_declared_or_not() -> None:
    async with served(FakeNode(), ApiOptions(request_bytes_max=2048)) as url, client() as http:
        answer = await http.post(f"{url}/rpc", content=b" " * 3000)
        assert answer.status_code == 413
        assert answer.json()["error"]["data"]["kind"] == "request_too_large"
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
            chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
            head = b"POST /rpc HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
            await stream.send_all(head + 3 * chunk)
            assert (await _read(stream)).startswith(b"HTTP/1.1 413")
        assert (await http.post(f"{url}/rpc", json=CALL)).status_code == 200


async def test_an_unknown_path_or_a_wrong_verb_is_refused() -> None:
    async with served(FakeNode()) as url, client() as http:
        assert (await http.get(f"{url}/nothing")).status_code == 404
        assert (await http.get(f"{url}/rpc")).status_code == 405


async def test_a_page_of_another_origin_is_refused_unless_allowed() -> None:
    headers = {"origin": "https://wallet.example"}
    async with served(FakeNode()) as url, client() as http:
        answer = await http.post(f"{url}/rpc", json=CALL, headers=headers)
        assert (answer.status_code, answer.json()["error"]["data"]["kind"]) == (403, "forbidden")
    options = ApiOptions(origins=("https://wallet.example",))
    async with served(FakeNode(), options) as url, client() as http:
        answer = await http.post(f"{url}/rpc", json=CALL, headers=headers)
        assert answer.headers["access-control-allow-origin"] == "https://wallet.example"
        other = {"origin": "https://other.example"}
        assert (await http.post(f"{url}/rpc", json=CALL, headers=other)).status_code == 403


async def test_a_name_that_was_pointed_at_this_machine_is_refused() -> None:
    async with served(FakeNode()) as url, client() as http:
        headers = {"host": "rebound.example"}
        assert (await http.get(f"{url}/health", headers=headers)).status_code == 403
        port = url.rpartition(":")[2]
        for name in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST"):
            headers = {"host": f"{name}:{port}"}
            assert (await http.get(f"{url}/health", headers=headers)).status_code == 200, name


async def test_a_page_can_not_open_a_socket_from_another_origin() -> None:
    async with served(FakeNode()) as url:
        answer = await _upgrade(url, b"origin: https://x.example\r\n")
        assert answer.startswith(b"HTTP/1.1 403")


def test_a_node_bound_to_a_public_address_takes_any_name() -> None:
    assert Guard(lambda *_: None, None, ())._names is None  # type: ignore[arg-type,return-value]


async def test_two_servers_can_not_have_one_port() -> None:
    async with served(FakeNode()) as url:
        with pytest.raises(AddressInUseError, match="port"):
            await serve(FakeNode(), ApiOptions(port=int(url.rpartition(":")[2])))


async def test_bytes_that_are_no_http_end_their_connection_only() -> None:
    async with served(FakeNode()) as url, client() as http:
        port = int(url.rpartition(":")[2])
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01" * 50,
            b"GET / HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
            b"POST /rpc HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
            b"GET /ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\r\n",
            b"GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\r\n",
            b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        ):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(garbage)
            await stream.send_eof()
            with trio.fail_after(5):
                while await _read(stream):
                    pass
            await stream.aclose()
        assert (await http.post(f"{url}/rpc", json=CALL)).status_code == 200


async def _read(stream: trio.SocketStream) -> bytes:
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


async def test_connections_over_the_limit_are_closed() -> None:
    async with served(FakeNode(), ApiOptions(connections_max=2)) as url:
        port = int(url.rpartition(":")[2])
        held = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        for stream in held:
            await stream.send_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert await _read(stream)
        extra = await trio.open_tcp_stream("127.0.0.1", port)
        assert await _read(extra) == b""
        for stream in (*held, extra):
            await stream.aclose()


async def test_a_client_that_leaves_frees_its_place() -> None:
    async with served(FakeNode(), ApiOptions(connections_max=1)) as url:
        for _ in range(3):
            async with client() as http:
                assert (await http.get(f"{url}/health")).status_code == 200
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_subscriber_sees_the_status_and_then_every_block() -> None:
    node = FakeNode()
    async with served(node) as url, socket(url) as ws:
        await ws.send_message(SUBSCRIBE)
        assert json.loads(await ws.get_message())["result"] == "blocks"
        assert json.loads(await ws.get_message())["params"]["snapshot"]["height"] == 812
        for height in (813, 814):
            node.finalize(height)
        for height in (813, 814):
            message = json.loads(await ws.get_message())
            assert message["params"]["event"]["height"] == height


async def test_calls_are_answered_on_the_socket_too() -> None:
    async with (
        served(FakeNode()) as url,
        socket(url) as ws,
    ):
        await ws.send_message(json.dumps(CALL))
        assert json.loads(await ws.get_message())["result"]["name"] == "node0"
        for params in (["votes"], [], None):
            await ws.send_message(json.dumps({**CALL, "method": "subscribe", "params": params}))
            assert json.loads(await ws.get_message())["error"]["data"]["kind"] == "invalid_params"
        await ws.send_message(b"\xff")
        assert json.loads(await ws.get_message())["error"]["code"] == -32700


async def test_a_slow_reader_is_dropped_with_1013() -> None:
    node = FakeNode(buffer=4)
    async with (
        served(node) as url,
        socket(url) as ws,
    ):
        await ws.send_message(SUBSCRIBE)
        await ws.get_message()
        await ws.get_message()
        # Large events fill the socket's buffers, then the node's; the reader reads none of them.
        height = 0
        while node.readers:
            height += 1
            node.finalize(height, "x" * 100_000)
            await trio.testing.wait_all_tasks_blocked(0.001)
        seen = 0
        code = 0
        while not code:
            try:
                message = json.loads(await ws.get_message())
            except ConnectionClosed as closed:
                code = closed.reason.code
            else:
                seen += 1
                assert message["params"]["event"]["height"] == seen
        assert code == 1013
        assert 4 <= seen < height


async def test_a_reader_that_never_reads_is_cut_off() -> None:
    node = FakeNode(buffer=4)
    options = ApiOptions(subscriptions=SubscriptionLimits(send_timeout_s=0.05))
    async with served(node, options) as url:
        stream = await _subscribed(url)
        height = 0
        while node.readers:
            height += 1
            node.finalize(height, "x" * 100_000)
            await trio.testing.wait_all_tasks_blocked(0.001)
        # Its connection ends although it has not read what was sent.
        with trio.fail_after(5):
            while await _read(stream):
                pass
        await stream.aclose()


async def test_a_stop_does_not_wait_for_a_reader_that_never_reads() -> None:
    node = FakeNode(buffer=4)
    with trio.fail_after(5):
        async with served(node) as url:
            stream = await _subscribed(url)
            while node.readers:
                node.finalize(1, "x" * 100_000)
                await trio.testing.wait_all_tasks_blocked(0.001)
        await stream.aclose()


UPGRADE = (
    b"GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


async def _upgrade(url: str, headers: bytes = b"") -> bytes:
    """Ask for a socket by hand and return the beginning of the answer."""
    async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
        await stream.send_all(UPGRADE + headers + b"\r\n")
        return await _read(stream)


async def _subscribed(url: str) -> trio.SocketStream:
    """Return a raw connection on which a subscription stands."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    await stream.send_all(UPGRADE + b"\r\n")
    assert b"101" in await _read(stream)
    body = SUBSCRIBE.encode()
    # Masked with zeros, which changes nothing.
    await stream.send_all(b"\x81" + bytes((0x80 | len(body),)) + bytes(4) + body)
    assert b"blocks" in await _read(stream)
    return stream


async def test_sockets_over_the_limit_are_refused() -> None:
    options = ApiOptions(subscriptions=SubscriptionLimits(sockets_max=1))
    async with served(FakeNode(), options) as url:
        async with socket(url):
            assert (await _upgrade(url)).startswith(b"HTTP/1.1 403")
        async with socket(url):
            pass


def test_the_api_starts_without_libp2p() -> None:
    code = "import p2pnode.api.server, sys; print('libp2p' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


async def test_the_status_is_followed_beside_the_blocks() -> None:
    node = FakeNode()
    async with served(node) as url, socket(url) as ws:
        for topic in ("blocks", "status"):
            call = {"jsonrpc": "2.0", "id": topic, "method": "subscribe", "params": [topic]}
            await ws.send_message(json.dumps(call))
            assert json.loads(await ws.get_message()) == {
                "jsonrpc": "2.0",
                "id": topic,
                "result": topic,
            }
            first = json.loads(await ws.get_message())
            assert first["method"] == topic
            assert first["params"]["snapshot"]["height"] == 812
        node.now = status(height=813)
        event = json.loads(await ws.get_message())
        assert event["method"] == "status"
        assert event["params"]["event"]["height"] == 813


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        (["votes"], "invalid_params"),
        (["blocks", "status"], "invalid_params"),
        ({"topic": 5}, "invalid_params"),
        ([["blocks"]], "invalid_params"),
        (["blocks", 1], "invalid_params"),
        (["log", 1], "invalid_params"),
        (["status", 0.2], "invalid_params"),
        (["status", 11], "invalid_params"),
        (["status", True], "invalid_params"),
        (["status", "1"], "invalid_params"),
        ({"topic": "status", "every": 1}, "invalid_params"),
        (None, "invalid_params"),
    ],
)
async def test_a_topic_that_does_not_exist_is_refused(params: object, kind: str) -> None:
    async with served(FakeNode()) as url, socket(url) as ws:
        call = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": params}
        await ws.send_message(json.dumps(call))
        answer = json.loads(await ws.get_message())
        assert answer["error"]["data"]["kind"] == kind


async def test_the_log_is_kept_from_readers_elsewhere_unless_it_is_allowed() -> None:
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": ["log"]})
    for options, kind in (
        (ApiOptions(host="0.0.0.0"), "forbidden"),
        (ApiOptions(host="0.0.0.0", log=True), ""),
        (ApiOptions(), ""),
    ):
        async with served(FakeNode(), options) as url, socket(url) as ws:
            await ws.send_message(call)
            answer = json.loads(await ws.get_message())
            assert answer.get("error", {"data": {"kind": ""}})["data"]["kind"] == kind


async def test_a_reader_slower_than_the_log_is_dropped() -> None:
    node = FakeNode(ring=LogRing(kept_max=4))
    node.ring.add(1.0, "info", "node", "first", {})
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": ["log"]})
    async with served(node) as url, socket(url) as ws:
        await ws.send_message(call)
        await ws.get_message()
        assert len(json.loads(await ws.get_message())["params"]["snapshot"]) == 1
        for _ in range(5):
            node.ring.add(2.0, "info", "node", "next", {})
        with pytest.raises(ConnectionClosed) as caught:
            await ws.get_message()
    assert caught.value.reason.code == 1013


async def test_an_endless_id_of_a_subscription_does_not_come_back() -> None:
    async with served(FakeNode()) as url, socket(url) as ws:
        call = {"jsonrpc": "2.0", "id": "x" * 300, "method": "subscribe", "params": ["blocks"]}
        await ws.send_message(json.dumps(call))
        assert json.loads(await ws.get_message()) == {
            "jsonrpc": "2.0",
            "id": None,
            "result": "blocks",
        }


async def test_a_socket_subscribes_to_a_topic_once() -> None:
    async with served(FakeNode()) as url, socket(url) as ws:
        await ws.send_message(SUBSCRIBE)
        await ws.get_message()
        await ws.get_message()
        await ws.send_message(SUBSCRIBE)
        answer = json.loads(await ws.get_message())
        assert answer["error"]["data"]["kind"] == "subscribed_already"


async def test_calls_on_a_socket_count_for_its_rate() -> None:
    async with served(FakeNode(), ApiOptions(calls_per_s_max=1)) as url, socket(url) as ws:
        answers = []
        for _ in range(5):
            await ws.send_message(json.dumps(CALL))
            answers.append(json.loads(await ws.get_message()))
        assert ["result" in answer for answer in answers] == [True] * 4 + [False]
        assert answers[-1]["error"]["data"]["kind"] == "rate_limited"
