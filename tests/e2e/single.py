"""A chain of one validator, run as people do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from p2pnode.client import BlockingClient

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def running(folder: Path) -> Iterator[BlockingClient]:
    """Run the node in a folder as people do; stopped at the end, or killed by the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pnode", "run", "--data", str(folder), "--quiet"],
        cwd=REPOSITORY,
        env={k: v for k, v in os.environ.items() if not k.startswith("P2PNODE_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        with BlockingClient(url) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
