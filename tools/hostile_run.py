"""Runs a testnet under load, without and with a hostile peer on one validator, and compares.

    python tools/hostile_run.py [--for 10m] [--normal 2m] [--rate 300] [--json]

The stranger (tests/hostile/stranger.py) makes every attack it knows in turn, and all over again,
with a new identity after each ban. It runs at the lowest priority: what is measured is what its
traffic does to the node, not what its process takes of a machine that a real one would not share.
Passes when the finalization p99 is less than twice that of the normal run, every check of the
testnet passed, the victim's memory grew by no more than --growth beyond that of the validators left
alone (all of them grow while their tables of recent transactions fill), and the victim has banned
somebody. It needs a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
import trio

from p2pnode.node.units import parse_duration
from testnet.folder import Folder, Manifest, read_manifest

ROOT: Final = Path(__file__).resolve().parent.parent
READY_S: Final = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run both, or be the stranger; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--for", dest="for_s", type=parse_duration, default=600.0, metavar="10m")
    parser.add_argument("--normal", type=parse_duration, default=120.0, metavar="2m")
    parser.add_argument("--rate", type=int, default=300, help="transactions a second")
    parser.add_argument("--each", type=parse_duration, default=10.0, metavar="10s", help="a turn")
    parser.add_argument("--attack", action="append", help="only this one; several may be given")
    parser.add_argument("--growth", type=int, default=20, help="MiB the victim may grow more")
    parser.add_argument("--json", action="store_true", help="everything again, as the last line")
    parser.add_argument("--stranger", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.stranger is not None:
        trio.run(attack, arguments.stranger)
        return 0
    # Else the testnet would run on.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    normal = run("normal", arguments.normal, arguments, hostile=False)
    hostile = run("hostile", arguments.for_s, arguments, hostile=True)
    return judge(normal, hostile, arguments)


async def attack(plan: dict[str, Any]) -> None:
    """Make every attack in turn; print a line about each."""
    from tests.hostile.stranger import ATTACKS, Stranger

    stranger = Stranger(plan["host"], plan["port"], plan["peer"], bytes.fromhex(plan["chain"]))
    names = plan["attacks"] or list(ATTACKS)
    end_s = trio.current_time() + plan["for_s"]
    while trio.current_time() < end_s:
        for name in names:
            before = dict(stranger.sent)
            with trio.move_on_after(min(plan["each_s"], end_s - trio.current_time())):
                await ATTACKS[name](stranger)
            done = {k: v - before.get(k, 0) for k, v in stranger.sent.items()}
            done = {k: v for k, v in done.items() if v}
            at_s = round(plan["for_s"] - (end_s - trio.current_time()))
            print(json.dumps({"until_s": at_s, "attack": name, "did": done}), flush=True)
            if trio.current_time() >= end_s:
                break
    result = {"identities": stranger.identities, "connections": stranger.connections}
    print(json.dumps({**result, "sent": stranger.sent}), flush=True)


def run(name: str, for_s: float, arguments: argparse.Namespace, *, hostile: bool) -> dict[str, Any]:
    """Run one testnet to its end, and return its summary with what was seen beside it."""
    command = [sys.executable, "-m", "testnet", "up", "--quiet", "--json", "--seed", "7"]
    command += ["--name", f"hostile-{name}", "--load", str(arguments.rate), "--for", f"{for_s}s"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    testnet = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    folder = Folder(Path(".testnet") / f"hostile-{name}")
    print(f"{name}: {arguments.rate} tx/s for {for_s:g} s", flush=True)
    seen: dict[str, Any] = {"memory": [], "cpu": [], "attacks": []}
    stranger = None
    try:
        manifest = until_ready(folder, testnet)
        seen["memory"].append(of_each(manifest, memory_mib))
        if hostile:
            stranger = start_stranger(manifest, for_s, arguments)
        deadline = time.monotonic() + for_s
        while testnet.poll() is None and time.monotonic() < deadline - 1:
            time.sleep(5.0)
            seen["memory"].append(of_each(manifest, memory_mib))
            seen["cpu"].append(of_each(manifest, cpu_s))
            print(f"  MiB {seen['memory'][-1]}  CPU s {seen['cpu'][-1]}", flush=True)
        if stranger is not None:
            stranger.terminate()
            seen["attacks"] = [json.loads(line) for line in stranger.communicate()[0].splitlines()]
        out, _ = testnet.communicate()
    finally:
        for process in (stranger, testnet):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait()
    lines = out.splitlines()
    if not lines:
        raise SystemExit(f"{' '.join(command)}: exit code {testnet.returncode}, no summary")
    log = (folder.logs / "node0.jsonl").read_text(encoding="utf-8") if hostile else ""
    bans = [json.loads(line) for line in log.splitlines() if '"peer_banned"' in line]
    return {"summary": json.loads(lines[-1]), **seen, "bans": bans}


def until_ready(folder: Folder, testnet: subprocess.Popen[str]) -> Manifest:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and testnet.poll() is None:
        manifest = read_manifest(folder)
        if manifest is not None and all(node.pid is not None for node in manifest.nodes):
            wait = [sys.executable, "-m", "testnet", "wait", "--name", folder.path.name, "--quiet"]
            if subprocess.run(wait, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0:
                return manifest
        time.sleep(0.2)
    raise SystemExit("the testnet did not become ready")


def of_each(manifest: Manifest, measure: Callable[[psutil.Process], float]) -> dict[str, float]:
    """Return what each node's process uses, 0 of one that has ended."""
    found = {}
    for node in manifest.nodes:
        try:
            found[node.name] = measure(psutil.Process(node.pid))
        except psutil.Error:
            found[node.name] = 0
    return found


