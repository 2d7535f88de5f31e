"""The port Network on py-libp2p: TCP, Noise, Yamux, gossipsub, and our own lanes and requests.

`incoming` is bounded; when nobody reads it, the tasks that read streams wait, windows fill, and
peers stop sending, lane by lane and message by message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio
from libp2p.abc import INotifee
from libp2p.peer.id import ID
from libp2p.rcmgr import Direction
from libp2p.tools.anyio_service import TrioManager
from multiaddr import Multiaddr

from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.errors import LocalProtocolError
from p2pnode.net.addresses import scope_of
from p2pnode.net.admission import Admission, Admitted, Refusal
from p2pnode.net.book import AddressBook, Origin
from p2pnode.net.config import NetworkConfig, NetworkConfigError
from p2pnode.net.framing import OwnFrameTooLargeError
from p2pnode.net.libp2p import exchange
from p2pnode.net.libp2p.dialler import Dialler
from p2pnode.net.libp2p.exchange import Exchange
from p2pnode.net.libp2p.gossip import Gossip
from p2pnode.net.libp2p.host import (
    abort,
    check_ports_are_free,
    listen,
    make_host,
    remote_ip,
)
from p2pnode.net.libp2p.inbound import InboundStreams
from p2pnode.net.libp2p.lanes import LaneCounters, LaneReceiver
from p2pnode.net.libp2p.mdns import LanDiscovery, LanError
from p2pnode.net.libp2p.requests import Handler
from p2pnode.net.libp2p.session import Session
from p2pnode.net.libp2p.streams import Traffic
from p2pnode.net.links.shim import LinkTable
from p2pnode.net.meters import OFFENCE_KINDS, Meters
from p2pnode.net.offences import OTHER_RULES, Offence
from p2pnode.net.scores import BAN_SCORE, Scores
from p2pnode.ports import (
    BannedPeer,
    Incoming,
    Lane,
    NetworkStatistics,
    PeerConnected,
    PeerId,
    PeerLost,
    PeerStatus,
    RequestFailedError,
    Verdict,
)
from p2pnode.types.record import Scope

_log = logging.getLogger("p2pnode.net")

RETIREMENT_S: Final = 1.0
"""How long the lesser of two connections to a peer is still listened to."""

_FORGIVE_INTERVAL_S: Final = 1.0

_ORIGINS_MAX: Final = 1024
"""Peers never connected whose published messages cost them score."""

SIMULTANEOUS_S: Final = 5.0
"""Two connections begun within this time were dialled by both sides at once."""


PEER_ID_BYTES_MAX: Final = 64
"""Longest peer id believed to be one."""


class NetworkFailedError(LocalProtocolError):
    """libp2p's swarm has ended although nobody asked it to."""


class UsedOnceError(LocalProtocolError):
    """A network is set up before `run`, and runs once."""


@dataclass(frozen=True, slots=True)
class Libp2pStatistics:
    """Totals since start that only this implementation has."""

    gossip_dropped: int
    """Gossip messages not sent because a peer's queue was full."""
    gossip_duplicates: int
    """Published messages that arrived again."""
    validator_errors: int
    """Validators that raised: bugs of ours."""
    handler_errors: int
    """Request handlers that raised anything but a P2PNodeError: bugs of ours."""
    stream_errors: int
    """Streams reset because handling them raised something unforeseen."""
    connections_refused: int
    """Connections of banned peers closed at once."""
    addresses_known: int
    """Peers in the address book."""


