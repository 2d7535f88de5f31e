from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.main import make_parser
from p2pnode.cli.places import genesis_advice, place_options, remove_endpoint, write_endpoint
from p2pnode.cli.rpc import parameters
from p2pnode.crypto import address_of
from p2pnode.keys import keystore
from p2pnode.keys.keystore import Purpose
from p2pnode.node.answers import DeductionRow, TransactionState, TransactionStatus
from p2pnode.types.transaction import decode_transaction
from tests.unit.api.fake_node import FakeNode, block, served
from tests.unit.cli.test_main import Run
from tests.unit.node.statuses import STATUS, status


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("P2PNODE_"):
            monkeypatch.delenv(name)


async def against(node: FakeNode, *argv: str, **console: object) -> Run:
    """Run a command against a served node."""
    async with served(node) as url:
        return await trio.to_thread.run_sync(lambda: Run(*argv, "--node", url, **console))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "account.key"
    keystore.write(path, keystore.derive_test_stored_key(7, Purpose.ACCOUNT, 0))
    return path


async def test_status_is_shown_in_rows_or_as_json() -> None:
    run = await against(FakeNode(), "status")
    assert run.code == ExitCode.OK
    assert "812  final 810" in run.out
    # A word that nobody knows stands beside what it means.
    assert re.search(r"certified [0-9]+  \(signed by a quorum of executors", run.out)
    assert run.err.startswith("next: ")
    as_json = await against(FakeNode(), "status", "--json")
    assert json.loads(as_json.out)["chain"] == STATUS.chain


async def test_status_says_what_is_wrong() -> None:
    node = FakeNode(status(ready=False, not_ready_reasons=("0 of 3 peers",), observing=True))
    run = await against(node, "status")
    assert "no: 0 of 3 peers" in run.out
    assert "signs nothing" in run.out


async def test_status_watch_prints_a_line_again_and_again_until_interrupted() -> None:
    waits: list[float] = []

    def sleep(duration_s: float) -> None:
        waits.append(duration_s)
        if len(waits) == 3:
            raise KeyboardInterrupt

    run = await against(FakeNode(), "status", "--watch", "--interval", "250ms", sleep=sleep)
    assert run.code == ExitCode.INTERRUPTED
    assert waits == [0.25] * 3
    lines = run.out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("node0  h 812 final 810") for line in lines)
    assert "↓" in lines[1]


def test_a_time_without_a_unit_is_usage_and_asks_for_the_unit() -> None:
    run = Run("status", "--interval", "5")
    assert run.code == ExitCode.USAGE
    assert "5 what? write 5s, 5m or 5ms" in run.err


async def test_the_node_of_the_folder_is_found_by_its_endpoint_file(tmp_path: Path) -> None:
    async with served(FakeNode()) as url:
        write_endpoint(tmp_path, url)
        argv = ("status", "--json", "--data", str(tmp_path))
        run = await trio.to_thread.run_sync(lambda: Run(*argv))
        assert json.loads(run.out)["name"] == "node0"
    remove_endpoint(tmp_path)
    gone = Run("status", "--data", str(tmp_path))
    assert gone.code == ExitCode.FAILED
    assert f"p2pnode run --data {tmp_path}" in gone.err


async def test_the_node_of_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(FakeNode()) as url:
        monkeypatch.setenv("P2PNODE_NODE", url.removeprefix("http://"))
        run = await trio.to_thread.run_sync(lambda: Run("status", "--json"))
        assert run.code == ExitCode.OK


def test_nobody_at_the_address_fails_in_one_line() -> None:
    run = Run("status", "--node", "http://127.0.0.1:1")
    assert run.code == ExitCode.FAILED
    assert run.err.count("\n") == 1
    assert "http://127.0.0.1:1" in run.err


async def test_a_transfer_is_signed_for_the_nodes_chain_and_submitted(key_file: Path) -> None:
    node = FakeNode()
    receiver = "ab" * 32
    run = await against(
        node, "tx", "send", "--from", str(key_file), "--to", receiver, "--amount", "5",
        "--asset", "1",
    )  # fmt: skip
    assert run.code == ExitCode.OK
    (raw,) = node.submitted
    transaction = decode_transaction(raw)
    assert transaction.chain.hex() == STATUS.chain
    assert transaction.nonce == 3
    assert transaction.last_valid_height == STATUS.height + 1000
    assert transaction.fee_limit == 2
    (transfer,) = transaction.actions
    assert (transfer.asset, transfer.to.hex(), transfer.amount) == (1, receiver, 5)
    assert run.out.strip() == transaction.id.hex()
    assert "next: p2pnode tx show" in run.err


