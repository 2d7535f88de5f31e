from __future__ import annotations

from functools import partial

import pytest
import trio

from p2pnode.client import (
    BlockingClient,
    CallRefusedError,
    NodeClient,
    NodeUnreachableError,
    NotANodeError,
    SubscriptionClosedError,
)
from p2pnode.node.answers import TransactionState
from p2pnode.node.status import NodeStatus
from tests.unit.api.fake_node import FakeNode, block, served
from tests.unit.node.statuses import STATUS, status


async def test_every_call_returns_the_nodes_own_types() -> None:
    node = FakeNode(chain={1: block(1), 2: block(2)}, numbers={"p2pnode_a_b_total": 1.0})
    async with served(node) as url, NodeClient(url) as client:
        assert await client.status() == STATUS
        assert await client.genesis() == node.genesis()
        assert await client.account(b"a" * 32) == node.account(b"a" * 32)
        assert await client.accounts([b"a" * 32]) == (node.account(b"a" * 32),)
        assert await client.block() == block(2)
        assert await client.block(7) is None
        assert await client.blocks(1) == (block(1), block(2))
        assert await client.peers() == node.peers()
        assert await client.validators() == node.validators()
        assert (await client.metrics())["p2pnode_a_b_total"] == 1.0
        assert await client.ready()


async def test_transactions_go_in_and_their_states_come_out() -> None:
    node = FakeNode()
    async with served(node) as url, NodeClient(url) as client:
        (outcome,) = await client.submit([b"\x07raw"])
        assert outcome.accepted
        assert outcome.id == "07" * 32
        found, unknown = await client.transactions([b"\x07" * 32, b"\x08" * 32])
        assert found is not None
        assert found.state is TransactionState.POOLED
        assert unknown is None
        assert await client.transaction(b"\x07" * 32) == found


async def test_a_refusal_carries_the_errors_kind() -> None:
    async with served(FakeNode(full=True)) as url, NodeClient(url) as client:
        with pytest.raises(CallRefusedError, match="20000 transactions wait") as caught:
            await client.submit([b"x"])
        assert (caught.value.reason, caught.value.code) == ("pool_full", -32000)


async def test_nobody_at_the_address_is_said_with_the_address() -> None:
    async with NodeClient("http://127.0.0.1:1") as client:
        with pytest.raises(NodeUnreachableError, match=r"http://127\.0\.0\.1:1"):
            await client.status()
        assert not await client.ready()
        with pytest.raises(NodeUnreachableError):
            async with client.subscribe_blocks():
                pass


@pytest.mark.parametrize("url", ["127.0.0.1:1", "ftp://x", "http://[", "http://127.0.0.1:99999"])
async def test_an_address_that_is_none_is_unreachable(url: str) -> None:
    async with NodeClient(url) as client:
        with pytest.raises(NodeUnreachableError):
            await client.status()


