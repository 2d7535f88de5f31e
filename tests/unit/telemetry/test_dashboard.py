"""The Grafana dashboard asks for metrics that a node exports, in the way their kind wants."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from p2pnode.telemetry.metrics import HELP, LABELS

DASHBOARD = Path(__file__).parents[3] / "docs" / "dashboard.json"
NAME = re.compile(r"p2pnode_[a-z0-9_]+")


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text())


def queries() -> list[str]:
    found = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    assert len(found) > 20
    return found


def test_every_query_names_metrics_that_exist() -> None:
    variables = [v["query"]["query"] for v in dashboard()["templating"]["list"] if "refresh" in v]
    for query in [*queries(), *variables]:
        names = NAME.findall(query)
        assert names, query
        for name in names:
            assert name in HELP, f"{query}: no metric {name}"


def test_counters_and_only_they_are_asked_for_their_rate() -> None:
    for query in queries():
        for name in NAME.findall(query):
            assert name.endswith("_total") == (f"rate({name}" in query), query


def test_only_labels_that_exist_are_asked_for() -> None:
    known = {*LABELS, "instance"}
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            shown = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
            names = [*shown, *(name.strip() for part in grouped for name in part.split(","))]
            assert set(names) <= known, target


def test_panels_have_numbers_of_their_own_and_lie_beside_each_other() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    rules = [
        {
            "record": f"dashboard:query{number}",
            "expr": query.replace("$__rate_interval", "1m").replace("$instance", ".*"),
        }
        for number, query in enumerate(queries())
    ]
    path = tmp_path / "rules.json"
    # JSON is YAML.
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", str(path)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
