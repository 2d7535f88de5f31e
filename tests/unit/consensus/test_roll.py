from __future__ import annotations

from p2pnode.consensus.roll import ENTRIES_MAX, Roll


def test_a_roll_knows_who_was_heard_and_what_they_told() -> None:
    roll = Roll()
    roll.told(b"a", 7)
    assert roll.height(b"a") is None, "a height without a message"
    roll.heard(b"a", 5)
    roll.told(b"a", 7)
    roll.told(b"a", 3)
    assert (roll.heard_ns(b"a"), roll.height(b"a")) == (5, 3)
    assert roll.heard_ns(b"b") is None


def test_a_roll_forgets_who_was_heard_longest_ago() -> None:
    roll = Roll()
    for number in range(ENTRIES_MAX):
        roll.heard(number.to_bytes(4, "big"), number)
    roll.heard((0).to_bytes(4, "big"), 5000)
    roll.heard(b"new", 5001)
    assert roll.heard_ns((0).to_bytes(4, "big")) == 5000
    assert roll.heard_ns((1).to_bytes(4, "big")) is None