def memory_mib(process: psutil.Process) -> int:
    """Return the resident memory, MiB."""
    return int(process.memory_info().rss) >> 20


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds used since the process began."""
    times = process.cpu_times()
    return round(times.user + times.system, 1)


def start_stranger(
    manifest: Manifest, for_s: float, arguments: argparse.Namespace
) -> subprocess.Popen[str]:
    """Attack the first node from a process of the lowest priority."""
    parts = manifest.nodes[0].p2p.split("/")
    plan = {"host": parts[2], "port": int(parts[4]), "peer": parts[-1], "chain": manifest.chain}
    plan |= {"for_s": for_s - 5, "each_s": arguments.each, "attacks": arguments.attack or []}
    return subprocess.Popen(
        [sys.executable, __file__, "--stranger", json.dumps(plan)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.nice(19),
    )


def judge(normal: dict[str, Any], hostile: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Print both runs side by side, and say what does not hold."""
    faults = []
    for name, seen in (("normal", normal), ("hostile", hostile)):
        summary = seen["summary"]
        times, first, last = summary["finalization_s"], seen["memory"][0], seen["memory"][-2]
        most = {n: max(row[n] for row in seen["memory"]) - first[n] for n in first}
        print(
            f"{name:8} p50 {times['p50']:.3f} s  p99 {times['p99']:.3f} s  "
            f"{summary['transactions']['finalized']} of {summary['transactions']['submitted']}"
            f" final  exit {summary['exit']}  memory {last}, grew at most {most} MiB"
        )
        if summary["exit"] != 0:
            faults.append(f"{name}: exit {summary['exit']}, {summary['violations']}")
        victim, *others = most.values()
        if victim - max(others) > arguments.growth:
            faults.append(f"{name}: memory grew by {most} MiB")
    for window in hostile["summary"]["finalization_windows"]:
        print(f"  at {window['from_s']:4} s  p50 {window['p50']:.3f} s  p99 {window['p99']:.3f} s")
    for row in hostile["attacks"]:
        print(f"  {row}")
    reasons: dict[str, int] = {}
    for ban in hostile["bans"]:
        reasons[str(ban.get("reason"))] = reasons.get(str(ban.get("reason")), 0) + 1
    for reason, count in sorted(reasons.items()):
        print(f"  banned {count} times: {reason}")
    ratio = hostile["summary"]["finalization_s"]["p99"] / normal["summary"]["finalization_s"]["p99"]
    if ratio >= 2:
        faults.append(f"p99 is {ratio:.2f} times that of the normal run")
    if not hostile["bans"]:
        faults.append("nobody was banned")
    print(f"p99 hostile / normal: {ratio:.2f}; {len(hostile['bans'])} bans")
    for fault in faults:
        print(f"FAULT {fault}")
    if arguments.json:
        print(json.dumps({"normal": normal, "hostile": hostile, "faults": faults}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
