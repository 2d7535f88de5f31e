"""Key files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from p2pnode.errors import ConfigError
from p2pnode.keys import keystore
from p2pnode.keys.keystore import Purpose


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "validator.json"


def changed(path: Path, **fields: object) -> None:
    document = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))


def test_a_written_key_is_loaded_again(path: Path) -> None:
    key = keystore.generate(Purpose.VALIDATOR)
    keystore.write(path, key)
    assert path.stat().st_mode & 0o777 == 0o600
    again = keystore.load(path, Purpose.VALIDATOR)
    assert again.secret.public == key.secret.public
    assert again.secret.seed == key.secret.seed
    assert (again.purpose, again.created, again.test) == (Purpose.VALIDATOR, key.created, False)
    document = json.loads(path.read_text())
    assert document["type"] == "ed25519"
    assert document["cipher"] == "none"
    assert document["public"] == key.secret.public.hex()


def test_two_generated_keys_differ() -> None:
    one, two = (keystore.generate(Purpose.NODE).secret.public for _ in range(2))
    assert one != two


def test_the_mode_is_right_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        keystore.write(path, keystore.generate(Purpose.NODE))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_file_is_never_overwritten(path: Path) -> None:
    keystore.write(path, keystore.generate(Purpose.NODE))
    text = path.read_text()
    with pytest.raises(keystore.KeyFileExistsError, match="exists"):
        keystore.write(path, keystore.generate(Purpose.NODE))
    assert path.read_text() == text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_wider_permissions_are_refused_with_the_command_that_narrows_them(
    path: Path, mode: int
) -> None:
    keystore.write(path, keystore.generate(Purpose.NODE))
    path.chmod(mode)
    with pytest.raises(keystore.KeyFilePermissionsError, match=f"{mode:04o}.*chmod 600 {path}"):
        keystore.load(path, Purpose.NODE)
    path.chmod(0o400)
    keystore.load(path, Purpose.NODE)


def test_a_public_key_that_is_not_the_secrets_is_refused(path: Path) -> None:
    keystore.write(path, keystore.generate(Purpose.NODE))
    other = keystore.generate(Purpose.NODE).secret.public.hex()
    changed(path, public=other)
    with pytest.raises(keystore.KeyMismatchError, match=other):
        keystore.load(path, Purpose.NODE)


def test_a_key_for_something_else_is_refused(path: Path) -> None:
    keystore.write(path, keystore.generate(Purpose.NODE))
    with pytest.raises(keystore.KeyPurposeError, match="for node, one for validator"):
        keystore.load(path, Purpose.VALIDATOR)


def test_a_missing_file_names_the_command_that_makes_one(path: Path) -> None:
    with pytest.raises(keystore.KeyFileMissingError, match="p2pnode init"):
        keystore.load(path, Purpose.NODE)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"cipher": "argon2id"}, keystore.KeyCipherError),
        ({"cipher": None}, keystore.KeyFileFormatError),
        ({"type": "secp256k1"}, keystore.KeyFileFormatError),
        ({"purpose": "coffee"}, keystore.KeyFileFormatError),
        ({"secret": "00" * 31}, keystore.KeyFileFormatError),
        ({"secret": "zz" * 32}, keystore.KeyFileFormatError),
        ({"secret": 5}, keystore.KeyFileFormatError),
        ({"test": "yes"}, keystore.KeyFileFormatError),
    ],
)
def test_a_file_that_says_something_else_is_refused_without_showing_the_secret(
    path: Path, fields: dict[str, object], error: type[ConfigError]
) -> None:
    key = keystore.generate(Purpose.NODE)
    keystore.write(path, key)
    changed(path, **fields)
    with pytest.raises(error) as caught:
        keystore.load(path, Purpose.NODE)
    assert str(path) in str(caught.value)
    assert key.secret.seed.hex() not in str(caught.value)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"type": '])
def test_a_file_that_is_no_key_is_refused(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(keystore.KeyFileFormatError):
        keystore.load(path, Purpose.NODE)


def test_test_keys_are_the_same_everywhere_and_marked(path: Path) -> None:
    key = keystore.derive_test_stored_key(7, Purpose.VALIDATOR, 2)
    assert key.secret.public == keystore.derive_test_key(7, "validator", 2).public
    assert key.secret.public.hex() == (
        "928d90a4db34e3510bcaeaccaec003b59fda99e667d9ebb15ccfff013d4dda13"
    )
    keystore.write(path, key)
    assert json.loads(path.read_text())["test"] is True
    assert keystore.load(path, Purpose.VALIDATOR).test


def test_test_keys_differ_in_seed_role_and_index() -> None:
    arguments = [(7, "a", 1), (7, "a", 2), (8, "a", 1), (7, "b", 1), (71, "a", 1), (7, "a", 11)]
    keys = [keystore.derive_test_key(*given).public for given in arguments]
    assert len(dict.fromkeys(keys)) == len(arguments)


def test_a_key_never_shows_its_secret_when_printed() -> None:
    key = keystore.generate(Purpose.NODE)
    assert key.secret.seed.hex() not in repr(key)
    assert repr(key.secret.seed) not in repr(key)


CHEAP = keystore.Cost(passes=1, memory_bytes=8192)


def test_an_encrypted_key_opens_with_its_passphrase_only(path: Path) -> None:
    key = keystore.generate(Purpose.VALIDATOR)
    keystore.write(path, key, b"correct horse", cost=CHEAP)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key.secret.seed.hex() not in path.read_text()
    again = keystore.load(path, Purpose.VALIDATOR, b"correct horse")
    assert (again.secret.seed, again.created) == (key.secret.seed, key.created)
    with pytest.raises(keystore.WrongPassphraseError):
        keystore.load(path, Purpose.VALIDATOR, b"correct horsf")
    with pytest.raises(keystore.KeyEncryptedError, match="--passphrase-file"):
        keystore.load(path, Purpose.VALIDATOR)


def test_an_encrypted_key_tells_its_public_half_without_a_passphrase(path: Path) -> None:
    key = keystore.generate(Purpose.ACCOUNT)
    keystore.write(path, key, b"p", cost=CHEAP)
    facts = keystore.inspect(path)
    assert (facts.public, facts.purpose) == (key.secret.public, Purpose.ACCOUNT)
    assert facts.cipher == "argon2id-secretbox"


def test_the_passphrase_is_asked_for_only_when_it_is_needed(path: Path) -> None:
    def asked() -> bytes:
        raise AssertionError("asked")

    keystore.write(path, keystore.generate(Purpose.NODE))
    keystore.load(path, Purpose.NODE, asked)
    other = path.with_name("other")
    keystore.write(other, keystore.generate(Purpose.NODE), b"p", cost=CHEAP)
    with pytest.raises(keystore.KeyPurposeError):
        keystore.load(other, Purpose.ACCOUNT, asked)
    with pytest.raises(AssertionError, match="asked"):
        keystore.load(other, Purpose.NODE, asked)


def test_two_files_of_one_key_and_passphrase_share_no_salt_and_no_secret(path: Path) -> None:
    key = keystore.generate(Purpose.NODE)
    one, two = (json.loads(keystore.encode(key, b"p", cost=CHEAP)) for _ in range(2))
    assert one["salt"] != two["salt"]
    assert one["secret"] != two["secret"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"salt": "00" * 15}, keystore.KeyFileFormatError),
        ({"salt": None}, keystore.KeyFileFormatError),
        ({"passes": 0}, keystore.KeyFileFormatError),
        ({"passes": 65}, keystore.KeyFileFormatError),
        ({"passes": "1"}, keystore.KeyFileFormatError),
        ({"passes": True}, keystore.KeyFileFormatError),
        ({"memory_bytes": (1 << 30) + 1}, keystore.KeyFileFormatError),
        ({"memory_bytes": 1}, keystore.KeyFileFormatError),
        ({"secret": "00" * 40}, keystore.KeyFileFormatError),
        ({"secret": "00" * 72}, keystore.WrongPassphraseError),
        ({"passes": 2}, keystore.WrongPassphraseError),
        ({"public": "00" * 32}, keystore.KeyMismatchError),
    ],
)
def test_an_encrypted_file_that_was_changed_is_refused(
    path: Path, fields: dict[str, object], error: type[ConfigError]
) -> None:
    keystore.write(path, keystore.generate(Purpose.NODE), b"p", cost=CHEAP)
    changed(path, **fields)
    with pytest.raises(error):
        keystore.load(path, Purpose.NODE, b"p")


def test_a_key_is_replaced_in_place_whole_or_not_at_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keystore.generate(Purpose.NODE)
    keystore.write(path, key)
    before = path.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="No space"):
            keystore.replace(path, key, b"p", cost=CHEAP)
    assert path.read_text() == before
    assert os.listdir(path.parent) == [path.name]
    keystore.replace(path, key, b"p", cost=CHEAP)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keystore.load(path, Purpose.NODE, b"p").secret.seed == key.secret.seed
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_key_that_root_replaces_stays_its_owners(path: Path) -> None:
    key = keystore.generate(Purpose.NODE)
    keystore.write(path, key)
    os.chown(path, 65534, 65534)
    keystore.replace(path, key, b"p", cost=CHEAP)
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (65534, 65534, 0o600)
