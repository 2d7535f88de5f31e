"""Peer exchange: nodes tell one another where they and others are reached, over signatures.

A node that begins a connection, and one that misses somebody, tells a peer its own records and
asks for those of the peers connected there. Whoever hears that a peer it knows has moved tells its
own peers at once, so that a node that comes back elsewhere is found through any one of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Protocol

import trio
from libp2p.peer.id import ID

from p2pnode import codec
from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.errors import RemoteProtocolError
from p2pnode.net.addresses import expanded, interface_ips, scope_of_ip, told_within
from p2pnode.net.book import AddressBook, News
from p2pnode.net.config import NetworkConfig
from p2pnode.net.moves import Moves
from p2pnode.net.rates import TokenBucket
from p2pnode.ports import PeerId, RequestFailedError
from p2pnode.types.record import (
    RECORD_BYTES_MAX,
    NewerRecordError,
    NodeRecord,
    Scope,
    SignedRecord,
    check_record,
    decode_record,
    sign_record,
)

_log = logging.getLogger("p2pnode.net")

PROTOCOL: Final = "peers"
"""Name of the request."""

TIMEOUT_S: Final = 5.0
"""Time for an answer."""

RENEWAL_MS: Final = 900_000
"""Our records are signed anew at this age, a quarter of what others believe."""

NEWS_PAUSE_S: Final = 0.2
"""Time between two tellings of news: they gather meanwhile."""

STALE_POINTS: Final = 1.0
"""Cost of a message with records that are too old or from the future. At one message in ten seconds
this heals faster than it hurts: a clock that is wrong, ours or theirs, must not end in bans."""

CHECKS_PER_S: Final = 20.0
"""Records new to us that one peer may make us check and keep in a second, in the long run: each
takes a third of a millisecond, and identities to sign them with are free."""

CHECKS_AT_ONCE_MAX: Final = 600
"""So many at once: three whole answers."""

CHECKED_PEERS_MAX: Final = 1024
"""Peers of which that is counted; the one forgotten first is the one that came first."""

NEWS_PER_S: Final = 0.8 * CHECKS_PER_S
"""Records of others told in a second, in the long run: those who hear of them check no more, and
would pass over what comes last."""

EXCEEDING_PAUSE_S: Final = 5.0
"""Time between two records of ours that are signed above one of an earlier life."""

ANSWER_BYTES_PER_PEER: Final = len(Scope) * (RECORD_BYTES_MAX + 3)


class Connected(Protocol):
    """A connection as the exchange sees it."""

    @property
    def peer(self) -> PeerId:
        """Who is at its other end."""

    @property
    def observed_ip(self) -> str:
        """The IP of the other end."""

    async def ask(self, protocol: str, body: bytes, timeout_s: float) -> bytes:
        """Send a request and return the answer, or raise RequestFailedError."""


class Exchange:
    """Tells peers where this node and others are, and learns the same from them."""

    def __init__(
        self,
        book: AddressBook,
        config: NetworkConfig,
        sessions: Mapping[PeerId, Connected],
        *,
        penalize: Callable[[PeerId, float, str], None],
        on_learned: Callable[[], None],
        is_known: Callable[[PeerId], bool],
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        ips: Callable[[], Iterable[str]] = interface_ips,
    ) -> None:
        """Make it idle.

        Args:
            book: Where records are kept.
            config: Identity, addresses to announce, and limits.
            sessions: The connections in use at any time; not copied.
            penalize: Told of what peers do wrong.
            on_learned: Called after the book may have changed.
            is_known: Tells the peers that matter to us from strangers: news of them comes first.
            wall_ms: The time, milliseconds since 1970.
            ips: Addresses of the machine's interfaces, for a node that listens on all of them.
        """
        self._key = SecretKey(config.seed)
        self._own_id = peer_id_of(self._key.public)
        self._book = book
        self._config = config
        self._sessions = sessions
        self._penalize = penalize
        self._on_learned = on_learned
        self._is_known = is_known
        self._wall_ms = wall_ms
        self._ips = ips
        self._listening: tuple[str, ...] = ()
        self._own: dict[Scope, SignedRecord] = {}
        self._sequence = 0
        self._exceeded_s = float("-inf")
        self._checks: dict[PeerId, TokenBucket] = {}
        self._moves = Moves()
        self._wake = trio.Event()
        self._have_news = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.newer_count = 0
        """Records told to us in a version we do not know."""

    def listens_on(self, addresses: Iterable[str]) -> None:
        """Say where this node listens; before anybody is told."""
        self._listening = tuple(addresses)
        self.renew()

    def addresses(self, scope: Scope) -> tuple[str, ...]:
        """Return what peers within a scope are told of this node; nothing before it listens."""
        own = self._own.get(scope)
        return () if own is None else own.record.addresses

    def wake(self) -> None:
        """Ask now, where somebody is missing."""
        self._wake.set()

    def renew(self) -> bool:
        """Sign our records anew if they get old, or our addresses have changed.

        Returns:
            Whether peers are to be told.
        """
        now_ms = self._wall_ms()
        own = expanded(self._listening, self._ips())
        told = {scope: told_within(scope, own, self._config.announced) for scope in reversed(Scope)}
        held = {scope: signed.record.addresses for scope, signed in self._own.items()}
        # Also when the clock was put back by more than the time between two renewals.
        if held == told and abs(now_ms - self._sequence) < RENEWAL_MS:
            return False
        self._sign(told, now_ms)
        return True

    def _sign(self, told: Mapping[Scope, tuple[str, ...]], now_ms: int) -> None:
        # The clock may be set back: what we say last has to be the newest for those who know us.
        self._sequence = max(now_ms, self._sequence + 1)
        for scope, addresses in told.items():
            record = NodeRecord(
                self._key.public, scope, self._sequence, self._config.roles, addresses
            )
            self._own[scope] = sign_record(self._key, self._config.chain, record)

    async def run(self) -> None:
        """Look after our records, ask while peers are wanting, and pass on who has moved."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._run_news)
            while True:
                self._wake = trio.Event()
                with trio.move_on_after(self._config.exchange_interval_s):
                    await self._wake.wait()
                is_renewed = self.renew()
                self._book.expire(self._sessions, self._wall_ms())
                few = len(self._sessions) < self._config.peers_wanted
                if is_renewed or few or self._book.misses_someone(self._sessions):
                    for session in list(self._sessions.values()):
                        nursery.start_soon(self.ask, session)

    async def ask(self, session: Connected, further: Iterable[SignedRecord] = ()) -> None:
        """Tell a peer our records, and hear of those it knows.

        Args:
            session: The connection to it.
            further: Records of others to tell; at most `records_told_max` with ours.
        """
        scope = scope_of_ip(session.observed_ip)
        told = [signed.raw for signed in [*self._own_for(scope), *further]]
        try:
            answer = await session.ask(PROTOCOL, codec.encode(told), TIMEOUT_S)
            limits = self._config.limits
            size_max = limits.exchange_peers_max * ANSWER_BYTES_PER_PEER
            self._learn(
                session,
                codec.array(
                    codec.decode(answer, size_bytes_max=min(size_max, limits.answer_bytes_max)),
                    "records",
                    length_max=len(Scope) * limits.exchange_peers_max,
                ),
            )
        except RequestFailedError as error:
            _log.debug("no peers from %s: %s", ID(session.peer), error)
        except RemoteProtocolError as error:
            self._penalize(session.peer, error.penalty, str(error))

    async def answer(self, peer: PeerId, body: bytes) -> bytes:
        """Answer a peer that asks; the handler of the request.

        Raises:
            RemoteProtocolError: It tells what is no record, or too many; who serves the request
                holds that against it.
        """
        session = self._sessions.get(peer)
        if session is None:
            return codec.encode([])
        told_max = self._config.limits.records_told_max
        records = codec.array(
            codec.decode(body, size_bytes_max=told_max * (RECORD_BYTES_MAX + 3) + 9),
            "records",
            length_max=told_max,
        )
        self._learn(session, records)
        scope = scope_of_ip(session.observed_ip)
        known = self._own_for(scope)
        # Its own, too: a node whose clock was put back learns what it has to exceed.
        peers = [peer, *(other for other in self._sessions if other != peer)]
        for other in peers[: self._config.limits.exchange_peers_max - 1]:
            known += self._of(other, scope)
        return codec.encode([signed.raw for signed in known])

    def _own_for(self, scope: Scope) -> list[SignedRecord]:
        return [signed for signed in self._own.values() if signed.record.scope <= scope]

    def _of(self, peer: PeerId, scope: Scope) -> list[SignedRecord]:
        """Return what may be passed on of a peer to somebody within a scope."""
        now_ms = self._wall_ms()
        return [
            signed
            for signed in self._book.records(peer)
            if signed.record.scope <= scope and signed.record.is_current(now_ms)
        ]

    def _learn(self, session: Connected, raws: Iterable[codec.Value]) -> None:
        """Keep what is new.

        Raises:
            RemoteProtocolError: One of the records is not right; those before it are kept.
        """
        scope = scope_of_ip(session.observed_ip)
        now_ms = self._wall_ms()
        is_stale = False
        for value in raws:
            raw = codec.octets(value, "record", length_max=RECORD_BYTES_MAX)
            try:
                signed = decode_record(raw)
            except NewerRecordError:
                self.newer_count += 1
                continue
            record = signed.record
            # Most of what is told is known, its signature checked.
            if self._book.holds(signed) or self._own.get(record.scope) == signed:
                continue
            if not self._may_check(session.peer):
                # They will be told again, by this peer or another.
                break
            check_record(signed, self._config.chain)
            if record.peer == self._own_id:
                self._exceed(record.sequence)
            elif record.peer != session.peer and not record.is_current(now_ms):
                is_stale = is_stale or record.is_stale(now_ms)
            else:
                news = self._book.learn_record(signed, teller=session.peer, within=scope)
                is_stale = is_stale or (news is News.OLD and record.peer == session.peer)
                if news is News.CHANGED:
                    self._moves.put(
                        signed, teller=session.peer, is_kept=self._is_known(record.peer)
                    )
                    self._have_news.set()
        if is_stale:
            self._penalize(session.peer, STALE_POINTS, "told records out of their time")
        self._on_learned()

    def _may_check(self, teller: PeerId) -> bool:
        """Count a record that is new to us."""
        bucket = self._checks.get(teller)
        if bucket is None:
            bucket = self._checks[teller] = TokenBucket(CHECKS_PER_S, CHECKS_AT_ONCE_MAX)
            if len(self._checks) > CHECKED_PEERS_MAX:
                del self._checks[next(iter(self._checks))]
        return bucket.take(1.0, trio.current_time())

    def _exceed(self, sequence: int) -> None:
        """Sign above a record of an earlier life, signed when the clock was ahead of now."""
        now_s = trio.current_time()
        # Not more often: two nodes with one key would drive each other on.
        if sequence > self._sequence and now_s - self._exceeded_s >= EXCEEDING_PAUSE_S:
            self._exceeded_s = now_s
            self._sequence = sequence
            self._sign({s: signed.record.addresses for s, signed in self._own.items()}, sequence)
            self._tell_all(self._own.values())

    # --- news -----------------------------------------------------------------

    async def _run_news(self) -> None:
        while True:
            await self._have_news.wait()
            await trio.sleep(NEWS_PAUSE_S)
            ready = self._moves.take(self._further_max, trio.current_time())
            if not self._moves:
                self._have_news = trio.Event()
            self._tell_all(ready)
            await trio.sleep(len(ready) / NEWS_PER_S)

    @property
    def _further_max(self) -> int:
        """Records of others that are told at a time, besides ours."""
        return self._config.limits.records_told_max - len(Scope)

    def _tell_all(self, news: Collection[SignedRecord]) -> None:
        if self._nursery is None or not news:
            return
        for session in list(self._sessions.values()):
            scope = scope_of_ip(session.observed_ip)
            further = [
                signed
                for signed in news
                if signed.record.scope <= scope
                and signed.record.peer not in (session.peer, self._own_id)
            ]
            self._nursery.start_soon(self.ask, session, further[: self._further_max])
