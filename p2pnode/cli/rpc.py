"""`p2pnode rpc`: any method of a node's API."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.places import connect


def rpc(arguments: Namespace, console: Console) -> int:
    """Call a method and print its result as JSON."""
    with connect(arguments) as client:
        console.document(client.raw(arguments.method, parameters(arguments.params)))
    return ExitCode.OK


def parameters(texts: list[str]) -> Any:
    """Return the parameters that arguments stand for.

    One list or object stands for all of them; else each argument is one, JSON or plain text.
    """
    values = [_value(text) for text in texts]
    if len(values) == 1 and isinstance(values[0], (list, dict)):
        return values[0]
    return values


def _value(text: str) -> Any:
    # An id of digits only is JSON, but no number: nobody means an integer of 64 digits.
    if len(text) == 64:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
