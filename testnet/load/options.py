"""What a load generator is told, in a form that crosses a process boundary."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

TICK_S: Final = 0.05
"""Transactions are handed out this often."""

WINDOW: Final = 56
"""Most transactions of one sender on their way: nodes keep 64 nonces ahead."""

SETTLE_S: Final = 15.0
"""How long the end is waited for, after the last submission."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """A load."""

    rate_tx_s: float
    """Transactions a second."""
    seed: int
    """The testnet's."""
    chain: bytes
    """Chain id, 32 bytes."""
    nodes: tuple[tuple[str, str], ...]
    """(name, URL of its API) of the nodes that take transactions."""
    fee: int
    """What a transfer costs, in asset 0."""
    fee_base: int
    fee_action: int
    valid_heights: int
    """How far ahead a transaction's expiry is set."""
    for_s: float | None = None
    """How long to submit; None until stopped."""
    trace: Path | None = None
    """Recording to replay; None for transfers between test accounts."""
    first_repetition: int = 0
    """Earlier loads have used up the keys of the repetitions before."""
    funded_count: int = 0
    """Transfers of the recording, from its beginning, whose senders genesis has funded."""
    settle_s: float = SETTLE_S

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        body = asdict(self)
        body["chain"] = self.chain.hex()
        body["trace"] = str(self.trace) if self.trace is not None else None
        return body

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> LoadOptions:
        """Return the options that `to_json` wrote."""
        return cls(
            **{
                **body,
                "chain": bytes.fromhex(body["chain"]),
                "nodes": tuple((str(name), str(url)) for name, url in body["nodes"]),
                "trace": Path(body["trace"]) if body["trace"] is not None else None,
            }
        )


def genesis_transfers(rate_tx_s: float, for_s: float) -> int:
    """Return how many transfers of a recording genesis should fund for a load.

    A fifth more than the rate asks for, and what lies between transactions of a sender that waits
    for its earlier ones and those that are taken instead.
    """
    return int(rate_tx_s * for_s * 1.2) + LOOKAHEAD


LOOKAHEAD: Final = 3_000
"""Most transactions held back because their sender has too many on their way."""
