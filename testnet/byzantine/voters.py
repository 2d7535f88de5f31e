"""Adversaries of the consensus engine simplex: proposers and voters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from p2pnode import codec
from p2pnode.consensus.simplex.votes import Kind, Proposal, decode_body, notarize, nullify
from p2pnode.ports import Lane
from p2pnode.types.messages import EngineItem, Message
from p2pnode.types.payload import decode_payload, digest_of
from p2pnode.types.statement import BatchCertificate
from testnet.byzantine.puppet import Puppet


def _own_vote(puppet: Puppet, message: Message) -> tuple[Kind, Proposal | None, int] | None:
    """Return (kind, proposal, view) of a message that is the puppet's own vote."""
    if not isinstance(message, EngineItem) or message.signed is None:
        return None
    signer, body, _ = message.signed
    if signer != puppet.index:
        return None
    ballot = decode_body(body)
    return ballot.kind, ballot.proposal, ballot.view


def equivocator(puppet: Puppet) -> None:
    """Propose two payloads in one view: one to even receivers, the other to odd ones."""
    others: dict[bytes, EngineItem] = {}

    def other_proposal(message: EngineItem, proposal: Proposal) -> EngineItem:
        known = others.get(proposal.digest)
        if known is None:
            payload = decode_payload(message.payload)
            body = replace(payload, time_ms=payload.time_ms + 1).encode()
            vote = notarize(replace(proposal, digest=digest_of(body)))
            known = replace(puppet.vote(message.epoch, vote), payload=body)
            others[proposal.digest] = known
        return known

    def change(receiver: bytes, message: Message) -> list[Message]:
        own = _own_vote(puppet, message)
        if own is None or not isinstance(message, EngineItem) or not message.payload:
            return [message]
        assert own[1] is not None
        return [other_proposal(message, own[1])] if puppet.odd(receiver) else [message]

    puppet.tamper(change)


def nuller(puppet: Puppet) -> None:
    """Answer every proposal with nullify, and never finalize."""

    def change(receiver: bytes, message: Message) -> list[Message]:
        own = _own_vote(puppet, message)
        if own is None or not isinstance(message, EngineItem) or message.payload:
            return [message]
        return [puppet.vote(message.epoch, nullify(own[2]))]

    puppet.tamper(change)


def double_voter(puppet: Puppet) -> None:
    """Send nullify beside every finalize: what the proof of safety forbids."""

    def change(receiver: bytes, message: Message) -> list[Message]:
        own = _own_vote(puppet, message)
        if own is None or own[0] is not Kind.FINALIZE or not isinstance(message, EngineItem):
            return [message]
        return [message, puppet.vote(message.epoch, nullify(own[2]))]

    puppet.tamper(change)


def silent_proposer(puppet: Puppet) -> None:
    """Vote as everybody, and never propose."""

    def change(receiver: bytes, message: Message) -> list[Message]:
        own = _own_vote(puppet, message)
        proposes = own is not None and isinstance(message, EngineItem) and message.payload
        return [] if proposes else [message]

    puppet.tamper(change)


def partial(puppet: Puppet) -> None:
    """Tell everything of the engine to one receiver only, another one in each view."""

    def change(receiver: bytes, message: Message) -> list[Message]:
        if not isinstance(message, EngineItem):
            return [message]
        peers = puppet.peers()
        return [message] if peers[puppet.view % len(peers)] == receiver else []

    puppet.tamper(change)


def skipper(puppet: Puppet) -> None:
    """Propose on the parent's parent: it would skip a view that is not nullified."""

    def change(receiver: bytes, message: Message) -> list[Message]:
        own = _own_vote(puppet, message)
        if own is None or not isinstance(message, EngineItem) or not message.payload:
            return [message]
        proposal, payload = own[1], decode_payload(message.payload)
        if proposal is None or proposal.parent < 2 or payload.parent is None:
            return [message]
        known = puppet.node and puppet.node.core.ordering.bodies.get(payload.parent)
        if not known or known.parent is None or known.epoch != payload.epoch:
            return [message]
        body = replace(payload, parent=known.parent, height=proposal.height - 1, items=()).encode()
        forged = Proposal(proposal.view, proposal.parent - 1, proposal.height - 1, digest_of(body))
        return [replace(puppet.vote(message.epoch, notarize(forged)), payload=body)]

    puppet.tamper(change)


