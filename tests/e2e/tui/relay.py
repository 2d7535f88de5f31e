"""A slow line to a terminal, as ssh over a poor link: what goes through is late, and limited.

    python relay.py [--delay 0.1] [--rate BYTES] [--store BYTES] [--report FILE] COMMAND…

Runs a command in a pseudo-terminal of its own and carries what it writes and what is typed to and
fro, each byte `--delay` seconds late; at most `--rate` bytes a second come back, and `--store`
bytes wait in between before the line takes no more, as an ssh channel's window does. Sizes follow.
At the end, --report says how many bytes came and how many waited at most.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import select
import signal
import sys
import termios
import time
import tty
from collections import deque
from pathlib import Path


class Line:
    """One direction: bytes in, the same bytes out, later."""

    def __init__(self, delay_s: float, rate_bytes_s: float, store_bytes: int) -> None:
        self._delay_s, self._rate_bytes_s, self._store_bytes = delay_s, rate_bytes_s, store_bytes
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._free_s = 0.0
        self._leaves: deque[tuple[float, int]] = deque()
        self.total_bytes = 0
        self.waiting_bytes = 0
        """Not yet on the wire."""
        self.waiting_bytes_max = 0

    def takes(self) -> bool:
        return self.waiting_bytes < self._store_bytes

    def put(self, data: bytes, now_s: float) -> None:
        self._free_s = max(now_s, self._free_s) + len(data) / self._rate_bytes_s
        self._pieces.append((self._free_s + self._delay_s, data))
        self._leaves.append((self._free_s, len(data)))
        self.total_bytes += len(data)
        self.waiting_bytes += len(data)
        self.waiting_bytes_max = max(self.waiting_bytes_max, self.waiting_bytes)

    def due(self, now_s: float) -> bytes:
        while self._leaves and self._leaves[0][0] <= now_s:
            self.waiting_bytes -= self._leaves.popleft()[1]
        found = b""
        while self._pieces and self._pieces[0][0] <= now_s:
            found += self._pieces.popleft()[1]
        return found

    def next_s(self) -> float | None:
        times = [queue[0][0] for queue in (self._pieces, self._leaves) if queue]
        return min(times) if times else None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.1)
    parser.add_argument("--rate", type=float, default=float("inf"))
    parser.add_argument("--store", type=int, default=2 << 20)
    parser.add_argument("--report", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    pid, master = pty.fork()
    if pid == 0:
        os.execvp(arguments.command[0], arguments.command)

    def follow_size(*_: object) -> None:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)

    signal.signal(signal.SIGWINCH, follow_size)
    follow_size()
    settings = termios.tcgetattr(0)
    tty.setraw(0)
    down = Line(arguments.delay, arguments.rate, arguments.store)
    up = Line(arguments.delay, float("inf"), arguments.store)
    try:
        carry(master, up, down)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, settings)
    _, status = os.waitpid(pid, 0)
    if arguments.report is not None:
        found = {"total_bytes": down.total_bytes, "waiting_bytes_max": down.waiting_bytes_max}
        arguments.report.write_text(json.dumps(found))
    return os.waitstatus_to_exitcode(status)


def carry(master: int, up: Line, down: Line) -> None:
    """Carry both ways until the command has ended and all of its output has come."""
    ended = False
    while not ended or down.next_s() is not None:
        now_s = time.monotonic()
        if typed := up.due(now_s):
            os.write(master, typed)
        if shown := down.due(now_s):
            while shown:
                shown = shown[os.write(1, shown) :]
        times = [time_s for line in (up, down) if (time_s := line.next_s()) is not None]
        wait_s = max(0.0, min(times) - time.monotonic()) if times else 1.0
        wanted = [] if ended else [0, *([master] if down.takes() else [])]
        ready, _, _ = select.select(wanted, [], [], wait_s)
        if 0 in ready:
            up.put(os.read(0, 1024), time.monotonic())
        if master in ready:
            try:
                data = os.read(master, 1024)
            except OSError:
                data = b""
            if data:
                down.put(data, time.monotonic())
            else:
                ended = True


if __name__ == "__main__":
    sys.exit(main())
