"""The service: its unit, and what installing it does to a machine (of stand-ins)."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from p2pnode.cli import service
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.systemd import UnitOptions, render
from p2pnode.keys.place import Place
from tests.unit.cli.test_main import Run

OPTIONS = UnitOptions(
    command=("/opt/p2pnode/bin/p2pnode",), data=Path("/var/lib/p2pnode"), user="p2pnode"
)


def setting(unit: str, name: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}=")]


def test_the_unit_runs_unprivileged_and_comes_back_after_a_failure() -> None:
    unit = render(OPTIONS)
    assert setting(unit, "User") == ["p2pnode"]
    assert setting(unit, "Restart") == ["on-failure"]
    assert setting(unit, "ExecStart") == ["/opt/p2pnode/bin/p2pnode run --data /var/lib/p2pnode"]
    assert setting(unit, "NoNewPrivileges") == ["yes"]
    assert setting(unit, "CapabilityBoundingSet") == [""]
    assert setting(unit, "ProtectSystem") == ["strict"]
    assert setting(unit, "ProtectHome") == ["yes"]
    assert setting(unit, "StateDirectory") == ["p2pnode"]


def test_another_folder_is_the_only_one_that_may_be_written() -> None:
    unit = render(UnitOptions(OPTIONS.command, Path("/srv/my node"), "p2pnode"))
    assert setting(unit, "ReadWritePaths") == ['"/srv/my node"']
    assert setting(unit, "StateDirectory") == []


def test_of_a_home_only_the_program_and_the_nodes_folder_are_seen() -> None:
    unit = render(
        UnitOptions(
            ("/home/pi/p2pnode/.venv/bin/p2pnode",),
            Path("/home/pi/data"),
            "p2pnode",
            code=(Path("/usr"), Path("/home/pi/p2pnode")),
        )
    )
    assert setting(unit, "ProtectHome") == ["tmpfs"]
    assert setting(unit, "BindReadOnlyPaths") == ["/home/pi/p2pnode"]
    assert setting(unit, "BindPaths") == ["/home/pi/data"]


def test_a_passphrase_is_handed_over_as_a_credential() -> None:
    options = UnitOptions(
        OPTIONS.command, OPTIONS.data, "p2pnode", passphrase_file=Path("/etc/p2pnode.pass")
    )
    unit = render(options)
    assert setting(unit, "LoadCredential") == ["passphrase:/etc/p2pnode.pass"]
    assert setting(unit, "Environment") == ["P2PNODE_PASSPHRASE_FILE=%d/passphrase"]
    assert "LoadCredential" not in render(OPTIONS)


def test_signs_that_mean_something_to_systemd_are_escaped() -> None:
    unit = render(UnitOptions(("/opt/a b/p2p$node",), Path("/srv/100%"), "p2pnode"))
    assert setting(unit, "ExecStart") == ['"/opt/a b/p2p$$node" run --data /srv/100%%']


def test_systemd_reads_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed")
    path = tmp_path / service.UNIT
    path.write_text(render(UnitOptions((sys.executable, "-m", "p2pnode"), OPTIONS.data, "root")))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    path.write_text(render(OPTIONS))
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


# --- installing ---------------------------------------------------------------------------------


class System:
    """A machine of stand-ins, owned by this user."""

    def __init__(self, folder: Path) -> None:
        self.units = folder / "systemd"
        self.data = folder / "data"
        self.ran: list[tuple[str, ...]] = []
        self.users = True

    @property
    def unit(self) -> Path:
        return self.units / service.UNIT

    def __call__(self, *argv: str) -> Run:
        self.ran.clear()
        user = pwd.getpwuid(os.getuid()).pw_name
        if argv[0] == "install":
            argv = (*argv, "--data", str(self.data), "--user", user)
        return Run("service", *argv)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    made = System(tmp_path)
    running = tmp_path / "running"
    running.mkdir()
    monkeypatch.setattr(service, "UNIT_FOLDER", made.units)
    monkeypatch.setattr(service, "RUNNING", running)
    monkeypatch.setattr(service, "_run", lambda *command: made.ran.append(command))
    monkeypatch.setattr(service, "_asked", lambda question: "active")
    monkeypatch.setattr(service, "_user_exists", lambda name: made.users)
    monkeypatch.setattr(service, "_others_read", lambda path: True)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return made


def test_print_shows_the_unit_and_changes_nothing(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    run = system("install", "--print")
    assert run.code == ExitCode.OK
    assert run.out.startswith("# Written by")
    assert not system.units.exists()
    assert system.ran == []
    for action in ("install", "uninstall"):
        run = system(action)
        assert (run.code, "sudo" in run.err) == (ExitCode.FAILED, True)


def test_install_waits_for_a_node_and_starts_it_once_it_is_there(system: System) -> None:
    run = system("install")
    assert run.code == ExitCode.OK
    assert system.unit.stat().st_mode & 0o777 == 0o644
    assert "p2pnode init" in run.err
    assert ("systemctl", "enable", "--quiet", service.UNIT) in system.ran
    assert ("systemctl", "restart", service.UNIT) not in system.ran
    Run("init", "--single", "--data", str(system.data))
    assert system("install").code == ExitCode.OK
    assert system.ran[-1] == ("systemctl", "restart", service.UNIT)
    assert system.data.stat().st_mode & 0o777 == 0o700


def test_a_missing_user_is_made_without_shell_and_home(system: System) -> None:
    system.users = False
    system("install")
    (command,) = (c for c in system.ran if c[0] == "useradd")
    assert {"--system", "--no-create-home", "/usr/sbin/nologin"} <= set(command)


def test_without_a_running_systemd_the_unit_waits(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "RUNNING", system.data / "none")
    run = system("install")
    assert (run.code, "starts with the machine" in run.err) == (ExitCode.OK, True)
    assert [c[1] for c in system.ran] == ["enable"]
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert system("install").code == ExitCode.OK
    link = system.units / "multi-user.target.wants" / service.UNIT
    assert link.resolve() == system.unit.resolve()
    assert system("uninstall").code == ExitCode.OK


def test_uninstall_keeps_the_nodes_folder(system: System) -> None:
    system("install")
    Run("init", "--single", "--data", str(system.data))
    run = system("uninstall")
    assert run.code == ExitCode.OK
    assert not system.unit.exists()
    assert (system.data / "keys" / "node.key").exists()
    assert ("systemctl", "disable", "--now", service.UNIT) in system.ran
    assert system("uninstall").code == ExitCode.OK


def test_status_tells_what_systemd_says(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system("install")
    run = system("status", "--json")
    assert run.code == ExitCode.OK
    assert json.loads(run.out)["installed"] is True
    monkeypatch.setattr(service, "_asked", lambda question: "inactive")
    assert system("status").code == ExitCode.FAILED


def test_code_that_others_may_not_read_is_refused(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_others_read", lambda path: False)
    run = system("install")
    assert (run.code, "/opt" in run.err) == (ExitCode.FAILED, True)
    assert not system.unit.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_folder_that_is_given_to_the_service_is_not_taken_for_a_copy() -> None:
    # Not pytest's own folder: nobody but its owner may enter that.
    with tempfile.TemporaryDirectory() as name:
        open_to_all = Path(name)
        open_to_all.chmod(0o755)
        folder = open_to_all / "data"
        (folder / "store").mkdir(parents=True)
        (folder / "signed.wal").touch()
        Place(folder).trust()
        assert service._give(folder, "nobody")
        uid = pwd.getpwnam("nobody").pw_uid
        assert {p.stat().st_uid for p in (folder, *folder.rglob("*"))} == {uid}
        assert not Place(folder).check(log_is_there=True).moved
        assert not service._give(folder, "nobody")
        # What was a copy before stays one.
        copy = open_to_all / "copy"
        shutil.copytree(folder, copy)
        service._give(copy, "nobody")
        assert Place(copy).check(log_is_there=True).moved
