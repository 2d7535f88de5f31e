"""A testnet from its beginning to its end: `up` and `down`."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from p2pnode.availability.registry import load_scheme
from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.consensus.registry import load_engine
from p2pnode.errors import P2PNodeError
from testnet.cli.request import RequestFailedError, request
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
