"""Gossipsub's meshes: libp2p's router, with what breaks a chain or feeds on memory replaced.

Kept from libp2p: who is in the mesh of a topic (graft, prune, back-off, repair on every heartbeat).
Replaced, because the stock parts drop more than 10 messages a second, keep whole messages and the
topics of strangers for ever, sign and verify the sender's addresses with every message, dial peers
named by anyone, write to one stream from several tasks, and graft peers on topics meant for others.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2

from p2pnode.net.libp2p.out_queue import OWN, OutQueue
from p2pnode.net.libp2p.streams import encode_varint
from p2pnode.net.promises import Promises
from p2pnode.ports import PeerId

_log = logging.getLogger("p2pnode.net")

MESHSUB: Final = str(PROTOCOL_ID_V11)
"""1.1: in later versions the refusals of duplicates (IDONTWANT) cost more than they save."""

PRUNE_BACKOFF_S: Final = 5
"""Pause before a pruned peer may return; libp2p's 60 s leaves islands."""

_BACKOFF_ACCEPTED_MAX_S: Final = 60
_IDS_PER_MESSAGE_MAX: Final = 500
_CONTROLS_MAX: Final = 256
_RETRANSMISSIONS_MAX: Final = 3
_ASKED_PER_PEER_MAX: Final = 500
_ASKED_MAX: Final = 1 << 14
_LAZY_PEERS: Final = 3


class SeenIds:
    """Ids of messages met lately; two generations, so that forgetting costs nothing."""

    def __init__(self, ids_max: int = 1 << 17) -> None:
        """Begin empty.

        Args:
            ids_max: Ids remembered at most; the older half is forgotten first.
        """
        self._young: dict[bytes, None] = {}
        self._old: dict[bytes, None] = {}
        self._generation_max = ids_max // 2

    def has(self, message_id: bytes) -> bool:
        return message_id in self._young or message_id in self._old

    def add(self, message_id: bytes) -> None:
        self._young[message_id] = None
        if len(self._young) >= self._generation_max:
            self.age()

    def age(self) -> None:
        """Forget the older generation; called once a minute or when full."""
        self._old, self._young = self._young, {}


@dataclass(slots=True)
class PubsubState:
    """What the router reads of a Pubsub, in place of libp2p's (which starts a thread)."""

    host: BasicHost
    peers: dict[ID, object] = field(default_factory=dict)
    """Peers we can write to."""
    queues: dict[ID, OutQueue] = field(default_factory=dict)
    """Their queues."""
    peer_topics: dict[str, set[ID]] = field(default_factory=dict)
    """Who is subscribed to what."""
    seen_messages: SeenIds = field(default_factory=SeenIds)
    """Ids not to ask for."""


class MessageHistory:
    """Messages of the last heartbeats, for peers that missed them."""

    WINDOWS: Final = 5
    ANNOUNCED: Final = 3

    def __init__(self, bytes_max: int = 32 << 20) -> None:
        """Begin empty.

        Args:
            bytes_max: Bytes kept at most; further messages are not kept.
        """
        self._windows: deque[dict[bytes, tuple[str, bytes]]] = deque([{}])
        self._sizes: deque[int] = deque([0])
        self._bytes_max = bytes_max
        self._sent: dict[tuple[ID, bytes], int] = {}

    def put(self, message_id: bytes, topic: str, rpc: bytes) -> None:
        if sum(self._sizes) + len(rpc) <= self._bytes_max:
            self._windows[0][message_id] = (topic, rpc)
            self._sizes[0] += len(rpc)

    def recent(self, topic: str) -> list[bytes]:
        """Return the ids of the last messages of a topic, the oldest first."""
        windows = list(self._windows)[: self.ANNOUNCED]
        return [i for w in reversed(windows) for i, (t, _) in w.items() if t == topic]

    def take(self, peer: ID, message_id: bytes) -> bytes | None:
        """Return a message's RPC, unless this peer has been given it too often."""
        for window in self._windows:
            if message_id in window:
                times = self._sent.get((peer, message_id), 0)
                if times >= _RETRANSMISSIONS_MAX:
                    return None
                self._sent[peer, message_id] = times + 1
                return window[message_id][1]
        return None

    def shift(self) -> None:
        """Begin a new window and forget the oldest one."""
        self._windows.appendleft({})
        self._sizes.appendleft(0)
        if len(self._windows) > self.WINDOWS:
            gone = self._windows.pop()
            self._sizes.pop()
            if gone:
                self._sent = {k: v for k, v in self._sent.items() if k[1] not in gone}


