"""Recorded runs of commonware's Simplex replay through the engine's own `step`.

The traces lie beside the repository, in ../shared; without them these tests are skipped.
"""

from __future__ import annotations

import copy
import gzip
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from p2pnode.consensus.engine import Broadcast, Effect, Event, Msg, Send
from p2pnode.consensus.simplex import SimplexEngine, votes
from p2pnode.consensus.simplex.votes import Kind

ROOT = Path(__file__).resolve().parents[2]
TRACES = ROOT.parent / "shared" / "traces" / "simplex-recorded"


def _load_tool() -> ModuleType:
    # tools/ is no package: nothing but its own tests imports it.
    spec = importlib.util.spec_from_file_location("replay_traces", ROOT / "tools/replay_traces.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tool = _load_tool()
FILES = sorted(TRACES.glob("*.json.gz"))
needs_traces = pytest.mark.skipif(not FILES, reason=f"no traces in {TRACES}")


@needs_traces
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_honest_node_of_the_trace_is_equal(path: Path) -> None:
    equal, nodes, problems = tool.replay_file(path, SimplexEngine)
    assert problems == []
    assert equal == nodes >= 3


@needs_traces
def test_tool_says_so_in_its_last_line_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["--engine", "simplex", str(TRACES)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "32 of 32 nodes equal"


def test_tool_fails_on_a_directory_without_traces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main(["--engine", "simplex", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 of 0 nodes equal"


@needs_traces
def test_tool_reads_plain_json_too(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(gzip.decompress(FILES[0].read_bytes()))
    assert tool.main([str(tmp_path)]) == 0


@needs_traces
def test_tool_fails_on_a_file_that_is_no_trace(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(FILES[0].read_bytes())
    (tmp_path / "b.json").write_text('{"n": 4}')
    assert tool.main([str(tmp_path)]) == 1


# --- the replay can fail ------------------------------------------------------------------------


def _mutated(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> int:
    document = json.loads(gzip.decompress(FILES[-1].read_bytes()))
    change(document)
    (tmp_path / "mutated.json").write_text(json.dumps(document))
    status: int = tool.main([str(tmp_path)])
    return status


def _first(document: dict[str, Any], what: str, kind: str, view: int) -> list[dict[str, Any]]:
    """Entries of a kind in a view."""
    key = "vote" if what == "Vote" else "cert"
    return [
        entry
        for entry in document["entries"]
        if what in entry and kind in entry[what][key] and entry[what][key][kind]["view"] == view
    ]


def _forget_a_reported_finalization(document: dict[str, Any]) -> None:
    del document["reporter_states"]["n0"]["finalizations"]["3"]


def _report_another_payload(document: dict[str, Any]) -> None:
    document["reporter_states"]["n1"]["notarizations"]["2"]["payload"] = "00" * 32


def _report_a_nullification_too_many(document: dict[str, Any]) -> None:
    document["reporter_states"]["n2"]["nullifications"].append(2)


def _record_a_vote_that_breaks_the_rules(document: dict[str, Any]) -> None:
    # n0 is made to send a nullify of a view that it finalized.
    entry = copy.deepcopy(_first(document, "Vote", "Nullify", 6)[0])
    entry["Vote"]["sender"] = "n0"
    entry["Vote"]["vote"]["Nullify"] = {"view": 2, "sig": "n0"}
    document["entries"].append(entry)


def _lose_every_notarize_of_a_view(document: dict[str, Any]) -> None:
    lost = _first(document, "Vote", "Notarize", 4) + _first(
        document, "Certificate", "Notarization", 4
    )
    document["entries"] = [e for e in document["entries"] if e not in lost]


def _sign_with_another_name(document: dict[str, Any]) -> None:
    for entry in _first(document, "Vote", "Notarize", 4):
        entry["Vote"]["vote"]["Notarize"]["sig"] = "n0"
    document["entries"] = [
        e
        for e in document["entries"]
        if e not in _first(document, "Certificate", "Notarization", 4)
    ]


@needs_traces
@pytest.mark.parametrize(
    "change",
    [
        _forget_a_reported_finalization,
        _report_another_payload,
        _report_a_nullification_too_many,
        _record_a_vote_that_breaks_the_rules,
        _lose_every_notarize_of_a_view,
        _sign_with_another_name,
    ],
    ids=lambda change: change.__name__.strip("_"),
)
def test_mutated_trace_is_not_equal(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    assert _mutated(tmp_path, change) == 1


class Mutant(SimplexEngine):
    """An engine whose effects lack something."""

    lost: Kind
    certificates: bool

    def step(self, now_ns: int, event: Event) -> list[Effect]:
        return [effect for effect in super().step(now_ns, event) if not self._loses(effect)]

    def _loses(self, effect: Effect) -> bool:
        if not isinstance(effect, Broadcast | Send):
            return False
        if isinstance(effect.item, bytes):
            body = self._certs.decode(effect.item).body
        else:
            body = effect.item.body
        certificate = isinstance(effect.item, bytes)
        return certificate is self.certificates and votes.decode_body(body).kind is self.lost


@needs_traces
@pytest.mark.parametrize("certificates", [False, True])
@pytest.mark.parametrize("lost", list(Kind))
def test_engine_that_sends_too_little_is_not_equal(lost: Kind, certificates: bool) -> None:
    mutant = type("M", (Mutant,), {"lost": lost, "certificates": certificates})
    equal, nodes, _ = tool.replay_file(FILES[-1], mutant)
    assert equal < nodes


@needs_traces
def test_engine_that_ignores_certificates_or_votes_is_not_equal() -> None:
    class Deaf(SimplexEngine):
        def step(self, now_ns: int, event: Event) -> list[Effect]:
            if isinstance(event, Msg) and event.sender == 2:
                return []
            return super().step(now_ns, event)

    equal, nodes, _ = tool.replay_file(FILES[-1], Deaf)
    assert equal < nodes
