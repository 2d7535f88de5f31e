"""Replay recorded runs of other implementations through an engine's own `step`.

    python tools/replay_traces.py --engine simplex DIRECTORY

Each file (.json or .json.gz) holds the messages between the nodes of commonware's Rust Simplex
and the state that each honest node reported at the end. Every honest node is replayed alone: the
engine gets what that node received, in order, and must itself send what that node sent, and hold
the notarizations, nullifications and finalizations that it reported. This file counts no votes:
certificates are taken from the engine's effects alone.

The host's part comes from the trace: Build is answered with the payload that the node proposed,
Check with yes for a payload that it voted for, and its timers fire when it is about to be seen to
send a nullify, at the latest before what it receives takes it out of that view (a message is
recorded when it arrives, so the sender may have moved on by then). commonware asks its
application once more between a notarization and its use ("certify"); the engine does the same
with `EngineParameters.certify`.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from p2pnode.consensus.certs import CertScheme
from p2pnode.consensus.engine import (
    NS_PER_S,
    Broadcast,
    Build,
    Built,
    CancelTimer,
    Check,
    Checked,
    Demand,
    Draft,
    Effect,
    Engine,
    EngineParameters,
    Entered,
    Epoch,
    Event,
    Fired,
    Floor,
    Interest,
    Item,
    Msg,
    Send,
    SetTimer,
    Signed,
    genesis_floor,
)
from p2pnode.consensus.registry import load_engine
from p2pnode.consensus.simplex import votes
from p2pnode.consensus.simplex.votes import Kind, Proposal
from p2pnode.errors import P2PNodeError, RemoteProtocolError

CHAIN: Final = bytes(32)

Words: TypeAlias = tuple[bool, Kind, int, bytes]
"""What an item says: certificate or vote, kind, view, digest (empty in a nullify)."""

_KINDS: Final = {
    "Notarize": (False, Kind.NOTARIZE),
    "Nullify": (False, Kind.NULLIFY),
    "Finalize": (False, Kind.FINALIZE),
    "Notarization": (True, Kind.NOTARIZE),
    "Nullification": (True, Kind.NULLIFY),
    "Finalization": (True, Kind.FINALIZE),
}


class TraceError(Exception):
    """A file is not a trace."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message between two nodes."""

    sender: int
    receiver: int
    is_certificate: bool
    kind: Kind
    view: int
    parent: int
    digest: bytes
    signers: tuple[int, ...]

    @property
    def words(self) -> Words:
        return self.is_certificate, self.kind, self.view, self.digest


@dataclass(frozen=True, slots=True)
class Trace:
    """A file."""

    count: int
    epoch: int
    entries: tuple[Entry, ...]
    reported: dict[int, dict[Kind, dict[int, bytes]]]
    """By honest node and kind of certificate: view to digest (empty for a nullification)."""


