"""An open-loop load: transactions leave at their rate, whatever the nodes make of them.

A sender's transactions go to one node, chosen by its address, in the order of nonces. Nodes keep 64
nonces ahead of what they have executed; a recording has senders with a thousand transfers in a row.
So those of a sender that has many on their way are held back, and later ones of others take their
turns: the rate stays, and so does the order per sender.

When a node can't be reached, what it has accepted and not finalized is sent again, the same bytes,
to the next one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio
import trio.lowlevel

from p2pnode.client import CallRefusedError, ClientError
from p2pnode.node.answers import (
    FINAL_STATES,
    SubmitOutcome,
    TransactionState,
    TransactionStatus,
)
from p2pnode.telemetry.percentile import percentile
from testnet.load.options import LOOKAHEAD, TICK_S, WINDOW, LoadOptions
from testnet.load.report import NAMED_MAX, LoadReport, Named, percentiles, windows
from testnet.load.source import Signed, Source
from testnet.load.tracked import Client, Closed, LoadNode, Sender, Sent

AHEAD_S: Final = 3.0
"""Transactions are signed this long before they are due."""

SUBMIT_MAX: Final = 500
"""Most transactions in one call."""

LOOKUPS_MAX: Final = 4000
"""Most ids in one call."""

ASK_PERIOD_S: Final = 0.5
"""Nodes are asked this often what became of their transactions."""

ASK_AGE_MS: Final = 700
"""Younger transactions are not asked for."""

WINDOW_PERIOD_S: Final = 0.1
"""Accounts of senders that are held back are asked for this often."""

WATCH_PERIOD_S: Final = 0.1
"""The certified height is asked for this often: the resolution of execution times."""

DOWN_S: Final = 0.5
"""A node that could not be reached is left alone for so long."""

LOST_S: Final = 3.0
"""A transaction its node knows nothing of is sent to another one after so long."""

RETRY_S: Final = 0.3

SKIPPED_MS: Final = 5_000
"""A transaction skipped for a gap returns to the pools and may execute yet; not after so long."""

RECENT_MAX: Final = 300
"""Transactions that came through last, whose times are told on the way."""

_TRANSIENT: Final = ("pool_full", "pool_bytes_full", "nonce_too_far")
"""Refusals that time cures: tried again until the load ends."""

_HELD_ALREADY: Final = ("duplicate_transaction", "nonce_too_low")
"""Refusals of a transaction that was sent before, and is in."""


class Generator:
    """Submits a load and follows every transaction to its end."""

    def __init__(
        self,
        options: LoadOptions,
        clients: Sequence[tuple[str, Client]],
        source: Source,
        wall_ms: Callable[[], int],
    ) -> None:
        """Prepare.

        Args:
            options: Rate, duration, and more.
            clients: (name, client) of every node.
            source: Gives signed transactions.
            wall_ms: Wall clock, milliseconds since 1970: the one the nodes tell times by.
        """
        self._options = options
        self._nodes = [LoadNode(name, client) for name, client in clients]
        self._source = source
        self._wall_ms = wall_ms
        self._ready: deque[Signed] = deque()
        self._senders: dict[bytes, Sender] = {}
        self._holding: dict[bytes, Sender] = {}
        self._held_count = 0
        self._sent: dict[bytes, Sent] = {}
        """Those that are not closed."""
        self._closed = Closed()
        self._handed = 0
        self._resubmitted = 0
        self._height = 0
        self._certified: list[tuple[int, int]] = []
        self._due = 0
        self._started_ms = 0
        self._taken = trio.Event()
        self._stop = trio.Event()
        self._ending = False

    def stop(self) -> None:
        """End the submissions now; what is on its way is still followed."""
        self._stop.set()

    async def run(self) -> LoadReport:
        """Submit, settle, and report."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._watch)
            nursery.start_soon(self._sign)
            for index in range(len(self._nodes)):
                nursery.start_soon(self._send, index)
                nursery.start_soon(self._ask, index)
            nursery.start_soon(self._open_windows)
            with trio.move_on_after(1.0):
                # A head start, so that the first tick has something to take.
                await _until(lambda: len(self._ready) >= self._options.rate_tx_s * 0.5)
            await self._tick()
            self._ending = True
            with trio.move_on_after(self._options.settle_s):
                await _until(self._settled)
            nursery.cancel_scope.cancel()
        return self.report()

    # --- handing out -----------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Hand transactions to the nodes at the rate, until the time is over or `stop`."""
        rate, for_s = self._options.rate_tx_s, self._options.for_s
        start_s = trio.current_time()
        self._started_ms = self._wall_ms()
        while not self._stop.is_set():
            elapsed_s = trio.current_time() - start_s
            over = for_s is not None and elapsed_s >= for_s
            if over and for_s is not None:
                elapsed_s = for_s
            self._due = math.floor(rate * elapsed_s + 1e-9)
            self._handed += self._hand_out(self._due - self._handed)
            if over:
                return
            with trio.move_on_after(TICK_S):
                await self._stop.wait()

    def _hand_out(self, count: int) -> int:
        """Hand out up to `count` transactions; returns how many there were."""
        at_ms = self._wall_ms()
        handed = 0
        for sender in list(self._holding.values()):
            while handed < count and sender.held and sender.sent - sender.done < WINDOW:
                self._held_count -= 1
                self._give(sender, sender.held.popleft(), at_ms)
                handed += 1
            if not sender.held:
                del self._holding[sender.address]
        while handed < count and self._ready and self._held_count < LOOKAHEAD:
            signed = self._ready.popleft()
            sender = self._sender(signed)
            if sender.held or sender.sent - sender.done >= WINDOW:
                sender.held.append(signed)
                self._holding[sender.address] = sender
                self._held_count += 1
                continue
            self._give(sender, signed, at_ms)
            handed += 1
        self._taken.set()
        return handed

    def _sender(self, signed: Signed) -> Sender:
        found = self._senders.get(signed.sender)
        if found is None:
            route = int.from_bytes(signed.sender[:8], "big") % len(self._nodes)
            found = Sender(signed.sender, route, signed.nonce)
            self._senders[signed.sender] = found
        return found

    def _give(self, sender: Sender, signed: Signed, at_ms: int) -> None:
        sender.sent = signed.nonce + 1
        sent = Sent(signed, at_ms, sender.route)
        self._sent[signed.id] = sent
        self._nodes[sender.route].push(sent)

    async def _sign(self) -> None:
        """Keep transactions signed ahead; in small portions, so that ticks are not delayed."""
        while True:
            if len(self._ready) >= self._options.rate_tx_s * AHEAD_S:
                self._taken = trio.Event()
                await self._taken.wait()
                continue
            signed = self._source.next(self._height + self._options.valid_heights)
            if signed is None:
                await trio.sleep(TICK_S)
                continue
            self._ready.append(signed)
            if len(self._ready) % 8 == 0:
                await trio.lowlevel.checkpoint()

    # --- submitting ------------------------------------------------------------------------------

    async def _send(self, index: int) -> None:
        """Submit what is queued for a node: one call at a time, which keeps the order."""
        node = self._nodes[index]
        while True:
            await node.wake.wait()
            node.wake = trio.Event()
            while node.queue:
                batch = [node.queue.popleft() for _ in range(min(SUBMIT_MAX, len(node.queue)))]
                if trio.current_time() < node.down_until_s and self._elsewhere(index):
                    self._reroute(index, batch)
                    continue
                try:
                    outcomes = await node.client.submit([sent.signed.raw for sent in batch])
                except CallRefusedError as error:
                    self._refuse(batch, error.reason)
                except ClientError:
                    self._down(index)
                    if not self._elsewhere(index):
                        await trio.sleep(DOWN_S)
                    self._reroute(index, batch)
                else:
                    again = self._answered(index, batch, outcomes)
                    if again:
                        await trio.sleep(RETRY_S)
                        node.queue.extendleft(reversed(again))

    def _answered(
        self, index: int, batch: list[Sent], outcomes: Sequence[SubmitOutcome]
    ) -> list[Sent]:
        """Note a node's answers; returns what should be tried again."""
        node = self._nodes[index]
        now_s = trio.current_time()
        again = []
        for sent, outcome in zip(batch, outcomes, strict=True):
            sent.answered = True
            sent.sent_s = now_s
            sent.tries += 1
            if sent.closed:
                continue
            known = sent.accepted or sent.tries > 1
            if outcome.accepted or (known and outcome.kind in _HELD_ALREADY):
                sent.accepted = True
                sent.route = index
                node.open[sent.signed.id] = sent
            elif outcome.kind in _TRANSIENT and not sent.accepted:
                sent.reason = outcome.kind
                if not self._ending:
                    again.append(sent)
            elif not sent.accepted:
                sent.reason = outcome.kind or "refused"
        return again

    def _refuse(self, batch: list[Sent], reason: str) -> None:
        for sent in batch:
            sent.answered = True
            if not sent.accepted:
                sent.reason = reason

    def _elsewhere(self, index: int) -> bool:
        """Tell whether another node seems to be up."""
        now_s = trio.current_time()
        return any(n.down_until_s <= now_s for i, n in enumerate(self._nodes) if i != index)

    def _reroute(self, index: int, batch: list[Sent]) -> None:
        """Give transactions to the next node that seems to be up."""
        now_s = trio.current_time()
        turn = [(index + step) % len(self._nodes) for step in range(1, len(self._nodes))]
        target = next((i for i in turn if self._nodes[i].down_until_s <= now_s), index)
        for sent in batch:
            if sent.tries or sent.accepted:
                self._resubmitted += 1
            sent.tries += 1
            sent.route = target
            self._nodes[target].push(sent)

    def _down(self, index: int) -> None:
        """A node can't be reached: what it had accepted goes to the next one."""
        node = self._nodes[index]
        node.down_until_s = trio.current_time() + DOWN_S
        lost = [s for s in node.open.values() if not s.finalized and s.route == index]
        node.open.clear()
        # Dictionaries keep the order of submission, and with it that of nonces.
        if lost and self._elsewhere(index):
            self._reroute(index, lost)
        else:
            node.open.update((s.signed.id, s) for s in lost)

    # --- following -------------------------------------------------------------------------------

    async def _ask(self, index: int) -> None:
        """Ask a node what became of the transactions it has accepted."""
        node = self._nodes[index]
        while True:
            await trio.sleep(ASK_PERIOD_S)
            old_ms = self._wall_ms() - ASK_AGE_MS
            ids = [i for i, sent in node.open.items() if sent.at_ms <= old_ms]
            for start in range(0, len(ids), LOOKUPS_MAX):
                part = ids[start : start + LOOKUPS_MAX]
                try:
                    found = await node.client.transactions(part)
                except ClientError:
                    self._down(index)
                    break
                self._learn(index, part, found)

    def _learn(
        self, index: int, ids: Sequence[bytes], found: Sequence[TransactionStatus | None]
    ) -> None:
        node = self._nodes[index]
        now_s = trio.current_time()
        lost = []
        for transaction_id, status in zip(ids, found, strict=True):
            sent = self._sent.get(transaction_id)
            if sent is None:
                node.open.pop(transaction_id, None)
                continue
            if status is None:
                sent.state = None
                if now_s - sent.sent_s > LOST_S:
                    node.open.pop(transaction_id, None)
                    lost.append(sent)
                continue
            sent.state, sent.state_reason = status.state, status.reason
            if status.height is not None:
                sent.height, sent.final_ms = status.height, status.finalized_time_ms
            if sent.finalized and sent.state in FINAL_STATES:
                node.open.pop(transaction_id, None)
                del self._sent[transaction_id]
                self._closed.add(sent)
                sender = self._senders[sent.signed.sender]
                sender.done = max(sender.done, sent.signed.nonce + 1)
        if lost:
            self._reroute(index, lost)

    async def _open_windows(self) -> None:
        """Learn quickly how far the accounts of held-back senders have come."""
        while True:
            await trio.sleep(WINDOW_PERIOD_S)
            by_route: dict[int, list[bytes]] = {}
            for sender in self._holding.values():
                by_route.setdefault(sender.route, []).append(sender.address)
            for route, addresses in by_route.items():
                node = self._node_up(route)
                try:
                    accounts = await node.client.accounts(addresses)
                except ClientError:
                    continue
                for address, account in zip(addresses, accounts, strict=True):
                    sender = self._senders[address]
                    sender.done = max(sender.done, account.nonce)

    async def _watch(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Follow the heights, and when results became certified."""
        started = False
        while True:
            try:
                status = await self._node_up(0).client.status()
            except ClientError:
                pass
            else:
                self._height = max(self._height, status.height)
                certified = self._certified[-1][1] if self._certified else -1
                if status.certified_height > certified:
                    self._certified.append((self._wall_ms(), status.certified_height))
                if not started:
                    started = True
                    task_status.started()
            await trio.sleep(WATCH_PERIOD_S)

    def _node_up(self, first: int) -> LoadNode:
        now_s = trio.current_time()
        count = len(self._nodes)
        turn = [self._nodes[(first + step) % count] for step in range(count)]
        return next((node for node in turn if node.down_until_s <= now_s), turn[0])

    def _settled(self) -> bool:
        skipped_ms = self._wall_ms() - SKIPPED_MS
        for sent in self._sent.values():
            skipped = sent.state is TransactionState.SKIPPED and sent.at_ms < skipped_ms
            if not skipped and (sent.accepted or not sent.reason):
                return False
        height = max(self._closed.heights, default=0)
        return bool(self._certified) and self._certified[-1][1] >= height

    # --- the end ---------------------------------------------------------------------------------

    def report(self) -> LoadReport:
        """Return what is known now."""
        closed, open_ = self._closed, list(self._sent.values())
        finalized = [sent for sent in open_ if sent.finalized]
        refused: dict[str, int] = {}
        for sent in open_:
            if sent.answered and not sent.accepted:
                refused[sent.reason] = refused.get(sent.reason, 0) + 1
        named = [s for s in open_ if not s.finalized and (s.accepted or not s.answered)]
        unfinished = [sent for sent in named if sent.state is not TransactionState.SKIPPED]
        at_ms = [*closed.at_ms, *(sent.at_ms for sent in finalized)]
        final_ms = [*closed.final_ms, *(sent.final_ms or sent.at_ms for sent in finalized)]
        heights = [*closed.heights, *(sent.height or 0 for sent in finalized)]
        certified_height = self._certified[-1][1] if self._certified else -1
        count = len(closed.at_ms)
        return LoadReport(
            due=self._due,
            submitted=count + sum(sent.answered for sent in open_),
            accepted=count + sum(sent.accepted for sent in open_),
            finalized=len(at_ms),
            executed=count - closed.failed,
            failed=closed.failed,
            skipped=sum(sent.state is TransactionState.SKIPPED for sent in open_),
            certified=sum(height <= certified_height for height in heights),
            refused=dict(sorted(refused.items())),
            skipped_from_trace=self._source.skipped(len(self._ready) + self._held_count),
            resubmitted=self._resubmitted,
            finalization_s=percentiles(
                [max(0, end - start) / 1000 for start, end in zip(at_ms, final_ms, strict=True)]
            ),
            finalization_windows=windows(self._started_ms, zip(at_ms, final_ms, strict=True)),
            execution_s=percentiles(self._execution_s(at_ms, heights)),
            started_ms=self._started_ms,
            finalized_ms=max(final_ms, default=0),
            repetitions=self._source.repetitions,
            height_max=max(heights, default=0),
            unfinished_count=len(unfinished),
            named=tuple(self._named(sent) for sent in named[:NAMED_MAX]),
        )

    def progress(self) -> dict[str, int]:
        """Return a few counts, cheaply."""
        closed = self._closed
        last = slice(-RECENT_MAX, None)
        times = zip(closed.at_ms[last], closed.final_ms[last], strict=True)
        ordered = sorted(max(0, final - at) for at, final in times)
        found = {
            "due": self._due,
            "submitted": self._handed,
            "held": self._held_count,
            "finalized": len(closed.at_ms),
        }
        if ordered:
            found["p50_ms"] = round(percentile(ordered, 50))
            found["p99_ms"] = round(percentile(ordered, 99))
        return found

    def _execution_s(self, at_ms: Sequence[int], heights: Sequence[int]) -> list[float]:
        """Return the times from submission to a certified result; heights come in order."""
        found = []
        place = 0
        for height, start_ms in sorted(zip(heights, at_ms, strict=True)):
            while place < len(self._certified) and self._certified[place][1] < height:
                place += 1
            if place == len(self._certified):
                break
            found.append(max(0, self._certified[place][0] - start_ms) / 1000)
        return found

    def _named(self, sent: Sent) -> Named:
        state = sent.state.value if sent.state is not None else "unknown"
        node = self._nodes[sent.route].name
        return Named(sent.signed.id.hex(), state, sent.state_reason or sent.reason, node)


async def _until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await trio.sleep(TICK_S)
