"""A node as a process runs it: real network, disk, clock and API around one `Node`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

import trio
from structlog.typing import FilteringBoundLogger

from p2pnode.crypto import peer_id_of
from p2pnode.errors import ConfigError, StorageError
from p2pnode.keys.place import Forgetful, Place, PlaceFound
from p2pnode.keys.records import RECORD_SIGNED, record_code
from p2pnode.keys.sealing import Passphrase
from p2pnode.keys.verifier import SWITCH_INTERVAL_S, ThreadVerifier
from p2pnode.net.config import NetworkConfig, NetworkLimits
from p2pnode.net.links.shim import LinkTable
from p2pnode.net.network_key import read_key
from p2pnode.node.config import NodeConfig
from p2pnode.node.credentials import (
    Credentials,
    check_roles,
    is_test_chain,
    read_credentials,
    roles_of,
)
from p2pnode.node.inputs import encode_input
from p2pnode.node.node import Node, NodeSetup
from p2pnode.node.peer_ids import parse_peer_id, peer_id_text
from p2pnode.node.recovery import head_height
from p2pnode.node.shell import Ports
from p2pnode.node.status import DeviceStatus, NodeStatus
from p2pnode.ports import Network, PeerId
from p2pnode.store.lmdb import LmdbStore
from p2pnode.store.wal import OpenedLog, open_log
from p2pnode.telemetry.clock import SystemClock
from p2pnode.telemetry.logging import (
    LogOptions,
    configure,
    default_console,
    get_logger,
    release_libraries,
    set_level,
)
from p2pnode.telemetry.machine import MachineSampler
from p2pnode.telemetry.recorder import Recorder, RecorderOptions
from p2pnode.telemetry.resources import ResourceSampler
from p2pnode.telemetry.ring import LogRing
from p2pnode.telemetry.status_line import status_line
from p2pnode.types.effects import Emit, Input
from p2pnode.types.genesis import chain_id

if TYPE_CHECKING:
    # Only for their types: they come after the log has begun.
    from p2pnode.api.app import ApiOptions
    from p2pnode.api.view import NodeView
    from p2pnode.net.libp2p import Libp2pNetwork

STOP_DELAY_S: Final = 0.1
"""From the call `stop` to the stop."""

LOUD_EVENTS: Final = frozenset(("storage_failed",))
"""Events that need somebody: logged as errors."""

QUIET_EVENTS: Final = frozenset(("batch_refused", "engine_timeout", "engine_delta"))
"""Events that happen at every height: logged at level debug."""


@dataclass(frozen=True, slots=True)
class Running:
    """Where a node that has started is reached."""

    rpc_url: str
    """JSON-RPC: POST here."""
    metrics_url: str
    p2p_address: str
    """Multiaddress with /p2p/, for others' bootstrap lists."""
    peer_id: str
    """Base58."""


async def run_node(
    config: NodeConfig,
    *,
    on_ready: Callable[[Running], None],
    passphrase: Passphrase = None,
    links: LinkTable | None = None,
) -> None:
    """Run a node until cancelled.

    Args:
        config: Everything the operator says.
        on_ready: Called once, when the API answers and peers can connect.
        passphrase: Opens encrypted keys.
        links: Faults of its links; only on a test chain.

    Raises:
        P2PNodeError: A key, the genesis document, the store or the log can't be used, or a port is
            taken; nothing was changed then.
    """
    ring = LogRing()
    _begin_log(config, ring)
    # Heavy imports (1.3 s) come after the log: libp2p sets up logging of its own on import.
    from p2pnode.api.server import serve as serve_api
    from p2pnode.net.libp2p import Libp2pNetwork

    release_libraries()
    # PyNaCl takes the interpreter lock back after every check: at the default 5 ms a busy main
    # thread lets a worker do 200 checks a second, at 0.5 ms thousands.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    log = get_logger("node")
    credentials = read_credentials(config, passphrase)
    _check(config, credentials, links)
    network = Libp2pNetwork(_network_config(config, credentials), links)
    files = _open_files(config)
    try:
        _tell_of(files, log)
        node = _make_node(config, credentials, network, files, log)
        if node.signer is not None and node.signer.observing_until_epoch is not None:
            log.warning("observing_only", until_epoch=node.signer.observing_until_epoch)
        # Not before the log holds whether this life may sign.
        files.place.settle()
        node.attach()
        async with trio.open_nursery() as nursery:
            signer = node.signer
            if signer is not None:
                nursery.start_soon(files.place.keep, lambda: signer.statistics().signed_count > 0)
            await nursery.start(network.run)
            await nursery.start(node.run)
            machine = MachineSampler(config.data_dir)
            nursery.start_soon(machine.run)
            view = MeasuredNode(node, ring, machine)
            # Named, for mypy: it does not look through `start`.
            shown: NodeView = view
            api_port = await nursery.start(serve_api, shown, _api_options(config))
            await _serve_admin(nursery, view, network, config, log)
            url = f"http://{config.api_host}:{api_port}"
            peer = peer_id_text(peer_id_of(credentials.node_key.secret.public))
            running = Running(url, f"{url}/metrics", network.address, peer)
            log.info("node_ready", rpc=url, p2p=network.address, chain=node.chain.id.hex())
            on_ready(running)
            if config.log_status_interval_s > 0:
                nursery.start_soon(_log_status, view, config.log_status_interval_s)
    finally:
        _close_all(files.closers(), log)


