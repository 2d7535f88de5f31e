"""Loss, reordering, restarts and epochs that pass: honest nodes never cost each other score."""

from __future__ import annotations

import random

import pytest

from p2pnode.types import effects as fx
from p2pnode.types.effects import Lane
from tests.cluster import MS, Cluster, S, Shell


def unruly(cluster: Cluster, rng: random.Random, loss: float) -> None:
    """Deliver every message after a time of its own, or not at all, or twice."""
    ordinary = cluster.send

    def send(sender: Shell, peer: bytes, lane: Lane, message: bytes) -> None:
        for _ in range(2 if rng.random() < 0.05 else 1):
            if rng.random() >= loss:
                cluster.latency_ns = rng.randrange(1, 120) * MS
                ordinary(sender, peer, lane, message)

    def request(sender: Shell, effect: fx.Request) -> None:
        if rng.random() < loss:
            at_ns = cluster.time_ns + effect.timeout_ns
            life = sender.lives
            cluster.at(at_ns, lambda: fail(sender, life, effect))
        else:
            asked(sender, effect)

    def fail(sender: Shell, life: int, effect: fx.Request) -> None:
        if sender.up and sender.lives == life:
            sender.input(fx.AnswerIn(effect.ticket, None))

    asked = cluster.request
    cluster.send, cluster.request = send, request  # type: ignore[method-assign]


@pytest.mark.parametrize("seed", range(6))
def test_honest_nodes_are_never_blamed_whatever_the_network_does(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    cluster = Cluster(
        rng.choice((4, 5, 7)), seed=seed, epoch_blocks=rng.choice((4, 12)), heartbeat_ms=1000
    )
    unruly(cluster, rng, rng.choice((0.0, 0.05, 0.2)))
    sent = []
    down: Shell | None = None
    for step in range(160):
        up = [shell for shell in cluster.shells if shell.up]
        transaction = cluster.transfer(step % 16)
        sent.append(transaction)
        rng.choice(up).submit(transaction)
        cluster.run(rng.randrange(50, 600) * MS)
        if step % 12 == 6 and down is None:
            down = rng.choice(up)
            down.stop()
        elif step % 12 == 0 and down is not None:
            down.start()
            down = None
    if down is not None:
        down.start()

    def again() -> bool:
        for transaction in sent:
            if transaction.id not in cluster.executed:
                rng.choice(cluster.shells).submit(transaction)
        cluster.run(3 * S)
        return all(t.id in cluster.executed for t in sent)

    assert cluster.run_until(again, 60 * S), "a transaction was lost"
    assert cluster.penalties == []
