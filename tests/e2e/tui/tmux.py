"""A terminal as a person has it: keys in, screen out, through tmux."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

DEADLINE_S = 60.0
"""Longest wait for a text on the screen; a busy machine is slow, a person patient."""


class Terminal:
    """One tmux session, on a server of its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", "/dev/null", *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def keys(self, *keys: str) -> None:
        """Press keys by tmux's names, such as `Enter` or `Down`."""
        self.tmux("send-keys", *keys)

    def text(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def line(self, text: str) -> None:
        """Type a line into the shell."""
        self.text(text)
        self.keys("Enter")

    def state(self) -> dict[str, bool]:
        """Return whether the cursor shows, and whether the program's own screen does."""
        cursor, alternate = self.tmux("display", "-p", "#{cursor_flag} #{alternate_on}").split()
        return {"cursor": cursor == "1", "alternate": alternate == "1"}

    def copied(self) -> str:
        """Return what a program has put into the clipboard (OSC 52)."""
        return self.tmux("show-buffer")

    def resize(self, width: int, height: int) -> None:
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def shows(self, pattern: str, within_s: float = DEADLINE_S, every_s: float = 0.1) -> str:
        """Wait until the screen has a text; return the screen."""
        deadline = time.monotonic() + within_s
        while True:
            screen = self.screen()
            if re.search(pattern, screen, re.MULTILINE):
                return screen
            assert time.monotonic() < deadline, f"no {pattern!r} after {within_s} s:\n{screen}"
            time.sleep(every_s)

    def hides(self, pattern: str, within_s: float = DEADLINE_S) -> None:
        """Wait until the screen does not have a text any more."""
        deadline = time.monotonic() + within_s
        while re.search(pattern, screen := self.screen(), re.MULTILINE):
            assert time.monotonic() < deadline, f"{pattern!r} after {within_s} s:\n{screen}"
            time.sleep(0.1)


@contextmanager
def open_terminal(folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Open a shell in a folder, 120x40."""
    # Under /tmp: the path of a socket must be short.
    socket = Path(f"/tmp/p2pnode-test-tmux-{os.getpid()}")
    terminal = Terminal(socket)
    settings = [part for key, value in environment.items() for part in ("-e", f"{key}={value}")]
    size = ("-x", "120", "-y", "40")
    shell = "PS1='ready> ' exec bash --norc --noprofile"
    terminal.tmux("new-session", "-d", *size, "-c", str(folder), *settings, shell)
    try:
        terminal.tmux("set-option", "-s", "set-clipboard", "on")
        terminal.shows(r"^ready>")
        yield terminal
    finally:
        terminal.tmux("kill-server")
        socket.unlink(missing_ok=True)
