"""A session: what this node does on one connection, from the first frame to the last ping."""

from __future__ import annotations

import logging
import statistics
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio
from libp2p.rcmgr import Direction

from p2pnode.errors import RemoteProtocolError
from p2pnode.net.addresses import ip_of
from p2pnode.net.config import NetworkConfig
from p2pnode.net.libp2p.gossip import Gossip
from p2pnode.net.libp2p.host import abort, remote_address
from p2pnode.net.libp2p.lanes import LaneCounters, LaneSender
from p2pnode.net.libp2p.requests import PeerRefusedError, RequestPool
from p2pnode.net.libp2p.router import MESHSUB
from p2pnode.net.libp2p.streams import (
    NegotiationError,
    ProtocolRefusedError,
    StreamBrokenError,
    Traffic,
    open_raw,
    open_stream,
    propose,
)
from p2pnode.net.offences import MISSED_PING, Offence
from p2pnode.ports import Lane, PeerId, RequestFailedError

_log = logging.getLogger("p2pnode.net")

RTTS_MAX: Final = 8
"""Pings whose median is the round-trip time."""

_GOSSIP_PAUSE_S: Final = 0.5

_MISSES_BLAMED_PER_S: Final = 0.4
"""Who answers no ping, and comes back each time, loses less than heals meanwhile: an overloaded
node is disconnected, which is enough, and not banned."""


class Session:
    """One connection in use: its lanes, requests, gossip and pings."""

    def __init__(
        self,
        connection: Any,
        config: NetworkConfig,
        *,
        gossip: Gossip,
        lane_counters: LaneCounters,
        traffic: Traffic,
        penalize: Callable[[PeerId, float, str], None],
        blame: Callable[[PeerId, Offence, float, str], None],
    ) -> None:
        """Begin with a connection that stands.

        Args:
            connection: The swarm's connection.
            config: Timing and limits.
            gossip: Takes part for us in publishing.
            lane_counters: Where to count frames.
            traffic: Where to count bytes.
            penalize: Told of broken rules that carry their points.
            blame: Told of the network's own offences.
        """
        self.connection = connection
        self.peer: PeerId = connection.muxed_conn.peer_id.to_bytes()
        self.inbound: bool = connection.direction == Direction.INBOUND
        self.began_s = trio.current_time()
        self.reason = "the connection ended"
        """Told with PeerLost."""
        self.retired = False
        """A newer connection has taken over; this one ends soon."""
        self.address = remote_address(connection.muxed_conn)
        """Where the other end is, as a multiaddr; empty where it cannot be told."""
        self.observed_ip = ip_of(self.address)
        """The IP of the other end, empty likewise."""
        self._config = config
        self._gossip = gossip
        self._traffic = traffic
        self._penalize = penalize
        self._blame = blame
        self._rtts: deque[float] = deque(maxlen=RTTS_MAX)
        self._ponged_s: float | None = None
        self._pools: dict[str, RequestPool] = {}
        self._nursery: trio.Nursery | None = None
        self.lanes = {
            lane: LaneSender(
                lane,
                partial(open_stream, connection, config.protocol(f"lane/{lane:d}"), traffic),
                config.limits,
                lane_counters,
            )
            for lane in Lane
        }

    @property
    def rtt_s(self) -> float | None:
        """Median round-trip time of the last pings."""
        return statistics.median(self._rtts) if self._rtts else None

    @property
    def rtt_age_s(self) -> float | None:
        """Seconds since the last ping was answered."""
        return None if self._ponged_s is None else trio.current_time() - self._ponged_s

    async def run(self) -> None:
        """Use the connection until it ends."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for sender in self.lanes.values():
                nursery.start_soon(sender.run)
            nursery.start_soon(self._run_gossip)
            nursery.start_soon(self._run_pings)
            await self.connection.event_closed.wait()
            failure = getattr(self.connection.muxed_conn, "failure", None)
            if failure is not None:
                # Our own muxer tells what rule the peer has broken.
                self.reason = str(failure)
                self._on_nonsense(failure)
            # The connection is gone: nothing that goes on can be hurt by cancelling its streams.
            for pool in self._pools.values():
                pool.close()
            nursery.cancel_scope.cancel()

    def finish(self) -> None:
        """Count what can't be sent any more."""
        for pool in self._pools.values():
            pool.close()
        for sender in self.lanes.values():
            sender.drop_all()

    def succeed(self, older: Session) -> None:
        """Take over the queues of an older connection to the peer."""
        older.retired = True
        for lane, sender in self.lanes.items():
            sender.take_over(older.lanes[lane])
        self._rtts.extend(older._rtts)
        self._ponged_s = older._ponged_s

    async def ask(self, protocol: str, body: bytes, timeout_s: float) -> bytes:
        """Send a request and wait for its answer.

        Raises:
            RequestFailedError: There is none.
        """
        pool = self._pools.get(protocol)
        if pool is None:
            if self._nursery is None or self.connection.is_closed:
                raise RequestFailedError("the connection is not ready")
            pool = self._pools[protocol] = RequestPool(
                self._nursery,
                partial(open_raw, self.connection, self._traffic),
                partial(propose, protocol=self._config.protocol(f"request/{protocol}")),
                self._config.limits,
                self._on_nonsense,
            )
        return await pool.ask(body, timeout_s)

    def _on_nonsense(self, error: RemoteProtocolError) -> None:
        self._penalize(self.peer, error.penalty, str(error))

    async def _run_gossip(self) -> None:
        while not self.retired:
            try:
                stream = await open_stream(self.connection, MESHSUB, self._traffic)
                try:
                    await self._gossip.send_to(stream)
                finally:
                    await stream.reset()
            except StreamBrokenError:
                await trio.sleep(_GOSSIP_PAUSE_S)
            except (ProtocolRefusedError, NegotiationError):
                await trio.sleep(10 * _GOSSIP_PAUSE_S)

    async def _run_pings(self) -> None:
        """Measure round trips, and end a connection whose other end hangs.

        TCP notices a killed peer at once, a hung one or a pulled cable never.
        """
        interval_s = self._config.ping_interval_s
        misses = 0
        while True:
            asked_s = trio.current_time()
            missed = False
            try:
                await self.ask("ping", b"", interval_s)
                self._ponged_s = trio.current_time()
                self._rtts.append(self._ponged_s - asked_s)
                misses = 0
            except PeerRefusedError:
                misses = 0  # another implementation; it lives
            except RequestFailedError:
                misses += 1
                missed = True
            # Who says goodbye in the middle of a ping has done nothing wrong: this task does not
            # outlive the connection, and so gets no further than the sleep.
            await trio.sleep_until(asked_s + interval_s)
            if missed and not self.retired:
                times = min(1.0, interval_s * _MISSES_BLAMED_PER_S)
                self._blame(self.peer, MISSED_PING, times, "")
            if misses >= self._config.ping_misses_max:
                self.reason = f"no answer to {misses} pings"
                await abort(self.connection)
                return
