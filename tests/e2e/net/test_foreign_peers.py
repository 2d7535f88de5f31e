"""js-, go- and rust-libp2p as peers of a node, and of a whole testnet: they dial, are dialled,
stream, gossip, and have their transactions finalized.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
from libp2p.stream_muxer.exceptions import MuxedStreamEOF

from p2pnode.client import NodeClient
from p2pnode.crypto import SecretKey, address_of
from p2pnode.gossip.frames import decode_frame, encode_frame
from p2pnode.gossip.topics import transaction_topic
from p2pnode.net.libp2p import Libp2pNetwork
from p2pnode.net.libp2p.streams import Stream, StreamBrokenError
from p2pnode.node.answers import TransactionState
from p2pnode.ports import PeerConnected, PeerLost, Published, Verdict
from p2pnode.types.transaction import Transaction, Transfer, sign_transaction
from testnet.folder import Manifest
from testnet.genesis import account_key
from tests.e2e.net.foreign import PEERS, ForeignPeer, Program, UnavailableError, foreign_peer
from tests.e2e.net.libp2p_helpers import CHAIN, network
from tests.e2e.testnet.driver import Driver
from tests.unit.net.network_contract import running, take, until

PROTOCOL = f"/p2pnode/{CHAIN.hex()[:16]}"
TOPIC = f"{PROTOCOL}/tx/0/1"
SIZE = 900_000
TESTNET_SEED = 11
FINAL = (TransactionState.ORDERED, TransactionState.EXECUTED, TransactionState.CERTIFIED)

# A first build takes minutes; js only has to be installed.
LANGUAGES = [
    "js",
    pytest.param("go", marks=pytest.mark.slow),
    pytest.param("rust", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def program(language: str) -> Program:
    try:
        return PEERS[language]()
    except UnavailableError as error:
        pytest.skip(str(error))


async def echo(peer: bytes, body: bytes) -> bytes:
    return body


def accept(peer: bytes, data: bytes) -> Verdict:
    return Verdict.ACCEPT


def ours(**changes: Any) -> Libp2pNetwork:
    node = network(0, own_channel=True, **changes)
    node.serve("echo", echo)
    node.subscribe("tx/0", accept)
    return node


def handle_streams(
    node: Libp2pNetwork, name: str, handler: Callable[[Stream], Awaitable[None]]
) -> str:
    """Serve bare streams, which the port does not offer; returns the protocol."""
    protocol = f"{PROTOCOL}/{name}/1"
    node._inbound.handlers[protocol.encode()] = handler
    return protocol


async def gossip_both_ways(node: Libp2pNetwork, peer: ForeignPeer) -> None:
    await peer.order("subscribe", topic=TOPIC)
    await peer.order("publish", topic=TOPIC, data=b"from afar".hex())
    (message,) = await take(node, Published, 1)
    assert message.data == b"from afar"
    large = bytes(range(256)) * 400
    node.publish("tx/0", large)
    assert await peer.message() == (TOPIC, large)


def assert_content(node: Libp2pNetwork) -> None:
    """Fail if the node holds anything against its peer, or against itself."""
    assert [p.score for p in node.peers()] == [0.0]
    assert node.libp2p_statistics().stream_errors == 0


async def test_it_dials_identifies_pings_streams_and_gossips(program: Program) -> None:
    node = ours()
    with trio.fail_after(60):
        async with running([node]), foreign_peer(program) as peer:
            dialled = await peer.order("dial", target=node.address)
            assert dialled == {"muxer": "/yamux/1.0.0", "encryption": "/noise"}
            await take(node, PeerConnected, 1)
            protocols = (await peer.order("identify"))["protocols"]
            assert "/ipfs/ping/1.0.0" in protocols
            assert (await peer.order("ping", target=node.address))["ms"] < 5000
            for _ in range(2):
                result = await peer.order(
                    "exchange",
                    target=node.address,
                    protocol=f"{PROTOCOL}/request/echo/1",
                    size=SIZE,
                )
                assert result["status"] == 0
                assert result["received"] == result["sent"]
            await gossip_both_ways(node, peer)
            assert_content(node)


async def test_we_dial_it_stream_to_it_and_gossip(program: Program) -> None:
    with trio.fail_after(60):
        async with foreign_peer(program) as peer:
            # What our requests send comes back as it is: to our side it is an answer of status 0.
            await peer.order("mirror", protocol=f"{PROTOCOL}/request/mirror/1")
            node = ours(bootstrap=(peer.address,))
            async with running([node]):
                (connected,) = await take(node, PeerConnected, 1)
                await until(lambda: node.peers()[0].address != "")
                await trio.sleep(0.2)  # the session begins just after the peer was told
                assert not node.peers()[0].inbound
                body = b"\x00" + bytes(i * 7 & 255 for i in range(SIZE))
                answer = await node.request(connected.peer, "mirror", body, timeout_s=30)
                assert answer == body[1:]
                await gossip_both_ways(node, peer)
                assert_content(node)


async def test_half_closed_streams_and_resets_mean_the_same_to_both(program: Program) -> None:
    ends: list[BaseException | None] = []
    read_by_all = trio.Event()

    async def answer_at_the_end(stream: Stream) -> None:
        data = b""
        try:
            while True:
                data += await stream.read()
        except StreamBrokenError as error:
            ends.append(error.__cause__)
        if isinstance(ends[-1], MuxedStreamEOF):
            await stream.write(data)
            await stream.net_stream.close()
            # The node resets what its handlers leave, which would overtake what is on its way.
            await read_by_all.wait()

    async def send_then(stream: Stream, end: str) -> None:
        await stream.write(bytes(SIZE))
        if end == "close":
            await stream.net_stream.close()
            # Until the other side has read it all and ends its direction.
            await stream.read()

    node = ours()
    answering = handle_streams(node, "answer", answer_at_the_end)
    closing = handle_streams(node, "close", lambda s: send_then(s, "close"))
    resetting = handle_streams(node, "reset", lambda s: send_then(s, "reset"))
    with trio.fail_after(60):
        async with running([node]), foreign_peer(program) as peer:
            await peer.order("dial", target=node.address)
            await take(node, PeerConnected, 1)
            for _ in range(3):
                result = await peer.order(
                    "half_close", target=node.address, protocol=answering, size=SIZE
                )
                assert result["received"] == result["sent"]
            assert [type(end) for end in ends] == [MuxedStreamEOF] * 3

            # Theirs in the middle of a transfer, some before we knew what the stream was for: one
            # stream ends, never as if it were complete, and the others do not notice.
            for _ in range(20):
                await peer.order("reset", target=node.address, protocol=answering, size=1000)
            result = await peer.order(
                "half_close", target=node.address, protocol=answering, size=SIZE
            )
            assert result["received"] == result["sent"]
            assert isinstance(ends.pop(), MuxedStreamEOF)
            read_by_all.set()
            assert not any(isinstance(end, MuxedStreamEOF) for end in ends[3:])

            drained = await peer.order("drain", target=node.address, protocol=closing)
            assert drained == {"bytes": SIZE, "end": "closed"}
            # Ours after a write: what the reset overtakes is lost, and no more comes.
            drained = await peer.order("drain", target=node.address, protocol=resetting)
            assert drained["bytes"] <= SIZE
            await gossip_both_ways(node, peer)
            assert_content(node)


async def test_an_orderly_goodbye_costs_it_nothing(program: Program) -> None:
    # go- and rust-yamux say "go away" before they close the socket.
    node = ours()
    with trio.fail_after(60):
        async with running([node]), foreign_peer(program) as peer:
            for _ in range(3):
                await peer.order("dial", target=node.address)
                await take(node, PeerConnected, 1)
                assert_content(node)
                await peer.order("disconnect")
                await take(node, PeerLost, 1)
                await until(lambda: not node.peers())


# --- a whole testnet ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def testnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manifest]:
    driver = Driver(tmp_path_factory.mktemp("foreign"))
    try:
        up = ("up", "--detach", "--name", "foreign", "--seed", str(TESTNET_SEED))
        shown = driver.run(*up, "--validators", "4")
        assert shown.returncode == 0, shown
        yield driver.until_ready("foreign")
    finally:
        driver.close()


async def transfer(client: NodeClient, key: SecretKey, chain: str, amount: int) -> Transaction:
    nonce = (await client.account(address_of(key.public))).nonce
    return sign_transaction(
        key,
        bytes.fromhex(chain),
        nonce=nonce,
        last_valid_height=(await client.status()).height + 500,
        fee_limit=10**4,
        actions=(Transfer(0, hashlib.sha256(b"someone").digest(), amount),),
    )


async def until_finalized(client: NodeClient, transaction: Transaction) -> None:
    while True:
        known = await client.transaction(transaction.id)
        if known is not None and known.state in FINAL:
            assert known.height is not None
            return
        await trio.sleep(0.1)


async def test_its_transaction_is_finalized_and_it_hears_those_of_clients(
    program: Program, language: str, testnet: Manifest
) -> None:
    near, far = testnet.nodes[0], testnet.nodes[2]
    topic = f"/p2pnode/{testnet.chain[:16]}/{transaction_topic(0)}/1"
    # Its own, and one for the client: nonces of one account would wait for each other.
    index = 2 * list(PEERS).index(language)
    with trio.fail_after(90):
        async with NodeClient(far.rpc) as client, foreign_peer(program) as peer:
            await peer.order("dial", target=near.p2p)
            await peer.order("subscribe", topic=topic)

            key = account_key(TESTNET_SEED, index)
            sent = await transfer(client, key, testnet.chain, 3)
            await peer.order("publish", topic=topic, data=encode_frame([sent.raw]).hex())
            # Told to one node, final on another.
            await until_finalized(client, sent)

            key = account_key(TESTNET_SEED, index + 1)
            submitted = await transfer(client, key, testnet.chain, 4)
            (outcome,) = await client.submit([submitted.raw])
            assert outcome.accepted, outcome
            heard: list[bytes] = []
            while submitted.raw not in heard:
                where, data = await peer.message()
                assert where == topic
                heard += decode_frame(data)
            await until_finalized(client, submitted)