def bad_payload(puppet: Puppet) -> None:
    """Propose payloads that break a rule of Check, another one each time."""
    changes: list[Callable[[EngineItem], bytes]] = [
        lambda m: replace(decode_payload(m.payload), chain=bytes(32)).encode(),
        lambda m: replace(decode_payload(m.payload), height=10_000).encode(),
        lambda m: replace(decode_payload(m.payload), parent=bytes(32)).encode(),
        lambda m: replace(decode_payload(m.payload), proposer=(puppet.index + 1) % 4).encode(),
        lambda m: replace(decode_payload(m.payload), next_validators_hash=bytes(32)).encode(),
        lambda m: replace(decode_payload(m.payload), items=(bytes(32),)).encode(),
        lambda m: m.payload + b"\x00",
    ]
    forged: dict[bytes, Message] = {}

    def change(receiver: bytes, message: Message) -> list[Message]:
        own = _own_vote(puppet, message)
        if own is None or not isinstance(message, EngineItem) or not message.payload:
            return [message]
        assert own[1] is not None
        if message.payload not in forged:
            body = changes[len(forged) % len(changes)](message)
            vote = notarize(replace(own[1], digest=digest_of(body)))
            forged[message.payload] = replace(puppet.vote(message.epoch, vote), payload=body)
        return [forged[message.payload]]

    puppet.tamper(change)


def relister(puppet: Puppet) -> None:
    """Propose batches again that were ordered long ago, in place of new ones."""
    forged: dict[bytes, Message] = {}

    def change(receiver: bytes, message: Message) -> list[Message]:
        own = _own_vote(puppet, message)
        node = puppet.node
        if own is None or not isinstance(message, EngineItem) or not message.payload:
            return [message]
        assert own[1] is not None
        assert node is not None
        if message.payload not in forged:
            pool = node.core.ordering.pool
            old = [
                digest
                for digest, known in pool._known.items()
                if known.ordered_height and isinstance(known.statement, BatchCertificate)
            ]
            payload = decode_payload(message.payload)
            if not old or payload.epoch != node.chain.epoch_of(own[1].height):
                return [message]
            body = replace(payload, items=(puppet.rng.choice(old),)).encode()
            vote = notarize(replace(own[1], digest=digest_of(body)))
            forged[message.payload] = replace(puppet.vote(message.epoch, vote), payload=body)
        return [forged[message.payload]]

    puppet.tamper(change)


def flooder(puppet: Puppet) -> None:
    """Vote in thousands of future views, with good and with bad signatures."""

    def flood() -> None:
        for _ in range(40):
            view = puppet.view + puppet.rng.randrange(1, 5000)
            vote = nullify(view)
            if puppet.rng.random() < 0.5:
                digest = puppet.rng.randbytes(32)
                vote = notarize(Proposal(view, view - 1, view, digest))
            message = puppet.vote(puppet.epoch, vote)
            assert message.signed is not None
            if puppet.rng.random() < 0.1:
                signer, body, _ = message.signed
                message = replace(message, signed=(signer, body, puppet.rng.randbytes(64)))
            for peer in puppet.peers():
                puppet.send(peer, Lane.VOTE, [message])

    puppet.every(0.1, flood)


def forger(puppet: Puppet) -> None:
    """Send certificates that are none: too few signers, one counted twice, junk signatures."""

    def forge() -> None:
        view, epoch = puppet.view, puppet.epoch
        kind = puppet.rng.choice([Kind.NOTARIZE, Kind.NULLIFY, Kind.FINALIZE])
        body = nullify(view)
        if kind is not Kind.NULLIFY:
            body = codec.encode([int(kind), view, max(0, view - 1), view, puppet.rng.randbytes(32)])
        own = puppet.sign(puppet.engine_kind, epoch, body)
        bitmap, signatures = puppet.rng.choice(
            [
                (0b111, own * 3),
                (0b1111, own * 4),
                (1 << puppet.index, own),
                (0b111, own + puppet.rng.randbytes(128)),
                (0b11, own * 2),
                (0b11111, own * 3),
            ]
        )
        certificate = codec.encode([body, bytes([bitmap]), signatures])
        for peer in puppet.peers():
            puppet.send(peer, Lane.VOTE, [EngineItem(epoch, None, certificate, b"")])

    puppet.every(0.2, forge)


def own_key_twice(puppet: Puppet) -> None:
    """Run a second node with the same validator key, its own disks, and no idea of the first.

    It answers under an address of its own, and hears what is sent to the first.
    """
    twin = puppet.world.add_machine(f"{puppet.machine.name}-twin", puppet.key)

    def copy(sender: bytes, receiver: bytes, lane: Lane, frame: bytes) -> None:
        if receiver != puppet.machine.peer_id or sender == twin.peer_id:
            return
        for machine in puppet.world.machines:
            if machine.peer_id == sender and machine.node is not None and machine.network:
                machine.network.send(twin.peer_id, lane, frame)

    puppet.world.taps.append(copy)
