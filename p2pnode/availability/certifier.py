"""Batches from packing to certificate, our own and those of other collators.

Own: packed when it is our turn, signed, kept, sent to every validator, certified by a quorum of
"stored". Others': checked, kept, answered with "stored" once they are on disk (the answer's
signature waits for the sync that covers the data).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from p2pnode.availability.certificate import (
    KIND_BATCH,
    KIND_STORED,
    header_claim,
    stored_claim,
)
from p2pnode.availability.custody import Accepted, Custody, CustodyStatistics, Equivocated
from p2pnode.availability.dispersal import Dispersal, DispersalStatistics
from p2pnode.availability.shelf import HeldBatch, Shelf
from p2pnode.errors import RemoteProtocolError
from p2pnode.mempool.collator import Built, Collator, Plan
from p2pnode.mempool.pool import Pool
from p2pnode.types.batch import BatchHeader, decode_batch_header
from p2pnode.types.chain import NS_PER_MS, Chain
from p2pnode.types.desk import Desk
from p2pnode.types.effects import Lane, Write
from p2pnode.types.genesis import FIRST_UID
from p2pnode.types.messages import BatchOffer, Stored, encode_message
from p2pnode.types.statement import BatchCertificate, Statement

OWN_BATCHES_REMEMBERED: Final = 64
"""Own batches whose epoch is remembered, for late answers; a feed has far fewer on its way."""


ORDERED_REMEMBERED: Final = 8192
"""Ordered batches known by digest: more than custody remembers at all."""

LEAD_NS: Final = 40_000_000
"""First guess at what it takes to certify a batch; it is measured from then on."""

LEAD_NS_MAX: Final = 1_000_000_000
"""Longest certification that counts: beyond it packing early has no use."""

PATIENCE_NS: Final = 2_000_000_000
"""So long transactions wait because certified batches wait too; then they are packed all the same,
or one feed that always has batches waiting would keep every other empty."""


@dataclass(frozen=True, slots=True)
class CertifierStatistics:
    """Batches of our own on their way, and those we keep."""

    dispersal: DispersalStatistics
    custody: CustodyStatistics


class Certifier:
    """Drives collator, dispersal and custody of a validator."""

    def __init__(
        self,
        chain: Chain,
        me: int,
        desk: Desk,
        collator: Collator,
        dispersal: Dispersal,
        custody: Custody,
        shelf: Shelf,
        certify: Callable[[Statement], None],
        heights: Callable[[], tuple[int, int]],
        pool: Pool,
        waiting: Callable[[int], int],
    ) -> None:
        """Prepare.

        Args:
            chain: Epochs and validator sets.
            me: Our validator index.
            desk: Where effects go.
            collator: Packs our batches.
            dispersal: Gathers "stored" for them.
            custody: Which batches we store.
            shelf: Where data waits for execution.
            certify: Takes completed certificates and evidence.
            heights: Gives (final height, executed height).
            pool: Where the collator takes transactions from.
            waiting: Gives how many certified batches of a shard no proposal has listed yet.
        """
        self._chain = chain
        self._me = me
        self._pool = pool
        self._waiting = waiting
        self._listed_ns = 0
        self._certifying_ns = LEAD_NS
        self._in_flight: dict[bytes, int] = {}
        self._desk = desk
        self._collator = collator
        self._dispersal = dispersal
        self._custody = custody
        self._shelf = shelf
        self._certify = certify
        self._heights = heights
        self._packing = False
        self._epoch_of: dict[bytes, int] = {}
        self._ordered: dict[bytes, None] = {}
        self._delta_ns = chain.genesis.parameters.delta_ms * NS_PER_MS

    def statistics(self) -> CertifierStatistics:
        """Return what is on its way and what is kept."""
        return CertifierStatistics(self._dispersal.statistics(), self._custody.statistics())

    def enter_epoch(self, epoch: int, start_height: int) -> None:
        """Follow the chain into an epoch."""
        validators = self._chain.validators_of(epoch)
        keys = [v.public_key for v in validators]
        self._collator.enter_epoch(epoch, keys)
        self._custody.enter_epoch(epoch, {FIRST_UID: keys}, validators, start_height)
        # Collators that executed the epoch's last height before us must not wait for us.
        following = self._chain.validators_of(epoch + 1)
        self._custody.foresee_epoch(
            epoch + 1,
            {FIRST_UID: [v.public_key for v in following]},
            following,
            self._chain.first_height(epoch + 1) - 1,
        )

    # --- own batches -----------------------------------------------------------------------------

    def wake(self) -> None:
        """Pack a batch if one is due, and see that we are woken when one may be."""
        if self._packing:
            return
        now_ns = self._desk.now_ns
        # One batch a shard and height is ordered: what is certified sooner only waits, and what
        # arrives meanwhile could have been in it. So it is packed just in time for the next
        # proposal, and not while another one waits; full batches may queue one deep.
        full = self._pool.ready_bytes >= self._chain.genesis.parameters.batch_bytes_max
        interval_ns = self._chain.genesis.parameters.block_interval_ms * NS_PER_MS
        own_count = self._dispersal.statistics().batches_count
        if own_count > int(full):
            return
        if self._waiting(FIRST_UID) + own_count > int(full):
            since_ns = self._pool.waiting_since_ns
            if since_ns is None:
                return
            patient_until_ns = since_ns + max(PATIENCE_NS, 4 * interval_ns)
            if now_ns < patient_until_ns:
                self._desk.arm(("feeds", "due"), patient_until_ns)
                return
        in_time_ns = self._listed_ns + interval_ns - self._lead_ns()
        if now_ns < in_time_ns and not full:
            self._desk.arm(("feeds", "due"), in_time_ns)
            return
        due = self._collator.due(now_ns, self._heights()[1], self._delta_ns)
        if isinstance(due, Plan):
            built = self._collator.build(now_ns, due)
            if built is not None:
                self._sign(built)
        elif due is not None:
            self._desk.arm(("feeds", "due"), max(due, now_ns + NS_PER_MS))

    def fired(self, which: str) -> None:
        """One of our timers fired."""
        if which == "retry":
            self._retry()
        self.wake()

    def _sign(self, built: Built) -> None:
        self._packing = True
        header = built.header
        body = header.encode()

        def signed(signature: bytes | None) -> None:
            self._packing = False
            if signature is None:
                self._collator.abandoned(self._desk.now_ns, header.sequence)
                return
            self._disperse(HeldBatch(header, body, signature, built.data))
            self.wake()

        self._desk.sign(
            KIND_BATCH,
            header.epoch,
            body,
            {("batch", header.uid, header.sequence): body},
            (header.sequence,),
            signed,
        )

    def _disperse(self, held: HeldBatch) -> None:
        now_ns, header = self._desk.now_ns, held.header
        try:
            accepted = self._custody.accept(
                now_ns, header, held.signature, held.data, self._heights()[1]
            )
        except RemoteProtocolError as error:
            # The epoch ended, or the feed moved on, while the header was being signed.
            self._desk.emit("batch_abandoned", sequence=header.sequence, reason=str(error))
            self._collator.abandoned(now_ns, header.sequence)
            return
        assert isinstance(accepted, Accepted), accepted
        validators = self._chain.validators_of(header.epoch)
        digest = self._dispersal.begin(
            now_ns, self._heights()[1], header, held.signature, held.data, validators
        )
        self._epoch_of[digest] = header.epoch
        while len(self._epoch_of) > OWN_BATCHES_REMEMBERED:
            del self._epoch_of[next(iter(self._epoch_of))]
        self._keep(held, digest)
        offer = encode_message(BatchOffer(held.header_bytes, held.signature, held.data))
        peers = [v.peer_id for i, v in enumerate(validators) if i != self._me]
        self._desk.send(peers, Lane.BULK, offer)
        self._sign_stored(accepted, None)
        self._arm_retry()

    def _retry(self) -> None:
        now_ns = self._desk.now_ns
        for again in self._dispersal.resend(now_ns):
            validators = self._chain.validators_of(again.header.epoch)
            peers = [validators[i].peer_id for i in again.missing if i != self._me]
            offer = BatchOffer(again.header.encode(), again.header_signature, again.data)
            self._desk.send(peers, Lane.BULK, encode_message(offer))
        for header in self._dispersal.give_up(now_ns, self._heights()[1]):
            self._desk.emit("batch_given_up", sequence=header.sequence)
            self._collator.abandoned(now_ns, header.sequence)
        self._arm_retry()

    def _arm_retry(self) -> None:
        at_ns = self._dispersal.next_ns
        if at_ns is not None:
            self._desk.arm(("feeds", "retry"), max(at_ns, self._desk.now_ns + NS_PER_MS))

    def stored_from(self, peer: bytes, message: Stored) -> None:
        """Take a validator's "stored" of a batch of ours."""
        validator = self._dispersal.wants(message.digest, message.signer)
        if validator is None:
            return
        epoch = self._epoch_of[message.digest]
        key, chain = validator.public_key, self._chain.id
        claim = stored_claim(message.digest, epoch, key, message.signature, chain)

        def verified(ok: tuple[bool, ...]) -> None:
            if all(ok):
                self._count(message.digest, message.signer, message.signature)
            else:
                self._desk.penalize(peer, 50.0, 'bad signature in a "stored"')

        self._desk.verify([claim], verified)

    def _count(self, digest: bytes, signer: int, signature: bytes) -> None:
        certificate = self._dispersal.stored(digest, signer, signature)
        if certificate is not None:
            self._certify(certificate)

    # --- other collators' batches ----------------------------------------------------------------

    def offer_from(self, peer: bytes, offer: BatchOffer) -> None:
        """Take a batch that its collator sent us."""
        now_ns = self._desk.now_ns
        try:
            header = decode_batch_header(offer.header)
            given = self._custody.answer_for(header.digest())
            if given is not None:
                # Our last answer was lost, or somebody repeats an offer: it costs no disk.
                self._answer(peer, header.digest(), given)
                return
            self._custody.screen(now_ns, header, self._heights()[1])
        except RemoteProtocolError as error:
            self._refuse(peer, error)
            return

        def verified(ok: tuple[bool, ...]) -> None:
            if not all(ok):
                self._desk.penalize(peer, 50.0, "bad signature of a batch header")
                return
            self._accept(peer, header, offer)

        self._desk.verify([header_claim(header, offer.signature, self._chain.id)], verified)

    def _accept(self, peer: bytes, header: BatchHeader, offer: BatchOffer) -> None:
        try:
            taken = self._custody.accept(
                self._desk.now_ns, header, offer.signature, offer.data, self._heights()[1]
            )
        except RemoteProtocolError as error:
            self._refuse(peer, error)
            return
        if isinstance(taken, Equivocated):
            self._desk.emit("offence", culprit=taken.evidence.signer, signing_kind=KIND_BATCH)
            self._certify(taken.evidence)
            return
        self._keep(HeldBatch(header, offer.header, offer.signature, offer.data), taken.digest)
        self._sign_stored(taken, peer)

    def _keep(self, held: HeldBatch, digest: bytes) -> None:
        self._in_flight[digest] = self._desk.now_ns
        while len(self._in_flight) > OWN_BATCHES_REMEMBERED:
            del self._in_flight[next(iter(self._in_flight))]
        self._desk.put(Write("batches", digest, held.encode()))
        self._shelf.put(held)

    def _sign_stored(self, accepted: Accepted, collator: bytes | None) -> None:
        """Sign "stored" and send it to the collator (None: the batch is ours)."""

        def signed(signature: bytes | None) -> None:
            if signature is None:
                return
            self._custody.signed(accepted.digest, signature)
            if collator is None:
                self._count(accepted.digest, self._me, signature)
            else:
                self._answer(collator, accepted.digest, signature)

        self._desk.sign(KIND_STORED, accepted.epoch, accepted.digest, {}, (), signed)

    def _answer(self, collator: bytes, digest: bytes, signature: bytes) -> None:
        stored = encode_message(Stored(digest, self._me, signature))
        self._desk.send([collator], Lane.PROPOSAL, stored)

    def _refuse(self, peer: bytes, error: RemoteProtocolError) -> None:
        if error.penalty:
            self._desk.penalize(peer, error.penalty, f"batch: {error}")
        else:
            self._desk.emit("batch_refused", reason=str(error))

    # --- what the chain says ---------------------------------------------------------------------

    def listed(self) -> None:
        """A proposal lists statements: the next one comes a block interval later."""
        self._listed_ns = self._desk.now_ns
        self.wake()

    def certified(self, certificate: BatchCertificate) -> None:
        """A batch has a certificate: collators of its shard are at work."""
        self._collator.progressed(self._desk.now_ns)
        begun_ns = self._in_flight.pop(certificate.header.digest(), None)
        if begun_ns is not None:
            taken_ns = min(self._desk.now_ns - begun_ns, LEAD_NS_MAX)
            self._certifying_ns += (taken_ns - self._certifying_ns) // 8

    def expected(self) -> bool:
        """Tell whether a batch that we store will be certified in a moment."""
        since_ns = self._desk.now_ns - 2 * self._lead_ns()
        return any(begun_ns > since_ns for begun_ns in self._in_flight.values())

    def _lead_ns(self) -> int:
        """Return how long before a proposal a batch is packed: what certifying took, and half."""
        return self._certifying_ns * 3 // 2 + LEAD_NS // 4

    def executed(self, height: int, ordered: Sequence[BatchHeader], own_key: bytes) -> list[Write]:
        """Follow an executed height.

        Args:
            height: The height.
            ordered: Headers of the batches it ordered.
            own_key: Our public key.

        Returns:
            Writes that delete batches that were never ordered.
        """
        self._collator.follow(self._desk.now_ns, height)
        for header in ordered:
            self._custody.ordered(height, header.uid, header.collator, header.sequence)
            self._collator.progressed(self._desk.now_ns)
            if header.collator == own_key:
                self._collator.ordered(header.sequence)
                self._dispersal.passed(header.uid, header.sequence)
            self._ordered[header.digest()] = None
        while len(self._ordered) > ORDERED_REMEMBERED:
            del self._ordered[next(iter(self._ordered))]
        # What was ordered is kept for those who catch up, until the store's retention ends; what
        # died unordered is wanted by nobody.
        dead = [d for d in self._custody.prune(height) if d not in self._ordered]
        for digest in dead:
            self._shelf.forget(digest)
        return [Write("batches", digest, None) for digest in dead]
