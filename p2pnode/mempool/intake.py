"""Intake: transactions from clients, peers and the topic, into the pool and on to collators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from p2pnode import crypto
from p2pnode.errors import P2PNodeError, RejectedTransaction
from p2pnode.gossip.frames import encode_frame
from p2pnode.gossip.packer import GOSSIP_PACK_BYTES, GOSSIP_WAIT_NS, Pack, Packer
from p2pnode.gossip.topics import transaction_topic
from p2pnode.mempool.admission import DuplicateTransaction
from p2pnode.mempool.pool import Pool
from p2pnode.types.allowances import Allowances
from p2pnode.types.chain import NS_PER_MS, Chain
from p2pnode.types.desk import Desk
from p2pnode.types.effects import Lane, Publish, Reply
from p2pnode.types.messages import Transactions, encode_message
from p2pnode.types.transaction import MalformedTransactionError, Transaction, decode_transaction

COLLATORS_TOLD: Final = 2
"""Direct frames go to this many collators next in turn."""

SEEN_MAX: Final = 100_000
"""Envelopes remembered, to spend nothing on copies."""

CHECKED_AT_ONCE_MAX: Final = 128
"""Transactions of a frame whose signatures are checked together; what follows a forgery isn't."""

FORGERY_POINTS: Final = 10.0
"""What a transaction with a bad signature costs: who is the first to send it on has checked it."""

STRANGER_POINTS: Final = 0.25
"""What a transaction costs whose sender has no account: whoever lets it in has looked, and knows of
an account a moment earlier at most."""

STRANGERS_COUNTED_MAX: Final = 10
"""Of one message: a client that uses many accounts at once, a moment after their funding, must not
cost its entry node more. Five messages of nothing else a second still ban in ten."""

REFUSED_PER_S: Final = 500
"""Transactions of a sender looked at in a second, in the long run, only to be refused: that
takes 50 to 100 µs, a frame holds 5,000, and nobody is to blame for a nonce that has gone stale."""

REFUSED_AT_ONCE_MAX: Final = 1000
"""So many at once. What comes after them is passed over: honest ones come again, on the topic."""


