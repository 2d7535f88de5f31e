"""The pre-shared key: its file, and its cipher against libsodium's."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.secret import SecretBox

from p2pnode.net.network_key import (
    HEAD,
    KEY_BYTES,
    NONCE_BYTES,
    KeyStream,
    NetworkKeyError,
    key_file,
    read_key,
)

KEY = bytes(range(KEY_BYTES))
KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
NONCES = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)


@given(KEYS, NONCES, st.binary(min_size=1, max_size=500))
def test_the_stream_is_the_xsalsa20_of_libsodium(key: bytes, nonce: bytes, data: bytes) -> None:
    # A SecretBox takes the first 32 bytes of the stream for its authenticator, the rest for data.
    sealed = SecretBox(key).encrypt(data, nonce).ciphertext[SecretBox.MACBYTES :]
    assert KeyStream(key, nonce).apply(bytes(32) + data)[32:] == sealed


@given(KEYS, NONCES, st.lists(st.binary(max_size=200), max_size=8))
def test_pieces_of_any_size_are_one_stream(key: bytes, nonce: bytes, pieces: list[bytes]) -> None:
    sealing, opening = KeyStream(key, nonce), KeyStream(key, nonce)
    sealed = b"".join(sealing.apply(piece) for piece in pieces)
    assert opening.apply(sealed) == b"".join(pieces)
    assert KeyStream(key, nonce).apply(b"".join(pieces)) == sealed


@pytest.mark.parametrize(
    "body",
    [
        key_file(KEY).encode(),
        f"{HEAD}\r\n/base16/\r\n{KEY.hex().upper()}\r\n".encode(),
        f"{HEAD}\n/base64/\n".encode() + base64.b64encode(KEY),
        f"{HEAD}\n/bin/\n".encode() + KEY,
    ],
)
def test_every_form_of_the_file_is_read(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "swarm.key"
    path.write_bytes(body)
    path.chmod(0o600)
    assert read_key(path) == KEY


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "first line"),
        (b"/key/swarm/psk/2.0.0/\n/base16/\n" + KEY.hex().encode(), "first line"),
        (HEAD.encode() + b"\n/base58/\n" + KEY.hex().encode(), "second line"),
        (HEAD.encode() + b"\n/base16/\n" + b"zz" * 32, "third line"),
        (HEAD.encode() + b"\n/base16/\n" + b"\xff" * 64, "third line"),
        (HEAD.encode() + b"\n/base64/\n" + b"=", "third line"),
        (HEAD.encode() + b"\n/base16/\n" + KEY[:31].hex().encode(), "31 bytes instead of 32"),
        (HEAD.encode() + b"\n/base16/\n" + KEY.hex().encode() * 20, "more than 1024 bytes"),
    ],
)
def test_a_file_of_another_form_is_refused_in_words(tmp_path: Path, body: bytes, says: str) -> None:
    path = tmp_path / "swarm.key"
    path.write_bytes(body)
    path.chmod(0o600)
    with pytest.raises(NetworkKeyError, match=says):
        read_key(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkKeyError, match=r"swarm\.key: No such file"):
        read_key(tmp_path / "swarm.key")


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "swarm.key"
    path.write_text(key_file(KEY))
    path.chmod(0o640)
    with pytest.raises(NetworkKeyError, match="mode 0640"):
        read_key(path)
