"""A node in a forked child."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio

from p2pnode.node.config import load_config
from testnet.launch.child import Channel, until_told_to_stop


def run(value: dict[str, Any], channel: Channel) -> int:
    """Run a node until it is told to stop.

    Args:
        value: `{"config": path of its file, "profile": path or null, "links": rows}`.
        channel: Gets `{"ready": …}` once; gives `{"links": rows}` when links have changed, in the
            form of `p2pnode.net.links.shim.links_to_json`.
    """
    # Late: only the fork server has imported it; `testnet --help` must not.
    from p2pnode.cli.places import remove_endpoint, write_endpoint
    from p2pnode.net.links.shim import LinkTable, links_from_json
    from p2pnode.service import Running, run_node

    config = load_config(Path(value["config"]))
    links = LinkTable(links_from_json(value.get("links", ())))

    def ready(running: Running) -> None:
        # As `p2pnode run` does: other commands find the node by its folder.
        write_endpoint(config.data_dir, running.rpc_url)
        channel.send(
            {
                "ready": {
                    "rpc": running.rpc_url,
                    "metrics": running.metrics_url,
                    "p2p": running.p2p_address,
                    "peer_id": str(running.peer_id),
                }
            }
        )

    def on_line(line: bytes) -> None:
        message = json.loads(line)
        if "links" in message:
            links.set(links_from_json(message["links"]))

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(until_told_to_stop, channel, scope, on_line)
                try:
                    await run_node(config, on_ready=ready, links=links)
                finally:
                    remove_endpoint(config.data_dir)
                nursery.cancel_scope.cancel()

    if value.get("profile"):
        from testnet.launch.profile import profiled

        with profiled(Path(value["profile"])):
            trio.run(main)
    else:
        trio.run(main)
    return 0