# --- the steps of the start, in their order ---------------------------------------------------


def _begin_log(config: NodeConfig, ring: LogRing) -> None:
    options = LogOptions(
        file=config.log_path,
        level=config.log_level,
        console=default_console(config.log_console),
        file_bytes_max=config.log_file_bytes_max,
        files_max=config.log_files_max,
        ring=ring,
    )
    configure(options, node=config.name)


def _check(config: NodeConfig, credentials: Credentials, links: LinkTable | None) -> None:
    """Refuse what this node can't be, before anything is opened."""
    check_roles(config)
    name = credentials.genesis.name
    if links is not None and not is_test_chain(name):
        raise ConfigError(f"links can't have faults on chain {name!r}: no test chain")
    if not config.network_listen:
        raise ConfigError("network.listen is empty: name an address, /ip4/0.0.0.0/tcp/4001")


def _network_config(config: NodeConfig, credentials: Credentials) -> NetworkConfig:
    key_path = config.network_key_path
    return NetworkConfig(
        seed=credentials.node_key.secret.seed,
        chain=chain_id(credentials.document),
        listen=config.network_listen,
        announce=config.network_announce,
        bootstrap=config.network_bootstrap,
        lan=config.network_lan,
        roles=roles_of(config),
        network_key=b"" if key_path is None else read_key(key_path),
        allow=tuple(_peer_id("network.allow", text) for text in config.network_allow),
        known=tuple(v.peer_id for v in credentials.genesis.validators),
        limits=NetworkLimits(
            connections_max=config.network_peers_max,
            # Room to dial is left when all others are taken.
            inbound_max=max(1, config.network_peers_max * 3 // 4),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Files:
    """What a node writes, open."""

    store: LmdbStore
    place: Place
    found: PlaceFound
    log: OpenedLog
    has_signed: bool
    """The log holds a signature."""
    height: int
    """Newest block in the store."""
    recorder: Recorder | None

    def closers(self) -> list[Callable[[], None]]:
        """Return what closes them, in order."""
        closers = [self.log.log.close, self.store.close]
        if self.recorder is not None:
            closers.append(self.recorder.close)
        return closers


def _open_files(config: NodeConfig) -> _Files:
    store = LmdbStore(config.data_dir / "store", map_bytes_max=config.store_size_bytes_max)
    log_path = config.data_dir / "signed.wal"
    place = Place(config.data_dir)
    # Before the log is made.
    found = place.check(log_is_there=log_path.exists())
    opened = open_log(log_path)
    return _Files(
        store=store,
        place=place,
        found=found,
        log=opened,
        has_signed=any(record_code(r) == RECORD_SIGNED for r in opened.log.records()),
        height=head_height(store),
        recorder=_open_recorder(config),
    )


def _tell_of(files: _Files, log: FilteringBoundLogger) -> None:
    """Say what was found in the folder and needs a look."""
    if files.log.notice:
        log.warning("log_recovered", notice=files.log.notice)
    if files.found.moved:
        log.warning(
            "folder_moved",
            notice="the folder is a copy or was restored: nothing is signed until the next"
            " epoch; `p2pnode log trust` says that nothing newer ever signed",
        )


def _make_node(
    config: NodeConfig,
    credentials: Credentials,
    network: Network,
    files: _Files,
    log: FilteringBoundLogger,
) -> Node:
    """Recover the node from its files; it does not run yet."""
    found, has_signed, has_blocks = files.found, files.has_signed, files.height > 0
    key = credentials.validator_key
    setup = NodeSetup(
        name=config.name,
        document=credentials.document,
        validator_key=None if key is None else key.secret,
        validator_names=config.network_validator_names,
        retention_heights=config.store_retention_heights,
        mempool_transactions_max=config.mempool_transactions_max,
        mempool_bytes_max=config.mempool_size_bytes_max,
        log_new=found.forgetful is Forgetful.MOVED or not has_signed,
        # A new log beside a store with blocks, or a folder that was restored: whatever was
        # signed since has been forgotten.
        log_lost=(files.log.created and has_blocks) or (found.moved and (has_blocks or has_signed)),
    )
    ports = Ports(
        network=network,
        clock=SystemClock(),
        store=files.store,
        log=files.log.log,
        verifier=ThreadVerifier(threads_max=config.verify_threads_max),
        sync_in_thread=True,
    )
    recorder = files.recorder

    def record(now_ns: int, wall_ms: int, given: Input) -> None:
        assert recorder is not None
        recorder.record(now_ns, encode_input(wall_ms, given))

    def on_event(event: Emit) -> None:
        level = "debug" if event.event in QUIET_EVENTS else "info"
        if event.event in LOUD_EVENTS:
            level = "error"
        fields = {k: _plain(v) for k, v in event.data.items() if k != "payload"}
        getattr(log, level)(event.event, **fields)

    return Node(setup, ports, record=None if recorder is None else record, on_event=on_event)


def _api_options(config: NodeConfig) -> ApiOptions:
    from p2pnode.api.app import ApiOptions

    return ApiOptions(
        host=config.api_host,
        port=config.api_port,
        request_bytes_max=config.api_request_bytes_max,
        connections_max=config.api_connections_max,
        calls_per_s_max=config.api_calls_per_s_max,
        origins=config.api_origins,
        log=config.api_log,
    )


async def _serve_admin(
    nursery: trio.Nursery,
    view: MeasuredNode,
    network: Libp2pNetwork,
    config: NodeConfig,
    log: FilteringBoundLogger,
) -> None:
    """Open the admin socket; its call `stop` ends what runs in the nursery."""
    from p2pnode.api.admin import Admin, serve_admin

    def set_log_level(level: str) -> None:
        set_level(level)
        log.info("log_level_set", to=level)

    async def stop_soon() -> None:
        # The answer should leave first.
        await trio.sleep(STOP_DELAY_S)
        nursery.cancel_scope.cancel()

    admin = Admin(
        peers=view.peers,
        disconnect=lambda peer: _on_peer(network, peer, network.disconnect),
        ban=lambda peer: _on_peer(network, peer, network.ban),
        set_log_level=set_log_level,
        stop=lambda: nursery.start_soon(stop_soon),
    )
    await nursery.start(serve_admin, admin, config.data_dir)


def _close_all(closers: Sequence[Callable[[], None]], log: FilteringBoundLogger) -> None:
    """Close what is open, each of them whatever becomes of the others.

    A disk that is full refuses the last writes too. What they hold was promised to nobody, and the
    next start begins with what the disk has.
    """
    for close in closers:
        try:
            close()
        except StorageError as error:
            log.error("storage_failed", reason=str(error))


class MeasuredNode:
    """A node together with what its process costs: what the API shows (`api.view.NodeView`)."""

    def __init__(self, node: Node, ring: LogRing, machine: MachineSampler) -> None:
        """Wrap a node of this process, its log, and the machine under it."""
        self.log = ring.after
        self._machine = machine
        self._node = node
        self._sampler = ResourceSampler()
        self.submit = node.submit
        self.transaction = node.transaction
        self.account = node.account
        self.block = node.block
        self.peers = node.peers
        self.banned = node.banned
        self.validators = node.validators
        self.genesis = node.genesis
        self.events = node.events
        self.metrics = node.metrics
        self.supply = node.supply

    def status(self) -> NodeStatus:
        """Return the node at this moment, with CPU and memory of the process."""
        resources = self._sampler.sample()
        status = self._node.status()
        device = DeviceStatus(
            **asdict(self._machine.sample()),
            threads_count=resources.threads_count,
            files_count=resources.files_count,
            storage_error=status.device.storage_error,
        )
        return replace(
            status, cpu_s=resources.cpu_s, memory_bytes=resources.memory_bytes, device=device
        )


async def _log_status(view: MeasuredNode, interval_s: float) -> None:
    log = get_logger("status")
    previous: NodeStatus | None = None
    while True:
        status = view.status()
        log.info("status", line=status_line(status, previous, interval_s))
        previous = status
        await trio.sleep(interval_s)


def _on_peer(network: Network, peer: str, act: Callable[[PeerId, str], None]) -> bool:
    """Do something to a connected peer, named as people write it; False when it is not there."""
    for found in network.peers():
        if peer_id_text(found.peer) == peer:
            act(found.peer, "the operator's word")
            return True
    return False


def _peer_id(key: str, text: str) -> PeerId:
    """Read a peer id of the configuration, as people write it."""
    try:
        return parse_peer_id(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {text!r} is no peer id: {error}") from None


def _open_recorder(config: NodeConfig) -> Recorder | None:
    if not config.record_inputs:
        return None
    options = RecorderOptions(
        folder=config.data_dir / "recording",
        file_bytes_max=config.record_file_bytes_max,
        files_max=config.record_files_max,
    )
    return Recorder(options, config.name.encode())


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
