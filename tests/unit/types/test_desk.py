"""The desk keeps effects in order and brings each answer to who asked, once."""

from __future__ import annotations

from p2pnode.types.desk import Desk
from p2pnode.types.effects import (
    AnswerIn,
    Append,
    ArmTimer,
    DisarmTimer,
    Emit,
    Lane,
    Penalize,
    Put,
    Request,
    SendTo,
    Sign,
    SignedIn,
    VerifiedIn,
    Verify,
    Write,
)


def test_effects_come_out_in_order_and_once() -> None:
    desk = Desk()
    write = Write("table", b"key", b"value")
    desk.send((b"a", b"b"), Lane.VOTE, b"vote")
    desk.put(write)
    desk.append(b"record", sync=True)
    desk.arm("timer", 7)
    desk.disarm("timer")
    desk.penalize(b"a", 10.0, "junk")
    desk.emit("block", height=3)
    assert desk.drain() == [
        SendTo((b"a", b"b"), Lane.VOTE, b"vote"),
        Put((write,)),
        Append(b"record", True),
        ArmTimer("timer", 7),
        DisarmTimer("timer"),
        Penalize(b"a", 10.0, "junk"),
        Emit("block", {"height": 3}),
    ]
    assert desk.drain() == []


def test_nothing_to_send_or_write_is_no_effect() -> None:
    desk = Desk()
    desk.send((), Lane.BULK, b"to nobody")
    desk.put()
    assert desk.drain() == []


def test_each_answer_finds_its_question() -> None:
    desk = Desk()
    got: list[object] = []
    desk.sign("stored", 1, b"body", {}, (), got.append)
    desk.verify([(b"k", b"m", b"s")], got.append)
    desk.request(b"peer", "fetch", b"?", 5, got.append)
    sign, verify, request = desk.drain()
    assert isinstance(sign, Sign)
    assert isinstance(verify, Verify)
    assert isinstance(request, Request)
    assert desk.waiting() == 3
    desk.answer(AnswerIn(request.ticket, b"!"))
    desk.answer(SignedIn(sign.ticket, None))
    desk.answer(VerifiedIn(verify.ticket, (False,)))
    assert got == [b"!", None, (False,)]
    assert desk.waiting() == 0


def test_a_second_or_unasked_answer_is_ignored() -> None:
    desk = Desk()
    got: list[object] = []
    desk.request(b"peer", "fetch", b"?", 5, got.append)
    (request,) = desk.drain()
    assert isinstance(request, Request)
    for _ in range(2):
        desk.answer(AnswerIn(request.ticket, None))
    desk.answer(AnswerIn(request.ticket + 1, b"unasked"))
    assert got == [None]


def test_verifying_nothing_is_answered_at_once() -> None:
    desk = Desk()
    got: list[object] = []
    desk.verify([], got.append)
    assert got == [()]
    assert desk.drain() == []


def test_an_answer_may_ask_the_next_question() -> None:
    desk = Desk()
    got: list[object] = []

    def then(_answer: bytes | None) -> None:
        desk.request(b"other", "fetch", b"?", 5, got.append)

    desk.request(b"peer", "fetch", b"?", 5, then)
    (first,) = desk.drain()
    assert isinstance(first, Request)
    desk.answer(AnswerIn(first.ticket, None))
    (second,) = desk.drain()
    assert isinstance(second, Request)
    assert second.ticket != first.ticket
    desk.answer(AnswerIn(second.ticket, b"!"))
    assert got == [b"!"]
