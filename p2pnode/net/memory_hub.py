"""The medium between nodes in one process: one heap of events, and one task that works it off.

Under Trio's virtual clock and seeded scheduler a run repeats exactly: one random generator, events
ordered by (time, sequence), no iteration over sets. Every running node is connected to every other
one; published messages travel over a separate sparse mesh, hop by hop (net/mesh.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import trio

from p2pnode.net.links.profile import LinkProfile
from p2pnode.net.memory_link import Call, Link
from p2pnode.net.mesh import Mesh
from p2pnode.net.virtual import VirtualTime
from p2pnode.ports import (
    FrameReceived,
    Incoming,
    Lane,
    PeerConnected,
    PeerId,
    PeerLost,
    Published,
    Verdict,
)

if TYPE_CHECKING:
    from p2pnode.net.memory import MemoryNetwork

DETECTION_S: Final = 0.1
"""From a node's end until its peers learn of it: what a killed TCP peer takes to be noticed."""

LIVENESS_S: Final = 8.0
"""How long a cut link stands before both ends give it up: three pings missed."""

QUEUE_S_MAX: Final = 10.0
"""A lane of a link with a rate holds this many seconds of traffic; more is refused."""

FrameHook: TypeAlias = Callable[[PeerId, PeerId, Lane, bytes], bytes | None]
"""Sees (sender, receiver, lane, frame) as it is sent; returns what travels, None to drop it."""

BugHook: TypeAlias = Callable[[PeerId, Exception], None]
"""Is told (node, error); then the message is ignored, or the request fails, as on real networks."""

_LOST: Final = -1.0
_REFUSED: Final = -2.0


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """Totals of the medium since start."""

    nodes_count: int
    events_count: int
    """Events worked off: arrivals, connections, detections."""
    wakeups_count: int
    """Times the pump woke; below `events_count` when several were due at one instant."""
    waiting_count: int
    """Events in the future."""
    lost_count: int
    """Frames, hops and legs that vanished: loss, a cut, or a receiver that had stopped."""
    overflow_count: int
    """Items dropped because a node did not read its `incoming`."""
    hops_count: int
    """Published messages sent from one node to a neighbour."""
    duplicates_count: int
    """Arrivals of published messages that the receiver had already seen."""


Event: TypeAlias = tuple[float, int, Callable[[Any, Any, Any], None], Any, Any, Any]


