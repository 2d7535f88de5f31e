"""Names of testnets: two words that are easy to say and to type, chosen by the seed."""

from __future__ import annotations

import random
import re
from typing import Final

_COLOURS: Final = (
    "amber",
    "azure",
    "brass",
    "coral",
    "cream",
    "ebony",
    "green",
    "hazel",
    "ivory",
    "jade",
    "khaki",
    "lemon",
    "lilac",
    "maple",
    "mint",
    "ochre",
    "olive",
    "onyx",
    "pearl",
    "plum",
    "ruby",
    "sand",
    "slate",
    "tawny",
    "teal",
    "umber",
    "violet",
    "white",
)
_ANIMALS: Final = (
    "badger",
    "crane",
    "dingo",
    "egret",
    "finch",
    "fox",
    "gecko",
    "heron",
    "ibex",
    "jackal",
    "kite",
    "lemur",
    "lynx",
    "marten",
    "newt",
    "otter",
    "panda",
    "quail",
    "raven",
    "seal",
    "stoat",
    "swift",
    "tapir",
    "toad",
    "vole",
    "wombat",
    "wren",
    "yak",
)

NAME_LENGTH_MAX: Final = 40

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)


def name_of(seed: int) -> str:
    """Return the name that belongs to a seed, such as `amber-fox`."""
    rng = random.Random(f"testnet/{seed}")
    return f"{rng.choice(_COLOURS)}-{rng.choice(_ANIMALS)}"


def is_name(text: str) -> bool:
    """Tell whether a text can name a testnet: it becomes the name of a folder."""
    return len(text) <= NAME_LENGTH_MAX and _NAME.fullmatch(text) is not None and text != "latest"