def read_trace(path: Path) -> Trace:
    """Read a trace file.

    Raises:
        TraceError: Not such a file.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        document = json.loads(data)
        return Trace(
            document["n"],
            document["epoch"],
            tuple(_entry(entry) for entry in document["entries"]),
            {
                _index(name): _reported(state)
                for name, state in sorted(document["reporter_states"].items())
            },
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TraceError(f"{path.name}: not a trace: {error!r}") from error


def _index(name: str) -> int:
    return int(name.removeprefix("n"))


def _entry(entry: dict[str, Any]) -> Entry:
    ((what, message),) = entry.items()
    ((name, body),) = message["vote" if what == "Vote" else "cert"].items()
    is_certificate, kind = _KINDS[name]
    signers = body["signers"] if is_certificate else [body["sig"]]
    return Entry(
        _index(message["sender"]),
        _index(message["receiver"]),
        is_certificate,
        kind,
        body["view"],
        body.get("parent", 0),
        bytes.fromhex(body.get("block", "")),
        tuple(sorted(_index(signer) for signer in signers)),
    )


def _reported(state: dict[str, Any]) -> dict[Kind, dict[int, bytes]]:
    # `parent` is always 0 there, so only view and payload are compared.
    return {
        Kind.NOTARIZE: {
            int(v): bytes.fromhex(p["payload"]) for v, p in state["notarizations"].items()
        },
        Kind.NULLIFY: {int(v): b"" for v in state["nullifications"]},
        Kind.FINALIZE: {
            int(v): bytes.fromhex(p["payload"]) for v, p in state["finalizations"].items()
        },
    }


class Places:
    """Heights and parents, which the trace's votes do not carry."""

    def __init__(self, trace: Trace) -> None:
        self._parents: dict[int, int] = {}
        for entry in trace.entries:
            if entry.is_certificate and entry.kind is not Kind.NULLIFY:
                self._parents[entry.view] = entry.parent

    def height(self, parent: int) -> int:
        """Return the height of a payload built on view `parent`."""
        height = 1
        while parent > 0:
            height += 1
            parent = self._parents.get(parent, 0)
        return height

    def proposal(self, entry: Entry) -> Proposal:
        return Proposal(entry.view, entry.parent, self.height(entry.parent), entry.digest)


def _signature(signer: int, body: bytes) -> bytes:
    return hashlib.sha512(b"%d/" % signer + body).digest()


