"""Verified statements: those that wait to be ordered, and those ordered lately."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from p2pnode.types.chain import Chain
from p2pnode.types.payload import EVIDENCE_MAX, ITEMS_MAX
from p2pnode.types.statement import BatchCertificate, Evidence, Result, ResultCertificate, Statement

RETAINED_HEIGHTS: int = 128
"""Ordered statements stay this long, for payloads that list them again."""

WAITING_MAX: int = 4096
"""Most statements that wait; further ones are dropped and fetched again when a payload lists
them."""


EVIDENCE_PER_SIGNER_MAX: int = 8
"""Most evidence against one validator that waits: it can sign any number of offences, and one is
enough."""


def outboxes_before(result: Result) -> int:
    """Return how many outboxes the shard sent before this result's height."""
    return result.counters[-1] if result.counters else 0


@dataclass(slots=True)
class _Known:
    raw: bytes
    statement: Statement
    ordered_height: int | None


class StatementPool:
    """Statements whose signatures were verified, by digest."""

    def __init__(self, chain: Chain) -> None:
        """Start empty."""
        self._chain = chain
        self._known: dict[bytes, _Known] = {}
        self._waiting: dict[bytes, None] = {}
        self._feeds: dict[tuple[int, bytes], int] = {}
        self._results: dict[int, int] = {}
        self._outboxes: dict[int, int] = {}
        self._outboxes_early: dict[tuple[int, int], None] = {}
        self._by_height: dict[int, list[bytes]] = {}
        self._height = 0
        self._subjects: dict[tuple[str, bytes], None] = {}
        self._accused: dict[tuple[int, int], None] = {}

    def add(self, digest: bytes, raw: bytes, statement: Statement, *, listed: bool = False) -> bool:
        """Add a verified statement; returns whether it is new and may be proposed.

        Args:
            digest: Of `raw`.
            raw: Its bytes.
            statement: Decoded.
            listed: A payload lists it: it is kept even when the pool is full, or that payload could
                never be judged, and no block with it be taken.
        """
        if digest in self._known:
            return False
        full = len(self._waiting) >= WAITING_MAX
        if full and not listed:
            return False
        self._known[digest] = _Known(raw, statement, None)
        self._subjects[_subject(statement, digest)] = None
        if not full and not self._stale(statement):
            self._waiting[digest] = None
            return True
        self._by_height.setdefault(self._height, []).append(digest)
        return False

    def is_news(self, statement: Statement, epoch: int) -> bool:
        """Tell whether a statement that nobody lists is worth checking.

        What one batch or result has to say is said by the first certificate: other choices of its
        signers are as valid and as many as anybody likes. The same goes for evidence against one
        who signs offences without end.

        Args:
            statement: Decoded.
            epoch: The running one.
        """
        if isinstance(statement, Evidence):
            if not epoch - 1 <= statement.epoch <= epoch + 1:
                return False
            waiting = sum(
                isinstance(s := self._known[d].statement, Evidence) and s.signer == statement.signer
                for d in self._waiting
            )
            return waiting < EVIDENCE_PER_SIGNER_MAX and not self._stale(statement)
        known = _subject(statement, b"") in self._subjects
        return not known and not self._stale(statement, self._height)

    def get(self, digest: bytes) -> Statement | None:
        """Return a known statement."""
        known = self._known.get(digest)
        return None if known is None else known.statement

    def raw(self, digest: bytes) -> bytes | None:
        """Return a known statement's bytes."""
        known = self._known.get(digest)
        return None if known is None else known.raw

    def waiting_count(self) -> int:
        """Return how many statements are not yet ordered."""
        return len(self._waiting)

    def may_propose(self, height: int) -> bool:
        """Tell whether something that waits can be listed at a height.

        What waits for something else (a result for the outbox before its own, a certificate for its
        epoch) is no reason to call for a block: views would run out with nothing to propose.
        """
        return bool(self._waiting) and bool(self.choose(height, ()))

    def has_waiting(self) -> bool:
        """Tell whether something should be proposed."""
        return bool(self._waiting)

    def unordered_batches(self, uid: int, excluded: Collection[bytes]) -> int:
        """Return how many certified batches of a shard wait to be ordered.

        Args:
            uid: The shard.
            excluded: Digests not counted.
        """
        return sum(
            1
            for digest in self._waiting
            if digest not in excluded
            and isinstance(s := self._known[digest].statement, BatchCertificate)
            and s.header.uid == uid
        )

    def lists_batch(self, digests: Collection[bytes]) -> bool:
        """Tell whether a batch certificate is among statements."""
        return any(isinstance(self.get(digest), BatchCertificate) for digest in digests)

    def choose(self, height: int, excluded: Collection[bytes]) -> tuple[bytes, ...]:
        """Return the digests to propose at a height: at most one batch and one result a shard.

        Args:
            height: Height of the payload; certificates inadmissible there are left out.
            excluded: Digests listed by ancestors that are not final yet.
        """
        batches: dict[int, tuple[bytes, BatchCertificate]] = {}
        results: dict[int, tuple[bytes, ResultCertificate]] = {}
        evidence: list[bytes] = []
        feeds = dict(self._feeds)
        outboxes = dict(self._outboxes)
        for digest in excluded:
            if isinstance(s := self.get(digest), BatchCertificate):
                feed = (s.header.uid, s.header.collator)
                feeds[feed] = max(feeds.get(feed, 0), s.header.sequence)
            elif isinstance(s, ResultCertificate) and s.outbox:
                outboxes[s.result.uid] = outboxes_before(s.result) + 1
        for digest in self._waiting:
            if digest in excluded:
                continue
            match self._known[digest].statement:
                case BatchCertificate() as s:
                    uid, feed = s.header.uid, (s.header.uid, s.header.collator)
                    if s.header.sequence <= feeds.get(feed, 0):
                        continue
                    if not self._chain.admissible(s.header.epoch, height):
                        continue
                    # Oldest certificate first; within its feed the lowest sequence, else a later
                    # one would make the earlier ones unusable.
                    best = batches.get(uid)
                    if best is None or (
                        best[1].header.collator == s.header.collator
                        and s.header.sequence < best[1].header.sequence
                    ):
                        batches[uid] = (digest, s)
                case ResultCertificate() as s:
                    r = s.result
                    if not self._chain.result_admissible(r.epoch, height, outbox=bool(s.outbox)):
                        continue
                    # Outboxes are consumed without gaps: none may be passed over.
                    if outboxes_before(r) != outboxes.get(r.uid, 0):
                        continue
                    top = results.get(r.uid)
                    if top is None or r.height > top[1].result.height:
                        results[r.uid] = (digest, s)
                case Evidence(epoch):
                    if self._chain.evidence_admissible(epoch, height):
                        evidence.append(digest)
        chosen = [digest for digest, _ in batches.values()]
        chosen += [digest for digest, _ in results.values()]
        return tuple((chosen + evidence[:EVIDENCE_MAX])[:ITEMS_MAX])

    def ordered(self, height: int, digests: tuple[bytes, ...]) -> list[bytes]:
        """Note that a block lists these digests.

        Returns:
            Digests of statements forgotten that no block lists.
        """
        self._height = max(self._height, height)
        for digest in digests:
            known = self._known.get(digest)
            if known is None:
                continue
            if known.ordered_height is None:
                known.ordered_height = height
                self._by_height.setdefault(height, []).append(digest)
            self._waiting.pop(digest, None)
            match known.statement:
                case BatchCertificate(header):
                    feed = (header.uid, header.collator)
                    self._feeds[feed] = max(self._feeds.get(feed, 0), header.sequence)
                case ResultCertificate(result, outbox):
                    uid = result.uid
                    self._results[uid] = max(self._results.get(uid, 0), result.height)
                    if outbox:
                        self._count_outbox(uid, outboxes_before(result))
                case Evidence(epoch, signer):
                    self._accused[epoch, signer] = None
        self._drop_stale(height)
        current = self._chain.epoch_of(height + 1)
        for key in [key for key in self._accused if not current - 1 <= key[0] <= current + 1]:
            del self._accused[key]
        unlisted: list[bytes] = []
        for old in [h for h in self._by_height if h <= height - RETAINED_HEIGHTS]:
            for digest in self._by_height.pop(old):
                known = self._known.pop(digest, None)
                if known is not None:
                    self._subjects.pop(_subject(known.statement, digest), None)
                    if known.ordered_height is None:
                        unlisted.append(digest)
        return unlisted

    def _count_outbox(self, uid: int, before: int) -> None:
        """Count an ordered outbox; whoever proposes may list a later one first."""
        if before >= self._outboxes.get(uid, 0):
            self._outboxes_early[uid, before] = None
        while (uid, count := self._outboxes.get(uid, 0)) in self._outboxes_early:
            del self._outboxes_early[uid, count]
            self._outboxes[uid] = count + 1

    def feed_sequence(self, uid: int, collator: bytes) -> int:
        """Return the last ordered sequence of a feed."""
        return self._feeds.get((uid, collator), 0)

    def restore_feed(self, uid: int, collator: bytes, sequence: int) -> None:
        """Tell, at start, the last ordered sequence of a feed."""
        self._feeds[(uid, collator)] = sequence

    def restore_results(self, uid: int, height: int, outboxes: int) -> None:
        """Tell, at start, the last height whose result was ordered, and how many outboxes were."""
        self._results[uid] = height
        self._outboxes[uid] = outboxes

    def certified_height(self, uid: int) -> int:
        """Return the last height of a shard whose result certificate was ordered; 0 before any."""
        return self._results.get(uid, 0)

    def _drop_stale(self, height: int) -> None:
        for digest in [d for d in self._waiting if self._stale(self._known[d].statement, height)]:
            del self._waiting[digest]
            self._by_height.setdefault(height, []).append(digest)

    def _stale(self, statement: Statement, height: int | None = None) -> bool:
        """Tell whether ordering the statement would be pointless."""
        match statement:
            case BatchCertificate(header):
                if header.sequence <= self._feeds.get((header.uid, header.collator), 0):
                    return True
                return height is not None and self._is_over(header.epoch, height + 1)
            case ResultCertificate(result, outbox):
                if outbox:
                    return outboxes_before(result) < self._outboxes.get(result.uid, 0)
                if result.height <= self._results.get(result.uid, 0):
                    return True
                return height is not None and self._is_over(result.epoch, height + 1)
            case Evidence(epoch, signer):
                if (epoch, signer) in self._accused:
                    return True
                return height is not None and epoch < self._chain.epoch_of(height + 1) - 1

    def _is_over(self, epoch: int, height: int) -> bool:
        """Tell whether certificates of an epoch are admissible neither here nor later."""
        return epoch < self._chain.epoch_of(height) and not self._chain.admissible(epoch, height)


def _subject(statement: Statement, digest: bytes) -> tuple[str, bytes]:
    """Return what a statement is about, whoever signed it."""
    match statement:
        case BatchCertificate(header):
            return "batch", header.digest()
        case ResultCertificate(result):
            return "result", result.encode()
        case Evidence():
            return "evidence", digest
