"""The network on py-libp2p; the one package that imports libp2p.

Importing it costs 0.6-1.3 s and 80 MiB and starts no thread, so that a fork server can do it once
for many nodes. The heavy parts are libp2p's own imports, whatever of them is used: QUIC (aioquic),
TLS and ACME, httpx, protobuf, the NaCl and Noise bindings.
"""

from __future__ import annotations

import logging
import os


def _keep_libp2p_off_the_root_logger() -> None:
    """Stop libp2p from configuring logging.

    It calls `logging.debug` and friends, which write to the root logger and install a handler on
    stderr when the root has none. Its own loggers would print warnings to stderr for want of one.
    """
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())
    root.addFilter(lambda record: "/libp2p/" not in record.pathname or "p2pnode" in record.name)


def _silence_libp2p() -> None:
    """Drop libp2p's own records, unless its LIBP2P_DEBUG asks for them; after its import."""
    if not os.environ.get("LIBP2P_DEBUG"):
        logger = logging.getLogger("libp2p")
        logger.addHandler(logging.NullHandler())
        logger.setLevel(logging.CRITICAL + 1)


_keep_libp2p_off_the_root_logger()

from p2pnode.net.config import NetworkConfig as NetworkConfig  # noqa: E402
from p2pnode.net.config import NetworkLimits as NetworkLimits  # noqa: E402
from p2pnode.net.libp2p.network import Libp2pNetwork as Libp2pNetwork  # noqa: E402

_silence_libp2p()