@dataclass(slots=True)
class Replay:
    """One honest node of a trace, played by an engine."""

    trace: Trace
    me: int
    engine: Engine
    now_ns: int = NS_PER_S
    view: int = 0
    timers: dict[object, int] = field(default_factory=dict)
    deferred: list[tuple[int, Item]] = field(default_factory=list)
    certify: dict[int, object] = field(default_factory=dict)
    """By view: open questions whether a notarized payload may be used."""
    sent: dict[Words, set[int]] = field(default_factory=dict)
    held: dict[Kind, dict[int, bytes]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _said: set[Words] = field(default_factory=set)
    _proposed: dict[int, bytes] = field(default_factory=dict)

    def run(self) -> list[str]:
        """Play the node; return what differs from the record."""
        trace = self.trace
        places = Places(trace)
        epoch = self._epoch()
        scheme = CertScheme(epoch)
        own = [entry for entry in trace.entries if entry.sender == self.me]
        self._said = {entry.words for entry in own}
        self._proposed = {
            entry.view: entry.digest for entry in own if entry.words[:2] == (False, Kind.NOTARIZE)
        }
        floor: Floor = genesis_floor(CHAIN)
        self._carry_out(self.engine.recover(self.now_ns, epoch, floor, ()))
        self._step(Demand(True))
        for entry in trace.entries:
            if entry.sender == self.me:
                self._provoke(entry)
            elif entry.receiver == self.me:
                item = self._item(entry, places, scheme)
                if item is not None:
                    self._receive(entry.sender, item)
        for entry in own:
            if entry.receiver not in self.sent.get(entry.words, ()):
                self._differ(f"did not send {_text(entry.words)} to n{entry.receiver}")
        for kind, expected in trace.reported[self.me].items():
            held = self.held.get(kind, {})
            for view in sorted({*expected, *held}):
                if expected.get(view) != held.get(view):
                    self._differ(
                        f"{kind.name} certificate of view {view}: reported "
                        f"{_short(expected.get(view))}, engine holds {_short(held.get(view))}"
                    )
        return self.problems

    def _differ(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _epoch(self) -> Epoch:
        return Epoch(
            chain=CHAIN,
            number=self.trace.epoch,
            validators=tuple((bytes([i]) * 32, 1) for i in range(self.trace.count)),
            me=self.me,
            first_height=1,
            last_height=1 << 40,
            # The proposer of view v is n[(epoch + v) mod n] in these runs.
            seed=self.trace.epoch.to_bytes(8, "big"),
        )

    def _item(self, entry: Entry, places: Places, scheme: CertScheme) -> Item | None:
        if not entry.is_certificate and entry.signers != (entry.sender,):
            return None  # its signature would not verify
        if entry.kind is Kind.NULLIFY:
            body = votes.nullify(entry.view)
        else:
            make = votes.notarize if entry.kind is Kind.NOTARIZE else votes.finalize
            body = make(places.proposal(entry))
        signed = [Signed(i, body, _signature(i, body)) for i in entry.signers]
        if not entry.is_certificate:
            return signed[0]
        return scheme.assemble(signed) if len(signed) >= scheme.quorum else None

    # --- the host ---------------------------------------------------------------------------------

    def _receive(self, sender: int, item: Item) -> None:
        view = self.view
        nullify: Words = (False, Kind.NULLIFY, view, b"")
        if nullify not in self._said or nullify in self.sent:
            self._offer(sender, item)
            return
        saved = self._state()
        self._offer(sender, item)
        if self.view > view and nullify not in self.sent:
            (self.engine, self.view, self.timers, self.deferred, self.certify) = saved[:5]
            self.sent, self.held, self.problems = saved[5:]
            self._fire_until(nullify)
            self._offer(sender, item)

    def _state(self) -> tuple[Any, ...]:
        return copy.deepcopy(
            (
                self.engine,
                self.view,
                self.timers,
                self.deferred,
                self.certify,
                self.sent,
                self.held,
                self.problems,
            )
        )

    def _offer(self, sender: int, item: Item) -> None:
        match self.engine.interest(item):
            case Interest.NOW:
                try:
                    type(self.engine).claims(item, self._epoch())
                except RemoteProtocolError:
                    return  # a Byzantine node's malformed item: every host drops it (H4)
                self._step(Msg(sender, item))
            case Interest.DEFER:
                self.deferred.append((sender, item))

    def _step(self, event: Event) -> None:
        self._carry_out(self.engine.step(self.now_ns, event))

    def _carry_out(self, effects: list[Effect]) -> None:
        answers: list[Event] = []
        for effect in effects:
            match effect:
                case Broadcast(item, _):
                    answers += self._send(tuple(range(self.trace.count)), item)
                case Send(to, item, _):
                    answers += self._send(to, item)
                case SetTimer(key, after_ns):
                    self.timers[key] = self.now_ns + after_ns
                case CancelTimer(key):
                    self.timers.pop(key, None)
                case Entered((int(view),)):
                    self.view = view
                    waiting, self.deferred = self.deferred, []
                    answers += [Msg(s, i) for s, i in waiting if self._wanted(s, i)]
                case Build(ctx=ctx):
                    if self.view in self._proposed:
                        answers.append(Built(ctx, self._proposed[self.view]))
                case Check(ctx=ctx, payload=payload):
                    answers += self._check(ctx, payload)
        for answer in answers:
            self._step(answer)

    def _wanted(self, sender: int, item: Item) -> bool:
        interest = self.engine.interest(item)
        if interest is Interest.DEFER:
            self.deferred.append((sender, item))
        return interest is Interest.NOW

    def _send(self, to: tuple[int, ...], item: Draft | Item) -> list[Event]:
        answers: list[Event] = []
        if isinstance(item, Draft):
            item = Signed(self.me, item.body, _signature(self.me, item.body))
            answers.append(Msg(self.me, item))
        is_certificate = isinstance(item, bytes)
        body = CertScheme(self._epoch()).decode(item).body if isinstance(item, bytes) else item.body
        ballot = votes.decode_body(body)
        digest = b"" if ballot.proposal is None else ballot.proposal.digest
        self.sent.setdefault((is_certificate, ballot.kind, ballot.view, digest), set()).update(to)
        if is_certificate:
            known = self.held.setdefault(ballot.kind, {}).setdefault(ballot.view, digest)
            if known != digest:
                self._differ(f"two {ballot.kind.name} certificates in view {ballot.view}")
        return answers

    def _check(self, ctx: object, payload: bytes) -> list[Event]:
        """Answer what the record answers; else leave the question open: pending is not no."""
        match ctx:
            case ("certify", int(view)):
                if self._finalizes(view, payload):
                    return [Checked(ctx, True)]
                self.certify[view] = ctx
            case ("check", int(view), _) if (False, Kind.NOTARIZE, view, payload) in self._said:
                return [Checked(ctx, True)]
        return []

    def _finalizes(self, view: int, payload: bytes) -> bool:
        return (False, Kind.FINALIZE, view, payload) in self._said

    # --- the record -------------------------------------------------------------------------------

    def _provoke(self, entry: Entry) -> None:
        """Give the engine the reason that the node had to send this, if it has not sent it yet."""
        if entry.words in self.sent or entry.is_certificate:
            return
        # It built or voted on a payload that it did not finalize, or went on to the view after: its
        # application had said yes.
        for view in sorted(self.certify):
            used = entry.kind is Kind.NOTARIZE and entry.parent == view
            if used or self.view <= view < entry.view:
                self._step(Checked(self.certify.pop(view), True))
        if entry.kind is Kind.NULLIFY:
            self._fire_until(entry.words)

    def _fire_until(self, words: Words) -> None:
        """Let the timers run out; they never fire early: the clock moves to each one."""
        for key, due_ns in sorted(self.timers.items(), key=lambda item: item[1]):
            if words not in self.sent and key in self.timers:
                del self.timers[key]
                self.now_ns = max(self.now_ns, due_ns)
                self._step(Fired(key))


def _text(words: Words) -> str:
    is_certificate, kind, view, digest = words
    return f"{'certificate ' if is_certificate else ''}{kind.name.lower()} {view} {_short(digest)}"


def _short(digest: bytes | None) -> str:
    return "none" if digest is None else digest.hex()[:8] or "∅"


def replay_file(path: Path, engine: type[Engine]) -> tuple[int, int, list[str]]:
    """Replay every honest node of a file.

    Returns:
        How many nodes were equal, how many there are, and what differed.
    """
    parameters = EngineParameters(
        delta_ns=NS_PER_S,
        block_interval_ns=0,
        # Nobody is skipped: when a node gave up waiting is the record's to say.
        skip_ns=1 << 62,
        relay_after_ns=0,
        certify=True,
        tail_views=1 << 20,
    )
    trace = read_trace(path)
    equal = 0
    problems: list[str] = []
    for me in trace.reported:
        try:
            found = Replay(trace, me, engine(parameters)).run()
        except (P2PNodeError, AssertionError) as error:
            found = [f"the engine refused: {error!r}"]
        equal += not found
        problems += [f"n{me}: {problem}" for problem in found]
    return equal, len(trace.reported), problems


def trace_files(directory: Path) -> Iterator[Path]:
    """Yield the trace files of a directory, by name."""
    for path in sorted(directory.iterdir()):
        if path.name.endswith((".json", ".json.gz")):
            yield path


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    parser = argparse.ArgumentParser(description="Replay recorded runs through an engine's step.")
    parser.add_argument("--engine", default="simplex", choices=["simplex"])
    parser.add_argument("directory", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    engine = load_engine(options.engine)
    equal_total = nodes_total = 0
    broken = False
    try:
        paths = list(trace_files(options.directory))
    except OSError as error:
        print(error, file=sys.stderr)
        paths = []
    for path in paths:
        try:
            equal, nodes, problems = replay_file(path, engine)
        except TraceError as error:
            print(error)
            broken = True
            continue
        print(f"{path.name}: {equal} of {nodes} nodes equal")
        for problem in problems:
            print(f"  {problem}")
        equal_total += equal
        nodes_total += nodes
    print(f"{equal_total} of {nodes_total} nodes equal")
    return 0 if equal_total == nodes_total > 0 and not broken else 1


if __name__ == "__main__":
    sys.exit(main())
