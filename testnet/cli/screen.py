"""What the commands show: plain texts, made from the supervisor's JSON by pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from p2pnode.consensus.engine import quorum_of
from p2pnode.node.units import human_size

Json = Mapping[str, Any]

COLUMNS_MAX: Final = 100


def short(text: str) -> str:
    """Return hex so short that two of them are still told apart: `0x6f24…a38b`."""
    return f"0x{text[:4]}…{text[-4:]}"


def first_screen(
    status: Json,
    *,
    validators: int,
    light: int,
    shards: int,
    ready_s: float,
    account: tuple[str, int],
    folder: str,
) -> str:
    """Return what a person sees when a testnet is ready.

    Args:
        status: The testnet, as `status_json` has it.
        validators: How many.
        light: How many.
        shards: How many.
        ready_s: How long the start took.
        account: Address in hex, and balance.
        folder: Where the files are.
    """
    parts = [f'testnet "{status["name"]}"', f"seed {status['seed']}", f"engine {status['engine']}"]
    parts.append(f"{validators} validator{'s' * (validators != 1)}")
    if light:
        parts.append(f"{light} light")
    if shards > 1:
        parts.append(f"{shards} shards")
    lines = ["  ".join(parts) + f"   ready in {ready_s:.1f} s", ""]
    lines.append(f"  {'node':<7} {'roles':<19} {'rpc':<24} {'metrics':<16} pid")
    for node in status["nodes"]:
        port = node["rpc"].rpartition(":")[2]
        roles = ",".join(node["roles"])
        lines.append(
            f"  {node['name']:<7} {roles:<19} {node['rpc']:<24} …:{port}/metrics".ljust(72)
            + f" {node['pid']}"
        )
    address, balance = account
    lines.append(f"  account 0   {short(address)}   {balance}   {folder}/keys/account0.key")
    lines.append(f"  TEST KEYS from seed {status['seed']}: never use elsewhere")
    lines.append("")
    tries = ("tui", "status", "load --rate 50", "kill node0", "down")
    lines.append(f"next: {' · '.join(f'testnet {command}' for command in tries)}")
    lines += _send_hint(folder, status["nodes"][0]["rpc"])
    lines.append(f"files: {folder}/  (testnet.json, logs/)")
    return "\n".join(lines)


def _send_hint(folder: str, url: str) -> list[str]:
    """Return a command that sends a transaction, on lines to be copied; none where too wide."""
    lines = [
        f"      p2pnode tx send --amount 1 --node {url} \\",
        f"        --from {folder}/keys/account0.key --to {folder}/keys/account1.key",
    ]
    return lines if all(len(line) <= COLUMNS_MAX for line in lines) else []


def quorum_warning(status: Json) -> str | None:
    """Return what it means that validators are away; None while enough of them run."""
    nodes = [node for node in status["nodes"] if "validator" in node["roles"]]
    count = sum(node["state"] in ("running", "starting") for node in nodes)
    needed = quorum_of(len(nodes))
    if count >= needed:
        return None
    lack = "one is" if needed - count == 1 else f"{needed - count} are"
    return (
        f"{count} of {len(nodes)} validators run, {needed} needed: "
        f"nothing becomes final until {lack} back"
    )


def restart_hint(status: Json) -> str:
    """Return the command that brings the first validator back that is away."""
    for node in status["nodes"]:
        if "validator" in node["roles"] and node["state"] not in ("running", "starting"):
            verb = "resume" if node["state"] == "paused" else "restart"
            return f"testnet {verb} {node['name']}"
    return "testnet status"


def status_table(status: Json) -> str:
    """Return the nodes of a testnet, a line each."""
    head = (
        "node",
        "state",
        "height",
        "exec",
        "cert",
        "view",
        "peers",
        "pool",
        "cpu s",
        "mem",
        "pid",
    )
    rows = [head]
    for node in status["nodes"]:
        state = node["state"]
        if state == "running" and not node["ready"]:
            state = "syncing" if node["syncing"] else "not ready"
        rows.append(
            (
                node["name"],
                state,
                _number(node["height"]),
                _number(node["executed_height"]),
                _number(node["certified_height"]),
                _number(node["view"]),
                # What a process has is gone with it; how far it came stays.
                _number(node["peers"]) if node["pid"] else "-",
                _number(node["pool"]) if node["pid"] else "-",
                f"{node['cpu_s']:.1f}",
                human_size(node["memory_bytes_max"]) if node["pid"] else "-",
                _number(node["pid"]),
            )
        )
    title = f'testnet "{status["name"]}"  seed {status["seed"]}  engine {status["engine"]}'
    return "\n".join([title, "", *columns(rows), *cut_lines(status)])


def cut_lines(status: Json) -> list[str]:
    """Return what is cut, a line each: nodes that reach nobody first, then other links."""
    isolated = status.get("isolated", {})
    lines = [
        f"  {name} is cut off from all others for {age_s:.1f} s" for name, age_s in isolated.items()
    ]
    for here, there, sign, age_s in _cut_links(status.get("links", ())):
        if here not in isolated and there not in isolated:
            lines.append(f"  {here}{sign}{there} is cut for {age_s:.1f} s")
    return ["", *lines] if lines else []


def _cut_links(rows: Sequence[Json]) -> list[tuple[str, str, str, float]]:
    """Return the links that are cut, each once: (end, end, sign between, seconds)."""
    ages_s = {(row["from"], row["to"]): row["cut_s"] for row in rows if row["cut"]}
    found = []
    for (here, there), age_s in ages_s.items():
        back_s = ages_s.get((there, here))
        if back_s is None:
            found.append((here, there, "→", age_s))
        elif here < there:
            found.append((here, there, "-", min(age_s, back_s)))
    return found


def links_table(rows: Sequence[Json]) -> str:
    """Return all links, a line for both directions of each.

    The round trip is the median of the last pings; `ping` is when one was answered last.
    """
    by_pair = {(row["from"], row["to"]): row for row in rows}
    order = {pair: place for place, pair in enumerate(by_pair)}
    lines: list[tuple[str, ...]] = [
        ("link", "profile", "latency", "loss", "rate", "cut", "rtt", "ping")
    ]
    for (here, there), row in by_pair.items():
        back = by_pair[there, here]
        if order[there, here] < order[here, there]:
            continue
        if _same(row, back):
            lines.append((f"{here}-{there}", *_link_cells(row, back)))
        else:
            lines.append((f"{here}→{there}", *_link_cells(row, row)))
            lines.append((f"{there}→{here}", *_link_cells(back, back)))
    return "\n".join(columns(lines))


def _same(row: Json, back: Json) -> bool:
    return all(row[key] == back[key] for key in ("numbers", "cut"))


def _link_cells(row: Json, back: Json) -> tuple[str, ...]:
    numbers = row["numbers"]
    latency, loss, rate = "-", "-", "-"
    if numbers is not None:
        low, high = numbers["latency_ms_min"], numbers["latency_ms_max"]
        latency = f"{low:g} ms" if low == high else f"{low:g}-{high:g} ms"
        loss = f"{numbers['loss']:.1%}" if numbers["loss"] else "-"
        if numbers["rate_bytes_per_s"] is not None:
            rate = f"{human_size(numbers['rate_bytes_per_s'])}/s"
    cut = f"{row['cut_s']:.1f} s" if row["cut"] else "-"
    return (row["profile"] or "-", latency, loss, rate, cut, *_rtt_cells(row, back))


def _rtt_cells(row: Json, back: Json) -> tuple[str, str]:
    """Return the round trip as the end saw it that got an answer last, and how long ago."""
    seen = [r for r in (row, back) if r["rtt_ms"] is not None]
    if not seen:
        return ("-" if row["connected"] or back["connected"] else "none", "-")
    newest = min(seen, key=lambda r: float("inf") if r["rtt_age_s"] is None else r["rtt_age_s"])
    age_s = newest["rtt_age_s"]
    return f"{newest['rtt_ms']:.1f} ms", "-" if age_s is None else f"{age_s:.0f} s ago"


def after_links(rows: Sequence[Json]) -> tuple[str, ...]:
    """Return the commands that follow a look at the links: what mends them, else what to try."""
    mending = ["testnet heal"] if any(row["cut"] for row in rows) else []
    if any(row["numbers"] is not None for row in rows):
        mending.append("testnet link --all --clear")
    return tuple(mending or ("testnet cut node0 node1", "testnet link --all --profile satellite"))


def status_line(
    status: Json, before: Json | None = None, elapsed_s: float = 0.0, left_s: float | None = None
) -> str:
    """Return a testnet in one line.

    Args:
        status: The testnet now.
        before: The testnet at the line before, for the rates.
        elapsed_s: Seconds between the two.
        left_s: Seconds until its end, None where it has none.
    """
    nodes = status["nodes"]
    running = [n for n in nodes if n["state"] == "running"]
    heights = [n["height"] for n in running if n["height"] is not None]
    parts = [status["name"]]
    if heights:
        low, high = min(heights), max(heights)
        parts.append(f"h {high}" if low == high else f"h {low}-{high}")
        parts.append(
            f"certified {max(n['certified_height'] for n in running if n['height'] is not None)}"
        )
    parts.append(f"{sum(n['ready'] for n in nodes)} of {len(nodes)} nodes ready")
    others = [f"{n['name']} {n['state']}" for n in nodes if n["state"] != "running"]
    load = status["load"]
    if load is not None:
        text = f"load {load['finalized']} of {load['submitted']} final"
        if before is not None and before["load"] is not None and elapsed_s > 0:
            rate = (load["finalized"] - before["load"]["finalized"]) / elapsed_s
            text += f" ({rate:.0f}/s)"
        parts.append(text)
    if before is not None and elapsed_s > 0:
        used = sum(n["cpu_s"] for n in nodes) - sum(n["cpu_s"] for n in before["nodes"])
        parts.append(f"cpu {max(0.0, used) / elapsed_s:.0%}")
    if left_s is not None:
        parts.append(f"{max(0.0, left_s):.0f} s left")
    explained = status.get("explain")
    if explained is not None and explained["severity"] == "stalled":
        others.append(explained["sentence"])
    return "  ".join(parts + others)


def summary_text(summary: Json) -> str:
    """Return a run summary for people."""
    lines = [
        f"seed {summary['seed']}  commit {summary['commit']}  engine {summary['engine']}   "
        f"{summary['duration_s']:.1f} s"
    ]
    views, height = summary["views"], summary["height"]
    if views is not None and height is not None:
        lines.append(
            f"views {views['total']} ({views['skipped']} skipped)   blocks {height['max']} final"
        )
    transactions = summary["transactions"]
    if transactions is not None:
        refused = sum(transactions["refused"].values())
        lines.append(
            f"transactions {transactions['submitted']} submitted · {transactions['finalized']} "
            f"finalized · {transactions['failed']} failed · {refused} refused   "
            f"{summary['throughput_tx_s'] or 0:g} tx/s"
        )
        lines += [
            f"  refused       {count} {reason}"
            for reason, count in sorted(transactions["refused"].items())
        ]
        for name in ("finalization_s", "execution_s", "consensus_s"):
            if summary[name] is not None:
                label = name.removesuffix("_s")
                lines.append(
                    f"  {label:<13} p50 {summary[name]['p50']:.3f} s   "
                    f"p99 {summary[name]['p99']:.3f} s"
                )
        per = summary["cpu_s"]["per_transaction"]
        cost = f"{per * 1000:.2f} ms a transaction, all nodes" if per else "-"
        lines.append(f"  cpu           {summary['cpu_s']['total']:.1f} s   {cost}")
    outcomes = list(summary["checks"].values())
    lines.append(f"checks  {outcomes.count('pass')} of {len(outcomes)} passed")
    for name, outcome in summary["checks"].items():
        if outcome != "pass":
            lines.append(f"  {name}: {outcome}")
    for violation in summary["violations"]:
        lines.append(f"  VIOLATION {violation['check']}: {violation['detail']}")
    lines += [f"  CRASH {crash}" for crash in summary["crashes"]]
    lines.append(f"exit {summary['exit']}")
    return "\n".join(lines)


def _number(value: object) -> str:
    return "-" if value is None else str(value)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, their columns below one another."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
