from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from p2pnode.telemetry.metrics import SERIES_MAX, BadMetricError, Metrics, status_metrics
from tests.unit.node.statuses import status


def families(text: bytes) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_a_status_becomes_text_that_prometheus_reads() -> None:
    text = Metrics(lambda: status_metrics(status())).text()
    found = families(text)
    assert found["p2pnode_chain_height_blocks"] == {(): 812}
    assert found["p2pnode_network_peers_connected"] == {
        (("direction", "in"),): 2,
        (("direction", "out"),): 4,
    }
    assert found["p2pnode_chain_supply_units"][(("asset", "1"),)] == 7


def test_only_names_that_end_with_total_are_counters() -> None:
    text = Metrics(lambda: status_metrics(status())).text().decode()
    assert "# TYPE p2pnode_network_bytes_total counter" in text
    assert "# TYPE p2pnode_process_memory_bytes gauge" in text


def test_every_text_is_made_from_a_new_snapshot() -> None:
    values = iter([1.0, 2.0])
    metrics = Metrics(lambda: {"p2pnode_test_things_count": next(values)})
    assert families(metrics.text()) != families(metrics.text())


@pytest.mark.parametrize(
    "key",
    [
        "node_things_count",
        "p2pnode_things",
        "p2pnode_Test_things",
        'p2pnode_test_things_count{peer="12D3KooW"}',
        'p2pnode_test_things_count{kind="12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6"}',
        'p2pnode_test_things_count{kind="a b"}',
        "p2pnode_test_things_count{kind=a}",
    ],
)
def test_a_name_or_label_that_breaks_the_rules_is_refused(key: str) -> None:
    with pytest.raises(BadMetricError):
        Metrics(lambda: {key: 1.0}).text()


def test_more_label_values_than_allowed_are_refused() -> None:
    snapshot = {f'p2pnode_test_things_count{{kind="k{i}"}}': 1.0 for i in range(SERIES_MAX + 1)}
    with pytest.raises(BadMetricError, match="257 label values"):
        Metrics(lambda: snapshot).text()


def test_one_name_has_one_set_of_labels() -> None:
    snapshot = {"p2pnode_test_things_count": 1.0, 'p2pnode_test_things_count{kind="a"}': 2.0}
    with pytest.raises(BadMetricError, match="one set expected"):
        Metrics(lambda: snapshot).text()
