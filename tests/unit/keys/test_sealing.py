"""Secrets under a passphrase, and the file it stands in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.keys.sealing import (
    PASSPHRASE_BYTES_MAX,
    Cost,
    PassphraseFileError,
    Sealed,
    read_passphrase,
    seal,
    unseal,
)

CHEAP = Cost(passes=1, memory_bytes=8192)


@given(secret=st.binary(min_size=1, max_size=64), passphrase=st.binary(max_size=64), flip=st.data())
@settings(max_examples=50)
def test_what_is_sealed_opens_until_a_bit_changes(
    secret: bytes, passphrase: bytes, flip: st.DataObject
) -> None:
    sealed = seal(secret, passphrase, CHEAP)
    assert secret == unseal(sealed, passphrase)
    bit = flip.draw(st.integers(0, 8 * len(sealed.box) - 1))
    box = bytearray(sealed.box)
    box[bit // 8] ^= 1 << bit % 8
    assert unseal(Sealed(sealed.salt, sealed.cost, bytes(box)), passphrase) is None
    assert unseal(sealed, passphrase + b"x") is None


def test_the_default_cost_is_that_of_rfc_9106_for_little_memory() -> None:
    assert Cost() == Cost(passes=3, memory_bytes=64 * 1024 * 1024)


def passphrase_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "passphrase"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"a b", b"a b\n", b"a b\r\n", b"a b\nsecond line\n"])
def test_the_first_line_is_the_passphrase(tmp_path: Path, content: bytes) -> None:
    assert read_passphrase(passphrase_file(tmp_path, content)) == b"a b"


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\nx", b"x" * 1025])
def test_an_empty_or_endless_passphrase_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PassphraseFileError):
        read_passphrase(passphrase_file(tmp_path, content))


def test_the_longest_passphrase_is_taken(tmp_path: Path) -> None:
    longest = b"x" * PASSPHRASE_BYTES_MAX
    assert read_passphrase(passphrase_file(tmp_path, longest + b"\r\n")) == longest


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o602])
def test_a_passphrase_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(PassphraseFileError, match="chmod 600"):
        read_passphrase(passphrase_file(tmp_path, b"x", mode))


def test_a_credential_of_systemd_is_taken_and_a_missing_file_named(tmp_path: Path) -> None:
    path = passphrase_file(tmp_path, b"x", 0o440)
    assert read_passphrase(path) == b"x"
    path.unlink()
    with pytest.raises(PassphraseFileError, match="No such file"):
        read_passphrase(path)
