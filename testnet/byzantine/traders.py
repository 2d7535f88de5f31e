"""Adversaries around batches, results, evidence, and what peers ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import trio

from p2pnode import codec, crypto
from p2pnode.crypto import SecretKey
from p2pnode.mempool.collator import Built, Plan
from p2pnode.node.node import Node
from p2pnode.ports import Lane
from p2pnode.sync import catchup
from p2pnode.types.batch import BatchHeader, decode_batch_header, decode_transactions
from p2pnode.types.messages import (
    BatchOffer,
    Message,
    ResultVote,
    Statements,
    Stored,
    Summary,
    decode_frame,
)
from p2pnode.types.payload import decode_block, decode_payload
from p2pnode.types.statement import BatchCertificate, Evidence, SignerList, decode_result
from p2pnode.types.transaction import Transfer, decode_transaction, sign_transaction
from testnet.byzantine.puppet import Puppet

Handler = Callable[[bytes, bytes], Awaitable[bytes]]


def _inline(header: BatchHeader, raws: list[bytes]) -> tuple[BatchHeader, bytes]:
    """Return a header and data of scheme `inline` over other envelopes."""
    data = codec.encode(raws)
    return replace(
        header,
        tx_root=crypto.merkle_root(raws),
        row_size=len(data),
        data_bytes=len(data),
        commitment=crypto.sha256(b"p2pnode/inline/1" + data),
    ), data


def junk_packer(puppet: Puppet) -> None:
    """Pack stolen and repeated transactions, broken signatures, and bytes that are none."""

    def corrupt(node: Node) -> None:
        collator = node.core.collator
        assert collator is not None
        build = collator.build

        def built(now_ns: int, plan: Plan) -> Built | None:
            good = build(now_ns, plan)
            if good is None:
                return None
            raws = list(decode_transactions(good.data))
            stolen = _stolen(puppet, raws[0])
            broken = [raw[:-1] + bytes([raw[-1] ^ 1]) for raw in raws]
            junk = [puppet.rng.randbytes(puppet.rng.randrange(1, 200)) for _ in range(5)]
            header, data = _inline(good.header, [*junk, *stolen, *broken, *raws, *raws])
            return replace(good, header=header, data=data)

        collator.build = built  # type: ignore[method-assign]

    puppet.on_node(corrupt)


class _Thief:
    """Another's name under what only the thief has signed."""

    def __init__(self, victim: bytes, key: SecretKey) -> None:
        self.public = victim
        self.sign = key.sign


def _stolen(puppet: Puppet, raw: bytes) -> list[bytes]:
    """Return a transfer out of a transaction's sender's account, without its signature."""
    known = decode_transaction(raw)
    transaction = sign_transaction(
        cast("SecretKey", _Thief(known.sender_key, puppet.key)),
        puppet.chain,
        nonce=known.nonce,
        last_valid_height=known.last_valid_height,
        fee_limit=known.fee_limit,
        actions=(Transfer(0, crypto.address_of(puppet.key.public), 1_000_000),),
    )
    return [transaction.raw]


def void_packer(puppet: Puppet) -> None:
    """Offer batches whose data is not what their header says, and list them as if certified.

    Should a quorum say "stored" nevertheless, its certificate is sent to everybody.
    """
    sequence = [1000]
    offered: dict[bytes, tuple[BatchHeader, bytes, dict[int, bytes]]] = {}
    powers = [v.power for v in puppet.world.genesis.validators]

    def tap(sender: bytes, receiver: bytes, lane: Lane, frame: bytes) -> None:
        if receiver != puppet.machine.peer_id:
            return
        for message in decode_frame(frame):
            if isinstance(message, Stored) and message.digest in offered:
                header, signature, stored = offered[message.digest]
                stored[message.signer] = message.signature
                _certify(header, signature, stored)

    def _certify(header: BatchHeader, signature: bytes, stored: dict[int, bytes]) -> None:
        signers = sorted(stored)
        if sum(powers[i] for i in signers) == 2 * sum(powers) // 3 + 1:
            listed = SignerList(tuple(signers), tuple(stored[i] for i in signers))
            certificate = BatchCertificate(header, signature, listed).encode()
            for peer in puppet.peers():
                puppet.send(peer, Lane.PROPOSAL, [Statements((certificate,))])

    def offer() -> None:
        raws = [puppet.rng.randbytes(100)]
        sequence[0] += 1
        header, data = _inline(
            BatchHeader(
                chain=puppet.chain,
                epoch=puppet.epoch,
                uid=1,
                collator=puppet.key.public,
                sequence=sequence[0],
                kind=1,
                tx_root=bytes(32),
                scheme="inline",
                k=1,
                n=0,
                row_size=1,
                data_bytes=1,
                commitment=bytes(32),
            ),
            raws,
        )
        header = replace(header, tx_root=puppet.rng.randbytes(32))
        signature = puppet.sign("batch", puppet.epoch, header.encode())
        stored = puppet.sign("stored", puppet.epoch, header.digest())
        offered[header.digest()] = (header, signature, {puppet.index: stored})
        signers = SignerList((0, 1, 2), (stored,) * 3)
        certificate = BatchCertificate(header, signature, signers).encode()
        for peer in puppet.peers():
            puppet.send(peer, Lane.BULK, [BatchOffer(header.encode(), signature, data)])
            puppet.send(peer, Lane.PROPOSAL, [Statements((certificate,))])

    puppet.world.taps.append(tap)
    puppet.every(3.0, offer)


