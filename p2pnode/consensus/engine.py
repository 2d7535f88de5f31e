"""The consensus plug: what an engine is, and what its host owes it.

An engine owns no socket, clock, random numbers, disk or private key. It orders payload *digests*;
the bytes behind them are the host's. The whole contract between the two:

H1  Events enter one at a time through `step`; `now_ns` never goes back; the same state, event and
    time give the same effects.
H2  Effects are carried out in list order. What came before a `Persist(sync=True)` must be on
    disk, itself included, before ANY later Send, Broadcast or Deliver of this or a later step
    takes effect; one fsync may cover many steps.
H3  The host signs. An outgoing `Draft` goes through the signer that guards against double signing
    (it uses only `slots` and `position`); the host appends the signed item to the same log as the
    Persist records and syncs it, sends it, and hands it back as an ordinary `Msg` of ours. Only
    incoming messages change an engine's state. A draft the signer refuses is dropped and never
    comes back.
H4  A `Msg` reaches `step` only after `interest` said NOW and every Claim of `claims` has been
    verified. A DEFERred item is kept, at most `EngineParameters.deferred_per_sender_max` a sender
    (the newest are dropped), and offered to `interest` again after every `Entered`.
H5  Events may be lost, repeated, delayed and reordered; timers may fire late, never early, and
    keys that were cancelled or replaced may still fire. Answers to Build, Check and Fetch may
    never come: pending is not no.
H6  After a crash: a new engine object, then `recover(now_ns, epoch, floor, records)` before any
    other event. `records` are, in the order in which they were written, the engine's own Persist
    records and the encoding (`encode_signed`) of every draft signed here, for this epoch. Records
    below the floor may be left out. The floor is the newest height whose proof is stored, or the
    last height of the epoch before. Events learned before the crash (Demand, Tune) are given
    again.

Anti-entropy is the host's part: it sends `summary()` on connect, every few seconds, when nothing
was delivered for a while, and to the hints of a Fetch that names certificates; a summary that
arrives enters as `Summary`, and the engine answers with the messages that the peer lacks.

The words of the contract stand in modules of their own, and are all imported from here: `epoch.py`
(frame and floor), `parameters.py`, `items.py` (what travels), `events.py` and `effects.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Protocol

from p2pnode.consensus.effects import (
    Behind,
    Broadcast,
    Build,
    CancelTimer,
    Certified,
    Check,
    Deliver,
    Effect,
    Entered,
    Fetch,
    Offence,
    Persist,
    Report,
    Send,
    SetTimer,
)
from p2pnode.consensus.epoch import (
    Digest,
    Epoch,
    Floor,
    Index,
    Key,
    Pos,
    genesis_floor,
)
from p2pnode.consensus.events import (
    Available,
    Built,
    Checked,
    Demand,
    Event,
    Fired,
    Msg,
    Summary,
    Synced,
    Tune,
)
from p2pnode.consensus.items import (
    SIGNED_BYTES_MAX,
    Claim,
    Draft,
    Interest,
    Item,
    MalformedItemError,
    Signed,
    TrafficClass,
    decode_signed,
    encode_signed,
)
from p2pnode.consensus.parameters import (
    NS_PER_S,
    EngineParameterError,
    EngineParameters,
)
from p2pnode.types.quorum import quorum_of

__all__ = [
    "NS_PER_S",
    "SIGNED_BYTES_MAX",
    "Available",
    "Behind",
    "Broadcast",
    "Build",
    "Built",
    "CancelTimer",
    "Certified",
    "Check",
    "Checked",
    "Claim",
    "Deliver",
    "Demand",
    "Digest",
    "Draft",
    "Effect",
    "Engine",
    "EngineParameterError",
    "EngineParameters",
    "Entered",
    "Epoch",
    "Event",
    "Fetch",
    "Fired",
    "Floor",
    "Index",
    "Interest",
    "Item",
    "Key",
    "MalformedItemError",
    "Msg",
    "Offence",
    "Persist",
    "Pos",
    "Report",
    "Send",
    "SetTimer",
    "Signed",
    "Summary",
    "Synced",
    "TrafficClass",
    "Tune",
    "decode_signed",
    "encode_signed",
    "genesis_floor",
    "quorum_of",
]


class Engine(Protocol):
    """A consensus engine; the module's docstring is the contract.

    The static methods work without an engine running: light clients, block sync, evidence and the
    signer use them. One object serves one epoch.
    """

    name: ClassVar[str]
    """Name of the entry point; part of the signing domain."""

    version: ClassVar[int]
    """Changes with the meaning of a body; part of the signing domain."""

    def __init__(self, parameters: EngineParameters) -> None: ...

    @staticmethod
    def tolerance(power_total: int) -> tuple[int, int]:
        """Return (voting power that may be faulty, quorum): 3f+1 and 5f+1 engines differ."""
        ...

    @staticmethod
    def slots(body: bytes) -> Mapping[Key, bytes]:
        """Return what a body commits its signer to: same key with another value, same signer, is
        an offence.

        Raises:
            RemoteProtocolError: Not a body of this engine.
        """
        ...

    @staticmethod
    def position(body: bytes) -> Pos:
        """Return where a body belongs, to prune the signer's table below the floor."""
        ...

    @staticmethod
    def claims(item: Item, epoch: Epoch) -> Sequence[Claim]:
        """List every signature inside an item, nested ones too.

        Raises:
            RemoteProtocolError: The item is malformed, has a signer out of range or twice, or too
                little or too much voting power for its kind.
        """
        ...

    @staticmethod
    def verify_proof(proof: bytes, epoch: Epoch, height: int, digest: Digest) -> Sequence[Claim]:
        """Return the claims which, all verified, make `digest` final at `height`.

        Raises:
            RemoteProtocolError: The proof is malformed, lacks a quorum, or is of something else.
        """
        ...

    def recover(
        self, now_ns: int, epoch: Epoch, floor: Floor, records: Iterable[bytes]
    ) -> list[Effect]:
        """Start the epoch, for the first time or after a crash (H6); called once, before anything
        else.
        """
        ...

    def interest(self, item: Item) -> Interest:
        """Tell what to do with an item before any signature is checked; cheap, changes nothing,
        never raises.
        """
        ...

    def step(self, now_ns: int, event: Event) -> list[Effect]:
        """Take one event. What a peer wrote (an item that passed H4, any summary) never makes it
        raise.
        """
        ...

    def summary(self) -> bytes:
        """Return, in under 1 kB, what we have and lack."""
        ...

    def held(self) -> int:
        """Return how many objects are retained; bounded whatever arrives."""
        ...

    def fingerprint(self) -> Digest:
        """Return a hash of the whole state, for lock-step replay."""
        ...
