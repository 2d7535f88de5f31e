"""Streams that peers open, each from its protocol to its end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import trio
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.peer.id import ID

from p2pnode.errors import RemoteProtocolError
from p2pnode.net.addresses import ip_of, scope_of_ip
from p2pnode.net.config import NetworkConfig
from p2pnode.net.libp2p.gossip import Gossip
from p2pnode.net.libp2p.host import remote_address
from p2pnode.net.libp2p.identify import identity
from p2pnode.net.libp2p.lanes import LaneReceiver
from p2pnode.net.libp2p.requests import Handler, RequestServer
from p2pnode.net.libp2p.router import MESHSUB
from p2pnode.net.libp2p.streams import Stream, StreamBrokenError, Traffic, agree
from p2pnode.net.meters import Meters
from p2pnode.net.offences import STREAMS_AT_A_TIME, Offence
from p2pnode.net.scores import BAN_SCORE, LOW_SCORE
from p2pnode.ports import Lane, PeerId
from p2pnode.types.record import Scope

_log = logging.getLogger("p2pnode.net")

NEGOTIATION_TIMEOUT_S: Final = 10.0
"""Time a peer has to say what a stream it opened is for."""

_IDENTIFY: Final = IDENTIFY.encode()
_IPFS_PING: Final = "/ipfs/ping/1.0.0"
_IPFS_PING_BYTES: Final = 32


class InboundStreams:
    """Takes every stream a peer opens to the part of the network it is meant for."""

    def __init__(
        self,
        config: NetworkConfig,
        traffic: Traffic,
        meters: Meters,
        *,
        penalize: Callable[[PeerId, float, str], None],
        blame: Callable[[PeerId, Offence, float, str], None],
        score: Callable[[PeerId], float],
    ) -> None:
        """Begin without protocols; `attach` brings the fixed ones.

        Args:
            config: Names of protocols, and limits.
            traffic: Where to count bytes.
            meters: Say when a peer has to wait because it is too fast.
            penalize: Told of broken rules that carry their points.
            blame: Told of the network's own offences.
            score: The score of a peer, 0 to -100.
        """
        self._config = config
        self._traffic = traffic
        self._penalize = penalize
        self._meters = meters
        self._blame = blame
        self._score = score
        self._open: dict[PeerId, int] = {}
        self._server = RequestServer(
            config.limits,
            meters,
            accepts=lambda peer: score(peer) > LOW_SCORE,
            penalize=penalize,
        )
        self.refused = 0
        """Streams reset because the peer held too many or is banned."""
        self._nursery: trio.Nursery | None = None
        self.handlers: dict[bytes, Callable[[Stream], Awaitable[None]]] = {}
        """Protocol to what reads its streams."""
        self.errors = 0
        """Streams reset because handling them raised something unforeseen."""

    @property
    def handler_errors(self) -> int:
        """Request handlers that raised anything but a P2PNodeError: bugs of ours."""
        return self._server.handler_errors

    def attach(
        self,
        gossip: Gossip,
        lanes: LaneReceiver,
        *,
        public_key: bytes,
        addresses: Callable[[Scope], Iterable[str]],
    ) -> None:
        """Serve the protocols every node speaks.

        Args:
            gossip: Reads gossip streams.
            lanes: Reads lanes.
            public_key: Ours, as libp2p writes keys.
            addresses: What peers within a scope are told of where this node is.
        """

        async def receive_gossip(stream: Stream) -> None:
            await stream.announced()
            await gossip.receive_from(stream)

        async def identify(stream: Stream) -> None:
            observed = remote_address(stream.net_stream.muxed_conn)
            names = [name.decode() for name in self.handlers]
            told = addresses(scope_of_ip(ip_of(observed)))
            await stream.write(identity(public_key, names, told, observed))
            await stream.finish()

        self.handlers[MESHSUB.encode()] = receive_gossip
        self.handlers[_IPFS_PING.encode()] = self._answer_ipfs_pings
        self.handlers[_IDENTIFY] = identify
        for lane in Lane:
            name = self._config.protocol(f"lane/{lane:d}")
            self.handlers[name.encode()] = _lane_handler(lanes, lane)

    def serve(self, protocol: str, handler: Handler) -> None:
        """Answer the requests of a protocol."""

        async def serve_stream(stream: Stream) -> None:
            await self._server.serve(stream, handler)

        self._add(protocol, serve_stream)

    def serve_pings(self) -> None:
        """Answer the pings of our own kind."""
        self._add("ping", self._server.serve_pings)

    def _add(self, protocol: str, serve_stream: Callable[[Stream], Awaitable[None]]) -> None:
        name = self._config.protocol(f"request/{protocol}").encode()
        assert name not in self.handlers, f"{protocol} is served already"
        self.handlers[name] = serve_stream

    def begin(self, nursery: trio.Nursery) -> None:
        """Take streams from now on; late ones are reset by tasks of this nursery."""
        self._nursery = nursery

    async def on_stream(self, net_stream: Any) -> None:
        """Handle a stream a peer opened, from its protocol to its end; never raises.

        An error that came out of here would end libp2p's swarm.
        """
        stream = Stream(net_stream, self._traffic)
        peer = stream.peer
        count = self._open.get(peer, 0)
        self._open[peer] = count + 1
        is_done = False
        try:
            if self._score(peer) <= BAN_SCORE:
                self.refused += 1
            elif count >= self._config.limits.streams_per_peer_max:
                self.refused += 1
                self._blame(peer, STREAMS_AT_A_TIME, 1.0, str(count + 1))
            else:
                if pause_s := self._meters.stream_pause_s(peer, trio.current_time()):
                    await trio.sleep(pause_s)
                protocol = await self._agree(stream)
                stream.protocol = protocol.decode()
                await self.handlers[protocol](stream)
                is_done = protocol == _IDENTIFY
        except StreamBrokenError as error:
            _log.debug("a stream of %s has ended: %s", ID(peer), error)
        except RemoteProtocolError as error:
            self._penalize(peer, error.penalty, str(error))
        except Exception:  # noqa: BLE001 - a supervisor: it costs one stream
            # One of the two supervisors of the network: see the docstring.
            self.errors += 1
            _log.exception("a stream failed")
        finally:
            if self._open[peer] > 1:
                self._open[peer] -= 1
            else:
                del self._open[peer]
            if not is_done:
                await stream.reset()

    async def _agree(self, stream: Stream) -> bytes:
        assert self._nursery is not None
        watch = trio.CancelScope()

        async def reset_late_stream() -> None:
            with watch:
                await trio.sleep(NEGOTIATION_TIMEOUT_S)
                await stream.reset()

        self._nursery.start_soon(reset_late_stream)
        try:
            return await agree(stream, self.handlers)
        finally:
            watch.cancel()

    async def _answer_ipfs_pings(self, stream: Stream) -> None:
        """Answer the pings of other implementations."""
        data = b""
        while True:
            data += await stream.read()
            whole = len(data) - len(data) % _IPFS_PING_BYTES
            if whole:
                await stream.write(data[:whole])
                pause_s = self._meters.spend(
                    stream.peer, "requests", whole, whole // _IPFS_PING_BYTES, trio.current_time()
                )
                data = data[whole:]
                if pause_s:
                    await trio.sleep(pause_s)


def _lane_handler(lanes: LaneReceiver, lane: Lane) -> Callable[[Stream], Awaitable[None]]:
    async def receive(stream: Stream) -> None:
        await stream.announced()
        await lanes.receive_from(stream, lane)

    return receive
