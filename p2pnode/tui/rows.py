"""The lists of the screens: what a filter leaves of them, and what is selected."""

from __future__ import annotations

import json
import re
from typing import Final

from p2pnode.node.answers import PeerRow
from p2pnode.node.status import ShardStatus, ValidatorSeen
from p2pnode.telemetry.ring import LogRecord
from p2pnode.tui.model import Model, ScreenName

_LONG_HEX: Final = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")

SEVERITY: Final = {"debug": 0, "info": 1, "warning": 2, "error": 3}


def peers(model: Model) -> list[PeerRow]:
    """Return the peers that the filter leaves."""
    wanted = model.filter.lower()
    return [
        row
        for row in model.shown.peers
        if not wanted or wanted in f"{row.name} {row.id} {row.address}".lower()
    ]


def validators(model: Model) -> list[ValidatorSeen]:
    """Return the validators that the filter leaves."""
    status = model.status
    if status is None:
        return []
    wanted = model.filter.lower()
    return [row for row in status.consensus.validators if not wanted or wanted in row.name.lower()]


def shards(model: Model) -> list[ShardStatus]:
    """Return the shards that the filter leaves: by uid, or `own`."""
    status = model.status
    if status is None:
        return []
    wanted = model.filter.lower()
    return [
        row
        for row in status.shard_rows
        if not wanted or wanted in (str(row.uid), "own" if row.own else "", row.first)
    ]


def records(model: Model) -> list[LogRecord]:
    """Return the log records that level and filter leave."""
    least = SEVERITY[model.ui.level]
    wanted = model.filter.lower()
    return [
        record
        for record in model.shown.log
        if SEVERITY.get(record.level, 3) >= least
        and (not wanted or wanted in record_text(record).lower())
    ]


def record_text(record: LogRecord) -> str:
    """Return a record's event and fields as text; its `node` is the one that is watched."""
    parts = [record.event]
    parts += [f"{name}={_bare(value)}" for name, value in record.fields.items() if name != "node"]
    return " ".join(parts)


def record_line(record: LogRecord) -> str:
    """Return the same for a line on the screen: of long hashes only the start."""
    return _LONG_HEX.sub(r"\1…", record_text(record))


def _bare(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def rows_count(model: Model) -> int:
    """Return how many rows the screen's list has."""
    match model.ui.screen:
        case ScreenName.CONSENSUS:
            return len(validators(model))
        case ScreenName.PEERS:
            return len(peers(model))
        case ScreenName.SHARDS:
            return len(shards(model))
        case ScreenName.LOG:
            return len(records(model))
        case _:
            return 0


def selected_peer(model: Model) -> PeerRow | None:
    """Return the peer under the cursor."""
    rows = peers(model)
    return rows[min(model.ui.selected, len(rows) - 1)] if rows else None


def selected_record(model: Model) -> LogRecord | None:
    """Return the log record at the cursor: the lowest one shown."""
    rows = records(model)
    return rows[max(0, len(rows) - 1 - model.ui.back)] if rows else None


def copied(model: Model) -> tuple[str, str] | None:
    """Return (what it is, the text) that `y` copies on the screen; None for nothing."""
    status = model.status
    match model.ui.screen:
        case ScreenName.PEERS:
            peer = selected_peer(model)
            return None if peer is None else ("peer id", peer.id)
        case ScreenName.LOG:
            record = selected_record(model)
            return None if record is None else ("log line", record_text(record))
        case ScreenName.CONSENSUS:
            rows = validators(model)
            if rows:
                row = rows[min(model.ui.selected, len(rows) - 1)]
                return ("peer id", row.peer) if row.peer else None
        case ScreenName.SHARDS if status is not None:
            found = shards(model)
            if found:
                uid = found[min(model.ui.selected, len(found) - 1)].uid
                root = status.state_roots.get(uid)
                return None if root is None else (f"state root of shard {uid}", root.root)
    if status is None:
        return None
    if model.shown.blocks:
        block = model.shown.blocks[-1]
        return f"hash of block {block.height}", block.hash
    return "chain id", status.chain
