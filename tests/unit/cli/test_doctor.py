"""`p2pnode doctor` finds what is wrong, and says what to do."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from p2pnode.cli import checkup, doctor
from p2pnode.cli.checkup import Finding, State
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.keys import keystore
from p2pnode.keys.keystore import Purpose
from p2pnode.keys.place import Place
from p2pnode.types.genesis import decode_genesis
from tests.unit.cli.test_main import Run
from tests.unit.node.statuses import status


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("P2PNODE_"):
            monkeypatch.delenv(name)
    # The machine that runs the tests is not the patient.
    for name in ("machine", "power", "python", "signatures", "clock", "files"):
        monkeypatch.setattr(checkup, f"check_{name}", lambda: Finding("x", State.OK, "fine"))
    path = tmp_path / "node"
    assert Run("init", "--single", "--data", str(path), "--api-port", "0").code == 0
    return path


def findings(folder: Path, *flags: str) -> dict[str, dict[str, object]]:
    run = Run("doctor", "--json", "--data", str(folder), *flags)
    document = json.loads(run.out)
    failed = any(f["state"] == "fail" for f in document["findings"])
    assert document["ok"] == (not failed)
    assert run.code == (ExitCode.FAILED if failed else ExitCode.OK)
    for found in document["findings"]:
        assert bool(found["hint"]) == (found["state"] != "ok"), found
    return {f["name"]: f for f in document["findings"]}


def test_a_new_node_is_in_order(folder: Path) -> None:
    found = findings(folder)
    assert {f["state"] for f in found.values()} <= {"ok", "warn"}
    assert "validator 0 in genesis" in str(found["validator key"]["text"])
    assert found["disk speed"]["numbers"]["sync_ms"] > 0  # type: ignore[index]
    assert [p.name for p in folder.iterdir() if p.name.startswith(".doctor")] == []


def test_words_are_for_people_with_what_to_do_below(folder: Path) -> None:
    (folder / "keys" / "node.key").chmod(0o644)
    run = Run("doctor", "--data", str(folder))
    assert run.code == ExitCode.FAILED
    assert "fail  node key" in run.out
    assert "chmod 600" in run.out
    assert "→" in run.out
    assert "1 failed" in run.err


def test_a_relative_folder_is_looked_at_where_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    found = findings(Path(folder.name))
    assert [f for f in found.values() if f["state"] == "fail"] == []
    assert "validator 0 in genesis" in str(found["validator key"]["text"])


def test_the_folder_named_goes_before_the_environments(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(tmp_path / "other"))
    assert findings(folder)["genesis"]["state"] == "ok"


def test_the_last_line_says_what_comes_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def last() -> str:
        return Run("doctor", "--data", str(folder)).err.splitlines()[-1]

    assert last() == f"next: p2pnode run --data {folder}"
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "_status", lambda *_: status())
        assert last() == f"next: p2pnode status --data {folder}"
    (folder / "genesis.cbor").unlink()
    # The other way, a chain of one's own, is no next step for who joins one.
    assert last() == f"next: p2pnode doctor --data {folder}"
    (folder / "p2pnode.toml").unlink()
    assert last() == (
        f"next: p2pnode init --single --data {folder} · p2pnode doctor --data {folder}"
    )


@pytest.mark.parametrize(("count", "words"), [(0, "0 warnings"), (1, "1 warning"), (2, "2 warn")])
def test_warnings_are_counted(
    folder: Path, count: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = Finding("clock", State.WARN, "not synchronised", "run an NTP client")
    monkeypatch.setattr(doctor, "examine", lambda _: [warning] * count)
    line = Run("doctor", "--data", str(folder)).err.splitlines()[0]
    assert line.startswith(f"{count} checks: 0 failed, {words}")
    assert line.endswith("warning") == (count == 1)


def test_no_node_is_a_failure_that_names_init(tmp_path: Path, folder: Path) -> None:
    found = findings(tmp_path / "none")
    assert found["config"]["state"] == "fail"
    assert "p2pnode init" in str(found["config"]["hint"])


def test_a_folder_of_somebody_else_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    found = findings(folder)["folder"]
    assert (found["state"], "sudo" in str(found["hint"])) == ("fail", True)


def test_a_wrong_setting_is_found(folder: Path) -> None:
    with (folder / "p2pnode.toml").open("a") as file:
        file.write("[api]\nprot = 1\n")
    assert "did you mean 'api.port'" in str(findings(folder)["config"]["text"])


def test_a_missing_or_broken_genesis_fails(folder: Path) -> None:
    (folder / "genesis.cbor").write_bytes(b"\x80")
    assert findings(folder)["genesis"]["state"] == "fail"
    (folder / "genesis.cbor").unlink()
    assert findings(folder)["genesis"]["state"] == "fail"


def test_a_store_of_another_chain_fails(folder: Path) -> None:
    from p2pnode.store.lmdb import LmdbStore
    from p2pnode.types.effects import Write

    store = LmdbStore(folder / "store")
    store.commit([Write("meta", b"chain", b"\1" * 32)], sync=True)
    store.close()
    found = findings(folder)["genesis"]
    assert (found["state"], "0101010101" in str(found["text"])) == ("fail", True)


def test_a_key_everybody_has_fails_on_a_chain_that_is_no_test(folder: Path) -> None:
    path = folder / "keys" / "node.key"
    path.unlink()
    keystore.write(path, keystore.derive_test_stored_key(7, Purpose.NODE, 0))
    found = findings(folder)
    assert found["node key"]["state"] == "ok"
    # The validator's entry in genesis names the other node key.
    assert found["validator key"]["state"] == "warn"
    document = folder / "genesis.cbor"
    genesis = replace(decode_genesis(document.read_bytes()), name="main")
    document.write_bytes(genesis.encode())
    assert findings(folder)["node key"]["state"] == "fail"


def test_a_passphrase_is_tried(folder: Path, tmp_path: Path) -> None:
    path = folder / "keys" / "validator.key"
    key = keystore.load(path, Purpose.VALIDATOR)
    keystore.replace(path, key, b"sesame", cost=keystore.Cost(1, 8192))
    assert findings(folder)["validator key"]["state"] == "warn"
    secret = tmp_path / "secret"
    secret.write_text("sesame")
    secret.chmod(0o600)
    found = findings(folder, "--passphrase-file", str(secret))["validator key"]
    assert (found["state"], ", encrypted" in str(found["text"])) == ("ok", True)
    secret.write_text("barley")
    assert findings(folder, "--passphrase-file", str(secret))["validator key"]["state"] == "fail"


def test_a_restored_or_open_folder_is_warned_about(folder: Path) -> None:
    (folder / "signed.wal").touch()
    Place(folder).trust()
    assert findings(folder)["folder"]["state"] == "ok"
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    found = findings(copy)["folder"]
    assert (found["state"], "log trust" in str(found["hint"])) == ("warn", True)
    folder.chmod(0o755)
    assert "chmod 700" in str(findings(folder)["folder"]["hint"])


def test_a_port_that_is_taken_fails(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f'[network]\nlisten = ["/ip4/127.0.0.1/tcp/{port}"]\n[api]\nport = {port}\n'
        path = folder / "p2pnode.toml"
        path.write_text('[keys]\nvalidators = ["keys/validator.key"]\n' + text)
        found = findings(folder)
    assert (found["p2p port"]["state"], found["api port"]["state"]) == ("fail", "fail")
    found = findings(folder)
    assert (found["p2p port"]["state"], found["api port"]["state"]) == ("ok", "ok")


def test_first_peers_are_called(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as peer, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ports = [s.getsockname()[1] for s in (peer, unused)]
        there, missing = (f"/ip4/127.0.0.1/tcp/{port}/p2p/x" for port in ports)
        for peers, state in (([there], "ok"), ([there, missing], "warn"), ([missing], "fail")):
            # Without a key it follows a chain, and needs somebody to follow.
            (folder / "p2pnode.toml").write_text(f"[network]\nbootstrap = {json.dumps(peers)}\n")
            assert findings(folder)["peers"]["state"] == state


def test_a_running_node_answers_for_its_ports_and_peers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = status(ready=False, not_ready_reasons=("syncing",), observing=True)
    monkeypatch.setattr(doctor, "_status", lambda *_: now)
    found = findings(folder)
    assert "peers" not in found
    assert (found["node"]["state"], found["node"]["hint"]) == ("warn", "syncing")
    assert found["signer"]["state"] == "warn"
    monkeypatch.setattr(doctor, "_status", lambda *_: status())
    assert findings(folder)["node"]["state"] == "ok"


@pytest.mark.parametrize(
    ("free_bytes", "state"),
    [(100 << 20, "fail"), (1 << 30, "warn"), (8 << 30, "warn"), (1 << 40, "ok")],
)
def test_free_space_is_weighed_against_the_stores_limit(
    folder: Path, free_bytes: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)._replace(free=free_bytes)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert findings(folder)["disk"]["state"] == state


def test_a_folder_that_can_not_be_written_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    assert findings(folder)["disk speed"]["state"] == "fail"


@pytest.mark.parametrize(
    ("bits", "state"), [("0x0", "ok"), ("0x50005", "warn"), ("0x20000", "warn"), ("?", None)]
)
def test_a_pis_power_is_read_from_the_kernel(
    tmp_path: Path, bits: str, state: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.sensors_temperatures", dict, raising=False)
    path = tmp_path / "get_throttled"
    path.write_text(bits)
    found = checkup.check_power(path)
    assert (None if found is None else found.state.value) == state


@pytest.mark.parametrize(
    ("answer", "state"),
    [((0, 2.5), "ok"), ((0, 900.0), "warn"), ((5, 16000.0), "warn"), (None, "warn")],
)
def test_a_clock_that_nobody_keeps_is_warned_about(
    answer: tuple[int, float] | None, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "_adjtimex", lambda: answer)
    assert checkup.check_clock().state.value == state


def test_the_machine_is_measured() -> None:
    for check in (
        checkup.check_machine,
        checkup.check_python,
        checkup.check_signatures,
        checkup.check_clock,
        checkup.check_files,
    ):
        found = check()
        assert found.text
        assert bool(found.hint) == (found.state is not State.OK)


@pytest.mark.parametrize(
    ("listen", "announce", "state", "words"),
    [
        ("/ip4/127.0.0.1/tcp/4001", [], "warn", "only this machine"),
        ("/ip4/192.168.1.5/tcp/4001", [], "warn", "only the local network"),
        ("/ip4/127.0.0.1/tcp/4001", ["/ip4/10.8.0.2/tcp/4001"], "warn", "only the local network"),
        ("/ip4/192.168.1.5/tcp/4001", ["/ip4/9.9.9.9/tcp/4001"], "ok", "/ip4/9.9.9.9/tcp/4001"),
        ("/ip6/2a00::5/tcp/4001", [], "ok", "/ip6/2a00::5/tcp/4001"),
        ("/ip4/127.0.0.1/tcp/4001", ["/dns4/example.com/tcp/4001"], "fail", "leads nowhere"),
    ],
)
def test_from_where_a_node_is_reached_as_configured(
    folder: Path, listen: str, announce: list[str], state: str, words: str
) -> None:
    (folder / "p2pnode.toml").write_text(
        f"[network]\nlisten = {json.dumps([listen])}\nannounce = {json.dumps(announce)}\n"
    )
    found = findings(folder)["reach"]
    assert found["state"] == state
    assert words in str(found["text"])
