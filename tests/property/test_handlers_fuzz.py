"""Mutants of everything that others' bytes reach: nothing raises, nothing grows, honest use works.

The full number is tools/fuzz_node.py's; docs/fuzzing.md has the figures.
"""

from __future__ import annotations

import pytest

from tests.fuzz.handlers import BLAMELESS, HANDLERS, throw
from tests.fuzz.tally import DECODED_SHARE_MIN, GROWTH_BYTES_MAX


def check(handler: str, mutants: int, seed: int) -> None:
    tally = throw(handler, mutants, seed)
    print(f"{handler}, seed {seed}: {tally}")
    assert tally.mutants >= mutants
    assert tally.passed_share >= DECODED_SHARE_MIN
    assert tally.grown_bytes < GROWTH_BYTES_MAX
    assert handler in BLAMELESS or tally.penalized > 0


@pytest.mark.parametrize("handler", HANDLERS)
def test_mutants_leave_a_handler_as_it_was(handler: str) -> None:
    check(handler, 200, 5)


@pytest.mark.slow
@pytest.mark.parametrize("handler", HANDLERS)
def test_thousands_of_mutants_leave_a_handler_as_it_was(handler: str) -> None:
    check(handler, 3000, 6)
