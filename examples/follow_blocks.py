"""Follow a node over WebSocket: every final block without gaps, and its status once a second.

testnet up --detach --load 20
python examples/follow_blocks.py http://127.0.0.1:41001 --blocks 20
"""

from __future__ import annotations

import argparse

import trio

from p2pnode.client import NodeClient, SubscriptionClosedError


async def main(url: str, blocks_max: int) -> int:
    """Print `blocks_max` blocks; return the exit code."""
    async with NodeClient(url) as node, trio.open_nursery() as nursery:
        nursery.start_soon(follow_status, node)
        try:
            async with node.subscribe_blocks() as (status, events):
                print(f"{status.name} of {status.chain_name}, at height {status.height}")
                seen = 0
                async for block in events:
                    print(
                        f"block {block.height}  {block.hash[:16]}…  view {block.view}"
                        f"  proposer {block.proposer}  {block.transactions_count} transactions"
                    )
                    seen += 1
                    if seen == blocks_max:
                        break
        except SubscriptionClosedError as closed:
            # Code 1013: we read too slowly. Ask `blocks` for what was missed, and subscribe again.
            print(closed)
            return 1
        finally:
            nursery.cancel_scope.cancel()
    return 0


async def follow_status(node: NodeClient) -> None:
    """Print the node's status as it comes."""
    async with node.follow_status(period_s=1.0) as changes:
        async for status in changes:
            print(
                f"status    height {status.height}, {status.peers_count} peers, "
                f"{status.mempool.transactions_count} in the pool"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Follow a node's blocks and status.")
    parser.add_argument("url", help="a node's API, http://host:port")
    parser.add_argument("--blocks", type=int, default=10, help="end after so many")
    given = parser.parse_args()
    raise SystemExit(trio.run(main, given.url, given.blocks))
