"""Simplex's own invariants over the votes and certificates seen on the wire.

The watcher reads frames with a CBOR library of its own and knows the bodies from docs/wire.md; it
imports no engine. It trusts no signature either: it is fed by the medium, which knows who sent what,
and looks only at votes a node sent as its own and at certificates.
"""

from __future__ import annotations

from typing import Any

import cbor2

from testnet.checks.violation import Violation

_NOTARIZE, _NULLIFY, _FINALIZE = 1, 2, 3


class VoteWatcher:
    """Collects votes by (epoch, view) and finds what no correct network shows."""

    def __init__(self, powers: tuple[int, ...], honest: tuple[int, ...]) -> None:
        """Watch a validator set.

        Args:
            powers: Voting power by index.
            honest: Indices whose votes must keep the rules.
        """
        self._powers = powers
        self._honest = dict.fromkeys(honest)
        self._quorum = 2 * sum(powers) // 3 + 1
        self._votes: dict[tuple[int, int, int, int], bytes] = {}
        self._certificates: dict[tuple[int, int, int], bytes] = {}
        self._reported: dict[Violation, None] = {}
        self.votes_count = 0
        self.certificates_count = 0

    def frame(self, sender: int, frame: bytes) -> None:
        """Look at a frame that validator `sender` sent."""
        for message in cbor2.loads(frame):
            if message[0] == 1:
                _, epoch, signed, certificate, _ = message
                if signed is not None:
                    self._vote(epoch, signed[0], signed[1])
                if certificate:
                    self._certificate(epoch, certificate)

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

    def _vote(self, epoch: int, signer: int, body: bytes) -> None:
        self.votes_count += 1
        if signer not in self._honest:
            return
        kind, view = cbor2.loads(body)[:2]
        known = self._votes.setdefault((epoch, view, signer, kind), body)
        if known != body:
            self._report(
                "one vote of a kind", f"epoch {epoch} view {view} validator {signer} kind {kind}"
            )
        if kind in (_NULLIFY, _FINALIZE):
            other = _FINALIZE if kind == _NULLIFY else _NULLIFY
            if (epoch, view, signer, other) in self._votes:
                self._report(
                    "not both nullify and finalize", f"epoch {epoch} view {view} validator {signer}"
                )

    def _certificate(self, epoch: int, certificate: bytes) -> None:
        self.certificates_count += 1
        body, bitmap, signatures = cbor2.loads(certificate)
        kind, view = cbor2.loads(body)[:2]
        bits = int.from_bytes(bitmap, "little")
        signers = [i for i in range(bits.bit_length()) if bits >> i & 1]
        power = sum(self._powers[i] for i in signers)
        if power < self._quorum or len(signatures) != 64 * len(signers):
            self._report("a certificate is a quorum", f"epoch {epoch} view {view}: power {power}")
        known = self._certificates.setdefault((epoch, view, kind), body)
        if known != body:
            self._report("one notarized payload a view", f"epoch {epoch} view {view} kind {kind}")

    def _report(self, check: str, detail: str) -> None:
        self._reported[Violation(check, detail)] = None


def _content(body: bytes) -> Any:
    return cbor2.loads(body)[1:]