def batch_equivocator(puppet: Puppet) -> None:
    """Sign two batches of one sequence: odd receivers get the other one first."""

    def change(receiver: bytes, message: Message) -> list[Message]:
        if not isinstance(message, BatchOffer) or not puppet.odd(receiver):
            return [message]
        header = decode_batch_header(message.header)
        raws = list(decode_transactions(message.data))
        other, data = _inline(header, [*raws, *raws])
        body = other.encode()
        signature = puppet.sign("batch", header.epoch, body)
        return [BatchOffer(body, signature, data), message]

    puppet.tamper(change)


def withholder(puppet: Puppet) -> None:
    """Never say "stored", send own batches to two validators only, answer no request."""

    def change(receiver: bytes, message: Message) -> list[Message]:
        if isinstance(message, Stored):
            return []
        if isinstance(message, BatchOffer) and receiver == puppet.peers()[0]:
            return []
        return [message]

    async def never(peer: bytes, body: bytes) -> bytes:
        await trio.sleep_forever()

    puppet.tamper(change)
    _serve_instead(puppet, lambda protocol, handler: never)


def bad_result(puppet: Puppet) -> None:
    """Sign results with another state root."""

    def change(receiver: bytes, message: Message) -> list[Message]:
        forged = _forged_result(puppet, message)
        return [message] if forged is None else [forged]

    puppet.tamper(change)


def result_equivocator(puppet: Puppet) -> None:
    """Sign two results for every height."""

    def change(receiver: bytes, message: Message) -> list[Message]:
        forged = _forged_result(puppet, message)
        return [message] if forged is None else [message, forged]

    puppet.tamper(change)


def _forged_result(puppet: Puppet, message: Message) -> ResultVote | None:
    if not isinstance(message, ResultVote) or message.signer != puppet.index:
        return None
    result = decode_result(message.result)
    body = replace(result, post_root=crypto.sha256(result.post_root)).encode()
    return replace(message, result=body, signature=puppet.sign("result", result.epoch, body))


def framer(puppet: Puppet) -> None:
    """Accuse others with pairs of what they signed rightly: batches, receipts, results, votes."""
    seen: dict[tuple[int, str, int], list[tuple[bytes, bytes]]] = {}
    index = {m.peer_id: m.index for m in puppet.world.machines}
    validators = len(puppet.world.genesis.validators)

    def note(signer: int, kind: str, epoch: int, body: bytes, signature: bytes) -> None:
        pairs = seen.setdefault((signer, kind, epoch), [])
        if len(pairs) < 8 and (body, signature) not in pairs:
            pairs.append((body, signature))

    def tap(sender: bytes, receiver: bytes, lane: Lane, frame: bytes) -> None:
        if receiver != puppet.machine.peer_id or index.get(sender, validators) >= validators:
            return
        for message in decode_frame(frame):
            match message:
                case BatchOffer(header, signature, _):
                    epoch = decode_batch_header(header).epoch
                    note(index[sender], "batch", epoch, header, signature)
                case Stored(digest, signer, signature):
                    note(signer, "stored", puppet.epoch, digest, signature)
                case ResultVote(result, _, signer, signature):
                    note(signer, "result", decode_result(result).epoch, result, signature)
                case _:
                    pass

    def accuse() -> None:
        for (signer, kind, epoch), pairs in seen.items():
            if len(pairs) < 2 or signer == puppet.index:
                continue
            (body_a, sig_a), (body_b, sig_b) = sorted(puppet.rng.sample(pairs, 2))
            evidence = Evidence(epoch, signer, kind, body_a, sig_a, body_b, sig_b)
            for peer in puppet.peers():
                puppet.send(peer, Lane.PROPOSAL, [Statements((evidence.encode(),))])

    puppet.world.taps.append(tap)
    puppet.every(2.5, accuse)