def states(*names: str) -> Callable[[bytes], TransactionStatus | None]:
    """Answer with one state after the other, the last one for ever."""
    left = list(names)

    def transaction(id: bytes) -> TransactionStatus | None:
        name = left.pop(0) if len(left) > 1 else left[0]
        reason = "balance of 0 is below 5" if name == "failed" else ""
        return TransactionStatus(id.hex(), TransactionState(name), 7, reason)

    return transaction


@pytest.mark.parametrize(
    ("names", "code", "words"),
    [
        (("pooled", "ordered", "executed"), ExitCode.OK, "ordered at height 7"),
        (("pooled", "failed"), ExitCode.FAILED, "balance of 0 is below 5"),
        (("skipped",), ExitCode.FAILED, "skipped: no reason known"),
        (("pooled",), ExitCode.FAILED, "not executed after 2 s: pooled"),
    ],
)
async def test_waiting_ends_with_the_transactions_fate(
    key_file: Path, names: tuple[str, ...], code: ExitCode, words: str
) -> None:
    node = FakeNode()
    node.transaction = states(*names)  # type: ignore[method-assign]
    seconds = iter(range(100))
    run = await against(
        node, "tx", "send", "--from", str(key_file), "--to", "ab" * 32, "--amount", "5", "--wait",
        "--timeout", "2s", sleep=lambda _: None, clock=lambda: next(seconds) / 2,
    )  # fmt: skip
    assert run.code == code
    assert words in run.err


async def test_a_refused_transfer_says_why(key_file: Path) -> None:
    argv = ("tx", "send", "--from", str(key_file), "--to", "ab" * 32, "--amount", "5")
    run = await against(FakeNode(full=True), *argv)
    assert run.code == ExitCode.FAILED
    assert "at most 20000 allowed" in run.err


