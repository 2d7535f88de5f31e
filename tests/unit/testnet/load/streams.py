"""A console whose output a test can read."""

from __future__ import annotations

import io

from p2pnode.cli.console import Console


class Streams:
    def __init__(self) -> None:
        self.out = io.StringIO()
        self.err = io.StringIO()
        self.console = Console(self.out, self.err)
