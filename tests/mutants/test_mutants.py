"""Each rule removed on purpose is noticed by a seeded run, and by the check that is meant to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.catalogue import IN_MAKE_TEST, MUTANTS
from tests.mutants.harness import Mutant, PatchError, make_copy, violated
from tests.mutants.probes import PROBES, run_probe

SHORT = [m for m in MUTANTS if m.name in IN_MAKE_TEST]
LONG = [m for m in MUTANTS if m.name not in IN_MAKE_TEST]


def _check(mutant: Mutant, folder: Path) -> None:
    make_copy(folder, mutant)
    found = violated(folder, mutant.probe)
    assert found, f"{mutant.name} survives {mutant.probe}: {mutant.rule}"
    wanted = [check for check in mutant.expected if check in found]
    assert wanted, f"{mutant.name}: expected one of {mutant.expected}, found {found}"


@pytest.mark.parametrize("mutant", SHORT, ids=lambda m: m.name)
def test_an_important_rule_removed_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    _check(mutant, tmp_path)


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("mutant", LONG, ids=lambda m: m.name)
def test_a_rule_removed_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    _check(mutant, tmp_path)


@pytest.mark.parametrize("probe", sorted({m.probe for m in SHORT}))
def test_nothing_is_noticed_when_no_important_rule_is_removed(probe: str) -> None:
    assert run_probe(probe) == {}


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("probe", sorted({*PROBES} - {m.probe for m in SHORT}))
def test_nothing_is_noticed_when_no_rule_is_removed(probe: str) -> None:
    assert run_probe(probe) == {}


def test_every_patch_fits_the_source(tmp_path: Path) -> None:
    for mutant in MUTANTS:
        make_copy(tmp_path / mutant.name, mutant)


def test_a_patch_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    stale = Mutant("stale", "none", (("p2pnode/codec.py", "no such text", ""),), "plain", ())
    with pytest.raises(PatchError, match="0 times instead of once"):
        make_copy(tmp_path, stale)


def test_the_names_of_mutants_are_unique_and_their_probes_exist() -> None:
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    assert {m.probe for m in MUTANTS} <= set(PROBES)
    assert set(IN_MAKE_TEST) <= {m.name for m in MUTANTS}
