"""`p2pnode peers`: whom a node is connected to, whom it refuses, and why."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.places import connect, place_options
from p2pnode.node.answers import (
    BannedRow,
    DeductionRow,
    PeerRow,
)
from p2pnode.node.jsonform import to_json
from p2pnode.telemetry.harmless import harmless


def peers(arguments: Namespace, console: Console) -> int:
    """Show the connected and the banned peers."""
    with connect(arguments) as client:
        connected, banned = client.peers(), client.peers_banned()
    if console.json:
        console.document(
            {
                "connected": to_json(tuple[PeerRow, ...], connected),
                "banned": to_json(tuple[BannedRow, ...], banned),
            }
        )
        return ExitCode.OK
    for peer in connected:
        rtt = "-" if peer.rtt_ms is None else f"{peer.rtt_ms:.1f} ms"
        way = "in" if peer.inbound else "out"
        where = f"{way:<3}  {peer.address}  {rtt}"
        name = harmless(peer.name or "-", kept="")
        console.data(f"{peer.id}  {name}  {where}  score {peer.score:.0f}")
        _say_why(console, peer.reasons)
    for refused in banned:
        times = f", ban {refused.bans_count}" if refused.bans_count > 1 else ""
        console.data(f"{refused.id}  banned for another {refused.left_s:.0f} s{times}")
        _say_why(console, refused.reasons)
    console.say(f"{len(connected)} connected, {len(banned)} banned")
    console.next(f"p2pnode status{place_options(arguments)}")
    return ExitCode.OK


def _say_why(console: Console, reasons: Sequence[DeductionRow]) -> None:
    for found in reasons:
        # Peers choose some of the words, and must not choose lines.
        why = harmless(found.reason, kept="")
        console.data(f"    -{found.points:g}  {why}  ({found.age_s:.0f} s ago)")
