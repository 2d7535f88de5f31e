"""Structured logs: events with snake_case names, as JSON lines in a file and as text on stderr.

`configure` comes before anything imports libp2p, which sets up logging of its own on import.
Records of other libraries go to the same places, as the event `library_message`; ours without a
name of their own as `message`.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final, TextIO

import structlog

from p2pnode.telemetry.harmless import harmless
from p2pnode.telemetry.ring import LogRing

LEVELS: Final = ("debug", "info", "warning", "error")
"""Levels of logs, ascending."""

ROOT: Final = "p2pnode"
"""Name of the logger under which all of ours are."""

_EVENT_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_VALUE_LENGTH_MAX: Final = 2048
"""Longest text in a log line: what peers send us must not fill the disk."""

_LIBRARIES: Final = ("libp2p", "hypercorn", "httpx", "httpcore", "multiaddr", "asyncio")
"""Libraries whose records below warnings are noise."""


_ORDINARY: Final = (("libp2p.transport.tcp.tcp", "Failed to open TCP stream: "),)
"""What a library calls an error and peers do every day, by logger and beginning of the message.

A dial that is refused: that peer is not up yet, or not any more. The dialler counts it and comes
back, and the status says who is missing; as an error it would stand in the log of every healthy
start, and teach people to overlook errors.
"""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Where logs go, and how much of them."""

    file: Path | None = None
    """JSON lines, appended; None for no file."""
    level: str = "info"
    """Least level logged: debug, info, warning or error."""
    console: TextIO | None = None
    """Text for people; None for none. Usually sys.stderr."""
    file_bytes_max: int = 16 << 20
    """The file is rotated at this size."""
    files_max: int = 5
    """Most files, the current one too."""
    ring: LogRing | None = None
    """Keeps the newest records in memory; None for no such memory."""


def configure(options: LogOptions, **context: object) -> None:
    """Set up logging for the process; a second call replaces the first.

    Args:
        options: Where to, and how much.
        context: Values on every line, such as `node="node0"`.
    """
    handlers: list[logging.Handler] = []
    if options.file is not None:
        options.file.parent.mkdir(parents=True, exist_ok=True)
        file = logging.handlers.RotatingFileHandler(
            options.file,
            mode="a",
            maxBytes=options.file_bytes_max,
            backupCount=options.files_max - 1,
            encoding="utf-8",
            errors="backslashreplace",
        )
        file.setFormatter(_LineFormatter(json_line, context))
        handlers.append(file)
    if options.console is not None:
        console = logging.StreamHandler(options.console)
        console.setFormatter(_LineFormatter(text_line, {}))
        handlers.append(console)
    if options.ring is not None:
        handlers.append(_RingHandler(options.ring))
    if not handlers:
        # Functions such as logging.warning, which libp2p calls, give an empty root logger a handler
        # for stderr, in the middle of the screen.
        nowhere = logging.NullHandler()
        nowhere.setFormatter(_LineFormatter(text_line, {}))
        handlers.append(nowhere)
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, _LineFormatter):
            root.removeHandler(old)
            old.close()
    for handler in handlers:
        root.addHandler(handler)
    # A log that can't be written (disk full) must not print a traceback a line.
    logging.raiseExceptions = False
    for name, _ in _ORDINARY:
        # The same object again and again is added once.
        logging.getLogger(name).addFilter(_demote)
    structlog.configure(
        processors=[_to_record],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    set_level(options.level)


def set_level(name: str) -> None:
    """Log from a level on; loggers that exist follow.

    Args:
        name: One of `LEVELS`.
    """
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger().setLevel(level)
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(max(level, logging.WARNING))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


def get_logger(name: str, **context: object) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of a part of the node, such as `consensus`.

    Args:
        name: The part.
        context: Values on each of its lines.
    """
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(
        f"{ROOT}.{name}", **context
    )
    return logger


def release_libraries() -> None:
    """Let records of libp2p reach our handlers; call after it was imported.

    Importing it switches its propagation off, so its warnings would be lost.
    """
    logger = logging.getLogger("libp2p")
    logger.propagate = True


# --- from events to lines -----------------------------------------------------------------------


def _to_record(
    _: object, __: str, event: structlog.typing.EventDict
) -> tuple[tuple[object, ...], dict[str, Any]]:
    """Hand an event to the standard library's handlers, whole."""
    name = event.pop("event")
    assert isinstance(name, str), name
    assert _EVENT_NAME.fullmatch(name), f"event name {name!r} is not snake_case"
    error = event.pop("exc_info", None)
    return (name,), {"extra": {"p2pnode_fields": dict(event)}, "exc_info": error}


def _demote(record: logging.LogRecord) -> bool:
    """Turn what is ordinary into a record for debugging; a filter of loggers."""
    message = record.getMessage()
    if any(record.name == name and message.startswith(begin) for name, begin in _ORDINARY):
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger().isEnabledFor(logging.DEBUG)
    return True


class _LineFormatter(logging.Formatter):
    """Turns records, ours and those of libraries, into lines."""

    def __init__(self, write: Any, context: Mapping[str, object]) -> None:
        super().__init__()
        self._write = write
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, object] | None = getattr(record, "p2pnode_fields", None)
        if fields is None:
            own = record.name.startswith(f"{ROOT}.")
            event = "message" if own else "library_message"
            fields = {"message": record.getMessage()}
        else:
            event = str(record.msg)
        shown = {**self._context, **fields}
        if record.exc_info and record.exc_info[0] is not None:
            shown["traceback"] = self.formatException(record.exc_info)
        line: str = self._write(
            record.created,
            record.levelname.lower(),
            record.name.removeprefix(f"{ROOT}."),
            event,
            shown,
        )
        return line


