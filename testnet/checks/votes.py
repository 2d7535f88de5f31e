"""Simplex's own invariants over the votes and certificates seen on the wire.

The watcher reads frames with a CBOR library of its own and knows the bodies from docs/wire.md; it
imports no engine. It trusts no signature either: it is fed by the medium, which knows who sent
what. What honest nodes send is held to the rules; of what others send, their own votes are noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cbor2

from testnet.checks.violation import Violation

_NOTARIZE, _NULLIFY, _FINALIZE = 1, 2, 3
_ENGINE_ITEM = 1


class VoteWatcher:
    """Collects votes by (epoch, view) and finds what no correct network shows."""

    def __init__(self, powers: tuple[int, ...], honest: tuple[int, ...]) -> None:
        """Watch a validator set.

        Args:
            powers: Voting power by index.
            honest: Indices of the nodes that keep the rules.
        """
        self._powers = powers
        self._honest = dict.fromkeys(honest)
        self._quorum = 2 * sum(powers) // 3 + 1
        self._votes: dict[tuple[int, int, int, int], bytes] = {}
        self._notarizers: dict[tuple[int, int, bytes], dict[int, None]] = {}
        self._checked: dict[bytes, None] = {}
        self._certificates: dict[tuple[int, int, int], bytes] = {}
        self._reported: dict[Violation, None] = {}
        self._last_frame = b""
        self.votes_count = 0
        self.certificates_count = 0

    def frame(self, sender: int, frame: bytes) -> None:
        """Look at a frame that a node sent; indices beyond the validators are observers'."""
        if frame == self._last_frame:
            return  # the same to another receiver
        self._last_frame = frame
        honest = sender in self._honest or sender >= len(self._powers)
        for message in _messages(frame, strict=honest):
            if message[0] != _ENGINE_ITEM:
                continue
            _, epoch, signed, certificate, _ = message
            if signed is not None:
                signer, body = signed[0], signed[1]
                if honest or signer == sender:
                    self._vote(epoch, signer, body)
            if certificate and honest:
                self._certificate(epoch, certificate)
            elif certificate:
                self._claimed(epoch, certificate)

    def violations(self) -> list[Violation]:
        """Return what was found so far, each once, in order."""
        for (epoch, view, kind), body in self._certificates.items():
            if kind == _FINALIZE:
                if (epoch, view, _NULLIFY) in self._certificates:
                    self._report(
                        "no nullification beside a finalization", f"epoch {epoch} view {view}"
                    )
                notarized = self._certificates.get((epoch, view, _NOTARIZE))
                if notarized is not None and _content(notarized) != _content(body):
                    self._report("finalized what was notarized", f"epoch {epoch} view {view}")
        return list(self._reported)

    def unchecked(self, digests: Sequence[bytes]) -> list[Violation]:
        """Return the payloads among `digests` that no honest node notarized: none had passed Check.

        With one validator nothing is sent, and nothing is known.
        """
        return [
            Violation("delivered what somebody honest checked", f"payload {digest.hex()[:12]}")
            for digest in digests
            if digest not in self._checked and len(self._powers) > 1
        ]

    def _vote(self, epoch: int, signer: int, body: bytes) -> None:
        self.votes_count += 1
        vote = _decode_vote(body)
        if vote is None:
            return
        kind, view = vote[:2]
        if kind == _NOTARIZE:
            self._notarizers.setdefault((epoch, view, vote[4]), {})[signer] = None
        if signer not in self._honest:
            return
        if kind == _NOTARIZE:
            self._checked[vote[4]] = None
        place = f"epoch {epoch} view {view} validator {signer}"
        known = self._votes.get((epoch, view, signer, kind))
        if known is None:
            self._votes[epoch, view, signer, kind] = body
            if kind == _FINALIZE:
                seen = self._notarizers.get((epoch, view, vote[4]), {})
                power = sum(self._powers[i] for i in seen)
                if power < self._quorum:
                    self._report("finalize only with the notarization", f"{place}: power {power}")
        elif known != body:
            self._report("one vote of a kind", f"{place} kind {kind}")
        if kind in (_NULLIFY, _FINALIZE):
            other = _FINALIZE if kind == _NULLIFY else _NULLIFY
            if (epoch, view, signer, other) in self._votes:
                self._report("not both nullify and finalize", place)

    def _certificate(self, epoch: int, certificate: bytes) -> None:
        self.certificates_count += 1
        body, bitmap, signatures = cbor2.loads(certificate)
        vote = cbor2.loads(body)
        kind, view = vote[:2]
        bits = int.from_bytes(bitmap, "little")
        signers = [i for i in range(bits.bit_length()) if bits >> i & 1]
        power = sum(self._powers[i] for i in signers if i < len(self._powers))
        if power < self._quorum or len(signatures) != 64 * len(signers):
            self._report("a certificate is a quorum", f"epoch {epoch} view {view}: power {power}")
        self._claimed(epoch, certificate)
        known = self._certificates.setdefault((epoch, view, kind), body)
        if known != body:
            self._report("one notarized payload a view", f"epoch {epoch} view {view} kind {kind}")

    def _claimed(self, epoch: int, certificate: bytes) -> None:
        """Note what adversaries may have notarized inside a certificate only."""
        try:
            body, bitmap, _ = cbor2.loads(certificate)
            bits = int.from_bytes(bitmap, "little")
        except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError):
            return
        vote = _decode_vote(body) if isinstance(body, bytes) else None
        if vote is not None and vote[0] == _NOTARIZE:
            seen = self._notarizers.setdefault((epoch, vote[1], vote[4]), {})
            for index in range(len(self._powers)):
                if bits >> index & 1 and index not in self._honest:
                    seen[index] = None

    def _report(self, check: str, detail: str) -> None:
        self._reported[Violation(check, detail)] = None


def _messages(frame: bytes, *, strict: bool) -> list[Any]:
    """Return a frame's messages; of an adversary's frame those that have the form of one."""
    if strict:
        messages: list[Any] = cbor2.loads(frame)
        return messages
    try:
        found = cbor2.loads(frame)
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError):
        return []
    if not isinstance(found, list):
        return []
    return [m for m in found if _is_engine_item(m)]


def _is_engine_item(message: Any) -> bool:
    match message:
        case [1, int(), None | [int(), bytes(), bytes()], bytes(), bytes()]:
            return True
    return False


def _decode_vote(body: bytes) -> list[Any] | None:
    """Return a simplex vote's fields, or None for another engine's or an adversary's body."""
    try:
        vote = cbor2.loads(body)
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError):
        return None
    match vote:
        case [1 | 3, int(), int(), int(), bytes()] | [2, int()]:
            return list(vote)
    return None


def _content(body: bytes) -> Any:
    return cbor2.loads(body)[1:]
