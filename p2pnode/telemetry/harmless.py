"""Text that others may have written, for a terminal: nothing in it moves a cursor."""

from __future__ import annotations

import json
import unicodedata


def harmless(text: str, *, kept: str = "\n\t") -> str:
    r"""Return a text with each control or format character written out, as in JSON: `\u001b`.

    What was JSON is JSON of the same meaning afterwards; so the characters are written out, and not
    replaced. C1 controls are meant, too (0x9b begins a control sequence in some terminals), and
    what changes the direction of writing.

    Args:
        text: What is to be printed.
        kept: Control characters that stay; none, where a line must not become two.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in kept or _is_visible(c) else json.dumps(c)[1:-1] for c in text)


def _is_visible(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"
