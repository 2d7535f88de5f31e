"""The process of a load: its clients, its source, and its line to the supervisor."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any, Final

import trio

from p2pnode.client import ClientError, NodeClient
from p2pnode.telemetry.clock import wall_ms
from testnet.launch.child import Channel, until_told_to_stop
from testnet.load.funding import Funder
from testnet.load.generator import Generator
from testnet.load.options import LoadOptions
from testnet.load.report import LoadReport
from testnet.load.source import Source, SyntheticSource, TraceSource
from testnet.load.trace import read_trace
from testnet.load.tracked import Client

PROGRESS_S: Final = 0.5

STOP: Final = {"stop": True}
"""Line that ends the submissions."""


def run(value: dict[str, Any], channel: Channel) -> int:
    """Run a load, and send its report.

    Args:
        value: LoadOptions as JSON.
        channel: Gets `{"progress": …}` now and then, and `{"report": …}` at the end.
    """
    options = LoadOptions.from_json(value)

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_run, options, channel, nursery.cancel_scope, scope)

    trio.run(main)
    return 0


async def _run(
    options: LoadOptions, channel: Channel, end: trio.CancelScope, stop: trio.CancelScope
) -> None:
    async with AsyncExitStack() as stack:
        clients: list[tuple[str, Client]] = []
        for name, url in options.nodes:
            clients.append((name, await stack.enter_async_context(NodeClient(url))))
        source = await _source(options, [client for _, client in clients])
        generator = Generator(options, clients, source, wall_ms)

        def on_line(line: bytes) -> None:
            if json.loads(line) == STOP:
                generator.stop()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_told_to_stop, channel, stop, on_line)
            nursery.start_soon(_tell_progress, generator, channel)
            if isinstance(source, TraceSource):
                valid_until = await _height([c for _, c in clients]) + options.valid_heights
                funder = Funder(options, [client for _, client in clients], source)
                nursery.start_soon(funder.run, valid_until)
            report: LoadReport = await generator.run()
            # Once more: what became final since the last time stays on the screens.
            channel.send({"progress": generator.progress()})
            channel.send({"report": report.to_json()})
            end.cancel()


async def _source(options: LoadOptions, clients: list[Client]) -> Source:
    if options.trace is not None:
        return TraceSource(options, read_trace(options.trace))
    addresses = SyntheticSource.addresses(options.seed)
    while True:
        for client in clients:
            try:
                accounts = await client.accounts(addresses)
            except ClientError:
                continue
            nonces = {a: found.nonce for a, found in zip(addresses, accounts, strict=True)}
            return SyntheticSource(options, nonces)
        await trio.sleep(0.1)


async def _height(clients: list[Client]) -> int:
    while True:
        for client in clients:
            try:
                return (await client.status()).height
            except ClientError:
                continue
        await trio.sleep(0.1)


async def _tell_progress(generator: Generator, channel: Channel) -> None:
    while True:
        channel.send({"progress": generator.progress()})
        await trio.sleep(PROGRESS_S)
