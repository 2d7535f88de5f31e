"""One validator decides alone: proves that the host, not the engine, does everything else.

Body: `[height, parent, digest]`, slot ("b", height). What the validator signs is final; the signed
vote is the proof. Observers of the epoch follow its votes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from p2pnode import codec, crypto
from p2pnode.consensus.engine import (
    Behind,
    Broadcast,
    Build,
    Built,
    Claim,
    Deliver,
    Digest,
    Draft,
    Effect,
    EngineParameters,
    Entered,
    Epoch,
    Event,
    Floor,
    Index,
    Interest,
    Item,
    Key,
    MalformedItemError,
    Msg,
    Pos,
    Send,
    Signed,
    Summary,
    Synced,
    TrafficClass,
    decode_signed,
    encode_signed,
)
from p2pnode.errors import ConfigError, RemoteProtocolError


class SoloValidatorsError(ConfigError):
    """The solo engine serves exactly one validator."""

    def __init__(self, count: int) -> None:
        super().__init__(f"the solo engine has one validator, this chain has {count}")
        self.count = count


class SoloEngine:
    """The engine of one validator; the contract is `p2pnode.consensus.engine`."""

    name: ClassVar[str] = "solo"
    version: ClassVar[int] = 1

    def __init__(self, parameters: EngineParameters) -> None:
        self._parameters = parameters

    @staticmethod
    def tolerance(power_total: int) -> tuple[int, int]:
        return 0, power_total

    @staticmethod
    def slots(body: bytes) -> Mapping[Key, bytes]:
        return {("b", _decode(body)[0]): body}

    @staticmethod
    def position(body: bytes) -> Pos:
        return (_decode(body)[0],)

    @staticmethod
    def claims(item: Item, epoch: Epoch) -> Sequence[Claim]:
        vote = item if isinstance(item, Signed) else decode_signed(item)
        _decode(vote.body)
        if vote.sender != 0:
            raise MalformedItemError(f"signer {vote.sender}, the only validator is 0")
        return [Claim(vote.sender, vote.body, vote.sig)]

    @staticmethod
    def verify_proof(proof: bytes, epoch: Epoch, height: int, digest: Digest) -> Sequence[Claim]:
        proven = _decode(decode_signed(proof).body)
        if (proven[0], proven[2]) != (height, digest):
            raise MalformedItemError(f"a proof of height {proven[0]}, not of {height}")
        return SoloEngine.claims(proof, epoch)

    def recover(
        self, now_ns: int, epoch: Epoch, floor: Floor, records: Iterable[bytes]
    ) -> list[Effect]:
        if len(epoch.validators) != 1:
            raise SoloValidatorsError(len(epoch.validators))
        self._epoch = epoch
        self._floor = floor
        self._proposed_ns = 0
        self._asked = False
        self._drafted = 0
        # Signed votes above the floor: signed is final, delivered or not.
        self._votes: dict[int, Signed] = {}
        for record in records:
            self._keep(decode_signed(record))
        return [*self._deliver(), *self._ask(now_ns)]

    def interest(self, item: Item) -> Interest:
        try:
            vote = item if isinstance(item, Signed) else decode_signed(item)
            height, _, _ = _decode(vote.body)
        except RemoteProtocolError:
            return Interest.NOW  # for `claims` to refuse
        if height <= self._floor.height or height in self._votes:
            return Interest.DROP
        near = height <= self._floor.height + self._parameters.window_views
        return Interest.NOW if near or vote.sender != 0 else Interest.DROP

    def step(self, now_ns: int, event: Event) -> list[Effect]:
        match event:
            case Msg(_, item):
                self._keep(item if isinstance(item, Signed) else decode_signed(item))
                self._proposed_ns = now_ns
                return [*self._deliver(), *self._missing(), *self._ask(now_ns)]
            case Built(ctx, bytes() as payload) if self._asked and ctx == self._floor.height + 1:
                # Stays asked until the vote comes back signed: one draft a height.
                self._asked = False
                self._drafted = self._floor.height + 1
                body = codec.encode((self._drafted, self._floor.digest, payload))
                return [Broadcast(Draft(body), TrafficClass.PROPOSAL)]
            case Synced(floor) if floor.height > self._floor.height:
                self._floor = floor
                self._prune()
                return [*self._deliver(), *self._ask(now_ns)]
            case Summary(peer, blob):
                return self._answer(peer, blob)
        return []

    def _keep(self, vote: Signed) -> None:
        height, _, _ = _decode(vote.body)
        near = height <= self._floor.height + self._parameters.window_views
        if self._floor.height < height <= self._epoch.last_height and near:
            self._votes.setdefault(height, vote)

    def _deliver(self) -> list[Effect]:
        out: list[Effect] = []
        while (vote := self._votes.get(self._floor.height + 1)) is not None:
            height, _, digest = _decode(vote.body)
            proof = encode_signed(vote)
            self._floor = Floor(height, digest, proof)
            out.append(Deliver(height, (digest,), digest, 0, (height,), proof))
            self._asked = False
        self._prune()
        return out

    def _prune(self) -> None:
        for height in [h for h in self._votes if h <= self._floor.height]:
            del self._votes[height]

    def _missing(self) -> list[Effect]:
        return [Behind(max(self._votes), (0,))] if self._votes else []

    def _ask(self, now_ns: int) -> list[Effect]:
        height = self._floor.height + 1
        if (
            self._epoch.me is None
            or self._asked
            or height > self._epoch.last_height
            or height <= self._drafted
        ):
            return []
        self._asked = True
        due_ns = self._proposed_ns + self._parameters.block_interval_ns
        not_before_ns = max(now_ns, due_ns) if self._proposed_ns else now_ns
        return [
            Entered((height,), 0),
            Build(height, self._floor.digest, height, not_before_ns, may_be_empty=False),
        ]

    def summary(self) -> bytes:
        return codec.encode((self._floor.height,))

    def _answer(self, peer: Index, blob: bytes) -> list[Effect]:
        try:
            (value,) = codec.array(codec.decode(blob, size_bytes_max=16), "summary", length=1)
            height = codec.unsigned(value, "height")
        except RemoteProtocolError:
            return []
        if self._epoch.me is None or not self._floor.proof or height >= self._floor.height:
            return []
        return [Send((peer,), self._floor.proof, TrafficClass.BULK)]

    def held(self) -> int:
        return 1 + len(self._votes)

    def fingerprint(self) -> Digest:
        floor = self._floor
        return crypto.sha256(
            codec.encode(
                (
                    (floor.height, floor.digest, floor.proof),
                    (self._proposed_ns, int(self._asked), self._drafted),
                    tuple(encode_signed(self._votes[h]) for h in sorted(self._votes)),
                )
            )
        )


def _decode(body: bytes) -> tuple[int, Digest, Digest]:
    height, parent, digest = codec.array(
        codec.decode(body, size_bytes_max=128), "solo vote", length=3
    )
    return (
        codec.unsigned(height, "height"),
        codec.octets(parent, "parent", length=crypto.DIGEST_BYTES),
        codec.octets(digest, "digest", length=crypto.DIGEST_BYTES),
    )