class LeanRouter(GossipSub):
    """libp2p's mesh upkeep over our queues."""

    def __init__(
        self,
        state: PubsubState,
        degree: int,
        accepts: Callable[[ID], bool],
        promises: Promises,
    ) -> None:
        """Make a router without topics.

        Args:
            state: Peers, queues and subscriptions, kept by the caller.
            degree: Neighbours per topic.
            accepts: Whether a peer's score lets it into a mesh.
            promises: Told of what is asked of whom; the caller keeps it.
        """
        super().__init__(
            [TProtocol(MESHSUB)],
            degree=degree,
            degree_low=max(1, degree - 1),
            degree_high=degree + 1,
            heartbeat_interval=1,
            prune_back_off=PRUNE_BACKOFF_S,
            unsubscribe_back_off=1,
            do_px=False,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
            max_pending_messages_per_peer=1,
        )
        # Scores are kept for the whole network in one place; libp2p's would gate silently.
        self.scorer = None
        self.history = MessageHistory()
        self._accepts = accepts
        self._promises = promises
        self._asked: dict[bytes, None] = {}
        """Ids asked for since the last heartbeat."""
        self._asked_of: dict[ID, int] = {}
        """How many of them, of whom."""
        self._state = state
        self.pubsub = state  # type: ignore[assignment]

    # --- sending ----------------------------------------------------------

    def send_rpc(self, peer_id: ID, rpc: rpc_pb2.RPC, priority: bool = False) -> None:
        """Queue an RPC of libp2p's, all of which are control."""
        self._push_control(peer_id, rpc)

    def _push_control(self, peer: ID, rpc: rpc_pb2.RPC) -> bool:
        queue = self._state.queues.get(peer)
        encoded = rpc.SerializeToString()
        return queue is not None and queue.push_control(encode_varint(len(encoded)) + encoded)

    async def emit_control_message(self, control_msg: rpc_pb2.ControlMessage, to_peer: ID) -> None:
        self.send_rpc(to_peer, rpc_pb2.RPC(control=control_msg))

    def forward(
        self,
        topic: str,
        message_id: bytes,
        message: bytes,
        *,
        source: PeerId = OWN,
        exclude: Iterable[ID] = (),
    ) -> None:
        """Queue an encoded message for the neighbours of its topic.

        Args:
            topic: Its topic.
            message_id: Its id.
            message: The encoded rpc_pb2.Message.
            source: Who gave it to us. What begins here makes up for an unfinished mesh at random.
            exclude: Who has it already.
        """
        # The RPC around it by hand (field 2, length-delimited): encoded once, for all neighbours.
        body = b"\x12" + encode_varint(len(message)) + message
        rpc = encode_varint(len(body)) + body
        self.history.put(message_id, topic, rpc)
        targets = dict.fromkeys(p for p in self.mesh.get(topic, ()) if p in self._state.queues)
        missing = self.degree - len(targets)
        if missing > 0 and (source == OWN or not targets):
            others = [
                p
                for p in self._state.peer_topics.get(topic, ())
                if p not in targets and p in self._state.queues
            ]
            targets |= dict.fromkeys(random.sample(others, min(missing, len(others))))
        for peer in exclude:
            targets.pop(peer, None)
        for peer in targets:
            self._state.queues[peer].push(rpc, source)

    def replay(self, peer: ID, topic: str) -> None:
        """Send the last messages of a topic to a peer that has just subscribed to it."""
        queue = self._state.queues.get(peer)
        for message_id in self.history.recent(topic) if queue is not None else ():
            rpc = self.history.take(peer, message_id)
            if rpc is not None and queue is not None:
                queue.push(rpc, peer.to_bytes())

    # --- receiving --------------------------------------------------------

    async def handle_control(self, control: rpc_pb2.ControlMessage, sender: ID) -> int:
        """Act on the control part of an RPC, of which only our topics concern us.

        Returns:
            How many of its parts were of no use.
        """
        useless = 0
        for parts in (control.ihave, control.iwant, control.graft, control.prune):
            useless += max(0, len(parts) - _CONTROLS_MAX)
        for ihave in control.ihave[:_CONTROLS_MAX]:
            if ihave.topicID in self.mesh:
                self._want(ihave.messageIDs[:_IDS_PER_MESSAGE_MAX], sender)
            else:
                useless += 1
        for iwant in control.iwant[:_CONTROLS_MAX]:
            queue = self._state.queues.get(sender)
            for message_id in iwant.messageIDs[:_IDS_PER_MESSAGE_MAX]:
                rpc = self.history.take(sender, message_id)
                if rpc is not None and queue is not None:
                    # On the sender's own account: what it asks for delays nobody's messages.
                    queue.push(rpc, sender.to_bytes())
                useless += rpc is None
        for graft in control.graft[:_CONTROLS_MAX]:
            if graft.topicID in self.mesh and self._accepts(sender):
                await self.handle_graft(graft, sender)
            elif len(graft.topicID) <= 256:
                useless += 1
                await self.emit_prune(graft.topicID, sender, False, False)
        for prune in control.prune[:_CONTROLS_MAX]:
            if prune.topicID in self.mesh:
                prune.backoff = min(prune.backoff, _BACKOFF_ACCEPTED_MAX_S)
                # Peers offered in exchange would be dialled by libp2p, wherever they point.
                del prune.peers[:]
                await self.handle_prune(prune, sender)
            else:
                useless += 1
        return useless

    def _want(self, message_ids: Iterable[bytes], sender: ID) -> None:
        wanted = [
            i
            for i in message_ids
            if i not in self._asked and not self._state.seen_messages.has(i) and len(i) <= 128
        ]
        # A share for each: what one peer makes up must not keep us from asking the others.
        asked = self._asked_of.get(sender, 0)
        wanted = wanted[: _ASKED_PER_PEER_MAX - asked]
        if not wanted or len(self._asked) >= _ASKED_MAX:
            return
        peer, now_s = sender.to_bytes(), trio.current_time()
        if not self._promises.trusts(peer, now_s):
            return
        control = rpc_pb2.ControlMessage()
        control.iwant.add(messageIDs=wanted)
        if self._push_control(sender, rpc_pb2.RPC(control=control)):
            self._asked |= dict.fromkeys(wanted)
            self._asked_of[sender] = asked + len(wanted)
            self._promises.made(peer, wanted, now_s)

    # --- upkeep -----------------------------------------------------------

    # libp2p's own count in wall time, which may be put back by an hour; it also keeps an entry for
    # whoever has sent a PRUNE, for ever, and identities are free.

    def _add_back_off(
        self, peer: ID, topic: str, is_unsubscribe: bool, backoff_duration: int = 0
    ) -> None:
        own_s = self.unsubscribe_back_off if is_unsubscribe else self.prune_back_off
        until_s = trio.current_time() + (backoff_duration or own_s)
        back_off: dict[ID, Any] = self.back_off.setdefault(topic, {})
        back_off[peer] = max(back_off.get(peer, 0.0), until_s)

    def _check_back_off(self, peer: ID, topic: str) -> bool:
        return self.back_off.get(topic, {}).get(peer, 0.0) > trio.current_time()

    def _check_graft_flood_protection(self, peer_id: ID, topic: str) -> bool:
        pruned = self.graft_flood_tracking[peer_id]
        if pruned.get(topic, 0.0) > time.time():
            del pruned[topic]
        return super()._check_graft_flood_protection(peer_id, topic)

    def _forget_back_offs(self) -> None:
        for topic, back_off in self.back_off.items():
            for peer in [p for p in back_off if not self._check_back_off(p, topic)]:
                del back_off[peer]

    def beat(self) -> None:
        """Repair the meshes and announce what others may have missed: one heartbeat."""
        controls: dict[ID, Any] = {}
        grafts, prunes = self.mesh_heartbeat()
        for topic, mesh in self.mesh.items():
            # Whose score has fallen is in no mesh; libp2p may just have taken it in again.
            for peer in [p for p in mesh if not self._accepts(p)]:
                mesh.discard(peer)
                if topic in grafts[peer]:
                    grafts[peer].remove(topic)
                else:
                    prunes[peer].append(topic)
        for peer, topics in grafts.items():
            for topic in topics:
                controls.setdefault(peer, rpc_pb2.ControlMessage()).graft.add(topicID=topic)
        for peer, topics in prunes.items():
            for topic in topics:
                controls.setdefault(peer, rpc_pb2.ControlMessage()).prune.add(
                    topicID=topic, backoff=self.prune_back_off
                )
        for topic, mesh in self.mesh.items():
            message_ids = self.history.recent(topic)[-_IDS_PER_MESSAGE_MAX:]
            others = [p for p in self._state.peer_topics.get(topic, ()) if p not in mesh]
            if message_ids and others:
                for peer in random.sample(others, min(_LAZY_PEERS, len(others))):
                    controls.setdefault(peer, rpc_pb2.ControlMessage()).ihave.add(
                        topicID=topic, messageIDs=message_ids
                    )
        for peer, control in controls.items():
            self._push_control(peer, rpc_pb2.RPC(control=control))
        self._asked.clear()
        self._asked_of.clear()
        self.history.shift()
        self._forget_back_offs()
        self._periodic_security_cleanup()
