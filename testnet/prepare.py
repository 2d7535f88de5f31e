"""A testnet on disk before its first process starts: genesis, keys, one configuration a node."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2pnode.crypto import peer_id_of
from p2pnode.keys import keystore
from p2pnode.keys.keystore import Purpose, derive_test_key, derive_test_stored_key
from p2pnode.node.config import FILE_NAME, NodeConfig, render_toml
from p2pnode.node.peer_ids import peer_id_text
from p2pnode.telemetry.clock import wall_ms
from p2pnode.types.genesis import Genesis, chain_id
from testnet.folder import Folder
from testnet.genesis import funded_accounts, make_genesis
from testnet.load.options import genesis_transfers
from testnet.load.trace import Keys, Trace, genesis_balances
from testnet.spec import TestnetSpec

BOOTSTRAP_MAX: Final = 8
"""First peers in a node's configuration; the others are found through them."""

KEY_FILES: Final = 2
"""Accounts whose keys are written to files: one to send from, one to send to."""

DEFAULT_LOAD_S: Final = 60.0
"""A load without an end is funded for so long in genesis; from then on by the faucets."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node that can be started, again and again: its ports stay."""

    name: str
    index: int
    roles: tuple[str, ...]
    config: Path
    """Its configuration file."""
    rpc: str
    """URL of its API."""
    p2p: str
    """Multiaddress with its peer id."""
    peer_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A testnet that can be started."""

    genesis: Genesis
    chain: bytes
    """Chain id, 32 bytes."""
    nodes: tuple[NodePlan, ...]
    funded_count: int
    """Transfers of the spec's recording whose senders genesis funds."""

    @property
    def supply(self) -> dict[int, int]:
        """Asset to what genesis issues of it."""
        found: dict[int, int] = {}
        for account in self.genesis.accounts:
            for asset, amount in account.balances:
                found[asset] = found.get(asset, 0) + amount
        return dict(sorted(found.items()))

    @property
    def fee(self) -> int:
        """What a transfer costs, in asset 0."""
        return self.genesis.parameters.fee_base + self.genesis.parameters.fee_action


def prepare(spec: TestnetSpec, folder: Folder, recording: Trace | None = None) -> Prepared:
    """Write everything that the nodes of a testnet need.

    Args:
        spec: The testnet.
        folder: Made for it.
        recording: What the spec's trace holds; genesis funds its senders.
    """
    parameters = spec.genesis_parameters()
    extra: dict[bytes, tuple[tuple[int, int], ...]] = {}
    funded_count = 0
    if recording is not None:
        rate_tx_s = spec.load_tx_s or 0.0
        funded_count = genesis_transfers(rate_tx_s, spec.for_s or DEFAULT_LOAD_S)
        fee = parameters.fee_base + parameters.fee_action
        extra = genesis_balances(recording, Keys(spec.seed), funded_count, fee)
    genesis = make_genesis(
        name=spec.chain_name,
        validators=spec.validators,
        seed=spec.seed,
        engine=spec.engine,
        scheme=spec.scheme,
        parameters=parameters,
        accounts=funded_accounts(spec.seed, extra),
        time_ms=wall_ms(),
    )
    genesis.validate()
    document = genesis.encode()
    folder.genesis.write_bytes(document)
    for index in range(KEY_FILES):
        key = derive_test_stored_key(spec.seed, Purpose.ACCOUNT, index)
        keystore.write(folder.account_key(index), key)
    nodes = _write_nodes(spec, folder)
    return Prepared(genesis, chain_id(document), nodes, funded_count)


def _write_nodes(spec: TestnetSpec, folder: Folder) -> tuple[NodePlan, ...]:
    ports = free_ports(2 * spec.validators)
    addresses, peers = [], []
    for index in range(spec.validators):
        peers.append(peer_id_of(derive_test_key(spec.seed, "node", index).public))
        where = f"/ip4/127.0.0.1/tcp/{ports[2 * index]}"
        addresses.append(f"{where}/p2p/{peer_id_text(peers[index])}")
    plans = []
    for index, address in enumerate(addresses):
        name = f"node{index}"
        data_dir = folder.node(name)
        data_dir.mkdir(mode=0o700)
        for purpose in (Purpose.NODE, Purpose.VALIDATOR):
            key = derive_test_stored_key(spec.seed, purpose, index)
            keystore.write(data_dir / "keys" / f"{purpose.value}.key", key)
        others = [a for i, a in enumerate(addresses) if i != index]
        # Each begins at another place of the list, so that nobody is everybody's first peer.
        others = others[index:] + others[:index]
        config = NodeConfig(
            data_dir=data_dir,
            name=name,
            genesis=folder.genesis.absolute(),
            keys_validators=(Path("keys/validator.key"),),
            network_listen=(address.rpartition("/p2p/")[0],),
            network_bootstrap=tuple(others[:BOOTSTRAP_MAX]),
            network_validator_names=tuple(f"node{i}" for i in range(spec.validators)),
            api_port=ports[2 * index + 1],
            log_file=(folder.logs / f"{name}.jsonl").absolute(),
            log_console=False,
        )
        path = data_dir / FILE_NAME
        path.write_text(render_toml(config, data_dir=False), encoding="utf-8")
        url = f"http://127.0.0.1:{config.api_port}"
        roles = ("validator", "executor")
        plans.append(NodePlan(name, index, roles, path, url, address, peers[index]))
    return tuple(plans)


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on, all at once so that they differ.

    They are chosen before the nodes start: a node that restarts keeps its ports, and every node
    knows the addresses of the others from the beginning.
    """
    sockets = []
    try:
        for _ in range(count):
            sock = socket.socket()
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()
