"""The hash of every wire type's encodings, over values that are always the same.

    python -m tests.conformance.wire_hashes             compares with wire_hashes.json
    python -m tests.conformance.wire_hashes --write     accepts the encodings as they are now

A hash that differs means that nodes of yesterday and today do not understand each other: then the
format needs a new version number, and CHANGELOG a word.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path

from tests.wire_values import WIRE_TYPES, Hashed

FILE = Path(__file__).with_name("wire_hashes.json")
VALUES_COUNT = 100


def current() -> dict[str, str]:
    """Return the SHA-256 of each type's encodings, each preceded by its length."""
    hashes = {}
    for name, wire in WIRE_TYPES.items():
        digest = sha256()
        for number in range(VALUES_COUNT):
            encoded = wire.encode(wire.make(Hashed(f"conformance {name} {number}")))
            digest.update(len(encoded).to_bytes(4, "big") + encoded)
        hashes[name] = digest.hexdigest()
    return hashes


def main() -> None:
    now = current()
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(json.dumps(now, indent=2) + "\n")
        print(f"{len(now)} hashes written to {FILE}")
        return
    before = json.loads(FILE.read_text())
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    for name in changed:
        print(f"{name}: {before.get(name)} is now {now.get(name)}")
    sys.exit(f"{len(changed)} types differ" if changed else 0)


if __name__ == "__main__":
    main()
