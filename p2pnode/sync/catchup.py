"""Block sync: a node that was away, or late, takes final blocks from peers and verifies them
statically.

An answer to `blocks` is a canonical array of `[block, [statement, …]]`, contiguous from the height
asked. Blocks are accepted up to the last one that carries a valid proof: the parent links prove
those below it, and digests prove statements. Batches are fetched afterwards, by whoever executes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from p2pnode import codec
from p2pnode.errors import RemoteProtocolError
from p2pnode.types.chain import Chain
from p2pnode.types.desk import Desk
from p2pnode.types.payload import Block, decode_block, decode_payload
from p2pnode.types.statement import Statement, decode_statement
from p2pnode.types.statement import digest_of as statement_digest

PROTOCOL: Final = "blocks"
"""Request protocol: `[first height, most blocks]`."""

BLOCKS_MAX: Final = 64
"""Most blocks in one answer."""

ANSWER_BYTES_MAX: Final = 1 << 20
"""Largest answer; a peer stops adding blocks before it."""

TIMEOUT_NS: Final = 5_000_000_000
LAG_HEIGHTS: Final = 2
"""Fewer heights behind than this is ordinary: votes and certificates on their way."""

RETRY_NS: Final = 500_000_000

FetchedBlock = tuple[Block, dict[bytes, tuple[bytes, Statement]]]
"""A block with the statements it lists, by digest, as (bytes, decoded)."""


class BlockSyncError(RemoteProtocolError):
    """An answer to `blocks` is not a proved continuation of our chain."""


class Target(Protocol):
    """Where verified blocks go."""

    @property
    def height(self) -> int:
        """Newest final height here."""

    @property
    def head(self) -> bytes:
        """Hash of that block."""

    def adopt(self, blocks: Sequence[FetchedBlock]) -> None:
        """Take verified blocks."""


def encode_request(first_height: int, blocks_max: int) -> bytes:
    """Return the body of a request."""
    return codec.encode([first_height, blocks_max])


def decode_request(body: bytes) -> tuple[int, int]:
    """Return (first height, most blocks) of a request.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    first, most = codec.array(codec.decode(body, size_bytes_max=64), "blocks request", length=2)
    return codec.unsigned(first, "height"), codec.unsigned(most, "count", value_max=BLOCKS_MAX)


def encode_answer(blocks: Sequence[tuple[bytes, Sequence[bytes]]]) -> bytes:
    """Return an answer: (block bytes, statements' bytes) in order of height."""
    return codec.encode([[block, statements] for block, statements in blocks])


_NOTHING: Final = encode_answer([])


