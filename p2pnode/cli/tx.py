"""`p2pnode tx` and `p2pnode account`: transfers, how far they came, and what accounts hold."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Final

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.passphrase import Asked
from p2pnode.cli.places import connect, place_options, read_address
from p2pnode.client import BlockingClient
from p2pnode.crypto import address_of
from p2pnode.errors import UsageError
from p2pnode.keys import keystore
from p2pnode.keys.keystore import Purpose
from p2pnode.node.answers import (
    FINAL_STATES,
    AccountStatus,
    TransactionState,
    TransactionStatus,
)
from p2pnode.node.jsonform import Amount, to_json
from p2pnode.node.units import parse_duration
from p2pnode.types.transaction import Transaction, Transfer, sign_transaction

POLL_S: Final = 0.1
"""A transaction waited for is asked about this often."""


class NoKeyFileError(UsageError):
    """There is no key file to sign with."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"no key file {path}: `p2pnode keys generate {path}` makes one, and somebody has to"
            " send its account something first"
        )
        self.path = path


def help(arguments: Namespace, console: Console) -> int:
    """Say what can be done with transactions."""
    console.data(arguments.parser.format_help().rstrip())
    return ExitCode.USAGE


def send(arguments: Namespace, console: Console) -> int:
    """Sign a transfer and submit it."""
    try:
        timeout_s = parse_duration(arguments.timeout)
    except ValueError as error:
        console.error(f"--timeout {arguments.timeout!r}: {error}")
        return ExitCode.USAGE
    with connect(arguments) as client:
        transaction = _sign(arguments, client)
        (outcome,) = client.submit([transaction.raw])
        if not outcome.accepted:
            console.error(f"refused, {outcome.kind}: {outcome.message}")
            return ExitCode.FAILED
        found: TransactionStatus | None = None
        if arguments.wait:
            found = _wait(client, transaction.id, console, timeout_s)
        if console.json:
            state = None if found is None else to_json(TransactionStatus, found)
            console.document({"id": transaction.id.hex(), "status": state})
        else:
            console.data(transaction.id.hex())
        if arguments.wait:
            code = _verdict(found, timeout_s, console)
            if code is ExitCode.OK:
                to = transaction.actions[0].to.hex()
                console.next(f"p2pnode account {to}{place_options(arguments)}")
            return code
    console.next(f"p2pnode tx show {transaction.id.hex()}{place_options(arguments)}")
    return ExitCode.OK


def show(arguments: Namespace, console: Console) -> int:
    """Show how far a transaction has come."""
    try:
        id = bytes.fromhex(arguments.id.removeprefix("0x"))
    except ValueError:
        id = b""
    if len(id) != 32:
        console.error(f"{arguments.id!r} is no transaction id: 64 hex digits expected")
        return ExitCode.USAGE
    with connect(arguments) as client:
        found = client.transaction(id)
    if found is None:
        console.error(f"the node knows nothing of transaction {id.hex()}")
        return ExitCode.FAILED
    if console.json:
        console.document(to_json(TransactionStatus, found))
    else:
        rows: list[tuple[str, object]] = [("id", found.id), ("state", found.state.value)]
        if found.height is not None:
            rows.append(("height", found.height))
        if found.reason:
            rows.append(("reason", found.reason))
        if found.fee is not None:
            rows.append(("fee", found.fee))
        console.pairs(rows)
    if found.state not in FINAL_STATES:
        console.next(f"p2pnode tx show {found.id}{place_options(arguments)}")
    return ExitCode.OK


def account(arguments: Namespace, console: Console) -> int:
    """Show an account."""
    address = read_address(arguments.address)
    with connect(arguments) as client:
        found = client.account(address)
    if console.json:
        console.document(to_json(AccountStatus, found))
    else:
        rows: list[tuple[str, object]] = [("address", found.address), ("nonce", found.nonce)]
        balances = sorted(found.balances.items()) or [(0, Amount(0))]
        rows += [(f"asset {asset}", amount) for asset, amount in balances]
        rows.append(("at height", found.height))
        console.pairs(rows)
    place = place_options(arguments)
    console.next(f"p2pnode tx send --from KEYFILE --to {found.address} --amount N{place}")
    return ExitCode.OK


def _sign(arguments: Namespace, client: BlockingClient) -> Transaction:
    path = Path(arguments.sender).expanduser()
    if not path.is_file():
        raise NoKeyFileError(path)
    key = keystore.load(path, Purpose.ACCOUNT, Asked(arguments)).secret
    to = read_address(arguments.to)
    genesis = client.genesis()
    nonce: int | None = arguments.nonce
    if nonce is None:
        nonce = client.account(address_of(key.public)).nonce
    fee_limit: int | None = arguments.fee_limit
    if fee_limit is None:
        fee_limit = genesis.parameters["fee_base"] + genesis.parameters["fee_action"]
    valid_for = min(arguments.valid_for, genesis.parameters["validity_heights_max"])
    return sign_transaction(
        key,
        bytes.fromhex(genesis.chain),
        nonce=nonce,
        last_valid_height=client.status().height + valid_for,
        fee_limit=fee_limit,
        actions=(Transfer(arguments.asset, to, arguments.amount),),
    )


def _wait(
    client: BlockingClient, id: bytes, console: Console, timeout_s: float
) -> TransactionStatus | None:
    """Ask until the transaction is through, or for `timeout_s`; return what was known last."""
    until_s = console.clock() + timeout_s
    last: TransactionState | None = None
    while True:
        found = client.transaction(id)
        if found is not None and found.state is not last:
            last = found.state
            where = "" if found.height is None else f" at height {found.height}"
            console.say(f"{last.value}{where}")
        if (found is not None and found.state in FINAL_STATES) or console.clock() >= until_s:
            return found
        console.sleep(POLL_S)


def _verdict(found: TransactionStatus | None, timeout_s: float, console: Console) -> ExitCode:
    if found is not None and found.state in (
        TransactionState.EXECUTED,
        TransactionState.CERTIFIED,
    ):
        return ExitCode.OK
    if found is not None and found.state in FINAL_STATES:
        console.error(f"{found.state.value}: {found.reason or 'no reason known'}")
    else:
        state = "unknown to the node" if found is None else found.state.value
        console.error(f"not executed after {timeout_s:g} s: {state}")
    return ExitCode.FAILED
