"""Mutants of everything a core takes, thrown at one node of a running cluster.

Node 0 is the victim, node 3 hostile: mutants come from its peer, signed with its key where a
signature makes them reach further, and from a stranger. It answers requests with mutants too. The
others are honest; they must go on, and nobody may blame them.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from p2pnode import codec, crypto
from p2pnode.errors import P2PNodeError, RemoteProtocolError
from p2pnode.gossip.frames import decode_frame as decode_transaction_frame
from p2pnode.node.core import Core
from p2pnode.node.serve import StoreServer
from p2pnode.store.memory import MemoryLog, MemoryStore
from p2pnode.sync import catchup, fetcher
from p2pnode.types import effects as fx
from p2pnode.types.effects import Lane
from p2pnode.types.messages import Summary, decode_frame
from p2pnode.types.transaction import MalformedTransactionError, decode_transaction
from tests.cluster import MS, STRANGER, Cluster, S, Shell
from tests.fuzz import shapes
from tests.fuzz.mutate import Inner, Mutator, Tree, close_tree, open_tree

VICTIM, HOSTILE = 0, 3
KINDS = {
    1: "engine item",
    2: "summary",
    3: "batch offer",
    4: "stored",
    5: "result vote",
    6: "statements",
    7: "transactions",
}
STATEMENTS = {1: "batch certificate", 2: "result certificate", 3: "evidence"}
"""Kinds of statements, each a handler of its own behind the message that carries them."""
ANSWERS = {"answer to blocks": catchup.PROTOCOL, "answer to fetch": fetcher.PROTOCOL}
HANDLERS = (
    *(name for code, name in KINDS.items() if code != 6),
    *STATEMENTS.values(),
    "published",
    "submitted",
    *ANSWERS,
)
"""What `CoreFuzz.throw` can be told to throw alone."""
BLAMELESS = ("published", "submitted")
"""Handlers whose senders the core can't blame: the network's validator has, or a client sends."""
SAMPLES_MAX = 200
ENVELOPE_HEAD = bytes.fromhex("d28443a10127a0")


@dataclass(slots=True)
class Report:
    """What a run threw, and what it found."""

    mutants: dict[str, int] = field(default_factory=dict)
    """By kind."""
    passed: dict[str, int] = field(default_factory=dict)
    """Of them, how many have the shape of a message (`shapes`, not the decoder under test)."""
    decoded: int = 0
    """Of the frames: past the decoder."""
    frames: int = 0
    penalties: int = 0
    """Of the senders."""
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Greatest size seen of each structure, and its bound."""
    height: int = 0

    @property
    def decoded_share(self) -> float:
        """Share of frames that passed the decoder."""
        return self.decoded / max(1, self.frames)

    def count(self, kind: str, *, passed: bool) -> None:
        """Count a mutant."""
        self.mutants[kind] = self.mutants.get(kind, 0) + 1
        self.passed[kind] = self.passed.get(kind, 0) + passed


def sizes(core: Core) -> dict[str, tuple[int, int]]:
    """Return (size, bound) of every structure that others' messages can make grow."""
    o, host, p, certifier = core.ordering, core.ordering.host, core.pipeline, core.certifier
    pool, st = core.pool.statistics(), core.ordering.pool
    n = len(core.chain.genesis.validators)
    assert certifier is not None
    found = {
        "questions open": (core.desk.waiting(), 4096),
        "checks by sender": (len(core.desk._open), 64),
        "peers": (len(core._connected), 64),
        "wanted": (core.fetcher.wanted_count(), 1024 + 128),
        "payloads": (len(o.bodies), 1024),
        "payloads offered": (sum(len(x) for x in o.bodies._offered.values()), 16 * n),
        "payloads refused": (len(o.bodies._refused), 64),
        "checks": (len(o._judge), 64),
        "final hashes": (len(o.bodies._final), 128),
        "statements being checked": (len(o._intake._verifying), 1024),
        "statements waiting": (st.waiting_count(), 24 * n),
        "statements known": (len(st._known), 4096),
        "subjects": (len(st._subjects), 4096),
        "accused": (len(st._accused), 3 * n),
        "feeds ordered": (len(st._feeds), 4 * n),
        "results ordered": (len(st._results), 4),
        "delivers": (len(o._delivers), 64),
        "items deferred": (sum(len(q) for q in host._deferred.values()), 64 * (n + 1)),
        "engine": (host.statistics().held, 64 * 4 * n),
        "heights told": (len(core.catchup._heights), 64),
        "failures": (len(core.catchup._failures), 64),
        "batches ready": (len(core.shelf), 64 + 8),
        "feeds kept": (certifier.statistics().custody.feeds_count, 4 * n),
        "batches kept": (certifier.statistics().custody.batches_count, 2048),
        "own batches": (certifier.statistics().dispersal.batches_count, 8),
        "pool": (pool.transactions_count + pool.checking_count, 50_000),
        "pool being checked": (pool.checking_count, 4096),
        "batches in the pool": (pool.batches_count, 1024),
        "envelopes seen": (len(core.intake._seen), 100_000),
        "tallies": (len(p._tallies), 3),
        "results of others": (
            sum(t.statistics().signatures_count for t in p._tallies.values()),
            3 * 512 * n,
        ),
        "own results": (len(p._own), 64),
        "blocks to execute": (len(p._blocks), 2048),
        "ids in blocks": (len(core.index._ordered), 8192),
    }
    return found


