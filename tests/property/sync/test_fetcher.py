"""Any course of wanting, answering, losing peers: nothing is asked twice, nothing final is lost."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2pnode import crypto
from p2pnode.sync.fetcher import DIGESTS_MAX, RETRY_NS_MAX, Fetcher
from p2pnode.types.desk import Desk
from p2pnode.types.effects import AnswerIn, ArmTimer, Penalize, Request
from p2pnode.types.messages import decode_list, encode_list

THINGS = [b"thing %d" % i for i in range(12)]
NAMES = [crypto.sha256(thing) for thing in THINGS]
PEERS = [b"a", b"b", b"c"]
NUMBERS = st.integers(0, len(THINGS) - 1)


class FetcherMachine(RuleBasedStateMachine):
    """A fetcher among peers that answer anything, or nothing, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.desk.now_ns = 1
        self.fetcher = Fetcher(self.desk)
        self.wanted: dict[int, bool] = {}
        """Number to whether a final block needs it."""
        self.connected: dict[bytes, None] = {}
        self.open: list[tuple[Request, list[int]]] = []
        self.due_ns: int | None = None
        self.blamed: list[bytes] = []

    def settle(self) -> None:
        for effect in self.desk.drain():
            match effect:
                case Request():
                    names = decode_list(
                        effect.body, size_bytes_max=8192, count_max=DIGESTS_MAX, item_bytes_max=33
                    )
                    assert effect.peer in self.connected
                    self.open.append((effect, [NAMES.index(name) for name in names]))
                case ArmTimer(key, at_ns):
                    assert key == ("fetcher",)
                    assert at_ns > self.desk.now_ns
                    self.due_ns = at_ns
                case Penalize(peer):
                    self.blamed.append(peer)

    def accept(self, peer: bytes, data: bytes) -> bool:
        if data not in THINGS:
            return False
        self.wanted.pop(THINGS.index(data), None)
        return True

    @rule(number=NUMBERS, hints=st.lists(st.sampled_from(PEERS), max_size=3), final=st.booleans())
    def want(self, number: int, hints: list[bytes], final: bool) -> None:
        self.wanted[number] = self.wanted.get(number, False) or final

        def accept(peer: bytes, data: bytes) -> bool:
            return data == THINGS[number] and self.accept(peer, data)

        self.fetcher.want(NAMES[number], hints, accept, final=final)
        self.settle()

    @rule(number=NUMBERS)
    def arrive(self, number: int) -> None:
        self.wanted.pop(number, None)
        self.fetcher.arrived(NAMES[number])
        self.settle()

    @rule(peer=st.sampled_from(PEERS))
    def connect(self, peer: bytes) -> None:
        self.connected[peer] = None
        self.fetcher.connected(peer)
        self.settle()

    @rule(peer=st.sampled_from(PEERS))
    def lose(self, peer: bytes) -> None:
        self.connected.pop(peer, None)
        self.fetcher.lost(peer)
        self.settle()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.open) - 1))
        request, numbers = self.open.pop(index)
        kind = data.draw(st.sampled_from(["right", "some", "nothing", "wrong", "junk", "failed"]))
        body: bytes | None
        match kind:
            case "right":
                body = encode_list([THINGS[n] for n in numbers])
            case "some":
                body = encode_list([THINGS[n] if n % 2 else b"" for n in numbers])
            case "nothing":
                body = encode_list([])
            case "wrong":
                body = encode_list([b"something else"] * len(numbers))
            case "junk":
                body = b"junk"
            case _:
                body = None
        before = len(self.blamed)
        asked = [n for n in numbers if self.fetcher.wants(NAMES[n])]
        self.desk.answer(AnswerIn(request.ticket, body))
        self.settle()
        blamed = self.blamed[before:]
        expected = {"wrong": len(asked), "junk": 1}.get(kind, 0)
        assert blamed == [request.peer] * expected

    @precondition(lambda self: self.due_ns is not None)
    @rule()
    def fire(self) -> None:
        assert self.due_ns is not None
        self.desk.now_ns = max(self.desk.now_ns, self.due_ns)
        self.due_ns = None
        self.fetcher.fired()
        self.settle()

    @invariant()
    def nothing_is_asked_twice_at_a_time(self) -> None:
        # What arrived and is wanted again may be asked for again; else one question each.
        asked = [n for _, numbers in self.open for n in numbers if n in self.wanted]
        assert len(asked) - len(dict.fromkeys(asked)) <= len(self.open)

    @invariant()
    def exactly_what_is_wanted_is_wanted(self) -> None:
        for number, final in self.wanted.items():
            if final:
                assert self.fetcher.wants(NAMES[number])
        assert self.fetcher.wanted_count() <= len(self.wanted)

    def teardown(self) -> None:
        """Let one honest peer come: what is final arrives, whatever was before."""
        for request, _ in self.open:
            self.desk.answer(AnswerIn(request.ticket, None))
        self.open = []
        for peer in list(self.connected):
            self.lose(peer)
        self.connect(b"honest")
        for _ in range(40):
            for request, numbers in self.open:
                things = encode_list([THINGS[n] for n in numbers])
                self.desk.answer(AnswerIn(request.ticket, things))
            self.open = []
            self.settle()
            self.desk.now_ns += RETRY_NS_MAX
            self.fetcher.fired()
            self.settle()
        assert not [n for n, final in self.wanted.items() if final]


TestFetcher = FetcherMachine.TestCase
TestFetcher.settings = settings(max_examples=40, stateful_step_count=40)