class Intake:
    """Admission of what arrives, and its way onward."""

    def __init__(
        self,
        chain: Chain,
        me: int | None,
        desk: Desk,
        pool: Pool,
        account: Callable[[bytes], tuple[int, int]],
        heights: Callable[[], tuple[int, int]],
        is_current: Callable[[], bool],
        is_executed: Callable[[bytes], bool],
        on_pooled: Callable[[], None],
    ) -> None:
        """Start empty.

        Args:
            chain: Epochs and validator sets.
            me: Our validator index, None for an observer.
            desk: Where effects go.
            pool: Where admitted transactions go.
            account: Gives (next nonce, balance of asset 0) of an address in the executed state.
            heights: Gives (final height, executed height).
            is_current: Tells whether the executed state is about as new as that of others.
            is_executed: Tells whether a transaction was executed here lately.
            on_pooled: Called when the pool has new transactions.
        """
        self._chain = chain
        self._me = me
        self._desk = desk
        self._pool = pool
        self._account = account
        self._heights = heights
        self._is_current = is_current
        self._is_executed = is_executed
        self._on_pooled = on_pooled
        self._seen: dict[bytes, None] = {}
        self._spread: dict[bytes, None] = {}
        """Executed transactions that have been worth passing on."""
        self._refusals = Allowances(per_s=REFUSED_PER_S, at_once_max=REFUSED_AT_ONCE_MAX)
        self._direct = Packer(chain.genesis.parameters.entry_wait_ms * NS_PER_MS)
        self._gossip = Packer(GOSSIP_WAIT_NS, pack_bytes=GOSSIP_PACK_BYTES)

    # --- arrival ---------------------------------------------------------------------------------

    def submit(self, ticket: int, raws: Sequence[bytes]) -> None:
        """Take a client's transactions; the reply names a refusal for each that is refused."""
        outcomes: list[P2PNodeError | None] = [None] * len(raws)
        admitted: list[tuple[int, Transaction]] = []
        for i, raw in enumerate(raws):
            try:
                transaction = decode_transaction(raw)
                self._admit(transaction)
                admitted.append((i, transaction))
            except DuplicateTransaction:
                # It is held already: accepted, as it was the first time. A collator packs what it
                # holds; who packs nothing sends it on again, since the first frames may be lost.
                if self._me is None and self.verified_before(transaction):
                    self._forward(raw)
            except (MalformedTransactionError, RejectedTransaction) as refusal:
                outcomes[i] = refusal

        def verified(ok: tuple[bool, ...]) -> None:
            for (i, transaction), fine in zip(admitted, ok, strict=True):
                refusal = self._settle(transaction, fine)
                if refusal is None:
                    self._forward(transaction.raw)
                elif not isinstance(refusal, DuplicateTransaction):
                    outcomes[i] = refusal
            self._desk.add(Reply(ticket, tuple(outcomes)))
            self._on_pooled()

        self._desk.verify([_check(t) for _, t in admitted], verified)

    def arrived(self, peer: bytes, raws: Sequence[bytes]) -> None:
        """Take transactions that came from elsewhere; whoever sent rubbish pays for it.

        Args:
            peer: Who sent them; of a published message its origin, since who forwards it does not
                check signatures.
            raws: Envelopes.
        """
        admitted: list[Transaction] = []
        rest: Sequence[bytes] = ()
        strangers = 0
        now_ns = self._desk.now_ns
        refused, refused_max = 0, self._refusals.left(peer, now_ns)
        for i, raw in enumerate(raws):
            if len(admitted) == CHECKED_AT_ONCE_MAX:
                rest = raws[i:]
                break
            if refused >= refused_max:
                break
            if not self._first_time(raw):
                continue
            try:
                transaction = decode_transaction(raw)
            except MalformedTransactionError as error:
                self._desk.penalize(peer, error.penalty, f"transaction: {error}")
                break  # what was admitted before it still waits for its check
            try:
                self._admit(transaction)
                admitted.append(transaction)
            except DuplicateTransaction:
                continue
            except RejectedTransaction:
                # Not the sender's fault: nonces go stale and balances change on the way. Time may
                # cure it, so a later copy is looked at again.
                self._seen.pop(crypto.sha256(raw), None)
                refused += 1
                strangers += self._account(transaction.sender) == (0, 0)
        self._refusals.spend(peer, refused, now_ns)
        if strangers and self._is_current():
            points = min(strangers, STRANGERS_COUNTED_MAX) * STRANGER_POINTS
            self._desk.penalize(peer, points, f"{strangers} transactions of no account")
        if not admitted:
            return

        def verified(ok: tuple[bool, ...]) -> None:
            for transaction, fine in zip(admitted, ok, strict=True):
                self._settle(transaction, fine)
            self._on_pooled()
            forged = ok.count(False)
            if forged:
                points = min(100.0, forged * FORGERY_POINTS)
                self._desk.penalize(peer, points, f"{forged} transactions with bad signatures")
            elif rest:
                self.arrived(peer, rest)

        self._desk.verify([_check(t) for t in admitted], verified)

    def count_admissible(self, transactions: Sequence[Transaction]) -> int:
        """Return how many the pool's rules let in; all when our state is too old to tell.

        A transaction that was executed before it was published to us counts as well, once: direct
        frames make it final within the time that its message waits to be filled.
        """
        if not self._is_current():
            return len(transactions)
        height = self._heights()[1]
        return sum(self._obeys(t, height) or self._is_late(t) for t in transactions)

    def _obeys(self, transaction: Transaction, height: int) -> bool:
        try:
            self._pool.rules.check(transaction, *self._account(transaction.sender), height)
        except RejectedTransaction:
            return False
        return True

    def _is_late(self, transaction: Transaction) -> bool:
        """Tell of an executed transaction whether nobody has published it to us before."""
        if not self._is_executed(transaction.id) or transaction.id in self._spread:
            return False
        _remember(self._spread, transaction.id)
        return True

    def verified_before(self, transaction: Transaction) -> bool:
        """Tell whether this very envelope's signature was checked on its way into the pool."""
        held = self._pool.get(transaction.id)
        return held is not None and held.signature == transaction.signature

    def _admit(self, transaction: Transaction) -> None:
        account = self._account(transaction.sender)
        self._pool.admit(self._desk.now_ns, transaction, account, self._heights()[1])

    def _settle(self, transaction: Transaction, fine: bool) -> RejectedTransaction | None:
        try:
            self._pool.verified(self._desk.now_ns, transaction, fine)
        except RejectedTransaction as refusal:
            return refusal
        return None

    def _first_time(self, raw: bytes) -> bool:
        digest = crypto.sha256(raw)
        if digest in self._seen:
            return False
        _remember(self._seen, digest)
        return True

    # --- onward ----------------------------------------------------------------------------------

    def _forward(self, raw: bytes) -> None:
        self._first_time(raw)
        now_ns = self._desk.now_ns
        for packer, which in ((self._direct, "direct"), (self._gossip, "gossip")):
            full = packer.add(now_ns, raw)
            if full is not None:
                self._send(which, full)
            elif packer.statistics().pending_count == 1 and packer.next_ns is not None:
                self._desk.arm(("intake", which), packer.next_ns)

    def fired(self, which: str) -> None:
        """A packer's timer fired."""
        packer = self._direct if which == "direct" else self._gossip
        pack = packer.due(self._desk.now_ns)
        if pack is not None:
            self._send(which, pack)
        elif packer.next_ns is not None:
            self._desk.arm(("intake", which), packer.next_ns)

    def _send(self, which: str, pack: Pack) -> None:
        if which == "gossip":
            self._desk.add(Publish(transaction_topic(0), encode_frame(pack)))
            return
        height = self._heights()[1]
        executors = self._chain.validators_of(self._chain.epoch_of(height + 1))
        count = min(COLLATORS_TOLD, len(executors))
        turns = [(height + i) % len(executors) for i in range(count)]
        peers = [executors[i].peer_id for i in turns if i != self._me]
        self._desk.send(peers, Lane.BULK, encode_message(Transactions(pack)))


def _remember(seen: dict[bytes, None], digest: bytes) -> None:
    seen[digest] = None
    if len(seen) > SEEN_MAX:
        for old in list(seen)[: SEEN_MAX // 10]:
            del seen[old]


def _check(transaction: Transaction) -> tuple[bytes, bytes, bytes]:
    return transaction.sender_key, transaction.signed, transaction.signature
