"""What others have written, on a terminal."""

from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.telemetry.harmless import harmless

ANY = st.text(st.characters(), max_size=40) | st.text("\x1b[2J\x9b\r\n\t\x7f\u202e\u2028\ud800é ")


@given(ANY)
def test_no_control_or_format_character_is_left_but_those_kept(text: str) -> None:
    for kept in ("\n\t", ""):
        shown = harmless(text, kept=kept)
        assert not any(
            unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp")
            for c in shown
            if c not in kept
        )
        assert harmless(shown, kept=kept) == shown
    assert len(harmless(text, kept="").splitlines()) <= 1


@given(st.dictionaries(ANY, ANY | st.integers(), max_size=4))
def test_json_is_json_of_the_same_meaning_afterwards(value: dict[str, object]) -> None:
    for indent in (None, 2):
        assert json.loads(harmless(json.dumps(value, ensure_ascii=False, indent=indent))) == value


@given(st.text("abc äöü…·→ ✓ \u00a0漢\n\t"))
def test_words_stay_as_they_are(text: str) -> None:
    assert harmless(text) == text


def test_escapes_are_shown_as_in_json() -> None:
    assert harmless("\x1b[31mred\x9b\u202e\r") == "\\u001b[31mred\\u009b\\u202e\\r"
