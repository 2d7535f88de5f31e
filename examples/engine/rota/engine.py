"""An engine in which the validators propose by turns, and nobody's turn is ever given up.

Height h is proposed by validator h mod n: its vote is the proposal. Whoever finds the payload good
votes for the same body, and a quorum of votes on one body is the certificate that makes it final.

Safe: a validator signs one body a height (`slots`), so two certificates of one height would need
more than a third of the voting power to sign twice. Not live: while the proposer is away, or when
it proposes two payloads and neither finds a quorum, the height waits for it.

Body: `[height, parent, digest]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from p2pnode import codec, crypto
from p2pnode.consensus.certs import CertScheme
from p2pnode.consensus.engine import (
    Behind,
    Broadcast,
    Build,
    Built,
    Check,
    Checked,
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
    Offence,
    Pos,
    Send,
    Signed,
    Summary,
    Synced,
    TrafficClass,
    decode_signed,
    encode_signed,
    quorum_of,
)
from p2pnode.consensus.standing import Standing, VoteCount
from p2pnode.consensus.tally import Counted, Tally
from p2pnode.errors import RemoteProtocolError

SUMMARY_BYTES_MAX = 512
"""A height, and one bit a validator."""


class RotaEngine:
    """The validators propose by turns; the contract is `p2pnode.consensus.engine`."""

    name: ClassVar[str] = "rota"
    version: ClassVar[int] = 1

    def __init__(self, parameters: EngineParameters) -> None:
        self._parameters = parameters

    # --- what anybody may ask, without an engine running ----------------------------------------

    @staticmethod
    def tolerance(power_total: int) -> tuple[int, int]:
        quorum = quorum_of(power_total)
        return power_total - quorum, quorum

    @staticmethod
    def slots(body: bytes) -> Mapping[Key, bytes]:
        return {("vote", _decode(body)[0]): body}

    @staticmethod
    def position(body: bytes) -> Pos:
        return (_decode(body)[0],)

    @staticmethod
    def claims(item: Item, epoch: Epoch) -> Sequence[Claim]:
        if isinstance(item, bytes):
            certificate = CertScheme(epoch).decode(item)
            _decode(certificate.body)
            return certificate.claims()
        _decode(item.body)
        if item.sender >= len(epoch.validators):
            raise MalformedItemError(f"signer {item.sender} of {len(epoch.validators)} validators")
        return [Claim(item.sender, item.body, item.sig)]

    @staticmethod
    def verify_proof(proof: bytes, epoch: Epoch, height: int, digest: Digest) -> Sequence[Claim]:
        certificate = CertScheme(epoch).decode(proof)
        proven, _, payload = _decode(certificate.body)
        if (proven, payload) != (height, digest):
            raise MalformedItemError(f"a proof of height {proven}, not of {height}")
        return certificate.claims()

    # --- the life of an engine object -----------------------------------------------------------

    def recover(
        self, now_ns: int, epoch: Epoch, floor: Floor, records: Iterable[bytes]
    ) -> list[Effect]:
        self._epoch = epoch
        self._scheme = CertScheme(epoch)
        self._floor = floor
        self._proposed_ns = 0
        # A vote that an earlier life signed must be sent again, and never another one.
        self._signed: dict[int, Signed] = {}
        for record in records:
            vote = decode_signed(record)
            self._signed[_decode(vote.body)[0]] = vote
        return self._enter(now_ns)

    def interest(self, item: Item) -> Interest:
        try:
            if isinstance(item, bytes):
                height, _, _ = _decode(self._scheme.decode(item).body)
                return Interest.NOW if height > self._floor.height else Interest.DROP
            height, _, _ = _decode(item.body)
        except RemoteProtocolError:
            return Interest.NOW  # for `claims` to refuse, which costs the sender its score
        if height == self._height:
            known = self._tally.foresee(item.sender, item.body) is Counted.KNOWN
            return Interest.DROP if known else Interest.NOW
        near = self._height < height <= self._height + self._parameters.window_views
        return Interest.DEFER if near else Interest.DROP

    def step(self, now_ns: int, event: Event) -> list[Effect]:
        match event:
            case Msg(sender, bytes() as certificate):
                return self._certificate(now_ns, sender, certificate)
            case Msg(_, Signed() as vote):
                return self._vote(now_ns, vote)
            case Built(ctx, bytes() as payload) if ctx == self._height and self._mine_to_sign():
                self._drafted = True
                body = codec.encode((self._height, self._floor.digest, payload))
                return [Broadcast(Draft(body), TrafficClass.PROPOSAL)]
            case Checked(ctx, True) if ctx == (self._height, self._checked):
                if self._mine_to_sign():
                    self._drafted = True
                    body = codec.encode((self._height, self._floor.digest, self._checked))
                    return [Broadcast(Draft(body), TrafficClass.VOTE)]
            case Synced(floor) if floor.height > self._floor.height:
                self._floor = floor
                return self._enter(now_ns)
            case Summary(peer, blob):
                return self._answer(peer, blob)
        return []

    # --- one height -----------------------------------------------------------------------------

    def _enter(self, now_ns: int) -> list[Effect]:
        """Begin the height above the floor."""
        self._height = self._floor.height + 1
        self._tally = Tally(tuple(power for _, power in self._epoch.validators))
        self._checked = b""
        self._drafted = False
        self._signed = {h: v for h, v in self._signed.items() if h >= self._height}
        if self._height > self._epoch.last_height:
            return []  # the host begins the next epoch with a new object
        proposer = self._proposer(self._height)
        out: list[Effect] = [Entered((self._height,), proposer)]
        mine = self._signed.get(self._height)
        if mine is not None:
            self._drafted = True
            traffic = TrafficClass.PROPOSAL if proposer == mine.sender else TrafficClass.VOTE
            return [*out, Broadcast(mine, traffic), *self._vote(now_ns, mine)]
        if proposer == self._epoch.me:
            due_ns = self._proposed_ns + self._parameters.block_interval_ns
            not_before_ns = max(now_ns, due_ns) if self._proposed_ns else now_ns
            parent = self._floor.digest
            out.append(Build(self._height, parent, self._height, not_before_ns, False))
        return out

    def _vote(self, now_ns: int, vote: Signed) -> list[Effect]:
        height, parent, digest = _decode(vote.body)
        if height != self._height or height > self._epoch.last_height:
            return []
        counted = self._tally.add(vote)
        if counted is Counted.CONFLICT:
            first = self._tally.vote_of(vote.sender)
            assert first is not None
            return [Offence(vote.sender, first, vote)]
        if counted is Counted.KNOWN:
            return []
        if self._tally.power_of(vote.body) >= self._scheme.quorum:
            certificate = self._scheme.assemble(self._tally.votes_for(vote.body))
            return self._deliver(now_ns, digest, certificate)
        if vote.sender == self._proposer(height):
            self._proposed_ns = now_ns
            if parent == self._floor.digest and self._mine_to_sign():
                self._checked = digest
                return [Check((height, digest), digest, parent, vote.sender, height)]
        return []

    def _certificate(self, now_ns: int, sender: Index | None, certificate: bytes) -> list[Effect]:
        height, _, digest = _decode(self._scheme.decode(certificate).body)
        if height == self._height:
            return self._deliver(now_ns, digest, certificate)
        if height > self._height:
            return [Behind(height, () if sender is None else (sender,))]
        return []

    def _deliver(self, now_ns: int, digest: Digest, proof: bytes) -> list[Effect]:
        height = self._height
        self._floor = Floor(height, digest, proof)
        proposer = self._proposer(height)
        final = Deliver(height, (digest,), digest, proposer, (height,), proof)
        return [final, *self._enter(now_ns)]

    def _proposer(self, height: int) -> Index:
        return height % len(self._epoch.validators)

    def _mine_to_sign(self) -> bool:
        """Tell whether we are a validator that has signed nothing at this height."""
        return self._epoch.me is not None and not self._drafted

    # --- what got lost on the way -----------------------------------------------------------------

    def summary(self) -> bytes:
        have = sum(1 << vote.sender for vote in self._tally.votes())
        size = (len(self._epoch.validators) + 7) // 8
        return codec.encode((self._height, have.to_bytes(size, "little")))

    def _answer(self, peer: Index, blob: bytes) -> list[Effect]:
        try:
            value = codec.decode(blob, size_bytes_max=SUMMARY_BYTES_MAX)
            first, second = codec.array(value, "summary", length=2)
            height = codec.unsigned(first, "height")
            have = int.from_bytes(codec.octets(second, "votes"), "little")
        except RemoteProtocolError:
            return []
        if height < self._height:
            # The floor's proof may be of the epoch before, and then says nothing to this one.
            ours = self._floor.height >= self._epoch.first_height
            return [Send((peer,), self._floor.proof, TrafficClass.BULK)] if ours else []
        if height > self._height:
            return []
        lacking = [vote for vote in self._tally.votes() if not have >> vote.sender & 1]
        return [Send((peer,), vote, TrafficClass.BULK) for vote in lacking]

    # --- for people and tests ---------------------------------------------------------------------

    def standing(self, now_ns: int) -> Standing:
        """Return where the engine stands, for the TUI and `testnet explain`."""
        votes = self._tally.votes()
        proposer = self._proposer(self._height)
        return Standing(
            view=self._height,
            proposer=proposer,
            proposal_seen=self._tally.vote_of(proposer) is not None,
            votes=(
                VoteCount(
                    "vote",
                    tuple(vote.sender for vote in votes),
                    sum(self._epoch.validators[vote.sender][1] for vote in votes),
                ),
            ),
        )

    def held(self) -> int:
        return 1 + len(self._tally) + len(self._signed)

    def fingerprint(self) -> Digest:
        floor = self._floor
        return crypto.sha256(
            codec.encode(
                (
                    (floor.height, floor.digest, floor.proof),
                    (self._height, self._checked, int(self._drafted), self._proposed_ns),
                    self._tally.snapshot(),
                    tuple(encode_signed(self._signed[h]) for h in sorted(self._signed)),
                )
            )
        )


def _decode(body: bytes) -> tuple[int, Digest, Digest]:
    height, parent, digest = codec.array(
        codec.decode(body, size_bytes_max=128), "rota vote", length=3
    )
    return (
        codec.unsigned(height, "height"),
        codec.octets(parent, "parent", length=crypto.DIGEST_BYTES),
        codec.octets(digest, "digest", length=crypto.DIGEST_BYTES),
    )
