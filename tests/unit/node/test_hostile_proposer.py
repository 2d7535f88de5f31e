"""A proposer that lists what it likes: nobody else is blamed for it, nothing stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from p2pnode.consensus.simplex.views import Verdict
from p2pnode.crypto import sha256
from p2pnode.sync import fetcher
from p2pnode.types.effects import Lane
from p2pnode.types.messages import (
    EngineItem,
    Statements,
    decode_frame,
    encode_message,
    join_frame,
)
from tests.cluster import Cluster, S, Shell

HOSTILE = 3


def lists(shell: Shell, choose: Callable[[int], tuple[bytes, ...]]) -> None:
    """Let a node list other digests in the payloads it proposes."""
    shell.core.ordering.pool.choose = lambda height, excluded: choose(height)  # type: ignore[method-assign]


def busy(cluster: Cluster, seconds: int) -> None:
    """Submit a transaction to an honest node now and then."""
    for second in range(seconds):
        cluster.shells[second % 3].submit(cluster.transfer(second % 8))
        cluster.run(S)


def test_who_serves_a_payload_that_is_listed_as_a_statement_is_not_to_blame() -> None:
    cluster = Cluster()
    busy(cluster, 2)
    heads = [shell.core.ordering.head for shell in cluster.shells]
    lists(cluster.shells[HOSTILE], lambda height: (heads[0],))
    busy(cluster, 10)
    assert cluster.honest_blamed(HOSTILE) == []
    assert cluster.finalizes()


def test_who_serves_a_batch_that_is_listed_as_a_statement_is_not_to_blame() -> None:
    cluster = Cluster()
    busy(cluster, 2)
    ((name, _),) = cluster.shells[0].store.scan("batches", limit=1)
    lists(cluster.shells[HOSTILE], lambda height: (name,))
    busy(cluster, 10)
    assert cluster.honest_blamed(HOSTILE) == []
    assert cluster.finalizes()


def test_statements_that_nobody_has_do_not_keep_others_from_being_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetcher, "WANTED_MAX", 256)
    cluster = Cluster()
    lists(
        cluster.shells[HOSTILE],
        lambda height: tuple(sha256(b"%d/%d/%d" % (cluster.time_ns, height, i)) for i in range(64)),
    )
    busy(cluster, 30)
    assert max(s.core.fetcher.wanted_count() for s in cluster.shells[:3]) <= 256
    # One that was away must fetch the batch, and does.
    cluster.shells[2].stop()
    assert cluster.finalizes(by=0)
    cluster.shells[2].start()
    assert cluster.finalizes(by=1)


def test_a_payload_of_an_ended_epoch_never_answers_a_question_of_the_next() -> None:
    """Views count from 1 again: the same question would get another payload's answer."""
    cluster = Cluster(block_interval_ms=200)
    victim, hostile = cluster.shells[0], cluster.shells[HOSTILE]
    withheld: dict[int, bytes] = {}
    injected: list[int] = []

    def outgoing(sender: Shell, peer: bytes, lane: Lane, message: bytes) -> bytes | None:
        (decoded,) = decode_frame(join_frame([message]))
        if isinstance(decoded, Statements) and peer == victim.peer:
            return None  # the victim must fetch them: its questions stay open for a while
        if sender is hostile and isinstance(decoded, EngineItem) and decoded.payload:
            view = hostile.core.ordering.host.view[0]
            if decoded.epoch == 0:
                withheld.setdefault(view, decoded.payload)
                return encode_message(replace(decoded, payload=b""))
        return message

    def on_input(shell: Shell, given: object) -> None:
        host = victim.core.ordering.host
        if shell is not victim or host.epoch.number == 0:
            return
        for number, body in list(withheld.items()):
            view = host._engine._views.get(number)  # type: ignore[attr-defined]
            if view is not None and view.checked is Verdict.PENDING:
                del withheld[number]
                injected.append(number)
                item = EngineItem(0, None, b"", body)
                cluster.at(cluster.time_ns, lambda item=item: victim.frame(hostile.peer, item))

    cluster.outgoing, cluster.on_input = outgoing, on_input
    cluster.answering[hostile.peer] = lambda protocol, body: None
    for _ in range(60):
        busy(cluster, 1)
    assert injected, "the attack never ran"
    assert cluster.finalizes()
