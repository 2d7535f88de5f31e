"""What a terminal sends, as keys: a parser of bytes without I/O.

Bytes come in pieces of any size; an escape sequence may be split anywhere. A lone escape can't be
told from the start of a sequence until some silence has followed it: then the caller says `flush`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

SEQUENCE_BYTES_MAX: Final = 64
"""A longer control sequence is dropped."""
STRING_BYTES_MAX: Final = 1024
"""A longer answer of the terminal is dropped."""
PASTE_BYTES_MAX: Final = 4096
"""More of what is pasted is dropped."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was pressed."""

    name: str
    """The character itself, or `enter`, `up`, `f1`, `ctrl-c`, `alt-x`, `shift-tab`."""

    @property
    def text(self) -> str:
        """The character it types; empty when it types none."""
        return self.name if len(self.name) == 1 else ""


@dataclass(frozen=True, slots=True)
class Paste:
    """Text that was pasted, where the terminal tells it from typing."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the terminal itself answered to a question."""

    kind: str
    """`osc`: a setting, such as a colour; `attributes`: what it is; `state`: it has come so far."""
    text: str


Typed: TypeAlias = Key | Paste | Reply

_ESC: Final = 0x1B
_PASTE_END: Final = b"\x1b[201~"
_CONTROLS: Final = {
    0x00: "ctrl-space",
    0x08: "backspace",
    0x09: "tab",
    0x0A: "enter",
    0x0D: "enter",
    0x1C: "ctrl-\\",
    0x1D: "ctrl-]",
    0x1E: "ctrl-^",
    0x1F: "ctrl-_",
    0x7F: "backspace",
}
_LETTERS: Final = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "E": "begin",
    "F": "end",
    "H": "home",
    "M": "enter",
    "P": "f1",
    "Q": "f2",
    "R": "f3",
    "S": "f4",
}
_NUMBERS: Final = {
    1: "home",
    2: "insert",
    3: "delete",
    4: "end",
    5: "pageup",
    6: "pagedown",
    7: "home",
    8: "end",
    11: "f1",
    12: "f2",
    13: "f3",
    14: "f4",
    15: "f5",
    17: "f6",
    18: "f7",
    19: "f8",
    20: "f9",
    21: "f10",
    23: "f11",
    24: "f12",
}
_MODIFIERS: Final = ((4, "ctrl-"), (2, "alt-"), (1, "shift-"))