class Catchup:
    """Asks one peer at a time, best informed first, until this node is level with the highest."""

    def __init__(
        self,
        chain: Chain,
        desk: Desk,
        target: Target,
        proof_checks: Callable[[bytes, int, bytes], list[tuple[bytes, bytes, bytes]]],
        *,
        lag_heights: int = LAG_HEIGHTS,
    ) -> None:
        """Start level.

        Args:
            chain: Epochs and validator sets.
            desk: Where effects go.
            target: Where verified blocks go.
            proof_checks: Gives, for (proof, height, digest), the signature checks that prove it.
            lag_heights: So many heights behind are worth asking for: 1 where no votes come.
        """
        self._lag_heights = lag_heights
        self._chain = chain
        self._desk = desk
        self._target = target
        self._proof_checks = proof_checks
        self._heights: dict[bytes, int] = {}
        self._asked: bytes | None = None
        self._failures: dict[bytes, int] = {}
        self._urgent_height = 0

    @property
    def best_height(self) -> int:
        """Greatest final height that a connected peer told."""
        return max(self._heights.values(), default=0)

    @property
    def syncing(self) -> bool:
        """Whether this node is behind by more than votes explain.

        Heights are claims: those of strangers don't count here, nor those of fewer validators than
        hold a third of the power, or a single liar could have every node call itself late.
        """
        known = max(self._credible_height(), self._urgent_height)
        return known >= self._target.height + LAG_HEIGHTS

    def _credible_height(self) -> int:
        """Return the greatest height that validators of more than a third of the power told."""
        validators = self._chain.validators_of(self._chain.epoch_of(self._target.height + 1))
        told = [(self._heights.get(v.peer_id, 0), v.power) for v in validators]
        total, power = sum(v.power for v in validators), 0
        for height, weight in sorted(told, reverse=True):
            power += weight
            if 3 * power > total:
                return height
        return 0

    def height_of(self, peer: bytes) -> int | None:
        """Return the final height a peer told us."""
        return self._heights.get(peer)

    def heard(self, peer: bytes, height: int) -> None:
        """A peer told its final height."""
        self._heights[peer] = height
        self._try()

    def lost(self, peer: bytes) -> None:
        """A peer is gone."""
        self._heights.pop(peer, None)
        self._failures.pop(peer, None)

    def behind(self, height_at_least: int) -> None:
        """The engine can't follow by votes."""
        self._urgent_height = max(self._urgent_height, height_at_least)
        self._try()

    def fired(self) -> None:
        """The retry timer fired."""
        self._try()

    def _try(self) -> None:
        if self._asked is not None:
            return
        mine = self._target.height
        urgent = self._urgent_height > mine
        lag = 1 if urgent else self._lag_heights
        # Engines of different epochs don't talk: not even one missing height, the last of an epoch,
        # would ever come by votes from a peer that has it.
        epoch_end = self._chain.last_height(self._chain.epoch_of(mine + 1))
        peers = [p for p, h in self._heights.items() if h >= min(mine + lag, epoch_end)]
        if not peers:
            return
        peer = min(peers, key=self._order)
        self._asked = peer
        first = mine + 1
        self._desk.request(
            peer,
            PROTOCOL,
            encode_request(first, BLOCKS_MAX),
            TIMEOUT_NS,
            lambda body: self._answered(peer, first, body),
        )

    def _order(self, peer: bytes) -> tuple[int, bool, int, bytes]:
        """Return a peer's place in the order of asking: validators before strangers.

        A stranger costs nothing to make, promises any height, and may take its whole time to give
        nothing.
        """
        stranger = self._chain.validator_of_peer(peer) is None
        return self._failures.get(peer, 0), stranger, -self._heights[peer], peer

    def _answered(self, peer: bytes, first: int, body: bytes | None) -> None:
        if body is None or body == _NOTHING:
            # A peer that prunes has not what it once had: it is not to blame.
            self._failed(peer)
            return
        if first != self._target.height + 1:
            # Votes were faster than the answer.
            self._asked = None
            self._try()
            return
        try:
            blocks = self._linked(first, body)
            last = blocks[-1][0]
            checks = self._proof_checks(last.proof, last.height, last.hash)
        except RemoteProtocolError as error:
            self._desk.penalize(peer, error.penalty, f"blocks: {error}")
            self._failed(peer)
            return

        def verified(ok: tuple[bool, ...]) -> None:
            if not all(ok):
                self._desk.penalize(peer, 50.0, "blocks: bad signature in a proof")
                self._failed(peer)
                return
            self._asked = None
            self._failures.pop(peer, None)
            # Votes may have brought some of them meanwhile.
            new = [b for b in blocks if b[0].height > self._target.height]
            if new and decode_payload(new[0][0].payload).parent == self._target.head:
                self._desk.emit("blocks_synced", first=new[0][0].height, last=new[-1][0].height)
                self._target.adopt(new)
            self._try()

        self._desk.verify(checks, verified)

    def _failed(self, peer: bytes) -> None:
        self._asked = None
        if peer in self._heights:
            self._failures[peer] = self._failures.get(peer, 0) + 1
        self._desk.arm(("catchup",), self._desk.now_ns + RETRY_NS)

    def _linked(self, first: int, body: bytes) -> list[FetchedBlock]:
        """Return the answer's blocks up to the last with a proof, links and digests checked."""
        items = codec.array(
            codec.decode(
                body, size_bytes_max=ANSWER_BYTES_MAX + 65536, items_max=1 + BLOCKS_MAX * 67
            ),
            "blocks",
            length_max=BLOCKS_MAX,
        )
        blocks: list[FetchedBlock] = []
        parent = self._target.head
        for offset, item in enumerate(items):
            raw, statements = codec.array(item, "block with statements", length=2)
            block = decode_block(codec.octets(raw, "block"))
            payload = decode_payload(block.payload)
            if block.height != first + offset or payload.height != block.height:
                raise BlockSyncError(f"height {block.height} where {first + offset} was due")
            if payload.parent != parent or payload.chain != self._chain.id:
                raise BlockSyncError(f"block {block.height} does not continue our chain")
            known: dict[bytes, tuple[bytes, Statement]] = {}
            for value in codec.array(statements, "statements", length_max=64):
                statement = codec.octets(value, "statement")
                known[statement_digest(statement)] = (statement, decode_statement(statement))
            if any(digest not in known for digest in payload.items):
                raise BlockSyncError(f"block {block.height} comes without its statements")
            # Listed is proved, by the digest in a final block; whatever else came is not believed.
            blocks.append((block, {digest: known[digest] for digest in payload.items}))
            parent = block.hash
            if block.height == self._chain.last_height(payload.epoch):
                break  # one epoch at a time: its own validators prove it
        while blocks and not blocks[-1][0].proof:
            blocks.pop()
        if not blocks:
            raise BlockSyncError("no block with a proof in the answer")
        # Only the last proof will be checked: nothing unchecked is kept, or served to others.
        return [(replace(block, proof=b""), known) for block, known in blocks[:-1]] + blocks[-1:]