def replayer(puppet: Puppet) -> None:
    """Send old frames of everybody again, to anybody."""
    frames: list[tuple[Lane, bytes]] = []

    def tap(sender: bytes, receiver: bytes, lane: Lane, frame: bytes) -> None:
        mine = puppet.machine.peer_id
        if mine in (sender, receiver) and len(frames) < 3000:
            frames.append((lane, frame))

    def replay() -> None:
        for _ in range(25):
            if frames:
                lane, frame = puppet.rng.choice(frames)
                puppet.send_frame(puppet.rng.choice(puppet.peers()), lane, frame)

    puppet.world.taps.append(tap)
    puppet.every(0.2, replay)


def garbage(puppet: Puppet) -> None:
    """Send bytes that are no frame, and frames with a few bytes changed."""
    frames: list[bytes] = []

    def tap(sender: bytes, receiver: bytes, lane: Lane, frame: bytes) -> None:
        if receiver == puppet.machine.peer_id and len(frames) < 500:
            frames.append(frame)

    def made() -> bytes:
        rng = puppet.rng
        choice = rng.randrange(4)
        if choice == 0 or not frames:
            return rng.randbytes(rng.randrange(200))
        if choice == 1:
            return b"\x81" * rng.randrange(1, 500) + b"\x00"
        if choice == 2:
            return b"\x9b" + rng.randbytes(8)
        frame = bytearray(rng.choice(frames))
        for _ in range(3):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        return bytes(frame)

    def send() -> None:
        for peer in puppet.peers():
            puppet.send_frame(peer, puppet.rng.choice(list(Lane)), made())

    puppet.world.taps.append(tap)
    puppet.every(0.5, send)


def liar(puppet: Puppet) -> None:
    """Claim to be far ahead, and answer block sync with a forged chain under forged proofs."""

    def change(receiver: bytes, message: Message) -> list[Message]:
        if isinstance(message, Summary):
            return [replace(message, height=message.height + 3)]
        return [message]

    def lying(protocol: str, handler: Handler) -> Handler:
        if protocol != catchup.PROTOCOL:
            return handler

        async def blocks(peer: bytes, body: bytes) -> bytes:
            return _forged_chain(puppet, await handler(peer, body))

        return blocks

    puppet.tamper(change)
    _serve_instead(puppet, lying)


def _forged_chain(puppet: Puppet, answer: bytes) -> bytes:
    """Return the answer's blocks with other times, linked, each with a proof of junk signatures."""
    forged: list[tuple[bytes, list[bytes]]] = []
    parent: bytes | None = None
    for item in codec.array(codec.decode(answer, size_bytes_max=1 << 21), "blocks"):
        raw, statements = codec.array(item, "block", length=2)
        block = decode_block(codec.octets(raw, "block"))
        payload = decode_payload(block.payload)
        payload = replace(payload, time_ms=payload.time_ms + 1, parent=parent or payload.parent)
        body = payload.encode()
        parent = crypto.sha256(body)
        vote = codec.encode([3, block.view[0], max(0, block.view[0] - 1), block.height, parent])
        own = puppet.sign(puppet.engine_kind, payload.epoch, vote)
        proof = codec.encode([vote, b"\x07", own + puppet.rng.randbytes(128)])
        block = replace(block, payload=body, hash=parent, proof=proof)
        listed = [codec.octets(s, "statement") for s in codec.array(statements, "statements")]
        forged.append((block.encode(), listed))
    return catchup.encode_answer(forged)


def _serve_instead(puppet: Puppet, wrap: Callable[[str, Handler], Handler]) -> None:
    """Answer requests by other handlers than the node's own."""

    def replace_handlers(node: Node) -> None:
        network = puppet.machine.network
        assert network is not None
        serve = network.serve

        def served(protocol: str, handler: Handler) -> None:
            serve(protocol, wrap(protocol, handler))

        network.serve = served  # type: ignore[method-assign]

    puppet.on_node(replace_handlers)
