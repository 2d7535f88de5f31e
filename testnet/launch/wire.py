"""Messages between the supervisor, the fork server and their children.

The supervisor and the fork server exchange length-prefixed JSON over a socket pair; a request to
start a process carries one descriptor, the child's end of its own channel. On a channel both sides
write lines of JSON. A channel's end of file tells a child that its supervisor is gone.
"""

from __future__ import annotations

import json
import socket
from typing import Any, Final

MESSAGE_BYTES_MAX: Final = 4 << 20

_HEAD_BYTES: Final = 4


def encode(message: Any) -> bytes:
    """Return a message with its length in front."""
    body = json.dumps(message, separators=(",", ":")).encode()
    assert len(body) <= MESSAGE_BYTES_MAX, len(body)
    return len(body).to_bytes(_HEAD_BYTES, "big") + body


class Decoder:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        """Start empty."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Take bytes in; return the messages complete now."""
        self._buffer += data
        found = []
        while len(self._buffer) >= _HEAD_BYTES:
            end = _HEAD_BYTES + int.from_bytes(self._buffer[:_HEAD_BYTES], "big")
            if len(self._buffer) < end:
                break
            found.append(json.loads(bytes(self._buffer[_HEAD_BYTES:end])))
            del self._buffer[:end]
        return found


def line(message: Any) -> bytes:
    """Return a message as a line of JSON."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def send_with_descriptor(sock: socket.socket, message: Any, descriptor: int) -> None:
    """Send a message and a descriptor with it."""
    data = encode(message)
    sent = socket.send_fds(sock, [data], [descriptor])
    if sent < len(data):
        sock.sendall(data[sent:])
