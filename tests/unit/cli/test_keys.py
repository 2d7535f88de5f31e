"""`p2pnode keys`: encrypting and backing up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2pnode.cli import passphrase
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.keys import keystore
from p2pnode.keys.keystore import Purpose
from p2pnode.keys.sealing import Cost
from tests.unit.cli.test_main import Run


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore, "Cost", lambda *given: Cost(*given or (1, 8192)))
    monkeypatch.delenv("P2PNODE_PASSPHRASE_FILE", raising=False)
    monkeypatch.setattr(passphrase, "_somebody", lambda: False)


@pytest.fixture
def secret(tmp_path: Path) -> str:
    return written(tmp_path / "passphrase", "open sesame")


def written(path: Path, text: str) -> str:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return str(path)


def typing(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    left = list(lines)
    monkeypatch.setattr(passphrase, "_somebody", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: left.pop(0))


def test_a_key_is_made_encrypted_and_shown_without_its_passphrase(
    tmp_path: Path, secret: str
) -> None:
    path = str(tmp_path / "k")
    made = Run("keys", "generate", path, "--passphrase-file", secret, "--json")
    assert json.loads(made.out)["cipher"] == "argon2id-secretbox"
    shown = Run("keys", "show", path, "--json")
    assert shown.code == ExitCode.OK
    assert json.loads(shown.out) == json.loads(made.out)
    key = keystore.load(Path(path), Purpose.ACCOUNT, b"open sesame")
    assert key.secret.seed.hex() not in Path(path).read_text() + made.out + made.err


def test_show_checks_a_passphrase_that_is_named(tmp_path: Path, secret: str) -> None:
    path = str(tmp_path / "k")
    Run("keys", "generate", path, "--passphrase-file", secret)
    assert Run("keys", "show", path, "--passphrase-file", secret).code == ExitCode.OK
    wrong = written(tmp_path / "wrong", "open barley")
    run = Run("keys", "show", path, "--passphrase-file", wrong)
    assert (run.code, "not opened" in run.err) == (ExitCode.FAILED, True)


def test_the_variable_names_the_file_too(
    tmp_path: Path, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P2PNODE_PASSPHRASE_FILE", secret)
    path = tmp_path / "k"
    Run("keys", "generate", str(path))
    keystore.load(path, Purpose.ACCOUNT, b"open sesame")


def test_a_plain_key_is_encrypted_in_place_and_its_passphrase_changed(
    tmp_path: Path, secret: str
) -> None:
    path = tmp_path / "k"
    made = Run("keys", "generate", str(path), "--purpose", "validator")
    assert f"next: p2pnode keys encrypt {path}" in made.err
    public = keystore.load(path, Purpose.VALIDATOR).secret.public
    run = Run("keys", "encrypt", str(path), "--passphrase-file", secret)
    assert (run.code, "in the clear" in run.err) == (ExitCode.OK, True)
    assert keystore.load(path, Purpose.VALIDATOR, b"open sesame").secret.public == public
    new = written(tmp_path / "new", "close sesame")
    given = ("--passphrase-file", secret, "--new-passphrase-file", new)
    assert Run("keys", "encrypt", str(path), *given).code == ExitCode.OK
    assert keystore.load(path, Purpose.VALIDATOR, b"close sesame").secret.public == public


def test_a_backup_is_encrypted_warned_about_and_brought_back(tmp_path: Path, secret: str) -> None:
    path, backup, again = (tmp_path / name for name in ("k", "backup", "again"))
    Run("keys", "generate", str(path), "--purpose", "validator")
    given = ("--passphrase-file", secret)
    run = Run("keys", "export", str(path), "--output", str(backup), *given)
    assert run.code == ExitCode.OK
    assert "may sign in one place only" in run.err
    assert keystore.inspect(backup).cipher == "argon2id-secretbox"
    # As it comes back from a stick without modes.
    backup.chmod(0o755)
    assert Run("keys", "import", str(backup), str(again)).code == ExitCode.FAILED
    run = Run("keys", "import", str(backup), str(again), *given)
    assert run.code == ExitCode.OK
    assert "may sign in one place only" in run.err
    assert again.stat().st_mode & 0o777 == 0o600
    one = keystore.load(path, Purpose.VALIDATOR)
    two = keystore.load(again, Purpose.VALIDATOR, b"open sesame")
    assert (one.secret.seed, one.created) == (two.secret.seed, two.created)
    assert Run("keys", "import", str(backup), str(again), *given).code == ExitCode.FAILED


def test_a_backup_goes_to_stdout_encrypted(tmp_path: Path, secret: str) -> None:
    path = tmp_path / "k"
    Run("keys", "generate", str(path))
    run = Run("keys", "export", str(path), "--output", "-", "--passphrase-file", secret)
    assert json.loads(run.out)["cipher"] == "argon2id-secretbox"
    assert keystore.load(path, Purpose.ACCOUNT).secret.seed.hex() not in run.out


@pytest.mark.parametrize(
    "argv", [("encrypt", "{}"), ("export", "{}", "--output", "-"), ("generate", "x", "--encrypt")]
)
def test_without_passphrase_and_terminal_it_says_which_flag(
    tmp_path: Path, argv: tuple[str, ...]
) -> None:
    path = tmp_path / "k"
    Run("keys", "generate", str(path))
    run = Run("keys", *(part.format(path) for part in argv))
    assert run.code == ExitCode.FAILED
    assert "passphrase-file" in run.err
    assert keystore.inspect(path).cipher == "none"


def test_at_a_terminal_the_passphrase_is_typed_twice_to_encrypt_and_once_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "k"
    typing(monkeypatch, "sesame", "sesamy")
    run = Run("keys", "generate", str(path), "--encrypt")
    assert (run.code, "not the same" in run.err) == (ExitCode.FAILED, True)
    typing(monkeypatch, "")
    assert Run("keys", "generate", str(path), "--encrypt").code == ExitCode.FAILED
    assert not path.exists()
    typing(monkeypatch, "sesame", "sesame")
    assert Run("keys", "generate", str(path), "--encrypt").code == ExitCode.OK
    typing(monkeypatch, "sesame")
    run = Run("keys", "export", str(path), "--output", str(tmp_path / "backup"))
    assert run.code == ExitCode.OK
    keystore.load(tmp_path / "backup", Purpose.ACCOUNT, b"sesame")


def test_init_encrypts_all_keys_under_a_passphrase_that_stands_in_a_file(
    tmp_path: Path, secret: str
) -> None:
    folder = tmp_path / "node"
    Run("init", "--single", "--data", str(folder), "--passphrase-file", secret)
    ciphers = [keystore.inspect(path).cipher for path in sorted((folder / "keys").iterdir())]
    assert ciphers == ["argon2id-secretbox"] * 3
