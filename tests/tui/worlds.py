"""Networks as a node sees them: what the screens are drawn from in tests and pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from p2pnode.node.answers import (
    BlockEvent,
    DeductionRow,
    PeerRow,
)
from p2pnode.node.jsonform import Amount
from p2pnode.node.status import (
    AvailabilityStatus,
    ConsensusStatus,
    DeviceStatus,
    MempoolStatus,
    NodeStatus,
    ShardStatus,
    SkipReason,
    StateRoot,
    ValidatorSeen,
    ViewOutcome,
    ViewRow,
    VoteCount,
)
from p2pnode.telemetry.ring import LogRecord
from p2pnode.tui.app import Tick
from p2pnode.tui.model import (
    Admin,
    BlockCame,
    Link,
    LogCame,
    Lost,
    Model,
    PeersCame,
    StatusCame,
)
from p2pnode.tui.update import update

COUNT: Final = 7
SECONDS: Final = 90
"""How long the node has been watched."""
BEGIN_MS: Final = 1_767_225_600_000
"""2026-01-01 00:00 UTC."""
NOW_S: Final = 1_000.0
QUORUM: Final = 5


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def peer_of(index: int) -> str:
    return f"12D3KooW{hash_of(f'peer {index}')[:44]}"


def wave(second: int, low: float, high: float) -> float:
    """Return a number between two that goes up and down, the same in each run."""
    phase = (second * 7919 % 97) / 97
    return low + (high - low) * (0.6 + 0.4 * phase - abs(second % 40 - 20) / 50)


def view_row(view: int, final: int) -> ViewRow:
    proposer = view % COUNT
    voters = tuple(i for i in range(COUNT) if (view * 31 + i * 17) % 23 > 1)
    height = view - view // 12
    if view % 12 == 7:
        late = SkipReason.LATE if view % 24 == 7 else SkipReason.SILENT
        late_ms = 310 if late is SkipReason.LATE else None
        return ViewRow(
            view, proposer, ViewOutcome.SKIPPED, None, voters[:QUORUM], late, late_ms, 2_140
        )
    outcome = ViewOutcome.FINAL
    if view > final:
        outcome = ViewOutcome.NOTARIZED if view == final + 1 else ViewOutcome.OPEN
    took_ms = None if outcome is ViewOutcome.OPEN else 180 + view * 37 % 90
    return ViewRow(view, proposer, outcome, height, voters, None, None, took_ms)


def validators(
    away: frozenset[int] = frozenset(), heard_s: float = 0.2
) -> tuple[ValidatorSeen, ...]:
    return tuple(
        ValidatorSeen(
            index=i,
            power=1,
            name=f"node{i}",
            peer=peer_of(i),
            own=i == 0,
            connected=i not in away,
            heard_s=heard_s + i / 10 if i not in away else 12.3 + i,
            view=None if i in away else 900,
            height=None if i in away else 826 - (i == 3) * 4,
        )
        for i in range(COUNT)
    )


def status_at(second: int) -> NodeStatus:
    """Return the healthy node at a second."""
    view = 900 - (SECONDS - second) * 4
    height = view - view // 12
    executed = max(0, second * 300 + int(wave(second, 0, 90)))
    return NodeStatus(
        name="node0",
        chain=hash_of("chain"),
        chain_name="test-amber-fox",
        engine="simplex",
        scheme="inline",
        roles=("validator", "executor"),
        version="0.1.0",
        height=height,
        finalized_height=height,
        executed_height=height - 1,
        certified_height=height - 2,
        view=view,
        epoch=0,
        proposer=view % COUNT,
        proposer_name=f"node{view % COUNT}",
        state_roots={
            0: StateRoot(height - 1, hash_of("root 0")),
            1: StateRoot(height - 1, hash_of("root 1")),
            3: StateRoot(height - 1, hash_of("root 3")),
        },
        peers_count=COUNT - 1,
        peers_in_count=2,
        mempool=MempoolStatus(
            transactions_count=int(wave(second, 60, 240)),
            size_bytes=int(wave(second, 60, 240)) * 190,
            ready_count=40,
            batched_count=70,
            checking_count=6,
            senders_count=88,
            transactions_max=20_000,
            size_bytes_max=32 << 20,
            admitted_count=executed + 140,
            refused={"nonce_too_low": 412, "fee_too_low": 31, "pool_full": 2},
        ),
        ready=True,
        last_block_age_s=0.15,
        supply={0: Amount(7_000_000)},
        bytes_sent=second * 52_000 + int(wave(second, 0, 9_000)),
        bytes_received=second * 61_000 + int(wave(second, 0, 12_000)),
        cpu_s=second * 0.21 + wave(second, 0, 0.06),
        memory_bytes=(96 << 20) + second * 20_000,
        counters={
            "transactions_executed": executed,
            "transactions_failed": second,
            "views_entered": view,
            "views_skipped": view // 12,
            "consensus_p50_ms": int(wave(second, 150, 220)),
            "consensus_p99_ms": 410,
        },
        best_height=height,
        consensus=ConsensusStatus(
            height=height + 1,
            view=view,
            view_age_s=0.12,
            proposer=view % COUNT,
            proposal_seen=True,
            timer_s=2.0,
            timer_left_s=1.88,
            delta_s=0.25,
            delta_max_s=10.0,
            demand=True,
            quorum=QUORUM,
            power_total=COUNT,
            votes=(
                VoteCount("notarize", (0, 1, 2, 4), 4),
                VoteCount("finalize", (), 0),
            ),
            recent=tuple(view_row(v, view - 2) for v in range(max(1, view - 47), view + 1)),
            validators=validators(),
        ),
        availability=AvailabilityStatus(
            scheme="inline",
            rows_count=1_204,
            batches_count=1_204,
            held_bytes=5_400_000,
            unordered_count=9,
            own_pending_count=1,
            certified_count=176,
            given_up_count=2,
        ),
        shard_rows=(
            ShardStatus(
                uid=0,
                executors=tuple(range(COUNT)),
                own=True,
                executed_height=height - 1,
                accounts_count=7,
            ),
            *(
                ShardStatus(
                    uid=uid,
                    first=f"{(uid - 1) * 4:x}" + "0" * 63,
                    last=f"{(uid - 1) * 4 + 3:x}" + "f" * 63,
                    executors=tuple((uid + k) % COUNT for k in range(4)),
                    own=uid in (1, 3),
                    executed_height=height - 1 if uid in (1, 3) else 0,
                    certified_height=height - 2,
                    accounts_count=2_500 + uid if uid in (1, 3) else 0,
                    transactions_count=executed * uid // 4 if uid in (1, 3) else 0,
                    receipts_waiting=uid % 3,
                )
                for uid in range(1, 5)
            ),
        ),
        device=DeviceStatus(
            uptime_s=3_600.0 + second,
            cores_count=4,
            load_1m=0.82,
            memory_total_bytes=4 << 30,
            memory_free_bytes=2_900_000_000,
            disk_free_bytes=21 << 30,
            disk_used_bytes=412 << 20,
            disk_written_bytes=1_900_000_000,
            temperature_c=58.0,
            lateness_p99_ms=3.4,
            threads_count=6,
            files_count=41,
        ),
    )


def peer_rows(away: frozenset[int] = frozenset()) -> tuple[PeerRow, ...]:
    return tuple(
        PeerRow(
            id=peer_of(i),
            name=f"node{i}",
            address=f"/ip4/10.0.0.{i}/tcp/4001",
            inbound=i in (2, 5),
            rtt_ms=None if i == 6 else 1.5 + i * 20,
            score=-12.5 if i == 3 else 0.0,
            validator=i,
            height=None if i == 6 else 826 - (i == 3) * 9,
            reasons=(
                (DeductionRow("frame too old", 10.0, 14.2), DeductionRow("ping late", 2.5, 80.0))
                if i == 3
                else ()
            ),
        )
        for i in range(1, COUNT)
        if i not in away
    )


def log_records() -> tuple[LogRecord, ...]:
    found: list[LogRecord] = []
    for number in range(1, 61):
        height = 770 + number
        level, event, fields = (
            "info",
            "block_finalized",
            {
                "height": height,
                "hash": hash_of(f"block {height}"),
                "view": height + 70,
                "latency_ms": 180 + number * 37 % 90,
            },
        )
        if number % 17 == 0:
            event = "peer_penalised"
            fields = {"peer": peer_of(3), "points": 10.0, "reason": "frame too old"}
        if number % 11 == 0:
            level, event, fields = "debug", "engine_timeout", {"view": height + 70}
        found.append(
            LogRecord(
                number, BEGIN_MS + number * 251, level, "node", event, {"node": "node0", **fields}
            )
        )
    return tuple(found)


def trouble(event: str, level: str, **fields: object) -> LogCame:
    """Return one more record, after the others."""
    number = len(log_records()) + 1
    record = LogRecord(
        number, BEGIN_MS + number * 251, level, "node", event, {"node": "node0", **fields}
    )
    return LogCame((record,))


def watched(last_s: int = SECONDS) -> Model:
    """Return a TUI that has watched the healthy node for a while."""
    model = Model(
        Link("http://127.0.0.1:8645"),
        admin=Admin(why_not="start with --data DIR, the node's folder, to command the node"),
    )
    for second in range(last_s + 1):
        now_s = NOW_S - last_s + second
        model, _ = update(model, StatusCame(status_at(second + SECONDS - last_s), now_s))
    for view in range(860, 899):
        if view % 12 != 7:
            height = view - view // 12
            event = BlockEvent(
                height=height,
                hash=hash_of(f"block {height}"),
                time_ms=BEGIN_MS + view * 250,
                view=view,
                proposer=view % COUNT,
                transactions_count=view * 13 % 140,
            )
            model, _ = update(model, BlockCame(event))
    model, _ = update(model, PeersCame(peer_rows(), NOW_S - 0.4))
    model, _ = update(model, LogCame(log_records()))
    model, _ = update(model, Tick(NOW_S + 0.1))
    return model


def changed(model: Model, status: NodeStatus, now_s: float = NOW_S + 1) -> Model:
    model, _ = update(model, StatusCame(status, now_s))
    model, _ = update(model, Tick(now_s + 0.1))
    return model


def healthy() -> Model:
    return watched()


def partitioned() -> Model:
    """Three of seven are out of reach: nothing becomes final, and the node knows why."""
    model = watched()
    status = model.status
    assert status is not None
    away = frozenset((2, 5, 6))
    consensus = replace(
        status.consensus,
        view_age_s=9.8,
        proposal_seen=False,
        timer_left_s=0.4,
        votes=(VoteCount("notarize", (), 0), VoteCount("nullify", (0, 1, 3, 4), 4)),
        validators=validators(away),
    )
    model, _ = update(model, PeersCame(peer_rows(away), NOW_S + 0.9))
    return changed(
        model,
        replace(
            status,
            peers_count=3,
            peers_in_count=0,
            last_block_age_s=12.3,
            ready=False,
            not_ready_reasons=("no block for 12.3 s",),
            consensus=consensus,
        ),
    )


def stalled() -> Model:
    """Everyone is here and nothing becomes final: the disk is full."""
    model = watched()
    status = model.status
    assert status is not None
    consensus = replace(
        status.consensus,
        view_age_s=31.0,
        timer_s=None,
        timer_left_s=None,
        votes=(VoteCount("notarize", (1, 2, 4), 3),),
        waiting="payload 3f2a91c0… of node4",
    )
    model, _ = update(
        model, trouble("storage_failed", "error", reason="signed.wal: No space left on device")
    )
    device = replace(
        status.device,
        disk_free_bytes=0,
        storage_error="No space left on device",
        throttled="under-voltage",
        temperature_c=84.0,
        lateness_p99_ms=420.0,
    )
    return changed(
        model,
        replace(
            status,
            last_block_age_s=31.0,
            ready=False,
            not_ready_reasons=("the disk refuses writes",),
            consensus=consensus,
            device=device,
        ),
    )


def syncing() -> Model:
    """A node that fetches what it has missed."""
    model = watched(12)
    status = model.status
    assert status is not None
    return changed(
        model,
        replace(
            status,
            height=312,
            finalized_height=312,
            executed_height=311,
            certified_height=309,
            best_height=825,
            syncing=True,
            ready=False,
            not_ready_reasons=("513 blocks behind",),
            proposer=None,
            proposer_name="",
        ),
    )


def empty() -> Model:
    """A node that was just started and says what it must, alone."""
    model = Model(Link("http://127.0.0.1:8645"))
    status = NodeStatus(
        name="node",
        chain=hash_of("chain"),
        chain_name="test-single",
        engine="solo",
        scheme="inline",
        roles=("validator",),
        version="0.1.0",
        height=0,
        finalized_height=0,
        executed_height=0,
        certified_height=0,
        view=0,
        epoch=0,
    )
    return changed(model, status, NOW_S)


def unreachable() -> Model:
    """The node was killed while it was watched."""
    model = watched()
    model, _ = update(model, Lost("Connection refused", NOW_S + 1, NOW_S + 9))
    model, _ = update(model, Tick(NOW_S + 6))
    return model


WORLDS: Final[Mapping[str, Callable[[], Model]]] = {
    "healthy": healthy,
    "partitioned": partitioned,
    "stalled": stalled,
    "syncing": syncing,
    "empty": empty,
    "unreachable": unreachable,
}
