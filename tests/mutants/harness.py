"""Mutants: copies of the source with one rule removed on purpose."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TIMEOUT_S: Final = 240.0

EXCEPTION: Final = "exception"
ENDLESS: Final = "no end"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule removed."""

    name: str
    rule: str
    """The rule, in a sentence."""
    patches: tuple[tuple[str, str, str], ...]
    """(file, text that stands in it exactly once, text instead)."""
    probe: str
    """The seeded run that must notice, from tests/mutants/probes.py."""
    expected: tuple[str, ...]
    """Checks of which at least one must be violated."""


class PatchError(Exception):
    """A patch does not fit the source any more: the rule has moved, and so must the mutant."""


def make_copy(folder: Path, mutant: Mutant | None) -> None:
    """Copy the sources, with a mutant's patches.

    Raises:
        PatchError: The text to be replaced does not stand in its file exactly once.
    """
    for package in ("p2pnode", "testnet"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    target = folder / "tests" / "mutants"
    target.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "mutants" / "probes.py", target)
    for name, old, new in mutant.patches if mutant is not None else ():
        path = folder / name
        text = path.read_text()
        if text.count(old) != 1:
            raise PatchError(f"{name}: {text.count(old)} times instead of once: {old!r}")
        path.write_text(text.replace(old, new))


def violated(folder: Path, probe: str) -> dict[str, str]:
    """Run a probe in a copy; return the checks violated, each with a detail.

    An exception that ends the run, and a run without end, are checks of their own.
    """
    try:
        run = subprocess.run(
            [sys.executable, "tests/mutants/probes.py", probe],
            cwd=folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {ENDLESS: f"after {TIMEOUT_S:.0f} s"}
    if run.returncode:
        return {EXCEPTION: run.stderr[-600:]}
    found: dict[str, dict[str, str]] = json.loads(run.stdout.splitlines()[-1])
    return found[probe]
