"""The mesh that published messages travel over stays sparse, symmetric and whole."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.mesh import DEGREE, Mesh
from p2pnode.ports import PeerId

PEERS = [bytes([number]) * 4 for number in range(24)]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("toggle"), st.sampled_from(PEERS)),
        st.tuples(st.just("break"), st.sampled_from(PEERS), st.sampled_from(PEERS)),
        st.tuples(st.just("mend"), st.sampled_from(PEERS), st.sampled_from(PEERS)),
        st.tuples(st.just("divide"), st.sampled_from(PEERS)),
        st.tuples(st.just("unite")),
    ),
    max_size=80,
)


def islands(members: list[PeerId], linked: dict[PeerId, list[PeerId]]) -> list[list[PeerId]]:
    left, found = list(members), []
    while left:
        island = [left[0]]
        for peer in island:
            island += [other for other in linked[peer] if other not in island]
        found.append(sorted(island))
        left = [peer for peer in left if peer not in island]
    return found


@given(steps=steps, seed=st.integers(0, 1000))
def test_a_mesh_is_symmetric_sparse_and_as_whole_as_its_connections(
    steps: list[tuple[str, *tuple[PeerId, ...]]], seed: int
) -> None:
    mesh = Mesh(random.Random(seed))
    for peer in PEERS[::2]:
        mesh.join(peer)
    broken: dict[tuple[PeerId, PeerId], None] = {}

    def connected(a: PeerId, b: PeerId) -> bool:
        return (min(a, b), max(a, b)) not in broken

    for step in steps:
        match step:
            case ("toggle", peer):
                (mesh.leave if peer in mesh.members else mesh.join)(peer)
            case ("break", a, b) if a != b:
                broken[min(a, b), max(a, b)] = None
                mesh.changed()
            case ("divide", border):
                for a in PEERS:
                    broken.update(dict.fromkeys((a, b) for b in PEERS if a < border <= b))
                mesh.changed()
            case ("unite",):
                broken.clear()
                mesh.changed()
            case ("mend", a, b):
                broken.pop((min(a, b), max(a, b)), None)
                mesh.changed()
        mesh.repair(connected)
        members = mesh.members
        assert members == sorted(members)
        edges = {peer: list(mesh.neighbours(peer)) for peer in members}
        for peer, others in edges.items():
            assert others == sorted(dict.fromkeys(others))
            assert peer not in others
            assert all(connected(peer, other) and peer in edges[other] for other in others)
        possible = {
            peer: [other for other in members if other != peer and connected(peer, other)]
            for peer in members
        }
        assert islands(members, edges) == islands(members, possible)
        for peer, others in edges.items():
            assert len(others) >= min(len(possible[peer]), 1)
        # Joining islands may add an edge to a full member, seldom.
        assert sum(map(len, edges.values())) <= DEGREE * len(members) + 2 * len(members)
    if not broken:
        for others in edges.values() if steps else ():
            assert len(others) >= min(len(mesh.members) - 1, DEGREE - 1)
