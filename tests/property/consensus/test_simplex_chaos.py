"""Simplex keeps its invariants whatever the network and the crashes do, and each rule is needed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode import codec
from p2pnode.consensus import certs as certs_module
from p2pnode.consensus import tally as tally_module
from p2pnode.consensus.engine import (
    Broadcast,
    Demand,
    Draft,
    Engine,
    Fired,
    SetTimer,
    decode_signed,
    genesis_floor,
)
from p2pnode.consensus.simplex import SimplexEngine
from p2pnode.consensus.simplex import counting as counting_module
from p2pnode.consensus.simplex import engine as engine_module
from p2pnode.consensus.simplex import finality as finality_module
from p2pnode.consensus.simplex import interest as interest_module
from p2pnode.consensus.simplex import views as views_module
from p2pnode.consensus.simplex import votes as votes_module
from p2pnode.consensus.simplex import voting as voting_module
from tests.property.consensus.chaos import chaos, check_invariants, check_liveness
from tests.unit.consensus.harness import CHAIN, make_epoch


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1 << 32))
def test_invariants_hold_through_faults_and_heights_go_on_after_healing(seed: int) -> None:
    net, healed_from = chaos(seed)
    check_invariants(net)
    check_liveness(net, healed_from)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1 << 32), last_height=st.integers(1, 6))
def test_epoch_ends_on_every_node_through_faults(seed: int, last_height: int) -> None:
    net, _ = chaos(seed, last_height=last_height, heal_s=25.0)
    check_invariants(net)
    assert net.heights() == [last_height] * len(net.nodes)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1 << 32))
def test_recovering_from_any_log_twice_is_recovering_once(seed: int) -> None:
    net, _ = chaos(seed, faults_s=6.0, heal_s=0.5)
    for node in net.nodes:
        found = []
        for records in (node.log, node.log + node.log):
            engine = SimplexEngine(net.parameters)
            effects = engine.recover(
                net.now_ns, make_epoch(net.powers, node.index), node.floor, list(records)
            )
            found.append((effects, engine.fingerprint()))
        assert found[0] == found[1]


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1 << 32))
def test_log_cut_anywhere_never_makes_the_engine_contradict_what_is_left(seed: int) -> None:
    net, _ = chaos(seed, faults_s=6.0, heal_s=0.5)
    node = net.nodes[0]
    epoch = make_epoch(net.powers, 0)
    for length in range(0, len(node.log), 7):
        left = node.log[:length]
        signed_before = {
            key: value
            for record in left
            if isinstance(
                codec.array(codec.decode(record, size_bytes_max=1 << 16), "record")[0], int
            )
            for key, value in SimplexEngine.slots(decode_signed(record).body).items()
        }
        engine = SimplexEngine(net.parameters)
        effects = engine.recover(net.now_ns, epoch, genesis_floor(CHAIN), left)
        effects += engine.step(net.now_ns, Demand(True))
        late_ns = net.now_ns + (1 << 40)
        for effect in [e for e in effects if isinstance(e, SetTimer)]:
            effects += engine.step(late_ns, Fired(effect.key))
        for effect in effects:
            if isinstance(effect, Broadcast) and isinstance(effect.item, Draft):
                for key, value in SimplexEngine.slots(effect.item.body).items():
                    assert signed_before.get(key, value) == value


def test_effects_and_fingerprints_do_not_depend_on_the_hash_seed() -> None:
    script = (
        "from tests.property.consensus.chaos import chaos\n"
        "net, _ = chaos(7, faults_s=4.0, heal_s=3.0)\n"
        "print(net.trace_hash().hex(), [n.engine.fingerprint().hex() for n in net.nodes])\n"
    )
    root = Path(__file__).resolve().parents[3]
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] != ""


# --- each rule is needed --------------------------------------------------------------------------


def patched(module: ModuleType, *changes: tuple[str, str], **names: object) -> ModuleType:
    """Return a copy of a module with its source changed."""
    source = Path(str(module.__file__)).read_text()
    for old, new in changes:
        assert source.count(old) == 1, (source.count(old), old)
        source = source.replace(old, new)
    spec = importlib.util.spec_from_loader(module.__name__ + "_patched", loader=None)
    assert spec is not None
    copy = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up while it runs.
    sys.modules[copy.__name__] = copy
    exec(compile(source, str(module.__file__), "exec"), copy.__dict__)
    copy.__dict__.update(names)
    return copy


def failures(engine: type[Engine], seeds: range) -> Iterator[AssertionError]:
    for seed in seeds:
        try:
            net, healed_from = chaos(seed, engine=engine, faults_s=10.0, heal_s=10.0)
            check_invariants(net)
            check_liveness(net, healed_from)
        except AssertionError as error:
            yield error


def _low_quorum() -> ModuleType:
    certs = patched(
        certs_module, ("self.quorum = epoch.quorum()", "self.quorum = epoch.power_total() // 3 + 1")
    )
    # The engine and its parts go on sharing one Kind and one Proposal.
    low = patched(
        votes_module,
        CertScheme=certs.CertScheme,
        Kind=votes_module.Kind,
        Ballot=votes_module.Ballot,
        Proposal=votes_module.Proposal,
    )
    finality = patched(finality_module, votes=low)
    return patched(
        engine_module, CertScheme=certs.CertScheme, Finality=finality.Finality, votes=low
    )


def _with_views(views: ModuleType) -> ModuleType:
    voting = patched(voting_module, Verdict=views.Verdict)
    return patched(engine_module, Views=views.Views, Verdict=views.Verdict, Voting=voting.Voting)


def _with_tally(tally: ModuleType) -> ModuleType:
    views = patched(views_module, Tally=tally.Tally)
    engine = _with_views(views)
    interest = patched(interest_module, Counted=tally.Counted)
    counting = patched(counting_module, Counted=tally.Counted)
    engine.__dict__.update(Interests=interest.Interests, Counting=counting.Counting)
    return engine


MUTANTS = {
    "a quorum is f+1": _low_quorum,
    "finalize although nullify was sent": lambda: patched(
        engine_module,
        Voting=patched(voting_module, ("            and view.closed is None\n", "")).Voting,
    ),
    "one signer counts twice": lambda: _with_tally(
        patched(
            tally_module,
            (
                "        if first.body == vote.body or",
                "        if first.body == vote.body:\n"
                "            self._power_by_body[vote.body] += self._powers[vote.sender]\n"
                "        if first.body == vote.body or",
            ),
            (
                "        if first.body == body or signer in self._caught:",
                "        if signer in self._caught:",
            ),
        )
    ),
    "votes are forgotten in a crash": lambda: patched(
        engine_module,
        (
            "            view.take_slot(ballot.kind, vote.body)\n            if ballot",
            "            if ballot",
        ),
    ),
    "ancestors are not delivered": lambda: patched(
        engine_module,
        Finality=patched(finality_module, ("    at = 0\n", "    at = len(chain) - 1\n")).Finality,
    ),
}


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_suite_fails_without_the_rule(name: str) -> None:
    engine = MUTANTS[name]().SimplexEngine
    assert next(failures(engine, range(60)), None) is not None, f"nobody noticed: {name}"
