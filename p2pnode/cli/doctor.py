"""`p2pnode doctor`: is this machine fit for a node, and is the node's folder in order?"""

from __future__ import annotations

import os
import re
import shlex
import socket
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from p2pnode.cli import checkup
from p2pnode.cli.checkup import Finding, State
from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.maintenance import LOG, STORE
from p2pnode.cli.passphrase import passphrase_file
from p2pnode.cli.places import NoNodeError, data_dir, genesis_advice, node_url
from p2pnode.crypto import peer_id_of
from p2pnode.errors import ConfigError, P2PNodeError
from p2pnode.explain import (
    Condition,
    NodeFacts,
    Severity,
    Situation,
    explain,
    explain_node,
)
from p2pnode.keys import keystore, sealing
from p2pnode.keys.keystore import KeyFacts, Purpose
from p2pnode.keys.place import Place
from p2pnode.net.addresses import acceptable, expanded, interface_ips, scope_of
from p2pnode.node.config import FILE_NAME, NodeConfig, load_config
from p2pnode.node.peer_ids import peer_id_text
from p2pnode.node.status import NodeStatus
from p2pnode.types.genesis import Genesis, chain_id, decode_genesis
from p2pnode.types.record import Scope

DIAL_TIMEOUT_S: Final = 3.0
"""A first peer that does not answer within this is called unreachable."""
_STATES: Final = {
    Severity.OK: State.OK,
    Severity.WARNING: State.WARN,
    Severity.STALLED: State.FAIL,
}
NODE: Final = "node"
"""Name of the finding about the node that runs in the folder."""


def doctor(arguments: Namespace, console: Console) -> int:
    """Look at everything, print a line each, and fail if anything fails."""
    if arguments.nodes and not arguments.network:
        console.error("--node asks a running node: say --network too")
        return ExitCode.USAGE
    if arguments.network:
        return _network(arguments, console)
    findings: list[Finding] = []
    for finding in examine(arguments):
        findings.append(finding)
        if not console.json:
            console.data(f"{finding.state.value:<5} {finding.name:<13} {finding.text}")
            if finding.hint:
                console.data(" " * 20 + f"→ {finding.hint}")
    worst = [f for f in findings if f.state is State.FAIL]
    if console.json:
        console.document({"ok": not worst, "findings": [asdict(f) for f in findings]})
    warned = sum(f.state is State.WARN for f in findings)
    warnings = f"{warned} warning" + ("" if warned == 1 else "s")
    console.say(f"{len(findings)} checks: {len(worst)} failed, {warnings}")
    place = f"--data {shlex.quote(str(data_dir(arguments)))}"
    if worst:
        # The hint stands above: only what can be typed of it is repeated. What follows a semicolon
        # is another way, for others.
        mending = re.findall(r"`([^`]+)`", worst[0].hint.partition(";")[0])[:1]
        console.next(*mending, f"p2pnode doctor {place}")
    elif any(f.name == NODE for f in findings):
        console.next(f"p2pnode status {place}")
    else:
        console.next(f"p2pnode run {place}")
    return ExitCode.FAILED if worst else ExitCode.OK


def _network(arguments: Namespace, console: Console) -> int:
    """Ask nodes what they see, and say why nothing is final or that all is well."""
    named = arguments.nodes or [None]
    urls = [node_url(Namespace(node=name, data=arguments.data)) for name in named]
    found = explain(Situation(tuple(_ask(url) for url in urls)))
    if console.json:
        console.document(found.to_json())
    else:
        console.sentence(found.sentence)
    console.to_do(found.next_step)
    console.next(f"p2pnode status --watch --node {urls[0]}")
    return ExitCode.FAILED if found.severity is Severity.STALLED else ExitCode.OK


def _ask(url: str) -> NodeFacts:
    """Return what a node says, or that it says nothing."""
    from p2pnode.client import BlockingClient, ClientError

    try:
        with BlockingClient(url) as client:
            status = client.status()
    except ClientError:
        return NodeFacts(url, condition=Condition.SILENT)
    return NodeFacts(status.name, status)


