"""What this node says of itself to peers in other languages."""

from __future__ import annotations

import pytest
from libp2p import new_host
from libp2p.identity.identify.identify import (
    ID as IDENTIFY,
)
from libp2p.identity.identify.identify import (
    _mk_identify_protobuf,
    parse_identify_response,
)
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2pnode.crypto import SecretKey, peer_id_of
from tests.fuzz.network import FakeConnection, FakeNetStream, network_fuzz

IPS = ("127.0.0.1", "192.168.1.5", "9.9.9.9")


@pytest.mark.parametrize(
    ("ip", "told"),
    [("127.0.0.1", {*IPS}), ("192.168.1.9", {"192.168.1.5", "9.9.9.9"}), ("8.8.8.8", {"9.9.9.9"})],
)
async def test_identify_tells_a_peer_only_addresses_it_could_use(ip: str, told: set[str]) -> None:
    async with network_fuzz(1) as fuzz:
        network = fuzz.network
        network._exchange._ips = lambda: IPS
        network._exchange.listens_on(["/ip4/0.0.0.0/tcp/4000"])
        connection = FakeConnection(peer_id_of(SecretKey(bytes(32)).public))
        connection.ip = ip
        hello = b"\x13/multistream/1.0.0\n"
        line = f"{IDENTIFY}\n".encode()
        stream = FakeNetStream(connection, [hello + bytes([len(line)]) + line])
        await network._inbound.on_stream(stream)
        preamble = hello + bytes([len(line)]) + line
        assert stream.written.startswith(preamble)
        found = parse_identify_response(bytes(stream.written[len(preamble) :]))
        addresses = {str(Multiaddr(raw)).split("/")[2] for raw in found.listen_addrs}
        assert addresses == told
        assert not any(held.encode() in found.SerializeToString() for held in {*IPS} - told)
        assert found.signedPeerRecord == b""
        assert str(Multiaddr(found.observed_addr)) == f"/ip4/{ip}/tcp/4001"
        assert network._config.protocol("lane/0") in found.protocols
        assert "/meshsub/1.1.0" in found.protocols
        assert ID.from_pubkey(network._host.get_public_key()).to_bytes() == network.peer_id
        assert found.public_key == network._host.get_public_key().serialize()


def test_stock_libp2p_tells_a_stranger_every_address_and_signs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = new_host()
    listening = [Multiaddr(f"/ip4/{ip}/tcp/4000") for ip in IPS]
    monkeypatch.setattr(host, "get_addrs", lambda: listening)
    found = _mk_identify_protobuf(host, Multiaddr("/ip4/8.8.8.8/tcp/4001"))
    assert list(found.listen_addrs) == [address.to_bytes() for address in listening]
    assert all(address.to_bytes() in found.signedPeerRecord for address in listening)
