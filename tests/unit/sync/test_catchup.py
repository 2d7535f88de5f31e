"""Block sync: whom it asks, what it believes, and what it makes the sender pay for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from p2pnode import codec, crypto
from p2pnode.consensus.host import EngineHost
from p2pnode.errors import RemoteProtocolError
from p2pnode.sync.catchup import (
    BLOCKS_MAX,
    LAG_HEIGHTS,
    PROTOCOL,
    RETRY_NS,
    Catchup,
    FetchedBlock,
    decode_request,
    encode_answer,
    encode_request,
)
from p2pnode.types.chain import Chain
from p2pnode.types.effects import AnswerIn, ArmTimer, Penalize, Request
from p2pnode.types.genesis import genesis_hash
from p2pnode.types.payload import Block, digest_of
from p2pnode.types.statement import digest_of as statement_digest
from tests.spine import (
    Bench,
    batch_certificate,
    evidence,
    make_blocks,
    make_chain,
    make_payload,
    peer,
    signature,
    toy,
    toy_body,
    toy_proof,
)

CHAIN = make_chain()
A, B, C = b"peer a", b"peer b", b"peer c"


class Target:
    """A chain that takes blocks."""

    def __init__(self, chain: Chain) -> None:
        self.height = 0
        self.head = genesis_hash(chain.id)
        self.taken: list[FetchedBlock] = []

    def adopt(self, blocks: Sequence[FetchedBlock]) -> None:
        for block, _ in blocks:
            assert block.height == self.height + 1
            self.height, self.head = block.height, block.hash
        self.taken += blocks


class At:
    """A node that block-syncs."""

    def __init__(self, chain: Chain = CHAIN, **options: int) -> None:
        self.chain = chain
        self.bench = Bench(chain)
        self.target = Target(chain)
        host = EngineHost(chain, toy(), None, 0, self.bench.desk, None)  # type: ignore[arg-type]
        self.catchup = Catchup(
            chain, self.bench.desk, self.target, host.verify_claims_of_proof, **options
        )

    def request(self) -> Request:
        """Return the one request that is under way."""
        (request,) = self.bench.take(Request)
        assert request.protocol == PROTOCOL
        return request

    def penalties(self) -> list[bytes]:
        return [p.peer for p in self.bench.take(Penalize)]

    def sync(self, blocks: Sequence[Block], statements: Sequence[bytes] = ()) -> None:
        """Ask a peer that is far ahead, and answer with blocks."""
        self.catchup.heard(A, 1000)
        self.bench.answer(self.request(), answer(blocks, statements))

    def heights(self) -> list[int]:
        return [block.height for block, _ in self.target.taken]


def answer(blocks: Sequence[Block], statements: Sequence[bytes] = ()) -> bytes:
    return encode_answer([(block.encode(), statements) for block in blocks])


def test_level_nodes_ask_nothing() -> None:
    at = At()
    at.catchup.heard(A, LAG_HEIGHTS - 1)
    assert at.bench.take(Request) == []
    assert not at.catchup.syncing


def test_a_node_behind_asks_the_most_advanced_peer_for_what_comes_next() -> None:
    at = At()
    at.target.height = 3
    at.bench.me = 0
    at.catchup.heard(A, 3)
    at.catchup.heard(B, 5)
    request = at.request()
    assert (request.peer, decode_request(request.body)) == (B, (4, BLOCKS_MAX))
    at.catchup.heard(C, 9)
    assert at.bench.take(Request) == [], "one question at a time"
    assert at.catchup.best_height == 9
    assert (at.catchup.height_of(C), at.catchup.height_of(b"?")) == (9, None)


def test_blocks_are_taken_up_to_the_last_proof_and_the_next_are_asked_for() -> None:
    at = At()
    blocks = make_blocks(CHAIN, 6, proved=lambda height: height in (2, 4))
    at.sync(blocks)
    assert at.heights() == [1, 2, 3, 4]
    assert at.penalties() == []
    assert decode_request(at.request().body)[0] == 5
    assert at.bench.emitted("blocks_synced") == [{"first": 1, "last": 4}]


def test_syncing_ends_when_level() -> None:
    at = At()
    at.catchup.heard(peer(1), 3)
    at.catchup.heard(peer(2), 3)
    assert at.catchup.syncing
    at.bench.answer(at.request(), answer(make_blocks(CHAIN, 3)))
    assert not at.catchup.syncing
    assert at.bench.take(Request) == []


def test_claims_of_strangers_and_of_a_third_of_the_power_are_no_reason_to_call_us_late() -> None:
    at = At()
    at.catchup.heard(A, 1 << 60)
    at.catchup.heard(peer(1), 1 << 60)
    at.catchup.heard(peer(2), LAG_HEIGHTS - 1)
    assert not at.catchup.syncing


def test_validators_are_asked_before_strangers_that_promise_more() -> None:
    at = At()
    at.catchup.heard(A, 1 << 60)
    at.catchup.heard(peer(1), 9)
    at.bench.answer(at.request(), None)
    at.catchup.fired()
    assert at.request().peer == peer(1)


def test_a_lost_peer_no_longer_makes_us_late() -> None:
    at = At()
    at.catchup.heard(A, 100)
    at.request()
    at.catchup.lost(A)
    assert at.catchup.height_of(A) is None
    assert at.catchup.best_height == 0


def wrong_chain(blocks: list[Block]) -> bytes:
    body = make_payload(CHAIN, 1, chain=bytes(32)).encode()
    digest = digest_of(body)
    return answer([Block(1, digest, body, 0, (1,), toy_proof(CHAIN, 1, digest))])


def broken_link(blocks: list[Block]) -> bytes:
    body = make_payload(CHAIN, 2, bytes(32)).encode()
    digest = digest_of(body)
    return answer([blocks[0], Block(2, digest, body, 0, (2,), toy_proof(CHAIN, 2, digest))])


def few_signers(blocks: list[Block]) -> bytes:
    first = blocks[0]
    return answer([replace(first, proof=toy_proof(CHAIN, 1, first.hash, (0, 1)))])


BAD_ANSWERS: dict[str, Callable[[list[Block]], bytes]] = {
    "no CBOR": lambda blocks: b"junk",
    "no array": lambda blocks: b"\x01",
    "no block": lambda blocks: encode_answer([(b"junk", [])]),
    "too many blocks": lambda blocks: answer([blocks[0]] * (BLOCKS_MAX + 1)),
    "wrong height": lambda blocks: answer([replace(blocks[0], height=2)]),
    "a wrong height below": lambda blocks: answer([replace(blocks[0], height=9), blocks[1]]),
    "a gap": lambda blocks: answer([blocks[0], blocks[2]]),
    "the second first": lambda blocks: answer(blocks[1:]),
    "wrong chain": wrong_chain,
    "broken link": broken_link,
    "no proof": lambda blocks: answer([replace(b, proof=b"") for b in blocks]),
    "malformed proof": lambda blocks: answer([replace(blocks[0], proof=b"junk")]),
    "another block's proof": lambda blocks: answer([replace(blocks[0], proof=blocks[1].proof)]),
    "a proof of too few": few_signers,
    "malformed statement": lambda blocks: answer([blocks[0]], [b"junk"]),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_an_answer_that_proves_nothing_costs_its_sender_and_changes_nothing(name: str) -> None:
    at = At()
    at.catchup.heard(A, 1000)
    at.bench.answer(at.request(), BAD_ANSWERS[name](make_blocks(CHAIN, 3)))
    assert at.penalties() == [A]
    assert at.heights() == []
    (timer,) = at.bench.take(ArmTimer)
    assert (timer.key, timer.at_ns) == (("catchup",), at.bench.desk.now_ns + RETRY_NS)


def test_a_bad_signature_in_a_proof_costs_more_and_changes_nothing() -> None:
    at = At()
    (block,) = make_blocks(CHAIN, 1)
    at.sync([replace(block, proof=block.proof[:-1] + bytes([block.proof[-1] ^ 1]))])
    assert [(p.peer, p.points) for p in at.bench.take(Penalize)] == [(A, 50.0)]
    assert at.heights() == []


def test_a_peer_that_has_nothing_for_us_is_not_to_blame() -> None:
    at = At()
    at.sync([])
    assert at.penalties() == []
    assert at.heights() == []
    assert [e.key for e in at.bench.take(ArmTimer)] == [("catchup",)]


def test_another_peer_is_asked_after_a_failure() -> None:
    at = At()
    at.catchup.heard(A, 9)
    at.catchup.heard(B, 5)
    at.bench.answer(at.request(), None)
    assert at.bench.take(Request) == [], "not at once"
    at.catchup.fired()
    request = at.request()
    assert request.peer == B
    assert at.penalties() == []
    at.bench.answer(request, answer(make_blocks(CHAIN, 5)))
    assert at.heights() == [1, 2, 3, 4, 5]


def test_our_own_progress_during_a_question_is_nobodys_fault() -> None:
    at = At()
    at.catchup.heard(A, 6)
    request = at.request()
    blocks = make_blocks(CHAIN, 6)
    at.target.height, at.target.head = 2, blocks[1].hash  # by votes
    at.bench.answer(request, answer(blocks))
    assert at.penalties() == []
    again = at.request()
    assert decode_request(again.body)[0] == 3
    at.bench.answer(again, answer(blocks[2:]))
    assert at.heights() == [3, 4, 5, 6]


def test_blocks_that_votes_brought_while_proofs_were_checked_are_left_out() -> None:
    at = At()
    at.catchup.heard(A, 6)
    request = at.request()
    blocks = make_blocks(CHAIN, 6)
    at.bench.desk.answer(AnswerIn(request.ticket, answer(blocks)))
    at.target.height, at.target.head = 2, blocks[1].hash
    at.bench.settle()
    assert at.heights() == [3, 4, 5, 6]
    assert at.penalties() == []


def test_blocks_come_with_the_statements_they_list() -> None:
    certificate = batch_certificate(CHAIN).encode()
    digest = statement_digest(certificate)
    blocks = make_blocks(CHAIN, 1, items={1: [digest]})
    at = At()
    at.sync(blocks)
    assert at.penalties() == [A]
    assert at.heights() == []
    at = At()
    at.sync(blocks, [certificate])
    assert at.heights() == [1]
    (_, known) = at.target.taken[0]
    assert [raw for raw, _ in known.values()] == [certificate]
    assert list(known) == [digest]


def test_statements_that_no_block_lists_are_not_believed() -> None:
    # Nothing proves them: neither a digest in a final block nor a signature checked here.
    forged = replace(evidence(CHAIN), signature_a=bytes(64)).encode()
    at = At()
    at.sync(make_blocks(CHAIN, 1), [forged])
    assert [known for _, known in at.target.taken] == [{}]


def test_only_the_proof_that_was_checked_is_kept() -> None:
    # Blocks below are proved by their links; what came as their proof may be anything.
    blocks = make_blocks(CHAIN, 3)
    at = At()
    at.sync([replace(blocks[0], proof=b"junk"), *blocks[1:]])
    assert [block.proof for block, _ in at.target.taken] == [b"", b"", blocks[2].proof]


def test_no_answer_reaches_beyond_the_end_of_an_epoch() -> None:
    at = At()
    blocks = make_blocks(CHAIN, 25)
    at.sync(blocks)
    assert at.heights() == list(range(1, 21))
    request = at.request()
    assert decode_request(request.body)[0] == 21
    at.bench.answer(request, answer(blocks[20:]))
    assert at.heights() == list(range(1, 26))


def test_a_proof_of_another_epochs_validators_proves_nothing() -> None:
    # Signatures bind their epoch: a proof over height 21 signed in epoch 0 does not verify.
    blocks = make_blocks(CHAIN, 21)
    at = At()
    at.sync(blocks[:20])
    body = toy_body(21, blocks[20].hash)
    votes = [[i, signature(CHAIN, i, "engine/toy/1", 0, body)] for i in range(3)]
    forged = replace(blocks[20], proof=codec.encode([21, blocks[20].hash, votes]))
    at.bench.answer(at.request(), answer([forged]))
    assert at.penalties() == [A]
    assert at.target.height == 20


def test_the_last_height_of_an_epoch_is_asked_for_though_it_is_one_height_only() -> None:
    # Engines of different epochs don't talk: no vote will ever bring it.
    at = At()
    blocks = make_blocks(CHAIN, 21)
    at.sync(blocks[:19])
    at.bench.answer(at.request(), None)
    at.catchup.lost(A)
    at.catchup.heard(B, 20)
    request = at.request()
    assert (request.peer, decode_request(request.body)[0]) == (B, 20)
    at.bench.answer(request, answer(blocks[19:20]))
    assert at.target.height == 20
    at.catchup.heard(B, 21)
    assert at.bench.take(Request) == [], "in one epoch a single height comes by votes"


def test_an_engine_that_is_behind_makes_a_single_height_urgent() -> None:
    at = At()
    at.catchup.heard(A, 1)
    assert at.bench.take(Request) == []
    at.catchup.behind(1)
    assert decode_request(at.request().body)[0] == 1


def test_where_no_votes_come_every_single_height_is_asked_for() -> None:
    at = At(lag_heights=1)
    at.catchup.heard(A, 1)
    assert decode_request(at.request().body)[0] == 1
    assert not at.catchup.syncing, "a height on its way is nothing to speak of"


def test_requests_and_answers_are_read_strictly() -> None:
    assert decode_request(encode_request(7, 64)) == (7, 64)
    for body in (b"", b"\x80", encode_request(7, 65), encode_request(1, 1) + b"\x00", bytes(65)):
        with pytest.raises(RemoteProtocolError):
            decode_request(body)


def test_digests_are_of_what_came_not_of_what_was_claimed() -> None:
    (block,) = make_blocks(CHAIN, 1)
    at = At()
    at.sync([block])
    assert at.target.head == crypto.sha256(block.payload)