class _RingHandler(logging.Handler):
    """Puts records into a ring."""

    def __init__(self, ring: LogRing) -> None:
        super().__init__()
        self._ring = ring
        self.setFormatter(_LineFormatter(self._add, {}))

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)

    def _add(
        self, time_s: float, level: str, logger: str, event: str, fields: Mapping[str, object]
    ) -> str:
        self._ring.add(time_s, level, logger, event, {k: _plain(v) for k, v in fields.items()})
        return ""


def json_line(
    time_s: float, level: str, logger: str, event: str, fields: Mapping[str, object]
) -> str:
    """Return the JSON line of an event; names of its own fields never hide the first four."""
    line: dict[str, object] = {
        "time": datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "logger": logger,
        "event": event,
    }
    for key, value in fields.items():
        if key == "traceback":
            # The end says what happened.
            value = str(value)[-_VALUE_LENGTH_MAX:]
        line[key if key not in line else f"{key}_"] = _plain(value)
    return harmless(json.dumps(line, ensure_ascii=False, separators=(", ", ": ")))


def text_line(
    time_s: float, level: str, logger: str, event: str, fields: Mapping[str, object]
) -> str:
    """Return the line of an event for people: clock, level, event, then `name=value`."""
    clock = datetime.fromtimestamp(time_s).astimezone().strftime("%H:%M:%S.%f")[:12]
    traceback = fields.get("traceback")
    parts = [f"{clock} {level:<7} {event}"]
    parts += [f"{key}={_bare(_plain(v))}" for key, v in fields.items() if key != "traceback"]
    text = " ".join(parts)
    return harmless(f"{text}\n{traceback}" if traceback else text)


def _plain(value: object) -> Any:
    """Return a value as JSON has it: bytes in hex, texts cut to their limit."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes):
        return _cut(value.hex())
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _VALUE_LENGTH_MAX else text[: _VALUE_LENGTH_MAX - 1] + "…"


def _bare(value: Any) -> str:
    """Return a value for a text line, quoted where a space or a control character is in it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    plain = text.isprintable() and " " not in text and text != ""
    return text if plain or not isinstance(value, str) else json.dumps(text, ensure_ascii=False)


def default_console(enabled: bool) -> TextIO | None:
    """Return stderr where console logs are wanted, else None."""
    return sys.stderr if enabled else None