class MemoryHub:
    """The medium between `MemoryNetwork`s: links, faults, and the one task that moves everything.

    Start `run` before the nodes. Times of arrival are rounded up to `tick_s`, so that arrivals
    close together cost one wake-up.
    """

    def __init__(
        self, rng: random.Random, links: LinkProfile | None = None, *, tick_s: float = 0.001
    ) -> None:
        """Make a medium without nodes.

        Args:
            rng: Draws latencies, losses and meshes; nobody else should use it.
            links: Profile of every link that `set_link` gives no other.
            tick_s: Grid of the times of arrival.
        """
        self.on_frame: FrameHook | None = None
        """Hook of recorders and adversaries; see `FrameHook`."""
        self.on_bug: BugHook | None = None
        """Takes what a node's own validator or handler raised; without it a bug ends the run."""
        self._random = rng.random
        self._rng = rng
        self._links = links if links is not None else LinkProfile()
        self._profiles: dict[tuple[PeerId, PeerId], LinkProfile] = {}
        self._cut: dict[tuple[PeerId, PeerId], int] = {}
        self._nodes: dict[PeerId, MemoryNetwork] = {}
        self._meshes: dict[str, Mesh] = {}
        self._ticks_per_s = 1.0 / tick_s
        self._heap: list[Event] = []
        self._sequence = 0
        self._wake_at = -inf
        self._scope = trio.CancelScope()
        self._events = 0
        self._wakeups = 0
        self._lost = 0
        self._overflow = 0
        self._hops = 0
        self._published = 0
        self._duplicates = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Move everything until cancelled."""
        clock = trio.lowlevel.current_clock()
        if isinstance(clock, VirtualTime):
            task_status.started()
            await clock.drive(self)
        task_status.started()
        while True:
            self.work_off(trio.current_time())
            self._wake_at = self.next_due()
            # An earlier event moves this deadline (`_at`): no task, event or channel per message.
            with trio.CancelScope(deadline=self._wake_at) as self._scope:
                await trio.sleep_forever()
            self._wake_at = -inf

    def next_due(self) -> float:
        """Return the time of the first event, infinity when there is none."""
        return self._heap[0][0] if self._heap else inf

    def work_off(self, now: float) -> None:
        """Do everything due at `now` or before."""
        heap = self._heap
        self._wakeups += bool(heap) and heap[0][0] <= now
        while heap and heap[0][0] <= now:
            _, _, action, a, b, c = heappop(heap)
            self._events += 1
            action(a, b, c)

    # --- faults ----------------------------------------------------------------------------------

    def profile(self, sender: PeerId, receiver: PeerId) -> LinkProfile:
        """Return what holds for a directed link."""
        return self._profiles.get((sender, receiver), self._links)

    def set_link(self, sender: PeerId, receiver: PeerId, profile: LinkProfile | None) -> None:
        """Give one directed link its own profile, or with None the default again."""
        if profile is None:
            self._profiles.pop((sender, receiver), None)
        else:
            self._profiles[sender, receiver] = profile
        self._refresh(sender, receiver)

    def set_links(self, profile: LinkProfile) -> None:
        """Change the default profile; links with their own keep it."""
        self._links = profile
        for sender in self._nodes:
            for receiver in self._nodes:
                self._refresh(sender, receiver)

    def cut(self, sender: PeerId, receiver: PeerId) -> None:
        """Let everything sent from `sender` to `receiver` vanish from now on, silently.

        What is under way still arrives. After `LIVENESS_S` both ends lose the connection.
        """
        if (sender, receiver) in self._cut:
            return
        self._sequence += 1
        self._cut[sender, receiver] = self._sequence
        self._refresh(sender, receiver)
        due = trio.current_time() + LIVENESS_S
        self._at(due, self._give_up, sender, receiver, self._sequence)

    def heal(self, sender: PeerId, receiver: PeerId) -> None:
        """Undo `cut`; nodes that lost each other connect again."""
        if self._cut.pop((sender, receiver), None) is not None:
            self._refresh(sender, receiver)
            self._dial(sender, receiver, trio.current_time())

    def crash(self, peer: PeerId) -> None:
        """Stop a node's network at once, as a killed process stops.

        What is under way to it vanishes; peers get `PeerLost` after `DETECTION_S`. Its `run` goes
        on doing nothing until it is cancelled. A node that is not running is left alone.
        """
        node = self._nodes.pop(peer, None)
        if node is None:
            return
        node.up = False
        self._leave_meshes(node)
        now = trio.current_time()
        for other in sorted(node.links):
            self._at(now + DETECTION_S, self._disconnect, node, other, "connection reset")

    # --- what a MemoryNetwork calls --------------------------------------------------------------

    def join(self, node: MemoryNetwork) -> None:
        """Bring a node up and let it dial everyone."""
        assert node.peer_id not in self._nodes, f"two nodes of peer id {node.peer_id.hex()}"
        now = trio.current_time()
        self._nodes[node.peer_id] = node
        for topic in node.topics:
            self._meshes.setdefault(topic, Mesh(self._rng)).join(node.peer_id)
        for other in sorted(self._nodes):
            if other == node.peer_id:
                continue
            # Its previous life may not be missed yet: then it is now, before it connects again.
            stale = self._nodes[other].links.get(node.peer_id)
            if stale is not None:
                self._disconnect(stale.receiver, other, "connection reset")
            self._dial(node.peer_id, other, now)

    def leave(self, node: MemoryNetwork) -> None:
        """Take a node down; a no-op after `crash`."""
        if self._nodes.get(node.peer_id) is node:
            self.crash(node.peer_id)

    def disconnect(self, node: MemoryNetwork, peer: PeerId, reason: str) -> None:
        """Close a connection from `node`'s side."""
        self._disconnect(node, peer, reason)

    def dial(self, node: PeerId, peer: PeerId, at_s: float) -> None:
        """Connect two nodes a round trip after `at_s`, if nothing is against it then."""
        self._dial(node, peer, at_s)

    def send(self, link: Link, lane: Lane, frame: bytes) -> bool:
        """Put a frame on a link; False when the link's queue is full."""
        if self.on_frame is not None:
            changed = self.on_frame(link.sender.peer_id, link.receiver.peer_id, lane, frame)
            if changed is None:
                return True
            frame = changed
        due = self._due(link, lane, len(frame))
        if due < 0:
            return due != _REFUSED
        if due < link.last_due[lane]:
            due = link.last_due[lane]
        else:
            link.last_due[lane] = due
        self._at(due, self._frame_arrives, link, lane, frame)
        return True

    def ask(self, link: Link, protocol: str, body: bytes, call: Call) -> None:
        """Send a request on its way."""
        due = self._due(link, Lane.BULK, len(body))
        if due >= 0:
            self._at(due, self._request_arrives, link, (protocol, body), call)

    def reply(self, link: Link, call: Call, answer: bytes | None, error: str) -> None:
        """Send an answer, or what went wrong, on its way back."""
        due = self._due(link, Lane.BULK, len(answer or b""))
        if due >= 0:
            self._at(due, self._answer_arrives, link, call, (answer, error))

    def spread(self, node: MemoryNetwork, topic: str, data: bytes) -> None:
        """Publish a message from `node`."""
        # As with gossipsub (origin and sequence number): the same bytes again are another message.
        self._published += 1
        node.is_new(self._published)
        self._forward(node, (topic, self._published, node.peer_id), data, node.peer_id)

    def neighbours(self, topic: str, peer: PeerId) -> tuple[PeerId, ...]:
        """Return whom a node sends the messages of a topic, ascending by id."""
        mesh = self._meshes.get(topic)
        if mesh is None:
            return ()
        mesh.repair(self._connected)
        node = self._nodes.get(peer)
        if node is not None and topic not in node.topics:
            return mesh.fanout([p for p in mesh.members if p in node.links])
        return mesh.neighbours(peer)

    def statistics(self) -> HubStatistics:
        """Totals since start."""
        return HubStatistics(
            nodes_count=len(self._nodes),
            events_count=self._events,
            wakeups_count=self._wakeups,
            waiting_count=len(self._heap),
            lost_count=self._lost,
            overflow_count=self._overflow,
            hops_count=self._hops,
            duplicates_count=self._duplicates,
        )

    # --- events ----------------------------------------------------------------------------------

    def _at(
        self, due: float, action: Callable[[Any, Any, Any], None], a: object, b: object, c: object
    ) -> None:
        self._sequence += 1
        heappush(self._heap, (due, self._sequence, action, a, b, c))
        if due < self._wake_at:
            self._wake_at = due
            self._scope.deadline = due

    def _due(self, link: Link, lane: Lane, size_bytes: int) -> float:
        """Return when something put on a link now arrives; negative when it is lost or refused."""
        profile = link.profile
        # The draws happen even on a cut link, so that a cut alone changes nothing on other links.
        latency_ms = profile.latency_ms_min + self._random() * (
            profile.latency_ms_max - profile.latency_ms_min
        )
        if profile.loss:
            link.losing = profile.loses(link.losing, self._random())
        if (profile.loss and link.losing) or link.cut:
            self._lost += 1
            return _LOST
        start = trio.current_time()
        if profile.rate_bytes_per_s is not None:
            busy = link.busy_until
            start, now = max(start, busy[lane]), start
            if start > now + QUEUE_S_MAX:
                return _REFUSED
            start += size_bytes / profile.rate_bytes_per_s
            for slower in range(lane, len(busy)):
                busy[slower] = max(busy[slower], start)
        return ceil((start + latency_ms / 1e3) * self._ticks_per_s) / self._ticks_per_s

    def _frame_arrives(self, link: Link, lane: Lane, frame: bytes) -> None:
        receiver = link.receiver
        if not (link.open and receiver.up):
            self._lost += 1
            return
        receiver.frames_received += 1
        receiver.bytes_received += len(frame)
        self._deliver(receiver, FrameReceived(link.sender.peer_id, lane, frame))

    def _deliver(self, node: MemoryNetwork, item: Incoming) -> None:
        try:
            node.deliver(item)
        except (trio.WouldBlock, trio.BrokenResourceError):
            node.frames_dropped += 1
            self._overflow += 1

    def _forward(
        self, node: MemoryNetwork, name: tuple[str, int, PeerId], data: bytes, came_from: PeerId
    ) -> None:
        for peer in self.neighbours(name[0], node.peer_id):
            link = node.links.get(peer)
            if peer == came_from or link is None:
                continue
            self._hops += 1
            node.bytes_sent += len(data)
            copies = 2 if link.profile.duplicate and self._random() < link.profile.duplicate else 1
            for _ in range(copies):
                due = self._due(link, Lane.BULK, len(data))
                if due >= 0:
                    self._at(due, self._message_arrives, link, name, data)

    def _message_arrives(self, link: Link, name: tuple[str, int, PeerId], data: bytes) -> None:
        node = link.receiver
        topic, message_id, origin = name
        if not (link.open and node.up):
            self._lost += 1
            return
        node.bytes_received += len(data)
        validate = node.topics.get(topic)
        if validate is None or not node.is_new(message_id):
            self._duplicates += 1
            return
        if node.is_banned(origin):
            node.messages_invalid += 1
            return
        forwarder = link.sender.peer_id
        try:
            verdict = validate(forwarder, data)
        except Exception as error:
            if self.on_bug is None:
                raise
            self.on_bug(node.peer_id, error)
            verdict = Verdict.IGNORE
        match verdict:
            case Verdict.ACCEPT | Verdict.KEEP:
                node.messages_received += 1
                self._deliver(node, Published(topic, forwarder, origin, data))
                if verdict is Verdict.ACCEPT:
                    self._forward(node, name, data, forwarder)
            case Verdict.IGNORE:
                node.messages_invalid += 1
            case Verdict.REJECT:
                node.messages_invalid += 1
                node.penalize(forwarder, 10.0, f"invalid message on {topic}")

    def _request_arrives(self, link: Link, asked: tuple[str, bytes], call: Call) -> None:
        if not (link.open and link.receiver.up):
            self._lost += 1
            return
        protocol, body = asked
        link.receiver.answer(link.sender.peer_id, protocol, body, call)

    def _answer_arrives(self, link: Link, call: Call, outcome: tuple[bytes | None, str]) -> None:
        if link.open and link.receiver.up:
            call.finish(*outcome)
        else:
            self._lost += 1

    # --- connections -----------------------------------------------------------------------------

    def _refresh(self, sender: PeerId, receiver: PeerId) -> None:
        """Tell a standing link of a changed profile or cut."""
        node = self._nodes.get(sender)
        link = node.links.get(receiver) if node is not None else None
        if link is not None:
            link.profile = self.profile(sender, receiver)
            link.cut = (sender, receiver) in self._cut

    def _connected(self, a: PeerId, b: PeerId) -> bool:
        return b in self._nodes[a].links

    def _dial(self, dialler: PeerId, peer: PeerId, at_s: float) -> None:
        there, back = self.profile(dialler, peer), self.profile(peer, dialler)
        rtt_ms = there.latency_ms_min + back.latency_ms_max
        self._at(at_s + rtt_ms / 1e3, self._connect, dialler, peer, None)

    def _connect(self, dialler: PeerId, peer: PeerId, _: None) -> None:
        a, b = self._nodes.get(dialler), self._nodes.get(peer)
        if a is None or b is None or peer in a.links:
            return
        if (dialler, peer) in self._cut or (peer, dialler) in self._cut:
            return  # `heal` dials
        if a.is_banned(peer) or b.is_banned(dialler):
            return  # the end of the ban dials
        a.links[peer] = Link(a, b, inbound=False)
        b.links[dialler] = Link(b, a, inbound=True)
        self._meshes_changed(a, b)
        self._deliver(a, PeerConnected(peer))
        self._deliver(b, PeerConnected(dialler))

    def _disconnect(self, node: MemoryNetwork, peer: PeerId, reason: str) -> None:
        link = node.links.pop(peer, None)
        if link is None:
            return
        other = link.receiver
        self._meshes_changed(node, other)
        for side, its in ((node, link), (other, other.links.pop(node.peer_id))):
            its.open = False
            for call in its.calls.values():
                call.finish(None, reason)
            if side.up:
                self._deliver(side, PeerLost(its.receiver.peer_id, reason))

    def _give_up(self, sender: PeerId, receiver: PeerId, cut: int) -> None:
        node = self._nodes.get(sender)
        if node is not None and self._cut.get((sender, receiver)) == cut:
            self._disconnect(node, receiver, "no answer to pings")

    def _meshes_changed(self, a: MemoryNetwork, b: MemoryNetwork) -> None:
        for topic in a.topics:
            if topic in b.topics:
                self._meshes[topic].changed()

    def _leave_meshes(self, node: MemoryNetwork) -> None:
        for topic in node.topics:
            self._meshes[topic].leave(node.peer_id)
