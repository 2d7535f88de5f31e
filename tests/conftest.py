"""What every test shares: hypothesis profiles, and markers by folder."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# Deadlines measure the machine, not the code; `print_blob` makes a failure repeatable from its log.
# By default everybody draws the same examples, so that a change is judged by what it changes; new
# ones are for `thorough`, ten times as many.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.register_profile("thorough", deadline=None, print_blob=True, max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

_E2E = Path(__file__).parent / "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything under tests/e2e, so that no test there can forget it."""
    for item in items:
        if _E2E in item.path.parents:
            item.add_marker(pytest.mark.e2e)
