"""The independent checker of double signatures, against logs that the real code wrote."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

from p2pnode import codec, crypto
from p2pnode.keys.safesigner import SafeSigner
from p2pnode.store.wal import open_log
from testnet.checks import double_sign
from testnet.checks.double_sign import (
    UnreadableLogError,
    check_logs,
    find_double_signatures,
    read_records,
)

CHAIN = b"c" * 32


def signed(
    seed: int, view: int, value: bytes, *, epoch: int = 0, kind: str = "engine/simplex/1"
) -> bytes:
    signer = SafeSigner(crypto.SecretKey(bytes((seed,)) * 32), CHAIN, [])
    given = signer.prepare(kind, epoch, b"%d " % view + value, {("n", view): value}, (view,))
    assert given.record is not None
    return given.record


def log_of(path: Path, records: Sequence[bytes]) -> Path:
    log = open_log(path).log
    for record in records:
        log.append(record)
        log.sync()
    log.close()
    return path


def test_honest_logs_have_no_violation(tmp_path: Path) -> None:
    records = [signed(1, view, b"A") for view in range(300)]
    others = [signed(2, view, b"B") for view in range(300)]
    more = [signed(1, 1, b"B", epoch=1), signed(1, 1, b"B", kind="result")]
    one = log_of(tmp_path / "1", [*records, *more, codec.encode([3, b"engine"]), records[0]])
    two = log_of(tmp_path / "2", others)
    assert check_logs([one, two, one]) == []
    assert len(list(read_records(one))) == 304


def test_two_values_in_one_log_are_found(tmp_path: Path) -> None:
    path = log_of(tmp_path / "1", [signed(1, 1, b"A"), signed(1, 2, b"A"), signed(1, 1, b"B")])
    (violation,) = find_double_signatures([path])
    (reported,) = check_logs([path])
    assert (reported.check, reported.detail) == ("double signature", str(violation))
    assert (violation.first.value, violation.second.value) == (b"A", b"B")
    assert violation.first.offset == 4096
    assert violation.kind == "engine/simplex/1"
    assert "two values" in str(violation)
    assert str(path) in str(violation)


def test_the_empty_value_beside_another_is_found(tmp_path: Path) -> None:
    path = log_of(tmp_path / "1", [signed(1, 1, b""), signed(1, 1, b"B")])
    assert len(check_logs([path])) == 1


def test_two_values_in_two_logs_of_one_key_are_found(tmp_path: Path) -> None:
    one = log_of(tmp_path / "1", [signed(1, 1, b"A")])
    two = log_of(tmp_path / "2", [signed(1, 1, b"B")])
    assert check_logs([one]) == check_logs([two]) == []
    assert len(check_logs([one, two])) == 1


def test_a_value_behind_damage_is_found(tmp_path: Path) -> None:
    path = log_of(tmp_path / "1", [signed(1, 1, b"A"), signed(1, 2, b"A"), signed(1, 1, b"B")])
    offsets = [offset for offset, _ in read_records(path)]
    content = bytearray(path.read_bytes())
    content[offsets[1] : offsets[1] + 60] = b"\xff" * 60
    path.write_bytes(content[: offsets[2] + 400])
    assert len(check_logs([path])) == 1


def test_after_growth_and_compaction_logs_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "1"
    log_of(path, [codec.encode([3, bytes(9_000)])] * 20 + [signed(1, 1, b"A"), signed(1, 1, b"B")])
    assert len(check_logs([path])) == 1
    log = open_log(path).log
    log.rewrite(log.records()[-2:])
    log.close()
    assert len(check_logs([path])) == 1


def test_a_file_that_is_no_log_is_not_taken_for_an_honest_one(tmp_path: Path) -> None:
    for content in (b"", b"nonsense" * 1000):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(UnreadableLogError):
            check_logs([tmp_path / "x"])


def test_the_command_says_how_many_and_fails_when_there_are_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = log_of(tmp_path / "1", [signed(1, 1, b"A")])
    bad = log_of(tmp_path / "2", [signed(1, 1, b"B")])
    assert double_sign.main([str(good)]) == 0
    assert double_sign.main([str(good), str(bad)]) == 1
    assert capsys.readouterr().out.endswith("2 logs read, 1 double signatures\n")


def test_the_checker_imports_nothing_that_it_checks() -> None:
    tree = ast.parse(Path(double_sign.__file__).read_text())
    imported = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    ]
    own = [name for name in imported if name and name.startswith(("p2pnode", "testnet"))]
    assert own == ["testnet.checks.violation"]
