"""A node's folder knows when it was copied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import trio

from p2pnode.keys.place import PERIOD_S, Forgetful, Place, PlaceFound


def start(folder: Path, *, log_is_there: bool = True) -> PlaceFound:
    place = Place(folder)
    found = place.check(log_is_there=log_is_there)
    place.settle()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "node"
    path.mkdir()
    assert start(path, log_is_there=False) == PlaceFound(False, Forgetful.NEW)
    return path


def test_a_folder_left_alone_is_not_moved_however_often_it_starts(folder: Path) -> None:
    for _ in range(3):
        assert not start(folder).moved
    assert len(list(folder.glob("place-*"))) == 1


def test_looking_writes_nothing(folder: Path) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    for _ in range(2):
        assert not Place(folder).check(log_is_there=True).moved
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_a_copy_is_moved_until_it_has_settled_and_stays_forgetful(folder: Path) -> None:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    for _ in range(2):
        # As long as the start did not come to its end, it is found out again.
        assert Place(copy).check(log_is_there=True) == PlaceFound(True, Forgetful.MOVED)
    assert start(copy).moved
    assert start(copy) == PlaceFound(False, Forgetful.MOVED)
    assert not start(folder).moved


def test_a_backup_brought_back_over_the_folder_is_noticed(folder: Path) -> None:
    backup = folder.with_name("backup")
    shutil.copytree(folder, backup)
    start(folder)
    shutil.copytree(backup, folder, dirs_exist_ok=True)
    assert start(folder).moved


def test_a_backup_brought_back_by_a_tool_that_skips_alike_files_is_noticed(folder: Path) -> None:
    backup = folder.with_name("backup")
    shutil.copytree(folder, backup)
    start(folder)
    for path in backup.iterdir():
        target = folder / path.name
        alike = target.exists() and target.stat().st_mtime_ns == path.stat().st_mtime_ns
        if not alike:
            shutil.copy2(path, target)
    assert start(folder).moved


def test_a_log_without_a_note_of_its_place_is_taken_for_a_copy(folder: Path) -> None:
    (folder / "place.json").unlink()
    assert start(folder).moved


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"file": 1, "changed_ns": 2, "forgetful": ""}', "[" * 3000],
)
def test_a_note_that_can_not_be_read_is_none(folder: Path, text: str) -> None:
    (folder / "place.json").write_text(text)
    assert start(folder).moved


def test_a_folder_that_is_trusted_is_neither_moved_nor_forgetful(folder: Path) -> None:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    Place(copy).trust()
    assert start(copy) == PlaceFound(False, Forgetful.NO)


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
def test_a_crash_while_it_is_renewed_leaves_a_whole_pair(
    folder: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    real = getattr(os, call)
    left = 0

    def crash(*arguments: object, **named: object) -> object:
        nonlocal left
        if left == 0:
            raise Crash
        left -= 1
        return real(*arguments, **named)

    crashes = 0
    while True:
        left = crashes
        with monkeypatch.context() as patch:
            patch.setattr(os, call, crash)
            try:
                Place(folder).trust()
            except Crash:
                crashes += 1
            else:
                break
        assert not start(folder).moved
    assert crashes > 0


async def test_what_was_signed_ends_being_forgetful_also_when_the_node_stops(
    folder: Path, autojump_clock: trio.testing.MockClock
) -> None:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    place = Place(copy)
    place.check(log_is_there=True)
    place.settle()
    signed = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.keep, lambda: signed)
        await trio.sleep(PERIOD_S * 1.5)
        assert Place(copy).check(log_is_there=True) == PlaceFound(False, Forgetful.MOVED)
        before = (copy / "place.json").read_text()
        signed = True
        nursery.cancel_scope.cancel()
    assert (copy / "place.json").read_text() != before
    assert Place(copy).check(log_is_there=True) == PlaceFound(False, Forgetful.NO)


async def test_a_full_disk_does_not_end_the_node(
    folder: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    place = Place(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with trio.move_on_after(PERIOD_S * 2.5):
            await place.keep(lambda: True)
    assert not start(folder).moved