@pytest.mark.parametrize("amount", ["-1", "0", "x", str(1 << 128)])
async def test_a_transfer_that_can_not_be_is_refused_before_it_is_sent(
    key_file: Path, amount: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node = FakeNode()
    argv = ("tx", "send", "--from", str(key_file), "--to", "ab" * 32, "--amount", amount)
    run = await against(node, *argv)
    assert run.code == ExitCode.USAGE
    assert f"--amount: '{amount}': an integer from 1 to 2^128-1" in capsys.readouterr().err
    assert node.submitted == []


@pytest.mark.parametrize("missing", ["--from", "--to"])
async def test_a_missing_key_file_is_usage_and_says_how_to_make_one(
    key_file: Path, tmp_path: Path, missing: str
) -> None:
    files = {"--from": str(key_file), "--to": str(key_file), missing: str(tmp_path / "no.key")}
    named = [word for pair in files.items() for word in pair]
    run = await against(FakeNode(), "tx", "send", "--amount", "1", *named)
    assert run.code == ExitCode.USAGE
    assert str(tmp_path / "no.key") in run.err
    assert "p2pnode keys generate" in run.err


@pytest.mark.parametrize("name", ["node0", "127.0.0.1", "host/path"])
def test_a_node_that_is_named_and_not_addressed_is_usage(name: str) -> None:
    run = Run("status", "--node", name)
    assert run.code == ExitCode.USAGE
    assert f"{name!r} is no address of a node's API" in run.err


async def test_a_transaction_is_shown_by_its_id() -> None:
    node = FakeNode()
    id = b"\x07" * 32
    fields = (id.hex(), TransactionState.FAILED, 3, "balance too low", 2)
    node.known[id] = TransactionStatus(*fields)  # type: ignore[arg-type]
    run = await against(node, "tx", "show", id.hex())
    assert run.code == ExitCode.OK
    for word in ("failed", "balance too low", "height"):
        assert word in run.out
    assert json.loads((await against(node, "tx", "show", id.hex(), "--json")).out)["fee"] == "2"
    assert (await against(node, "tx", "show", "08" * 32)).code == ExitCode.FAILED
    assert (await against(node, "tx", "show", "08")).code == ExitCode.USAGE


async def test_an_account_is_named_by_address_or_key_file(key_file: Path) -> None:
    run = await against(FakeNode(), "account", str(key_file), "--json")
    public = keystore.load(key_file, Purpose.ACCOUNT).secret.public
    assert json.loads(run.out)["address"] == address_of(public).hex()
    assert str(1 << 100) in (await against(FakeNode(), "account", "ab" * 32)).out
    bad = await against(FakeNode(), "account", "abc")
    assert bad.code == ExitCode.USAGE
    assert "64 hex digits" in bad.err


async def test_hints_name_the_node_that_was_asked(key_file: Path, tmp_path: Path) -> None:
    receiver = "ab" * 32
    async with served(FakeNode()) as url:
        write_endpoint(tmp_path, url)
        for place in (f"--node {url}", f"--data {tmp_path}"):
            for words, count in (
                ("status", 2),
                (f"account {receiver}", 1),
                (f"tx send --from {key_file} --to {receiver} --amount 5", 1),
            ):
                argv = [*words.split(), *place.split()]
                run = await trio.to_thread.run_sync(lambda argv=argv: Run(*argv))
                assert run.code == ExitCode.OK
                hint = run.err.splitlines()[-1]
                assert hint.startswith("next: ")
                assert hint.count(place) == count, hint


@pytest.mark.parametrize(
    ("action", "command"), [(["stop"], "run"), (["log-level", "debug"], "status")]
)
def test_hints_of_admin_name_the_folder(
    action: list[str], command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client:
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def raw(self, method: str, params: object) -> dict[str, str]:
            return {"done": method}

    monkeypatch.setattr("p2pnode.client.admin_client", lambda path: Client())
    monkeypatch.setattr(Path, "is_socket", lambda path: True)
    run = Run("admin", *action, "--data", str(tmp_path))
    assert run.err == f"next: p2pnode {command} --data {tmp_path}\n"
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(tmp_path))
    assert Run("admin", *action).err == f"next: p2pnode {command}\n"


def test_a_place_with_a_space_is_quoted_in_hints() -> None:
    arguments = make_parser().parse_args(["status", "--data", "my node"])
    assert place_options(arguments) == " --data 'my node'"


def test_the_folder_one_stands_in_gets_a_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"--data {tmp_path.resolve()}-single`" in genesis_advice(Path("genesis.cbor"))


async def test_any_method_can_be_called() -> None:
    node = FakeNode(chain={1: block(1), 2: block(2)})
    run = await against(node, "rpc", "blocks", "2", "1")
    assert [entry["height"] for entry in json.loads(run.out)] == [2]
    refused = await against(node, "rpc", "nothing")
    assert refused.code == ExitCode.FAILED
    assert "no method" in refused.err


@pytest.mark.parametrize(
    ("texts", "params"),
    [
        ([], []),
        (["[1, 2]"], [1, 2]),
        (['{"from": 1}'], {"from": 1}),
        (["1", "2"], [1, 2]),
        (["ab" * 32], ["ab" * 32]),
        (["12" * 32], ["12" * 32]),
        (["[1]", "x"], [[1], "x"]),
    ],
)
def test_parameters_are_json_or_plain_text(texts: list[str], params: object) -> None:
    assert parameters(texts) == params


async def test_words_of_peers_neither_move_the_cursor_nor_make_lines_of_their_own() -> None:
    words = "\x1b]0;mine\x07\x9b2J\u202e\n12D3Friend  banned for another 9999 s"
    node = FakeNode()
    (row,) = node.peers()
    (banned,) = node.banned()
    reasons = (DeductionRow(words, 1.0, 1.0),)
    node.peers = lambda: (replace(row, name=words, reasons=reasons),)  # type: ignore[method-assign]
    node.banned = lambda: (replace(banned, reasons=reasons),)  # type: ignore[method-assign]
    run = await against(node, "peers")
    assert len(run.out.splitlines()) == 4
    assert all(line.isprintable() for line in run.out.splitlines())
    assert json.loads((await against(node, "peers", "--json")).out)["connected"][0]["name"] == words
    node = FakeNode(status(ready=False, not_ready_reasons=(words,)))
    for argv in (["status"], ["status", "--json"]):
        out = (await against(node, *argv)).out
        assert out.replace("\n", "").isprintable()


async def test_peers_are_shown_with_the_reasons_of_their_scores() -> None:
    run = await against(FakeNode(), "peers")
    assert run.code == ExitCode.OK
    assert "score -12\n    -12  a ping without an answer  (3 s ago)" in run.out
    assert "12D3Bad  banned for another 250 s, ban 2\n    -100  junk  (50 s ago)" in run.out
    assert "1 connected, 1 banned" in run.err
    as_json = json.loads((await against(FakeNode(), "peers", "--json")).out)
    assert as_json["connected"][0]["reasons"][0]["points"] == 12.0
    assert as_json["banned"][0]["left_s"] == 250.0
