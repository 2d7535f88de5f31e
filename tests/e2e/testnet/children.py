"""What forked children of tests do."""

from __future__ import annotations

import os
import time
from typing import Any

import trio

from testnet.launch.child import Channel, until_told_to_stop


def echo(value: Any, channel: Channel) -> int:
    print("printed")
    channel.send({"value": value, "cwd": os.getcwd(), "pid": os.getpid()})
    return 3


def fail(value: Any, channel: Channel) -> int:
    return 1 // 0


def wait(value: Any, channel: Channel) -> int:
    async def main() -> None:
        with trio.CancelScope() as scope:
            await until_told_to_stop(channel, scope)

    trio.run(main)
    return 0


def hang(value: Any, channel: Channel) -> int:
    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(until_told_to_stop, channel, scope)
                await trio.sleep(0.05)
                channel.send("hangs")
                try:
                    await trio.sleep_forever()
                finally:
                    time.sleep(60)  # noqa: ASYNC251 - that is what hanging means

    trio.run(main)
    return 0
