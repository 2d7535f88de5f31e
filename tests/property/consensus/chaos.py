"""One random life of a small network: faults fly first, then everything heals."""

from __future__ import annotations

import random
from collections.abc import Callable

from p2pnode import codec
from p2pnode.consensus.engine import Engine, EngineParameters, Item, Signed, quorum_of
from p2pnode.consensus.simplex import SimplexEngine, votes
from p2pnode.consensus.simplex.votes import Kind
from tests.unit.consensus.harness import MS, Net

POWERS = ((1, 1, 1, 1), (1, 1, 1, 1, 1, 1, 1), (3, 2, 2, 1, 1), (1, 1, 1), (1, 1), (5, 1, 1, 1))


def chaos(
    seed: int,
    *,
    faults_s: float = 15.0,
    heal_s: float = 15.0,
    engine: type[Engine] = SimplexEngine,
    last_height: int = 1 << 40,
) -> tuple[Net, int]:
    """Run a network through crashes, partitions, loss and duplicates, and let it heal.

    Returns:
        The network, and the highest height at the moment of healing.
    """
    rng = random.Random(seed)
    slow = rng.choice((15, 80, 300))
    net = Net(
        rng.choice(POWERS),
        seed=seed,
        parameters=EngineParameters(
            delta_ns=100 * MS,
            tail_views=rng.choice((0, 4, 32)),
            window_views=rng.choice((1, 16)),
            relay_after_ns=rng.choice((None, 0)),
            certify=rng.random() < 0.2,
        ),
        engine=engine,
        delay_ns=lambda r: r.randint(2 * MS, slow * MS),
        drop=rng.choice((0.0, 0.02, 0.2)),
        duplicate=rng.choice((0.0, 0.1)),
        always_demand=rng.random() < 0.8,
        heartbeat_s=2.0,
        last_height=last_height,
        check_delay_ns=rng.choice((0, 30 * MS)),
        crash_between_effects=rng.choice((0.0, 0.0, 0.002)),
    )
    count = len(net.nodes)
    net.start()
    for _ in range(rng.randint(1, 8)):
        net.run(rng.random() * faults_s / 4)
        match rng.randrange(6):
            case 0:
                victims = rng.sample(range(count), rng.randint(1, count))
                net.crash(*victims)
            case 1:
                side = {i: rng.random() < 0.5 for i in range(count)}
                net.cut = lambda a, b, side=side: side[a] != side[b]
            case 2:
                net.cut = lambda a, b: False
                dead = [node.index for node in net.nodes if node.engine is None]
                if dead:
                    net.start(*dead)
            case 3:
                # One direction only: somebody sends but hears nothing.
                deaf = rng.randrange(count)
                net.cut = lambda a, b, deaf=deaf: b == deaf
            case 4:
                # Somebody loses everything of one kind; it must find it by asking.
                net.outgoing = _without(rng.choice(list(Kind)), {rng.randrange(count)})
            case 5:
                # Proposals and votes for them reach some only: views end in every way there is.
                some = set(rng.sample(range(count), rng.randint(1, count)))
                net.outgoing = _without(Kind.NOTARIZE, some)
    net.cut = lambda a, b: False
    net.outgoing = lambda a, b, item: True
    net.drop = 0.0
    net.crash_between_effects = 0.0
    net.run(0.6)
    dead = [node.index for node in net.nodes if node.engine is None]
    if dead:
        net.start(*dead)
    healed_from = max(net.heights())
    net.run(heal_s)
    return net, healed_from


def _without(kind: Kind, losers: set[int]) -> Callable[[int, int, Item], bool]:
    """Lose what is of a kind on its way to some."""

    def passes(_: int, b: int, item: Item) -> bool:
        if b not in losers:
            return True
        if isinstance(item, Signed):
            body = item.body
        else:
            document = codec.array(codec.decode(item, size_bytes_max=1 << 16), "certificate")
            body = codec.octets(document[0], "body")
        return votes.decode_body(body).kind is not kind

    return passes


def check_liveness(net: Net, healed_from: int) -> None:
    """After healing heights go on (G11, G12), on every node (G14)."""
    heights = net.heights()
    if healed_from < net.last_height:
        assert min(heights) > healed_from, (healed_from, heights)
    assert max(heights) - min(heights) <= 3, heights


def check_invariants(net: Net) -> None:
    """The simplex invariants over everything that was ever signed or sent."""
    net.check_agreement()
    for node in net.nodes:
        assert not node.offences, node.offences
        assert node.refused == 0, "the engine drafted a vote that its signer had to refuse"
        assert not [r for r in node.reports if r.kind in ("fork", "malformed_summary")]
    quorum = quorum_of(sum(net.powers))
    power_by_body: dict[bytes, int] = {}
    for signer, body in dict.fromkeys(net.signed_bodies):
        power_by_body[body] = power_by_body.get(body, 0) + net.powers[signer]
    table: dict[Kind, dict[int, bytes]] = {kind: {} for kind in Kind}
    for body, power in power_by_body.items():
        if power >= quorum:
            ballot = votes.decode_body(body)
            # One notarized payload, one finalized payload a view.
            assert table[ballot.kind].setdefault(ballot.view, body) == body
    nullified = table[Kind.NULLIFY]
    for view, body in table[Kind.FINALIZE].items():
        final = votes.decode_body(body).proposal
        assert final is not None
        assert view not in nullified, f"view {view} is final and nullified"
        assert view in table[Kind.NOTARIZE], f"view {view} is final and not notarized"
        assert votes.decode_body(table[Kind.NOTARIZE][view]).proposal == final
    # Every notarized block stands on a notarized one, over nullified gaps only.
    for view, body in table[Kind.NOTARIZE].items():
        block = votes.decode_body(body).proposal
        assert block is not None
        if block.parent > 0:
            assert block.parent in table[Kind.NOTARIZE], (view, block.parent)
        for between in range(block.parent + 1, view):
            assert between in nullified, f"view {view} skips {between}, which is not nullified"
