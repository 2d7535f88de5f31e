"""The corpus of CBOR documents that the codec must accept or refuse, by name.

    python tests/corpus/codec_cases.py --write      writes tests/corpus/codec/*.bin anew

The files are what a fuzzer takes (one document each); this table is where they come from, and
tests/unit/test_codec.py keeps both equal.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "codec"

ACCEPTED = {
    "zero": "00",
    "one-byte-head-limit": "17",
    "two-byte-head": "1818",
    "three-byte-head": "190100",
    "five-byte-head": "1a00010000",
    "nine-byte-head": "1b0000000100000000",
    "largest-without-tag": "1bffffffffffffffff",
    "smallest-bignum": "c249010000000000000000",
    "largest-bignum": "c250ffffffffffffffffffffffffffffffff",
    "minus-one": "20",
    "smallest-negative": "3bffffffffffffffff",
    "empty-bytes": "40",
    "bytes-with-long-head": "5818" + "ab" * 24,
    "null": "f6",
    "empty-array": "80",
    "array-of-everything": "84" + "01" + "20" + "42beef" + "f6",
    "deepest-array": "81" * 7 + "80",
}

REFUSED = {
    "nothing": "",
    "trailing-byte": "0000",
    "cut-integer": "19ff",
    "cut-bytes": "44abcdef",
    "cut-array": "8301",
    "non-minimal-24": "1817",
    "non-minimal-256": "1900ff",
    "non-minimal-65536": "1a0000ffff",
    "non-minimal-2-32": "1b00000000ffffffff",
    "non-minimal-negative": "3800",
    "non-minimal-bytes-length": "5801ab",
    "non-minimal-array-length": "980100",
    "non-minimal-array-length-9": "9b000000000000000100",
    "bignum-that-fits": "c248ffffffffffffffff",
    "bignum-with-leading-zero": "c24a00010000000000000000",
    "bignum-of-nothing": "c240",
    "bignum-beyond-128-bits": "c25101" + "00" * 16,
    "bignum-non-minimal-tag": "d80249010000000000000000",
    "bignum-of-an-integer": "c201",
    "bignum-of-text": "c26161",
    "bignum-of-an-array": "c280",
    "bignum-in-pieces": "c25f4101480000000000000000ff",
    "negative-bignum": "c349010000000000000000",
    "indefinite-bytes": "5f41abff",
    "indefinite-array": "9f01ff",
    "indefinite-map": "bfff",
    "indefinite-text": "7f6161ff",
    "lone-break": "ff",
    "empty-map": "a0",
    "map": "a10102",
    "map-with-duplicate-keys": "a201020103",
    "map-with-unsorted-keys": "a202010102",
    "map-in-an-array": "81a10102",
    "text": "6161",
    "empty-text": "60",
    "invalid-utf-8-text": "61ff",
    "false": "f4",
    "true": "f5",
    "true-in-an-array": "81f5",
    "undefined": "f7",
    "simple-value": "e0",
    "simple-value-long": "f8ff",
    "simple-value-reserved": "f800",
    "half-float": "f93c00",
    "single-float": "fa3f800000",
    "double-float": "fb3ff0000000000000",
    "nan": "f97e00",
    "infinity": "f97c00",
    "reserved-head-28": "1c",
    "reserved-head-30": "5e",
    "reserved-major-7": "fc",
    "tag-date-text": "c07818323031332d30332d32315432303a30343a30302e3030305a",
    "tag-epoch": "c11a514b67b0",
    "tag-decimal": "c48221196ab3",
    "tag-bigfloat": "c5822003",
    "tag-encoded-cbor": "d8184100",
    "tag-shareable-cycle": "d81c81d81d00",
    "tag-shared-reference": "d81d00",
    "tag-string-reference": "d8190000",
    "tag-rational": "d81e820102",
    "tag-regexp": "d8236161",
    "tag-mime": "d824610a",
    "tag-uuid": "d82550" + "00" * 16,
    "tag-ipv4": "d83444c0000201",
    "tag-set": "d9010280",
    "tag-self-described": "d9d9f700",
    "tag-unknown": "d9ffff00",
    "too-deep-array": "81" * 8 + "80",
    "very-deep-array": "81" * 2000 + "80",
    "deep-tags": "c2" * 500 + "40",
    "array-of-2-32": "9affffffff",
    "array-of-2-64": "9bffffffffffffffff",
    "bytes-of-2-32": "5affffffff",
    "bytes-of-2-64": "5bffffffffffffffff",
    "bytes-of-2-63": "5b7fffffffffffffff",
    "map-of-2-64": "bbffffffffffffffff",
}

CASES = {f"accepted-{name}": bytes.fromhex(text) for name, text in ACCEPTED.items()} | {
    f"refused-{name}": bytes.fromhex(text) for name, text in REFUSED.items()
}


def main() -> None:
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.bin"):
        old.unlink()
    for name, data in CASES.items():
        (FOLDER / f"{name}.bin").write_bytes(data)
    print(f"{len(CASES)} documents written to {FOLDER}")


if __name__ == "__main__":
    main()
