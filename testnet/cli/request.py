"""The commands' side of the control socket: blocking, and free of an event loop."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from p2pnode.cli.exit_codes import ExitCode
from p2pnode.errors import P2PNodeError
from testnet.folder import Folder, all_folders, runs, usable_path

TIMEOUT_S: Final = 30.0


class NotRunningError(P2PNodeError):
    """There are files of the testnet, and no supervisor."""

    def __init__(self, folder: Folder) -> None:
        others = [f.name for f in all_folders(folder.path.parent) if runs(f)]
        hint = "`testnet up` starts one"
        if others:
            hint = f"there run: {', '.join(others)}; name one with --name"
        super().__init__(f"testnet {folder.name!r} does not run; {hint}")


class RequestFailedError(P2PNodeError):
    """The supervisor could not be reached, or refused."""

    def __init__(self, message: str, code: int = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
        """The exit code it comes to."""


class Connection:
    """A connection to a supervisor; used with `with`."""

    def __init__(self, folder: Folder, *, timeout_s: float | None = TIMEOUT_S) -> None:
        """Connect.

        Args:
            folder: The testnet.
            timeout_s: Longest wait for a line; None for ever.

        Raises:
            NotRunningError: It has no supervisor.
            RequestFailedError: The supervisor does not listen.
        """
        self._sock = socket.socket(socket.AF_UNIX)
        try:
            self._sock.connect(usable_path(folder.control))
        except OSError as error:
            self._sock.close()
            if not runs(folder):
                raise NotRunningError(folder) from None
            raise RequestFailedError(f"the supervisor does not listen: {error}") from None
        self._sock.settimeout(timeout_s)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sock.close()

    def ask(
        self, message: dict[str, Any], on_progress: Callable[[dict[str, int]], None] | None = None
    ) -> dict[str, Any]:
        """Send a request, and return its answer.

        Raises:
            RequestFailedError: The answer is an error, or the connection broke.
        """
        try:
            self._sock.sendall(json.dumps(message).encode() + b"\n")
            with self._sock.makefile("rb") as file:
                for line in file:
                    answer: dict[str, Any] = json.loads(line)
                    if "progress" not in answer:
                        break
                    if on_progress is not None:
                        on_progress(answer["progress"])
                else:
                    raise RequestFailedError("the supervisor has ended")
        except OSError as error:
            raise RequestFailedError(f"the supervisor does not answer: {error}") from None
        if "error" in answer:
            raise RequestFailedError(answer["error"], answer.get("exit", ExitCode.FAILED))
        return answer


def request(
    folder: Folder, message: dict[str, Any], *, timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Ask a testnet's supervisor one thing.

    Raises:
        NotRunningError: It has no supervisor.
        RequestFailedError: It refused, or could not be reached.
    """
    with Connection(folder, timeout_s=timeout_s) as connection:
        return connection.ask(message)
