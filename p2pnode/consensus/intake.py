"""Statements on their way into the pool: verified when others send them, fetched when a payload
lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from p2pnode.availability.certificate import certificate_claims as batch_claims
from p2pnode.consensus.evidence import evidence_claims
from p2pnode.consensus.host import EngineHost
from p2pnode.consensus.statements import StatementPool
from p2pnode.errors import RemoteProtocolError
from p2pnode.execution.results import verify_certificate_claims as result_claims
from p2pnode.sync.fetcher import STATEMENT, Fetcher
from p2pnode.types.chain import Chain
from p2pnode.types.desk import Desk
from p2pnode.types.effects import Lane, Write
from p2pnode.types.messages import Statements, encode_message
from p2pnode.types.statement import (
    BatchCertificate,
    Evidence,
    ResultCertificate,
    Statement,
    decode_statement,
)
from p2pnode.types.statement import digest_of as statement_digest


class StatementIntake:
    """Puts statements into a pool, none before its signatures are verified."""

    def __init__(
        self,
        chain: Chain,
        host: EngineHost,
        pool: StatementPool,
        desk: Desk,
        fetcher: Fetcher,
        *,
        waits: Callable[[Statement], None],
        kept: Callable[[], None],
    ) -> None:
        """Start with nothing on its way.

        Args:
            chain: Validator sets.
            host: Of the engine, for its epoch and its rules of evidence.
            pool: Where statements go.
            desk: Where questions and writes go.
            fetcher: Gets what is missing.
            waits: Is told of every statement that now waits to be ordered.
            kept: Called after every statement taken.
        """
        self._chain = chain
        self._host = host
        self._pool = pool
        self._desk = desk
        self._fetcher = fetcher
        self._waits = waits
        self._kept = kept
        self._verifying: dict[bytes, None] = {}

    def from_peer(self, peer: bytes, raw: bytes) -> None:
        """Take a statement that a peer sent; it is verified before it counts."""
        digest = statement_digest(raw)
        if self._pool.get(digest) is not None or digest in self._verifying:
            return
        self._accept(peer, digest, raw)

    def own(self, statement: Statement) -> None:
        """Take a statement we completed ourselves, and send it to all validators."""
        if isinstance(statement, Evidence) and not self._pool.is_news(
            statement, self._host.epoch.number
        ):
            return
        raw = statement.encode()
        self._keep(statement_digest(raw), raw, statement)
        self._desk.send(self._host.peers(None), Lane.PROPOSAL, encode_message(Statements((raw,))))

    def verified(self, digest: bytes, raw: bytes, statement: Statement) -> None:
        """Take a statement that came with a verified block: it is ordered, nothing waits for it."""
        if self._pool.get(digest) is None:
            self._desk.put(Write("statements", digest, raw))
            self._pool.add(digest, raw, statement)
        self._fetcher.arrived(STATEMENT + digest)

    def gather(
        self, items: tuple[bytes, ...], hints: Sequence[int], *, final: bool = False
    ) -> tuple[Statement, ...] | None:
        """Return the statements behind digests, or None while some are fetched.

        Args:
            items: The digests, as a payload lists them.
            hints: Validators that should have them.
            final: The payload is final, so they exist: never give up.
        """
        found: list[Statement] = []
        missing = False
        for digest in items:
            statement = self._pool.get(digest)
            if statement is not None:
                found.append(statement)
                continue
            missing = True
            if digest not in self._verifying:
                self._fetcher.want(
                    STATEMENT + digest,
                    self._host.peers(hints),
                    self._taker(digest),
                    final=final,
                )
        return None if missing else tuple(found)

    def _taker(self, digest: bytes) -> Callable[[bytes, bytes], bool]:
        return lambda peer, raw: self._accept(peer, digest, raw, listed=True)

    def _accept(self, peer: bytes, digest: bytes, raw: bytes, *, listed: bool = False) -> bool:
        """Verify a statement's signatures; returns False when it is malformed.

        Args:
            peer: Who sent it.
            digest: What was asked for, or its own.
            raw: Its bytes.
            listed: A payload lists it.
        """
        if statement_digest(raw) != digest:
            return False
        try:
            statement = decode_statement(raw)
            if not listed and not self._pool.is_news(statement, self._host.epoch.number):
                return True
            claims = self._claims(statement)
        except RemoteProtocolError as error:
            self._desk.penalize(peer, error.penalty, f"statement: {error}")
            return False
        self._verifying[digest] = None

        def verified(ok: tuple[bool, ...]) -> None:
            self._verifying.pop(digest, None)
            if all(ok):
                self._keep(digest, raw, statement, listed=listed)
            else:
                self._desk.penalize(peer, 50.0, "bad signature in a statement")

        self._desk.verify(claims, verified)
        return True

    def _claims(self, statement: Statement) -> list[tuple[bytes, bytes, bytes]]:
        match statement:
            case BatchCertificate():
                validators = self._chain.validators_of(statement.header.epoch)
                return batch_claims(statement, validators, self._chain.id)
            case ResultCertificate():
                validators = self._chain.validators_of(statement.result.epoch)
                return result_claims(statement, validators, self._chain.id)
            case Evidence():
                return evidence_claims(statement, self._chain, self._host)

    def _keep(
        self, digest: bytes, raw: bytes, statement: Statement, *, listed: bool = False
    ) -> None:
        self._fetcher.arrived(STATEMENT + digest)
        if self._pool.get(digest) is None:
            self._desk.put(Write("statements", digest, raw))
        if self._pool.add(digest, raw, statement, listed=listed):
            self._waits(statement)
        self._kept()