class Libp2pNetwork:
    """One node on the network; the contract is ports.Network's.

    Besides it: `address`, `addresses` and `set_wanted`.
    """

    def __init__(self, config: NetworkConfig, links: LinkTable | None = None) -> None:
        """Set up a node that does not listen yet.

        Args:
            config: Identity, addresses and limits.
            links: Faults of the links, for test chains; None for none, now and later.

        Raises:
            NetworkConfigError: A bootstrap address is not a multiaddr that ends in /p2p/<id>, or
                links are to have faults under a channel that is not ours.
        """
        if links is not None and not config.own_channel:
            raise NetworkConfigError("only links of our own channel can have faults")
        self._config = config
        self._links = links
        self._peer_id = peer_id_of(SecretKey(config.seed).public)
        self._traffic = Traffic()
        self._scores = Scores(ban_s=config.ban_s, ban_max_s=config.ban_max_s)
        self._origins = Scores(
            ban_s=config.ban_s, ban_max_s=config.ban_max_s, peers_max=_ORIGINS_MAX
        )
        self._offences = dict.fromkeys(OFFENCE_KINDS, 0)
        self._refusals = {refusal: 0 for refusal in Refusal}
        self._sessions: dict[PeerId, Session] = {}
        self._admission = Admission(
            config,
            known=[_split_p2p(address)[0] for address in config.bootstrap],
            score=self._score,
        )
        self._admitted: dict[Admitted, Any] = {}
        """The connections that others dialled."""
        self._meters = Meters(config.limits, self._blame, self._sessions, self._admission.is_known)
        self._inbound = InboundStreams(
            config,
            self._traffic,
            self._meters,
            penalize=self.penalize,
            blame=self._blame,
            score=self._score,
        )
        self._host, self._swarm = make_host(config, self._inbound.on_stream, links)
        self._swarm.gate = _Gate(self._admission, self._count_refusal)
        self._swarm.register_notifee(_Notifee(self))
        self._send_incoming, self._incoming = trio.open_memory_channel[Incoming](
            config.limits.incoming_max
        )
        self._wanted: tuple[PeerId, ...] = ()
        self._known: tuple[PeerId, ...] = ()
        self._lane_counters = LaneCounters()
        self._lanes = LaneReceiver(
            config.limits, self._lane_counters, self._send_incoming.send, self._meters
        )
        self._gossip = Gossip(
            self._host,
            config,
            deliver=self._send_incoming.send,
            meters=self._meters,
            blame=self._blame,
            score=self._score,
        )
        self._book = AddressBook(
            self._peer_id,
            peers_max=config.limits.book_peers_max,
            told_by_one_max=config.limits.book_told_by_one_max,
            backoff_min_s=config.dial_backoff_min_s,
            backoff_max_s=config.dial_backoff_max_s,
        )
        for address in config.bootstrap:
            self._book.add_bootstrap(*_split_p2p(address))
        self._dialler = Dialler(self._swarm, self._book, config, self._sessions)
        self._exchange = Exchange(
            self._book,
            config,
            self._sessions,
            penalize=self.penalize,
            on_learned=self._dialler.wake,
            is_known=self._admission.is_known,
        )
        self._inbound.attach(
            self._gossip,
            self._lanes,
            public_key=self._host.get_public_key().serialize(),
            addresses=self._exchange.addresses,
        )
        self._topics: list[tuple[str, Callable[[PeerId, bytes], Verdict]]] = []
        self._listening: tuple[str, ...] = ()
        self._nursery: trio.Nursery | None = None
        self._stream_errors = 0
        self._inbound.serve_pings()
        self.serve(exchange.PROTOCOL, self._exchange.answer)

    # --- ports.Network --------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def incoming(self) -> trio.MemoryReceiveChannel[Incoming]:
        return self._incoming

    @property
    def address(self) -> str:
        """Multiaddr others can dial, with /p2p/; once `run` has started."""
        return self.addresses[0]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs others can dial, with /p2p/, those reached from farthest away first."""
        assert self._listening, "not listening yet"
        own = [*self._config.announced, *sorted(self._exchange.addresses(Scope.HOST), key=scope_of)]
        found = dict.fromkeys(own or self._listening)
        return tuple(f"{address}/p2p/{ID(self._peer_id)}" for address in found)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        if self._nursery is not None:
            raise UsedOnceError("this network has run already")
        check_ports_are_free(self._config.listening)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._inbound.begin(nursery)
            nursery.start_soon(self._shut_when_cancelled)
            if self._links is not None:
                await nursery.start(self._links.run)
            manager = TrioManager(self._swarm)
            nursery.start_soon(self._run_swarm, manager)
            await manager.wait_started()
            for topic, validate in self._topics:
                await self._gossip.subscribe(topic, validate)
            self._listening = await listen(self._swarm, self._config.listening)
            self._exchange.listens_on(self._listening)
            nursery.start_soon(self._gossip.run)
            nursery.start_soon(self._forgive)
            nursery.start_soon(self._dialler.run)
            if self._config.lan:
                nursery.start_soon(self._look_around)
            nursery.start_soon(self._exchange.run)
            task_status.started()

    def send(self, peer: PeerId, lane: Lane, frame: bytes) -> bool:
        if len(frame) > self._config.limits.frame_bytes_max:
            raise OwnFrameTooLargeError("frame", len(frame), self._config.limits.frame_bytes_max)
        session = self._sessions.get(peer)
        if session is None:
            self._lane_counters.dropped += 1
            return False
        return session.lanes[lane].push(frame)

    async def request(self, peer: PeerId, protocol: str, body: bytes, *, timeout_s: float) -> bytes:
        session = self._sessions.get(peer)
        if session is None:
            raise RequestFailedError("not connected")
        return await session.ask(protocol, body, timeout_s)

    def serve(self, protocol: str, handler: Handler) -> None:
        self._check_not_running()
        self._inbound.serve(protocol, handler)

    def subscribe(self, topic: str, validate: Callable[[PeerId, bytes], Verdict]) -> None:
        self._check_not_running()
        self._topics.append((topic, validate))

    def publish(self, topic: str, data: bytes) -> None:
        self._gossip.publish(topic, data)

    def peers(self) -> tuple[PeerStatus, ...]:
        now_s = trio.current_time()
        return tuple(
            PeerStatus(
                peer=peer,
                rtt_s=session.rtt_s,
                inbound=session.inbound,
                address=session.address,
                score=self._scores.score(peer, now_s),
                reasons=self._scores.reasons(peer, now_s),
                rtt_age_s=session.rtt_age_s,
            )
            for peer, session in sorted(self._sessions.items())
        )

    def banned(self) -> tuple[BannedPeer, ...]:
        return self._scores.all_banned(trio.current_time())

    def penalize(self, peer: PeerId, points: float, reason: str) -> None:
        self._offences[OTHER_RULES.kind] += 1
        if peer in self._sessions or self._scores.knows(peer):
            self._deduct(peer, points, reason)
        elif self._origins.penalize(peer, points, trio.current_time(), reason):
            # It has published what others forwarded. Names cost nothing there: kept apart, ever new
            # ones wash away neither scores nor bans of peers that were here.
            _event("origin_banned", logging.INFO, peer=str(ID(peer)), reason=reason)

    def _blame(self, peer: PeerId, offence: Offence, times: float, details: str) -> None:
        """Lower a score for an offence of the table."""
        self._offences[offence.kind] += 1
        reason = f"{offence.words} ({details})" if details else offence.words
        self._deduct(peer, offence.points * times, reason)

    def _deduct(self, peer: PeerId, points: float, reason: str) -> None:
        now_s = trio.current_time()
        if self._scores.banned(peer, now_s):
            return
        # An honest peer loses points too, when its machine is busy: only a ban is a warning.
        _event("peer_penalised", logging.INFO, peer=str(ID(peer)), points=points, reason=reason)
        session = self._sessions.get(peer)
        if session is not None and points > 0:
            ip = session.observed_ip
            if refused_s := self._admission.blame(peer, ip, points, now_s):
                _event("address_banned", address=ip, for_s=refused_s, reason=reason)
        if not self._scores.penalize(peer, points, now_s, reason):
            return
        until_s = self._scores.banned_until_s(peer)
        _event("peer_banned", peer=str(ID(peer)), for_s=round(until_s - now_s, 1), reason=reason)
        self._book.refuse(peer, until_s=until_s)
        if session is not None and self._nursery is not None:
            session.reason = f"banned: {reason}"
            self._nursery.start_soon(abort, session.connection)

    def _score(self, peer: PeerId) -> float:
        now_s = trio.current_time()
        return min(self._scores.score(peer, now_s), self._origins.score(peer, now_s))

    def _count_refusal(self, refusal: Refusal) -> None:
        self._refusals[refusal] += 1

    async def _forgive(self) -> None:
        """End bans whose time is over."""
        while True:
            await trio.sleep(_FORGIVE_INTERVAL_S)
            for peer in self._scores.forgive(trio.current_time()):
                _event("peer_forgiven", peer=str(ID(peer)))

    def disconnect(self, peer: PeerId, reason: str) -> None:
        """Break the connection to a peer; either side may connect again."""
        session = self._sessions.get(peer)
        if session is not None and self._nursery is not None:
            session.reason = reason
            self._nursery.start_soon(abort, session.connection)

    def ban(self, peer: PeerId, reason: str) -> None:
        """Disconnect a peer and refuse it for as long as a ban lasts."""
        self.penalize(peer, -BAN_SCORE, reason)

    def statistics(self) -> NetworkStatistics:
        gossip, lanes = self._gossip.counters, self._lane_counters
        return NetworkStatistics(
            peers_count=len(self._sessions),
            frames_sent=lanes.sent,
            frames_received=lanes.received,
            frames_dropped=lanes.dropped,
            messages_published=gossip.published,
            messages_received=gossip.received,
            messages_invalid=gossip.invalid,
            bytes_sent=self._traffic.sent_bytes,
            bytes_received=self._traffic.received_bytes,
            dials_failed=self._dialler.dials_failed,
            bans_count=self._scores.bans_count,
            refusals={
                **{refusal.value: count for refusal, count in self._refusals.items()},
                "streams": self._inbound.refused,
                "newer_records": self._exchange.newer_count,
            },
            offences=dict(self._offences),
        )

    def libp2p_statistics(self) -> Libp2pStatistics:
        """Totals since start that the port does not know."""
        gossip = self._gossip.counters
        return Libp2pStatistics(
            gossip_dropped=gossip.dropped,
            gossip_duplicates=gossip.duplicates,
            validator_errors=gossip.validator_errors,
            handler_errors=self._inbound.handler_errors,
            stream_errors=self._stream_errors + self._inbound.errors,
            connections_refused=sum(self._refusals.values()),
            addresses_known=len(self._book),
        )

    def set_wanted(self, addresses: Mapping[PeerId, Sequence[str]]) -> None:
        """Keep connections to these peers, besides the bootstrap peers; replaces earlier ones.

        Args:
            addresses: Peer to multiaddrs (with or without /p2p/), which may be none: addresses are
                learned from other peers, too.
        """
        self._book.set_wanted(
            {peer: [a.partition("/p2p/")[0] for a in known] for peer, known in addresses.items()}
        )
        self._wanted = tuple(addresses)
        self._admission.set_known([*self._wanted, *self._known])
        self._dialler.wake()
        self._exchange.wake()

    def set_known(self, peers: Iterable[PeerId]) -> None:
        """Reserve slots for these peers, whatever address they come from; replaces earlier ones.

        Args:
            peers: The validators of the epoch, say.
        """
        self._known = tuple(peers)
        self._admission.set_known([*self._wanted, *self._known])

    def _check_not_running(self) -> None:
        if self._nursery is not None:
            raise UsedOnceError("protocols and topics are fixed before `run`")

    async def _look_around(self) -> None:
        discovery = LanDiscovery(
            str(ID(self._peer_id)),
            lambda: [a for a in self._exchange.addresses(Scope.PRIVATE) if scope_of(a)],
            self._on_hint,
        )
        try:
            await discovery.run()
        except LanError as error:
            # Somebody else's mDNS keeps the port: the node goes on with the peers it is told.
            _log.warning("peers on the local network are not looked for: %s", error)

    def _on_hint(self, name: str, address: str) -> None:
        try:
            peer = ID.from_string(name).to_bytes()
        except ValueError:
            return
        if len(peer) <= PEER_ID_BYTES_MAX and peer not in self._sessions:
            self._book.learn(peer, [address], Origin.HEARSAY)
            self._dialler.wake()

    # --- connections ----------------------------------------------------------

    async def _run_swarm(self, manager: TrioManager) -> None:
        try:
            await manager.run()
        except Exception as error:
            raise NetworkFailedError(f"libp2p's swarm failed: {error!r}") from error
        raise NetworkFailedError("libp2p's swarm has ended")

    async def _shut_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            # Closed sockets wake whatever hangs in them; without it a hung peer could keep us up.
            await self._swarm.shut()

    def on_connected(self, connection: Any) -> None:
        """Take a connection into use; called by the swarm."""
        peer = connection.muxed_conn.peer_id.to_bytes()
        if self._nursery is None:
            return
        refusal = self._refusal(connection, peer)
        if refusal is not None:
            self._refusals[refusal] += 1
            _log.debug("a connection with %s is refused: %s", ID(peer), refusal.value)
            self._nursery.start_soon(abort, connection)
            return
        self._meters.touch(peer)
        session = Session(
            connection,
            self._config,
            gossip=self._gossip,
            lane_counters=self._lane_counters,
            traffic=self._traffic,
            penalize=self.penalize,
            blame=self._blame,
        )
        older = self._sessions.get(peer)
        events: tuple[Incoming, ...] = (PeerConnected(peer),)
        if older is not None:
            if self._are_twins(session, older):
                # What the smaller id dialled stays: the other side decides the same.
                if session.inbound != (peer < self._peer_id):
                    connection.muxed_conn.ready.set()
                    self._nursery.start_soon(self._retire, connection)
                    return
                session.succeed(older)
                events = ()
            else:
                # A peer with a good connection does not dial: it has lost the older one, and may
                # have been started anew.
                older.retired = True
                events = (PeerLost(peer, "replaced by a newer connection"), *events)
            self._nursery.start_soon(self._retire, older.connection)
        self._sessions[peer] = session
        self._nursery.start_soon(self._run_session, session, events)

    def _refusal(self, connection: Any, peer: PeerId) -> Refusal | None:
        """Judge a connection whose peer is known now."""
        now_s = trio.current_time()
        if peer == self._peer_id or self._score(peer) <= BAN_SCORE:
            return Refusal.BANNED
        if connection.direction != Direction.INBOUND:
            return None if self._admission.allows(peer) else Refusal.NOT_ALLOWED
        admitted = self._admission.admit(peer, remote_ip(connection.muxed_conn), now_s)
        if isinstance(admitted, Refusal):
            return admitted
        assert self._nursery is not None
        self._admitted[admitted] = connection
        self._nursery.start_soon(self._count_out, connection.muxed_conn, admitted)
        if admitted.instead_of is not None:
            self._crowd_out(admitted.instead_of)
        return None

    async def _count_out(self, muxed_conn: Any, admitted: Admitted) -> None:
        await muxed_conn.event_closed.wait()
        del self._admitted[admitted]
        self._admission.leave(admitted, trio.current_time())

    def _crowd_out(self, admitted: Admitted) -> None:
        """End the connection of a stranger whose slot somebody else has now."""
        assert self._nursery is not None
        self._refusals[Refusal.CROWDED_OUT] += 1
        connection = self._admitted[admitted]
        session = self._sessions.get(admitted.peer)
        if session is not None and session.connection is connection:
            session.reason = "its slot went to a peer from a network with fewer connections"
        self._nursery.start_soon(abort, connection)

    def _are_twins(self, new: Session, older: Session) -> bool:
        """Tell whether both sides dialled at once."""
        return (
            not older.connection.is_closed
            and new.inbound != older.inbound
            and new.began_s - older.began_s <= SIMULTANEOUS_S
        )

    async def _retire(self, connection: Any) -> None:
        # The other side may have used it before it knew of its twin.
        await trio.sleep(RETIREMENT_S)
        await abort(connection)

    async def _run_session(self, session: Session, events: tuple[Incoming, ...]) -> None:
        peer = session.peer
        try:
            for event in events:
                await self._send_incoming.send(event)
            session.connection.muxed_conn.ready.set()
            assert self._nursery is not None
            self._nursery.start_soon(self._exchange.ask, session)
            await session.run()
        except Exception as error:  # noqa: BLE001 - a supervisor: it costs one connection
            # One of the two supervisors of the network: a fault ends a connection, not the node.
            self._stream_errors += 1
            session.reason = f"failed: {error!r}"
            _log.exception("a session failed")
            await abort(session.connection)
        finally:
            session.finish()
            is_last = self._sessions.get(peer) is session
            if is_last:
                del self._sessions[peer]
                self._lanes.forget(peer)
                now_s = trio.current_time()
                self._dialler.lost(peer, lived_s=now_s - session.began_s)
                if self._scores.banned(peer, now_s):
                    self._book.refuse(peer, until_s=self._scores.banned_until_s(peer))
        if is_last:
            await self._send_incoming.send(PeerLost(peer, session.reason))


class _Gate:
    """Lets connections into their handshake, or not."""

    def __init__(self, admission: Admission, count: Callable[[Refusal], None]) -> None:
        self._admission = admission
        self._count = count

    def begin(self, ip: str) -> bool:
        refusal = self._admission.begin(ip, trio.current_time())
        if refusal is not None:
            self._count(refusal)
        return refusal is None

    def end(self, ip: str) -> None:
        self._admission.end(ip, trio.current_time())


class _Notifee(INotifee):
    """Tells the network of connections; how they end it sees itself."""

    def __init__(self, network: Libp2pNetwork) -> None:
        self._network = network

    async def connected(self, network: Any, conn: Any) -> None:
        self._network.on_connected(conn)

    async def disconnected(self, network: Any, conn: Any) -> None: ...

    async def opened_stream(self, network: Any, stream: Any) -> None: ...

    async def closed_stream(self, network: Any, stream: Any) -> None: ...

    async def listen(self, network: Any, multiaddr: Any) -> None: ...

    async def listen_close(self, network: Any, multiaddr: Any) -> None: ...


def _event(name: str, level: int = logging.WARNING, **fields: object) -> None:
    """Log an event of the network, in the form of p2pnode/telemetry/logging.py."""
    _log.log(level, name, extra={"p2pnode_fields": fields})


def _split_p2p(address: str) -> tuple[PeerId, str]:
    """Split a multiaddr into the peer id it ends in and the rest."""
    where, _, name = address.partition("/p2p/")
    try:
        peer = ID.from_string(name).to_bytes()
        str(Multiaddr(where))
    except ValueError as error:
        raise NetworkConfigError(f"{address!r} is no multiaddr with /p2p/: {error}") from None
    if not name or not where:
        raise NetworkConfigError(f"{address!r} is no multiaddr with /p2p/")
    return peer, where