def examine(arguments: Namespace) -> Iterator[Finding]:
    """Yield the findings, one after the other: some take a second."""
    yield checkup.check_machine()
    power = checkup.check_power()
    if power is not None:
        yield power
    yield checkup.check_python()
    yield checkup.check_signatures()
    yield checkup.check_clock()
    yield checkup.check_files()
    folder = data_dir(arguments)
    if folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        hint = "run as the user whose folder it is, or with sudo"
        yield Finding("folder", State.FAIL, f"{folder} is closed to this user", hint)
        return
    config = NodeConfig(data_dir=folder)
    problem = ""
    try:
        if not (folder / FILE_NAME).exists():
            problem = f"no {folder / FILE_NAME}"
        else:
            # As `p2pnode run` does it: what is looked at is what will run.
            flags = {"data_dir": str(folder)} if arguments.data else {}
            config = load_config(folder / FILE_NAME, environment=os.environ, flags=flags)
    except ConfigError as error:
        problem = str(error)
    yield checkup.check_disk_space(config.data_dir, config.store_size_bytes_max)
    yield checkup.check_disk_speed(config.data_dir)
    if problem:
        hint = f"make a node with `p2pnode init --single --data {folder}`, or mend the file"
        yield Finding("config", State.FAIL, problem, hint)
        return
    origins = config.origins.items()
    changed = sum(origin != "default" for key, origin in origins if key != "data_dir")
    settings = f"{changed} setting" + ("" if changed == 1 else "s")
    yield Finding("config", State.OK, f"{folder / FILE_NAME}, {settings} changed")
    yield _folder(config)
    genesis, finding = _genesis(config)
    yield finding
    yield from _keys(config, genesis, passphrase_file(arguments))
    running = _status(arguments, config)
    if running is None:
        yield from _ports(config)
        yield _reach(config)
        yield from _bootstrap(config, genesis)
    else:
        yield from _running(running, config)


def _folder(config: NodeConfig) -> Finding:
    folder = config.data_dir
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        hint = f"run `chmod 700 {folder}`: keys and the admin socket lie in it"
        return Finding("folder", State.WARN, f"{folder} has mode {mode:04o}", hint)
    if Place(folder).check(log_is_there=(folder / LOG).exists()).moved:
        hint = (
            f"if nothing newer ever signed with its key: `p2pnode log trust --data {folder}`;"
            " else leave it so, the node signs again after the running epoch"
        )
        text = f"{folder} is a copy or was restored: the node will only observe"
        return Finding("folder", State.WARN, text, hint)
    return Finding("folder", State.OK, f"{folder} is this node's alone")