class KeyParser:
    """Turns the bytes of a terminal into keys."""

    def __init__(self) -> None:
        """Begin between two keys."""
        self._buffer = bytearray()
        self._paste: bytearray | None = None
        self._flushed = False
        self._skipping = False
        """Inside a string that was too long."""

    @property
    def pending(self) -> bool:
        """Whether something has begun that silence would end: say `flush` after some."""
        return bool(self._buffer) and self._paste is None

    def feed(self, data: bytes) -> list[Typed]:
        """Take what came; return what is complete by now."""
        self._buffer += data
        self._flushed = False
        found: list[Typed] = []
        while self._buffer:
            if self._paste is not None:
                if not self._take_paste(found):
                    break
                continue
            count, typed = self._take()
            if count == 0:
                break
            del self._buffer[:count]
            if typed is not None:
                found.append(typed)
        return found

    def flush(self) -> list[Typed]:
        """Nothing came for a while: return what was begun as the keys it must have been."""
        if not self._buffer or self._paste is not None:
            return []
        buffer = bytes(self._buffer)
        if len(buffer) > 2 or self._skipping:
            # An answer in two packets gets a second chance; else its rest would be read as keys.
            if self._flushed:
                self._buffer.clear()
                self._skipping = False
            self._flushed = True
            return []
        self._buffer.clear()
        if buffer == b"\x1b":
            return [Key("escape")]
        if buffer[0] == _ESC and 0x20 < buffer[1] < 0x7F:
            return [Key(f"alt-{chr(buffer[1])}")]
        return []

    def _take(self) -> tuple[int, Typed | None]:
        """Return (bytes used, what they mean) of the buffer's start; 0 bytes: it goes on."""
        buffer = self._buffer
        if self._skipping:
            return self._take_string(0)
        if buffer[0] != _ESC:
            return _plain(buffer, 0)
        if len(buffer) == 1:
            return 0, None
        second = buffer[1]
        if second == _ESC:
            return 1, Key("escape")
        if second == ord("["):
            return self._take_sequence()
        if second == ord("O"):
            if len(buffer) == 2:
                return 0, None
            if buffer[2] < 0x20 or buffer[2] > 0x7E:
                return 2, Key("alt-O")
            name = _LETTERS.get(chr(buffer[2]))
            return 3, Key(name) if name is not None else None
        if second in b"]P_^X":
            return self._take_string(2)
        count, typed = _plain(buffer, 1)
        if count == 0:
            return 0, None
        alt = Key(f"alt-{typed.name}") if isinstance(typed, Key) else None
        return count + 1, alt

    def _take_sequence(self) -> tuple[int, Typed | None]:
        """Read a control sequence: parameters, then a final letter."""
        buffer = self._buffer
        for index in range(2, len(buffer)):
            byte = buffer[index]
            if index >= SEQUENCE_BYTES_MAX or not 0x20 <= byte <= 0x7E:
                return index, None
            if byte < 0x40:
                continue
            parameters = buffer[2:index].decode("ascii")
            if byte == ord("[") and not parameters:
                # The Linux console's F1 to F5 have one letter more.
                if len(buffer) < 4:
                    return 0, None
                number = buffer[3] - ord("A")
                return 4, Key(f"f{number + 1}") if 0 <= number < 5 else None
            if parameters == "200" and byte == ord("~"):
                self._paste = bytearray()
                return index + 1, None
            return index + 1, _sequence(parameters, chr(byte))
        return 0, None

    def _take_string(self, begin: int) -> tuple[int, Typed | None]:
        """Read a string of the terminal, up to BEL or ESC backslash."""
        buffer = self._buffer
        for index in range(begin, len(buffer)):
            byte = buffer[index]
            ended = index + 1 if byte == 0x07 else 0
            if byte == _ESC:
                if index + 1 == len(buffer):
                    break
                # Another escape than the end gives the string up.
                ended = index + 2 if buffer[index + 1] == ord("\\") else index
            if not ended and byte != _ESC:
                continue
            whole = not self._skipping and buffer[1] == ord("]")
            whole = whole and index - begin <= STRING_BYTES_MAX and ended != index
            self._skipping = False
            if not whole:
                return ended, None
            return ended, Reply("osc", buffer[begin:index].decode("ascii", "replace"))
        if len(buffer) > STRING_BYTES_MAX:
            # All but a last escape, which may be half of the end.
            self._skipping = True
            return len(buffer) - (buffer[-1] == _ESC), None
        return 0, None

    def _take_paste(self, found: list[Typed]) -> bool:
        assert self._paste is not None
        end = self._buffer.find(_PASTE_END)
        # What may be the beginning of the end stays.
        ready = end if end >= 0 else max(0, len(self._buffer) - len(_PASTE_END) + 1)
        room = PASTE_BYTES_MAX - len(self._paste)
        self._paste += self._buffer[: min(ready, room)]
        del self._buffer[:ready]
        if end < 0:
            return False
        del self._buffer[: len(_PASTE_END)]
        found.append(Paste(self._paste.decode("utf-8", "ignore")))
        self._paste = None
        return True


def _plain(buffer: bytearray, begin: int) -> tuple[int, Typed | None]:
    """Read one character or control character."""
    byte = buffer[begin]
    if byte < 0x20 or byte == 0x7F:
        return 1, Key(_CONTROLS.get(byte) or f"ctrl-{chr(byte + 0x60)}")
    if byte < 0x80:
        return 1, Key(chr(byte))
    length = 2 if 0xC2 <= byte < 0xE0 else 3 if 0xE0 <= byte < 0xF0 else 4
    if not 0xC2 <= byte < 0xF5:
        return 1, None
    for index in range(begin + 1, begin + length):
        if index == len(buffer):
            return 0, None
        if not 0x80 <= buffer[index] < 0xC0:
            return index - begin, None
    text = bytes(buffer[begin : begin + length]).decode("utf-8", "ignore")
    return length, Key(text) if text.isprintable() and text else None


def _sequence(parameters: str, final: str) -> Typed | None:
    """Return what a control sequence means; None when it is none of ours."""
    if final == "c" and parameters.startswith("?"):
        return Reply("attributes", parameters[1:])
    if final == "n" and parameters in ("0", "3"):
        return Reply("state", parameters)
    if final == "Z":
        return Key("shift-tab")
    numbers = [int(part) if part.isdecimal() else 0 for part in parameters.split(";")]
    name = _NUMBERS.get(numbers[0]) if final == "~" else _LETTERS.get(final)
    if name is None:
        return None
    held = numbers[1] - 1 if len(numbers) > 1 else 0
    prefix = "".join(word for bit, word in _MODIFIERS if held > 0 and held & bit)
    return Key(prefix + name)