async def test_another_server_is_told_from_a_node() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        async with NodeClient(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(NotANodeError, match="not JSON-RPC"):
                await client.status()
        nursery.cancel_scope.cancel()


async def test_a_client_that_is_not_ready_hears_so() -> None:
    async with served(FakeNode(status(ready=False))) as url, NodeClient(url) as client:
        assert not await client.ready()


async def test_blocks_are_followed_from_a_status_on() -> None:
    node = FakeNode()
    async with (
        served(node) as url,
        NodeClient(url) as client,
        client.subscribe_blocks() as (first, events),
    ):
        assert first == STATUS
        node.finalize(813)
        node.finalize(814)
        assert [(await anext(events)).height for _ in range(2)] == [813, 814]


async def test_a_status_is_followed_with_a_period() -> None:
    node = FakeNode()
    async with served(node) as url, NodeClient(url) as client:
        async with client.follow_status(period_s=0.25) as statuses:
            assert await anext(statuses) == STATUS
            node.now = status(height=813)
            assert (await anext(statuses)).height == 813
        with pytest.raises(CallRefusedError, match=r"0\.25 to 10"):
            await anext_of_status(client, period_s=0.1)


async def anext_of_status(client: NodeClient, period_s: float) -> NodeStatus:
    async with client.follow_status(period_s=period_s) as statuses:
        return await anext(statuses)


async def test_peers_are_followed() -> None:
    node = FakeNode()
    async with (
        served(node) as url,
        NodeClient(url) as client,
        client.follow_peers(period_s=0.25) as peers,
    ):
        assert await anext(peers) == node.peers()
        assert await anext(peers) == node.peers()


async def test_the_log_is_followed_without_gaps_however_long_its_lines() -> None:
    node = FakeNode()
    for number in range(400):
        node.ring.add(1.5, "info", "node", "long_line", {"text": "x" * 2000, "n": number})
    async with served(node) as url, NodeClient(url) as client, client.follow_log() as log:
        seen = list(await anext(log))
        assert 1 < len(seen) < 400
        node.ring.add(2.5, "warning", "net", "last", {})
        while seen[-1].event != "last":
            seen += await anext(log)
    assert [record.number for record in seen] == list(range(1, 402))
    assert (seen[0].time_ms, seen[0].fields["n"]) == (1500, 0)


async def test_the_end_of_a_subscription_is_an_error_with_its_code() -> None:
    node = FakeNode()
    async with served(node) as url, NodeClient(url) as client:
        async with client.subscribe_blocks() as (_, events):
            node.readers[0].close()
            with pytest.raises(SubscriptionClosedError) as caught:
                await anext(events)
        assert caught.value.code == 1013


async def test_an_error_in_a_subscriptions_body_comes_out_as_it_is() -> None:
    async with served(FakeNode()) as url, NodeClient(url) as client:
        with pytest.raises(KeyError):
            await _follow_and_fail(client, KeyError("of the reader"))


@pytest.mark.parametrize("error", [OSError("a full disk"), trio.TooSlowError(), KeyError("x")])
async def test_an_error_of_the_reader_is_not_taken_for_one_of_the_connection(
    error: Exception,
) -> None:
    error.__cause__ = ZeroDivisionError()
    async with served(FakeNode()) as url, NodeClient(url) as client:
        with pytest.raises(type(error)) as caught:
            await _follow_and_fail(client, error)
    assert caught.value is error
    assert isinstance(error.__cause__, ZeroDivisionError)


async def _follow_and_fail(client: NodeClient, error: Exception) -> None:
    async with client.subscribe_blocks():
        raise error


async def test_a_connection_whose_handshake_fails_is_closed() -> None:
    closed = trio.Event()

    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        while await stream.receive_some():
            pass
        closed.set()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, refuse, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        async with NodeClient(url) as client:
            with pytest.raises(NodeUnreachableError, match="404"):
                await _follow_and_fail(client, KeyError())
            with trio.fail_after(30):
                await closed.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("url", ["127.0.0.1:1", "http://127.0.0.1:99999", "http://127.0.0.1:x"])
async def test_an_address_that_is_none_is_not_followed(url: str) -> None:
    async with NodeClient(url) as client:
        with pytest.raises(NodeUnreachableError):
            await _follow_and_fail(client, KeyError())


async def test_the_blocking_client_asks_the_same() -> None:
    node = FakeNode(chain={1: block(1)})

    def ask(url: str) -> None:
        with BlockingClient(url) as client:
            assert client.status() == STATUS
            assert client.genesis() == node.genesis()
            assert client.submit([b"\x05"])[0].id == "05" * 32
            assert client.transaction(b"\x05" * 32) == client.transactions([b"\x05" * 32])[0]
            assert client.account(b"a" * 32).nonce == 3
            assert client.block(1) == client.blocks(0)[0] == block(1)
            assert client.peers() == node.peers()
            assert client.validators() == node.validators()
            assert client.raw("block", {"height": 5}) is None
            with pytest.raises(CallRefusedError, match="no method"):
                client.raw("nothing", [])

    async with served(node) as url:
        await trio.to_thread.run_sync(ask, url)