def _genesis(config: NodeConfig) -> tuple[Genesis | None, Finding]:
    path = config.genesis_path
    try:
        document = path.read_bytes()
        genesis = decode_genesis(document)
    except (OSError, P2PNodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or "unreadable"
        return None, Finding("genesis", State.FAIL, f"{path}: {reason}", genesis_advice(path))
    chain = chain_id(document)
    known = _stored_chain(config)
    if known is not None and known != chain:
        text = f"the store holds chain {known.hex()[:16]}…, genesis is {chain.hex()[:16]}…"
        hint = "one folder holds one chain: take another one, or the right document"
        return genesis, Finding("genesis", State.FAIL, text, hint)
    text = f"{genesis.name}, {len(genesis.validators)} validators, chain {chain.hex()[:16]}…"
    return genesis, Finding("genesis", State.OK, text)


def _stored_chain(config: NodeConfig) -> bytes | None:
    """Return the chain that the store holds; None for none, or while a node has it open."""
    from p2pnode.node.recovery import KEY_CHAIN
    from p2pnode.store.lmdb import LmdbStore

    if not (config.data_dir / STORE / "data.mdb").exists():
        return None
    try:
        store = LmdbStore(config.data_dir / STORE)
    except P2PNodeError:
        # In use or damaged: the running node, or the next start, says so.
        return None
    try:
        return store.get("meta", KEY_CHAIN)
    finally:
        store.close()


def _keys(config: NodeConfig, genesis: Genesis | None, secret: Path | None) -> Iterator[Finding]:
    wanted = [(config.node_key_path, Purpose.NODE)]
    wanted += [(path, Purpose.VALIDATOR) for path in config.validator_key_paths]
    node: KeyFacts | None = None
    for path, purpose in wanted:
        name = f"{purpose.value} key"
        try:
            facts = keystore.inspect(path)
            if facts.purpose is not purpose:
                raise keystore.KeyPurposeError(path, facts.purpose, purpose)
            encrypted = facts.cipher != keystore.CIPHER_NONE
            if encrypted and secret is not None:
                keystore.load(path, purpose, sealing.read_passphrase(secret))
        except ConfigError as error:
            yield Finding(name, State.FAIL, str(error), f"mend or replace {path}")
            continue
        if purpose is Purpose.NODE:
            node = facts
        if genesis is not None and facts.test and not genesis.name.startswith("test-"):
            text = f"{path} comes from a public seed, and {genesis.name} is no test chain"
            yield Finding(name, State.FAIL, text, "make a key of your own: `p2pnode keys generate`")
        elif encrypted and secret is None:
            text = f"{path} is encrypted, and no passphrase is named"
            hint = "name its file: --passphrase-file or P2PNODE_PASSPHRASE_FILE"
            yield Finding(name, State.WARN, text, hint)
        else:
            yield _place_in_set(name, path, facts, node, genesis, encrypted)


def _place_in_set(
    name: str,
    path: Path,
    facts: KeyFacts,
    node: KeyFacts | None,
    genesis: Genesis | None,
    encrypted: bool,
) -> Finding:
    text = f"{path}, {'encrypted' if encrypted else 'not encrypted'}"
    if facts.purpose is Purpose.NODE or genesis is None:
        return Finding(name, State.OK, text)
    for index, validator in enumerate(genesis.validators):
        if validator.public_key != facts.public:
            continue
        if node is not None and validator.peer_id != peer_id_of(node.public):
            mine = peer_id_text(peer_id_of(node.public))
            hint = "the others dial the peer id in genesis: use the node key it was made with"
            return Finding(name, State.WARN, f"{text}, but genesis has not {mine}", hint)
        return Finding(name, State.OK, f"{text}, validator {index} in genesis")
    hint = "the node follows the chain and votes once a later epoch has its key"
    return Finding(name, State.WARN, f"{text}, not a validator in genesis", hint)


def _ports(config: NodeConfig) -> Iterator[Finding]:
    if config.api_port:
        yield checkup.check_port("api port", config.api_host, config.api_port)
    for text in config.network_listen:
        parts = text.split("/")
        if len(parts) == 5 and parts[4].isdigit() and int(parts[4]):
            yield checkup.check_port("p2p port", parts[2], int(parts[4]))
        elif len(parts) != 5:
            hint = "/ip4/<address>/tcp/<port>"
            yield Finding("p2p port", State.FAIL, f"network.listen {text!r}", hint)
        else:
            hint = "others find the node again only on a port that stays: set network.listen"
            yield Finding("p2p port", State.WARN, "another one at every start", hint)


def _reach(config: NodeConfig) -> Finding:
    """Tell from where others can reach the node, as far as this machine knows."""
    bad = [a for a in config.network_announce if not acceptable(a.partition("/p2p/")[0])]
    if bad:
        hint = "an IP address and a TCP port, as in /ip4/203.0.113.7/tcp/4001"
        return Finding("reach", State.FAIL, f"network.announce {bad[0]!r} leads nowhere", hint)
    own = [a.partition("/p2p/")[0] for a in config.network_announce]
    # A port that changes is found fault with elsewhere.
    listening = [
        a.removesuffix("/tcp/0") + "/tcp/1" if a.endswith("/tcp/0") else a
        for a in config.network_listen
    ]
    own += expanded(listening, interface_ips())
    scope = min((scope_of(address) for address in own), default=Scope.HOST)
    if scope is Scope.WORLD:
        widest = next(address for address in own if scope_of(address) is scope)
        text = f"others are told {widest.removesuffix('/tcp/1')}"
        return Finding("reach", State.OK, f"{text}; whether it leads here, only they can tell")
    if scope is Scope.PRIVATE:
        hint = (
            "to be reached from elsewhere, forward a port on the router and name its outside in"
            " network.announce"
        )
        return Finding("reach", State.WARN, "only the local network reaches this node", hint)
    hint = "set network.listen to /ip4/0.0.0.0/tcp/4001 to be reached by others"
    return Finding("reach", State.WARN, "only this machine reaches this node", hint)


def _bootstrap(config: NodeConfig, genesis: Genesis | None) -> Iterator[Finding]:
    if genesis is not None and len(genesis.validators) == 1 and config.validator_key_paths:
        yield Finding("peers", State.OK, "none needed: a chain of one validator")
        return
    if not config.network_bootstrap:
        hint = "name some in network.bootstrap, or wait to be dialled"
        yield Finding("peers", State.WARN, "no first peers to dial", hint)
        return
    missing = [text for text in config.network_bootstrap if not _answers(text)]
    count = len(config.network_bootstrap)
    text = f"{count - len(missing)} of {count} first peers answer"
    if not missing:
        yield Finding("peers", State.OK, text)
        return
    state = State.FAIL if len(missing) == count else State.WARN
    yield Finding("peers", state, text, f"look at the network: {missing[0]} does not answer")


def _answers(multiaddress: str) -> bool:
    parts = multiaddress.split("/")
    if len(parts) < 5 or parts[3] != "tcp" or not parts[4].isdigit():
        return False
    try:
        socket.create_connection((parts[2], int(parts[4])), DIAL_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _status(arguments: Namespace, config: NodeConfig) -> NodeStatus | None:
    """Return the status of the node that runs in the folder, None when none does."""
    from p2pnode.client import BlockingClient, ClientError

    try:
        url = node_url(Namespace(node=None, data=str(config.data_dir)))
        with BlockingClient(url) as client:
            return client.status()
    except (NoNodeError, ClientError):
        return None


def _running(status: NodeStatus, config: NodeConfig) -> Iterator[Finding]:
    text = f"{status.name} runs, height {status.height}, {status.peers_count} peers"
    numbers = {"height": status.height, "peers_count": status.peers_count}
    if status.ready:
        yield Finding(NODE, State.OK, text, "", numbers)
    else:
        hint = "; ".join(status.not_ready_reasons)
        yield Finding(NODE, State.WARN, f"{text}, not ready", hint, numbers)
    found = explain_node(status)
    state = _STATES[found.severity]
    hint = "" if state is State.OK else found.next_step
    yield Finding("network", state, found.sentence, hint)
    if status.observing:
        hint = "nothing to do: it signs again in the next epoch"
        yield Finding("signer", State.WARN, "observes: its log was lost or is old", hint)