class CoreFuzz:
    """One run."""

    def __init__(self, seed: int) -> None:
        """Start a cluster and gather true messages of every kind.

        Args:
            seed: Decides everything.
        """
        self.rng = random.Random(f"fuzz/{seed}")
        self.mutator = Mutator(self.rng)
        self.report = Report()
        self.cluster = Cluster(seed=seed, block_interval_ms=100, epoch_blocks=20, heartbeat_ms=2000)
        self.victim, self.hostile = self.cluster.shells[VICTIM], self.cluster.shells[HOSTILE]
        self._honest = [shell.peer for shell in self.cluster.shells[:HOSTILE]]
        self._messages: dict[int, list[Tree]] = {code: [] for code in KINDS}
        self._statements: dict[int, list[Tree]] = {code: [] for code in STATEMENTS}
        self._mangled: str | None = None
        """The protocol whose answers are mutants; None for all."""
        self._published: list[bytes] = []
        self._requests: list[tuple[str, bytes]] = []
        self._raws: list[bytes] = []
        self._deaf_until_ns = 0
        self._lossy = True
        self._account = 0
        cluster = self.cluster
        cluster.on_input = self._gather
        self._request = cluster.request
        cluster.request = self._note_request  # type: ignore[method-assign]
        cluster.outgoing = self._outgoing
        for step in range(40):
            self._load(cluster.shells[step % 4])
            if step == 20:
                self._deaf_until_ns = cluster.time_ns + 3 * S  # it fetches, and syncs blocks
            cluster.run(S // 4)
        for peer in (STRANGER, self.hostile.peer):
            cluster.answering[peer] = self._answer
        for shell in cluster.shells[:HOSTILE]:
            shell.input(fx.PeerUp(STRANGER))

    # --- gathering -------------------------------------------------------------------------------

    def _gather(self, shell: Shell, given: fx.Input) -> None:
        match given:
            case fx.FrameIn(peer, frame) if peer in self._honest:
                items = codec.decode(frame, size_bytes_max=1 << 20)
                assert isinstance(items, tuple)
                for item in items:
                    assert isinstance(item, tuple)
                    code = item[0]
                    assert isinstance(code, int)
                    known = self._messages[code]
                    if len(known) < SAMPLES_MAX or self.rng.random() < 0.2:
                        tree = open_tree(item)
                        self.mutator.learn(tree)
                        self._remember(known, tree)
                        self._note_statements(tree)
            case fx.TopicIn(_, _, data) if shell is not self.victim:
                self._remember(self._published, data)

    def _remember(self, known: list[Any], item: object) -> None:
        if len(known) < SAMPLES_MAX:
            known.append(item)
        else:
            known[self.rng.randrange(SAMPLES_MAX)] = item

    def _note_statements(self, tree: Tree) -> None:
        match tree:
            case [6, list(statements)]:
                for statement in statements:
                    if isinstance(statement, Inner) and isinstance(statement.tree, list):
                        code = statement.tree[0]
                        assert isinstance(code, int)
                        self._remember(self._statements[code], [6, [statement]])

    def _note_request(self, sender: Shell, effect: fx.Request) -> None:
        self._remember(self._requests, (effect.protocol, effect.body))
        mine = sender is self.victim
        if mine and self._lossy and effect.peer in self._honest and self.rng.random() < 0.8:
            # Lost on the way: the others are asked more often.
            self.cluster.at(
                self.cluster.time_ns + 50 * MS,
                lambda: sender.input(fx.AnswerIn(effect.ticket, None)) and None,
            )
            return
        self._request(sender, effect)

    def _outgoing(self, sender: Shell, peer: bytes, lane: Lane, message: bytes) -> bytes | None:
        """Lose some of the victim's messages, so that it has to ask."""
        if peer != self.victim.peer:
            return message
        deaf = self.cluster.time_ns < self._deaf_until_ns
        return None if deaf or (self._lossy and self.rng.random() < 0.25) else message

    def _load(self, shell: Shell) -> None:
        self._account = (self._account + 1) % 8
        transaction = self.cluster.transfer(self._account)
        self._remember(self._raws, transaction.raw)
        shell.submit(transaction)

    # --- mutants ---------------------------------------------------------------------------------

    def run(self, mutants: int) -> Report:
        """Throw mutants of everything, honest traffic between them, and judge.

        Args:
            mutants: How many.
        """
        self.throw(mutants)
        return self.judge()

    def throw(self, mutants: int, only: str | None = None) -> None:
        """Throw mutants, and honest traffic between them.

        Args:
            mutants: How many.
            only: One of `HANDLERS`; everything without it.
        """
        if only in ANSWERS:
            self._throw_answers(mutants, only)
            return
        actions: list[Callable[[], None]] = [self._frame] * 12 + [
            self._publish,
            self._submit,
            self._serve,
        ]
        if only == "published":
            actions = [self._publish]
        elif only == "submitted":
            actions = [self._submit]
        elif only is not None:
            actions = [lambda: self._frame(only)]
        cluster = self.cluster
        for number in range(mutants):
            self.rng.choice(actions)()
            if number % 10 == 0:
                cluster.run(10 * MS)
            if number % 100 == 0:
                self._load(cluster.shells[self.rng.randrange(3)])
                self._note_sizes()
            if number % 600 == 300:
                self._deaf_until_ns = cluster.time_ns + S // 4
        self._deaf_until_ns = 0

    def _throw_answers(self, mutants: int, kind: str) -> None:
        """Let the victim begin anew, alone with the hostile node, until it has asked enough."""
        cluster, victim, report = self.cluster, self.victim, self.report
        self._mangled = ANSWERS[kind]
        until = report.mutants.get(kind, 0) + mutants
        cluster.run(S)
        for shell in cluster.shells[1:HOSTILE]:
            shell.stop()
        level = self.hostile.height
        told = Summary(self.hostile.core.ordering.host.epoch.number, level, b"")
        born = 0
        while (count := report.mutants.get(kind, 0)) < until:
            if victim.height >= level or count - born >= 100 or not victim.lives:
                victim.stop()
                victim.store, victim.log = MemoryStore(), MemoryLog()
                victim.start()
                born = count
            victim.frame(self.hostile.peer, told)
            cluster.run(S)
            self._note_sizes()
        for shell in cluster.shells[1:HOSTILE]:
            shell.start()
        self._mangled = None

    def judge(self) -> Report:
        """Let calm return: all catch up, make transactions final, and blame nobody honest."""
        cluster, report = self.cluster, self.report
        self._lossy = False
        cluster.run(5 * S)
        level = max(shell.height for shell in cluster.shells)
        assert cluster.run_until(lambda: self.victim.height >= level, 60 * S), "it never caught up"
        for by in range(3):
            assert cluster.finalizes(by=by, account=9 + by), f"node {by} got nothing final"
        cluster.run(2 * S)
        self._note_sizes()
        honest = cluster.honest_blamed(HOSTILE)
        assert honest == [], f"honest nodes were blamed: {honest[:3]}"
        report.penalties = len(cluster.penalties)
        report.height = self.victim.height
        return report

    def _note_sizes(self) -> None:
        for name, (size, bound) in sizes(self.victim.core).items():
            known = self.report.sizes.get(name, (0, bound))[0]
            self.report.sizes[name] = (max(size, known), bound)
            assert size <= bound, f"{name}: {size}, at most {bound} allowed"

    def _peer(self) -> bytes:
        return self.hostile.peer if self.rng.random() < 0.7 else STRANGER

    def _frame(self, only: str | None = None) -> None:
        name, tree = self._sample(only)
        chance = self.rng.random()
        if chance < 0.05:
            data = codec.encode([close_tree(tree)])  # a replay, by somebody else
        elif chance < 0.15:
            data = self.mutator.bytes_of(codec.encode([close_tree(tree)]))
        else:
            inside = tree[1] if name in STATEMENTS.values() and isinstance(tree, list) else tree
            changed = self.mutator.change(inside, self.rng.choice((1, 1, 1, 2, 3)))
            tree = [6, changed] if inside is not tree else changed
            if self.rng.random() < 0.6:
                self._sign(tree)
            data = codec.encode([close_tree(tree)])
        passed = shapes.passes(shapes.FRAME, data)
        self.report.count(name, passed=passed)
        self.report.frames += 1
        try:
            decode_frame(data)
            decoded = True
        except RemoteProtocolError:
            decoded = False
        assert decoded is passed, f"the decoder and the shape do not agree on {data.hex()}"
        self.report.decoded += decoded
        self.victim.input(fx.FrameIn(self._peer(), data))

    def _sample(self, only: str | None) -> tuple[str, Tree]:
        """Return a true message, and the name it is counted under."""
        for code, name in STATEMENTS.items():
            if name == only:
                if code == 3:
                    return name, [6, [Inner(self._evidence())]]
                return name, self.rng.choice(self._statements[code])
        codes = [c for c, known in self._messages.items() if known and only in (None, KINDS[c])]
        code = self.rng.choice(codes)
        return KINDS[code], self.rng.choice(self._messages[code])

    def _evidence(self) -> Tree:
        """Return evidence made of two votes of any kind, as if the hostile one had signed both."""
        found: list[Tree] = []
        epoch = 0
        while len(found) < 4:
            match self.rng.choice(self._messages[1]):
                case [1, int(epoch), [_, body, _], _, _]:
                    data = close_tree(body)
                    assert isinstance(data, bytes)
                    found += [body, self._signature("engine/simplex/1", epoch, data)]
        return [3, epoch, HOSTILE, b"engine/simplex/1", *found]

    def _sign(self, tree: Tree) -> None:
        """Sign what the hostile validator can sign, so that the mutant passes the signature."""
        match tree:
            case [1, int(epoch), [_, body, _] as signed, _, _]:
                data = close_tree(body)
                if isinstance(data, bytes):
                    signed[0], signed[2] = HOSTILE, self._signature("engine/simplex/1", epoch, data)
            case [3, Inner(tree=[_, _, int(epoch), *_] as fields) as header, _, data]:
                self._repack(fields, data)
                raw = close_tree(header)
                assert isinstance(raw, bytes)
                tree[2] = self._signature("batch", epoch, raw)
            case [4, bytes(digest), _, _]:
                tree[2], tree[3] = HOSTILE, self._signature("stored", 0, digest)
            case [5, Inner(tree=[_, _, int(epoch), *_]) as result, _, _, _]:
                raw = close_tree(result)
                assert isinstance(raw, bytes)
                tree[3], tree[4] = HOSTILE, self._signature("result", epoch, raw)
            case [6, [Inner(tree=[3, int(epoch), *_] as fields)]] if len(fields) == 8:
                # Bodies changed, and signed again: true evidence when they still share a slot.
                for at in (4, 6):
                    body = close_tree(fields[at])
                    if isinstance(body, bytes):
                        fields[at + 1] = self._signature("engine/simplex/1", epoch, body)

    def _repack(self, header: list[Tree], data: Tree) -> None:
        """Make a batch's header fit its data, as far as both are of the right form."""
        body = close_tree(data)
        if len(header) != 14 or not isinstance(body, bytes) or self.rng.random() < 0.3:
            return
        header[4] = self.hostile.key.public
        header[5] = self.rng.randrange(1, 200)
        header[11] = header[12] = len(body)
        header[13] = crypto.sha256(b"p2pnode/inline/1" + body)
        try:
            raws = decode_transaction_frame(body)
        except RemoteProtocolError:
            return
        header[7] = crypto.merkle_root(list(raws))

    def _signature(self, kind: str, epoch: int, body: bytes) -> bytes:
        if not 0 <= epoch < 1 << 64:
            return bytes(64)
        message = crypto.signing_hash(self.cluster.chain.id, kind, epoch, body)
        return self.hostile.key.sign(message)

    def _publish(self) -> None:
        data = self.rng.choice(self._published)
        if self.rng.random() < 0.3:
            data = self.mutator.bytes_of(data)
        else:
            value = codec.decode(data, size_bytes_max=1 << 20)
            data = codec.encode(close_tree(self.mutator.change(open_tree(value))))
        self.report.count("published", passed=shapes.passes(shapes.PUBLISHED, data))
        # Whoever forwards it does so in good faith; who published it, and signed that, did not.
        self.victim.input(fx.TopicIn(self.cluster.topic, self.hostile.peer, data))

    def _submit(self) -> None:
        raws = tuple(
            self._changed_envelope(raw)
            for raw in self.rng.choices(self._raws, k=self.rng.randrange(1, 5))
        )
        ticket = self.cluster.ticket()
        self.victim.input(fx.SubmitIn(ticket, raws))
        assert len(self.victim.replies.pop(ticket)) == len(raws)
        for raw in raws:
            with contextlib.suppress(MalformedTransactionError):
                decode_transaction(raw)
        self.report.count("submitted", passed=any(_is_envelope(raw) for raw in raws))

    def _changed_envelope(self, raw: bytes) -> bytes:
        """Change bytes of an envelope, or its fields, and sign those anew."""
        chance = self.rng.random()
        if chance < 0.1:
            return raw
        if chance < 0.4:
            return self.mutator.bytes_of(raw)
        payload, _ = shapes.read_at(raw, len(ENVELOPE_HEAD))
        assert isinstance(payload, bytes)
        changed = close_tree(
            self.mutator.change(open_tree(codec.decode(payload, size_bytes_max=4096)))
        )
        payload = codec.encode(codec.encode(changed))
        key = self.rng.choice(self.cluster.accounts)
        signature = key.sign(b"\x84\x6aSignature1\x43\xa1\x01\x27\x40" + payload)
        return ENVELOPE_HEAD + payload + b"\x58\x40" + signature

    def _serve(self) -> None:
        """Ask the victim for nonsense."""
        if not self._requests:
            return
        protocol, body = self.rng.choice(self._requests)
        if self.rng.random() < 0.3:
            body = self.mutator.bytes_of(body)
        else:
            tree = open_tree(codec.decode(body, size_bytes_max=1 << 20))
            body = codec.encode(close_tree(self.mutator.change(tree)))
        server = self.victim.server
        handler = {catchup.PROTOCOL: server.blocks, fetcher.PROTOCOL: server.fetch}[protocol]
        shape = {catchup.PROTOCOL: shapes.BLOCKS_REQUEST, fetcher.PROTOCOL: shapes.NAMES}[protocol]
        self.report.count("served", passed=shapes.passes(shape, body))
        call = handler(STRANGER, body)
        with contextlib.suppress(StopIteration, P2PNodeError):
            call.send(None)

    def _answer(self, protocol: str, body: bytes) -> bytes | None:
        """Answer a request of the victim's: truly, not at all, or with a mutant."""
        script = self.cluster.answering.pop(self.hostile.peer)
        self.hostile.server = StoreServer(self.hostile.store)  # with its whole allowance
        answer = self.cluster.serve(self.hostile.peer, protocol, self.victim.peer, body)
        self.cluster.answering[self.hostile.peer] = script
        chance = self.rng.random()
        if self._mangled not in (None, protocol) or (answer is not None and chance < 0.02):
            return answer
        shape = shapes.BLOCKS_ANSWER if protocol == catchup.PROTOCOL else shapes.THINGS
        if answer is not None and chance < 0.8:
            tree = open_tree(codec.decode(answer, size_bytes_max=1 << 22))
            if isinstance(tree, list) and self.rng.random() < 0.95:
                del tree[5:]  # sixty-four blocks take as long to change as five do often
            answer = codec.encode(close_tree(self.mutator.change(tree, self.rng.choice((1, 2, 3)))))
        elif answer is not None and chance < 0.95:
            answer = self.mutator.bytes_of(answer)
        else:
            answer = None
        passed = answer is not None and shapes.passes(shape, answer, size_bytes_max=1 << 22)
        self.report.count(f"answer to {protocol}", passed=passed)
        return answer


def _is_envelope(raw: bytes) -> bool:
    """Tell whether bytes are a COSE_Sign1 as wire.md says: head, payload, signature."""
    if not raw.startswith(ENVELOPE_HEAD) or len(raw) > 4096:
        return False
    try:
        payload, at = shapes.read_at(raw, len(ENVELOPE_HEAD))
        assert isinstance(payload, bytes)
        shapes.read(payload)
        signature, at = shapes.read_at(raw, at)
    except (shapes.NoDocumentError, AssertionError):
        return False
    return at == len(raw) and isinstance(signature, bytes) and len(signature) == 64
