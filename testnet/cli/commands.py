"""The commands of `testnet`: requests to a supervisor, but for `up`, which is one."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from p2pnode.availability.registry import load_scheme
from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.consensus.registry import load_engine
from p2pnode.errors import ConfigError, P2PNodeError
from testnet.cli.progress import progress_bar
from testnet.cli.request import Connection, RequestFailedError, request
from testnet.cli.screen import quorum_warning, restart_hint, status_line, status_table
from testnet.folder import (
    Folder,
    NoTestnetError,
    all_folders,
    find,
    is_same_process,
    read_manifest,
    remove,
    runs,
)
from testnet.load.trace import read_trace
from testnet.names import name_of
from testnet.spec import TestnetSpec

DOWN_S: Final = 12.0
"""A supervisor ends its nodes within 5 s; so long is waited before its processes are ended."""

POLL_S: Final = 0.05


class DetachError(P2PNodeError):
    """A testnet could not be left running."""


# --- up and down --------------------------------------------------------------------------------


def up(arguments: Any, console: Console) -> int:
    """Start a testnet; stay with it, or leave it running."""
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(10_000)
    spec = make_spec(arguments, seed)
    spec.validate()
    # A name nobody knows must not first become a folder and four processes.
    load_engine(spec.engine)
    load_scheme(spec.scheme)
    recording = read_trace(spec.trace) if spec.trace is not None else None
    if arguments.detach:
        return _detach(arguments, seed, console)
    from testnet.cli.up import UpOptions
    from testnet.cli.up import up as run_up

    options = UpOptions(
        named=arguments.name is not None,
        ready_descriptor=arguments.ready_fd,
        until_ctrl_c=arguments.until_ctrl_c,
        recording=recording,
    )
    return run_up(spec, options, console)


def make_spec(arguments: Any, seed: int) -> TestnetSpec:
    """Return what the arguments of `up` ask for."""
    parameters = dict(arguments.parameter)
    for name, value_s in (
        ("block_interval_ms", arguments.block_interval),
        ("delta_ms", arguments.delta),
    ):
        if value_s is not None:
            parameters[name] = round(value_s * 1000)
    return TestnetSpec(
        name=arguments.name if arguments.name is not None else name_of(seed),
        seed=seed,
        validators=arguments.validators,
        engine=arguments.engine,
        scheme=arguments.scheme,
        shards=arguments.shards,
        light=arguments.light,
        committee=arguments.committee,
        parameters=parameters,
        for_s=arguments.for_s,
        load_tx_s=arguments.load,
        trace=Path(arguments.trace).resolve() if arguments.trace is not None else None,
        profile=arguments.profile,
    )


def _detach(arguments: Any, seed: int, console: Console) -> int:
    """Start the supervisor in a session of its own, and wait for its first screen."""
    read, write = os.pipe()
    argv = [a for a in arguments.argv if a not in ("--detach", "--json", "--quiet")]
    argv += ["--quiet", "--ready-fd", str(write)]
    if arguments.seed is None:
        argv += ["--seed", str(seed)]
    with os.fdopen(read, encoding="utf-8") as answer:
        process = subprocess.Popen(
            [sys.executable, "-m", "testnet", *argv],
            stdin=subprocess.DEVNULL,
            pass_fds=(write,),
            start_new_session=True,
        )
        os.close(write)
        text = answer.read()
    if not text:
        code = process.wait()
        if code == ExitCode.USAGE:
            # It has said itself what is wrong.
            return code
        raise DetachError(f"the supervisor ended with exit code {code}")
    message = json.loads(text)
    if "error" in message:
        console.error(message["error"])
        return int(message["exit"])
    if console.json:
        console.document(message["status"])
    else:
        console.data(message["screen"])
    # It goes on without us; that it was our child must not make Python complain.
    process.returncode = 0
    return ExitCode.OK


def down(arguments: Any, console: Console) -> int:
    """End a testnet and remove its files; fine when there is none."""
    try:
        folders = all_folders() if arguments.all else [_to_end(arguments.name)]
    except NoTestnetError as error:
        folders = []
        console.say(str(error))
    done: list[str] = []
    for folder in folders:
        for sentence in _end(folder, keep=arguments.keep):
            done.append(sentence)
            console.say(sentence)
    if arguments.all and not folders:
        console.say("no testnet here")
    if console.json:
        console.document({"done": done})
    console.next("testnet up")
    return ExitCode.OK


def _to_end(name: str | None) -> Folder:
    # Asked twice, it must not end another testnet than the one that was meant.
    return find(name, another=False)


def _end(folder: Folder, *, keep: bool) -> Iterator[str]:
    if runs(folder):
        try:
            answer = request(folder, {"command": "down"})
            stopped = answer["stopped"]
        except RequestFailedError:
            # It is just starting, just ending, or hangs: then its processes are ended below.
            stopped = []
        deadline = time.monotonic() + DOWN_S
        manifest = read_manifest(folder)
        while (
            runs(folder)
            or (manifest is not None and is_same_process(manifest.pid, manifest.started))
        ) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        what = f" ({', '.join(stopped)})" if stopped else ""
        yield f"stopped {folder.name}{what}"
    if not keep:
        yield from remove(folder)


# --- watching -----------------------------------------------------------------------------------


def status(arguments: Any, console: Console) -> int:
    """Show a testnet."""
    folder = find(arguments.name)
    if arguments.watch:
        return _watch(folder, console, arguments.interval)
    answer = request(folder, {"command": "status"})
    if console.json:
        console.document({k: v for k, v in answer.items() if k != "ok"})
    else:
        console.data(status_table(answer))
    name = f" --name {folder.name}" if arguments.name else ""
    mending = [f"{command}{name}" for command in (answer.get("explain") or {}).get("commands", ())]
    trying = [f"testnet logs -f{name}", f"testnet kill node0{name}"]
    console.next(*(mending or trying), f"testnet down{name}")
    return ExitCode.OK


def _watch(folder: Folder, console: Console, interval_s: float) -> int:
    """Print a line again and again, until interrupted."""
    before: dict[str, Any] | None = None
    before_s = 0.0
    while True:
        now_s = console.clock()
        answer = request(folder, {"command": "status"})
        if console.json:
            console.document({k: v for k, v in answer.items() if k != "ok"})
        else:
            console.data(status_line(answer, before, now_s - before_s))
        before, before_s = answer, now_s
        console.sleep(interval_s)


def explain(arguments: Any, console: Console) -> int:
    """Say why nothing is final, or that all is well."""
    folder = find(arguments.name)
    answer = request(folder, {"command": "explain"})
    if console.json:
        console.document({k: v for k, v in answer.items() if k != "ok"})
    else:
        console.data(answer["sentence"])
    if answer["next_step"]:
        console.say(f"to do: {answer['next_step']}")
    name = f" --name {folder.name}" if arguments.name else ""
    console.next(*(f"{command}{name}" for command in answer["commands"]), f"testnet status{name}")
    return ExitCode.NO_LIVENESS if answer["severity"] == "stalled" else ExitCode.OK


def wait(arguments: Any, console: Console) -> int:
    """Wait until all nodes that run are ready, or have a height."""
    folder = find(arguments.name)
    answer = request(
        folder,
        {"command": "wait", "height": arguments.height, "timeout_s": arguments.timeout},
        timeout_s=arguments.timeout + 10,
    )
    if console.json:
        console.document({k: v for k, v in answer.items() if k != "ok"})
    else:
        heights = [n["height"] for n in answer["nodes"] if n["height"] is not None]
        console.data(f"{folder.name} ready, height {min(heights, default=0)}")
    console.next("testnet status")
    return ExitCode.OK


def logs(arguments: Any, console: Console) -> int:
    """Print the last lines that nodes logged, and go on with --follow."""
    folder = find(arguments.name)
    paths = _log_paths(folder, arguments.node)
    positions: dict[Path, int] = {}
    for path in paths:
        for line in _last_lines(path, arguments.lines):
            _print_log(path, line, console, many=len(paths) > 1)
        positions[path] = path.stat().st_size if path.exists() else 0
    while arguments.follow:
        time.sleep(0.2)
        for path in paths:
            for line in _new_lines(path, positions):
                _print_log(path, line, console, many=len(paths) > 1)
    console.next("testnet logs -f --node node0", "testnet status")
    return ExitCode.OK


def _log_paths(folder: Folder, nodes: Sequence[str]) -> list[Path]:
    known = {path.stem: path for path in sorted(folder.logs.glob("*.jsonl"))}
    if not nodes:
        return list(known.values())
    found = []
    for node in nodes:
        name = f"node{node}" if node.isdigit() else node
        if name not in known:
            raise ConfigError(f"no log of {name!r}; there are: {', '.join(known)}")
        found.append(known[name])
    return found


def _last_lines(path: Path, count: int) -> list[str]:
    if not path.exists() or count == 0:
        return []
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1024 * count))
        return file.read().decode(errors="replace").splitlines()[-count:]


def _new_lines(path: Path, positions: dict[Path, int]) -> list[str]:
    if not path.exists():
        return []
    size = path.stat().st_size
    if size < positions[path]:
        # It was rotated: the rest of the old file is in the one beside it.
        positions[path] = 0
    with path.open("rb") as file:
        file.seek(positions[path])
        data = file.read()
    whole, sign, _ = data.rpartition(b"\n")
    positions[path] += len(whole) + len(sign)
    return whole.decode(errors="replace").splitlines() if sign else []


def _print_log(path: Path, line: str, console: Console, *, many: bool) -> None:
    if console.json:
        console.data(line)
        return
    try:
        event = json.loads(line)
        clock = str(event.pop("time"))[11:23]
        head = f"{clock} {event.pop('level'):<7} {event.pop('event')}"
        event.pop("logger", None)
        event.pop("node", None)
        text = " ".join([head, *(f"{key}={value}" for key, value in event.items())])
    except (ValueError, KeyError, TypeError, AttributeError):
        text = line
    console.data(f"{path.stem:<7} {text}" if many else text)


# --- acting -------------------------------------------------------------------------------------


def on_node(arguments: Any, console: Console) -> int:
    """Kill, pause, resume or restart nodes."""
    folder = find(arguments.name)
    command = arguments.command
    # Judged before it is announced, and said before it is done: killed is killed.
    action = {"command": command, "nodes": arguments.node}
    if command == "kill":
        action["signal"] = arguments.signal
    answer = request(folder, {"command": "effect", "action": action})
    if arguments.dry_run:
        return say_effect(answer["effect"], console)
    console.say(answer["effect"])
    changed = []
    for node in answer["nodes"]:
        message = {"command": command, "node": node}
        if command == "kill":
            message["signal"] = arguments.signal
        changed.append(request(folder, message)["node"])
    if console.json:
        console.document(changed)
    else:
        for node in changed:
            pid = f"  pid {node['pid']}" if node["pid"] is not None else ""
            console.data(f"{node['name']} {node['state']}{pid}")
    after = {"kill": "restart", "pause": "resume"}.get(command)
    console.next(*([f"testnet {after} {changed[0]['name']}"] if after else []), "testnet status")
    return ExitCode.OK


def say_effect(effect: str, console: Console) -> int:
    """Say what an action would do; the whole of a dry run."""
    if console.json:
        console.document({"effect": effect})
    else:
        console.data(effect)
    return ExitCode.OK


def _warn_of_quorum(folder: Folder, console: Console) -> bool:
    """Say when too few validators run for anything to become final; tells whether it is so."""
    status = request(folder, {"command": "status"})
    warning = quorum_warning(status)
    if warning is None:
        return False
    console.say(warning)
    console.next(restart_hint(status), "testnet status")
    return True


def completion(arguments: Any, console: Console) -> int:
    """Print the script that makes a shell complete `testnet`."""
    from p2pnode.cli.completion import script
    from testnet.cli.main import make_parser

    console.data(script(arguments.shell, make_parser()))
    return ExitCode.OK


def fund(arguments: Any, console: Console) -> int:
    """Send an account some of an asset from a faucet."""
    folder = find(arguments.name)
    answer = request(
        folder,
        {
            "command": "fund",
            "address": arguments.address,
            "amount": str(arguments.amount),
            "asset": arguments.asset,
        },
        timeout_s=30,
    )
    if console.json:
        console.document({k: v for k, v in answer.items() if k != "ok"})
    else:
        console.data(
            f"{answer['amount']} of asset {answer['asset']} to 0x{answer['address']}: "
            f"{answer['state']} at height {answer['height']}"
        )
    console.next("p2pnode account ADDRESS --node URL", "testnet status")
    return ExitCode.OK if answer["state"] in ("executed", "certified") else ExitCode.FAILED


def load(arguments: Any, console: Console) -> int:
    """Submit transactions at a rate, and say what became of them."""
    folder = find(arguments.name)
    if arguments.stop:
        stopped = request(folder, {"command": "load_stop"}, timeout_s=60)["stopped"]
        console.say("the load has ended" if stopped else "no load runs")
        console.next("testnet status")
        return ExitCode.OK
    if arguments.rate is None:
        raise ConfigError("--rate R is needed: transactions a second")
    trace = Path(arguments.trace).resolve() if arguments.trace is not None else None
    if trace is not None and not trace.is_file():
        raise ConfigError(f"--trace {trace}: no such file")
    if trace is not None:
        read_trace(trace)
    message = {
        "command": "load",
        "rate": arguments.rate,
        "for_s": arguments.for_s,
        "trace": str(trace.absolute()) if trace is not None else None,
    }
    if arguments.detach:
        request(folder, {**message, "command": "load_start"})
        console.say(f"a load of {arguments.rate:g}/s runs for {arguments.for_s:g} s")
        console.next("testnet status", "testnet load --stop")
        return ExitCode.OK
    total = arguments.rate * arguments.for_s
    with (
        Connection(folder, timeout_s=None) as connection,
        progress_bar(console, "load", total) as progress,
    ):
        try:
            answer = connection.ask(message, lambda p: progress(p["submitted"], _counts(p)))
        except KeyboardInterrupt:
            request(folder, {"command": "load_stop"}, timeout_s=60)
            raise
    report = answer["report"]
    console.say(_report_text(report))
    if console.json:
        console.data(json.dumps(report))
    unfinished = report["unfinished_count"]
    if not (unfinished and _warn_of_quorum(folder, console)):
        console.next("testnet status", "testnet down")
    return ExitCode.NO_LIVENESS if unfinished else ExitCode.OK


def _counts(progress: dict[str, int]) -> str:
    return f"{progress['submitted']} submitted · {progress['finalized']} final"


def _report_text(report: dict[str, Any]) -> str:
    refused = sum(report["refused"].values())
    text = (
        f"{report['submitted']} of {report['due']} submitted · {report['finalized']} finalized · "
        f"{report['failed']} failed · {refused} refused · {report['unfinished_count']} unfinished"
    )
    for reason, count in sorted(report["refused"].items()):
        text += f"\n  refused: {count} {reason}"
    if report["finalization_s"]:
        times = report["finalization_s"]
        text += f"\nfinalization p50 {times['p50']:.3f} s   p99 {times['p99']:.3f} s"
    return text
