"""Every rule that is removed on purpose, and what has to notice."""

from __future__ import annotations

from typing import Final

from tests.mutants.harness import EXCEPTION, Mutant

SIMPLEX = "p2pnode/consensus/simplex/engine.py"
VOTING = "p2pnode/consensus/simplex/voting.py"
STOPPED = "node stopped by itself"
LIVENESS = ("liveness after healing", "every node at the same height", "nothing submitted is lost")
ASKED = "never asks to sign a second value"

MUTANTS: Final = (
    Mutant(
        "nullify-finalize-gate",
        "No correct validator sends both nullify(v) and finalize(c, v).",
        (
            (VOTING, "            and view.closed is None\n            and not view.equiv",
             "            and not view.equiv"),
        ),
        "slow",
        (ASKED, "not both nullify and finalize"),
    ),
    Mutant(
        "nullify-finalize-gate-unguarded",
        "The same without the guard of the key: the votes themselves are on the wire.",
        (
            (VOTING, "            and view.closed is None\n            and not view.equiv",
             "            and not view.equiv"),
            ("p2pnode/keys/safesigner.py", "if taken is not None and taken != value:",
             "if False:"),
        ),
        "slow",
        ("not both nullify and finalize",),
    ),
    Mutant(
        "engine-quorum",
        "A quorum is floor(2W/3)+1 of the power, not f+1.",
        (
            ("p2pnode/consensus/epoch.py", "return quorum_of(self.power_total())",
             "return self.power_total() // 3 + 1"),
        ),
        "plain",
        ("a certificate is a quorum",),
    ),
    Mutant(
        "duplicate-signer",
        "A signer counts once, however often its vote comes.",
        (
            ("p2pnode/consensus/tally.py",
             "        if first.body == vote.body or vote.sender in self._caught:\n",
             "        if first.body == vote.body:\n"
             "            self._power_by_body[vote.body] += self._powers[vote.sender]\n"
             "            return Counted.NEW\n"
             "        if vote.sender in self._caught:\n"),
            ("p2pnode/consensus/tally.py",
             "            return Counted.KNOWN\n        return Counted.CONFLICT\n\n    def power",
             "            return Counted.NEW\n        return Counted.CONFLICT\n\n    def power"),
        ),
        "kills",
        (STOPPED, "a certificate is a quorum", EXCEPTION),
    ),
    Mutant(
        "send-without-sync",
        "Nothing that was signed leaves before its record is on disk.",
        (
            ("p2pnode/node/shell.py", "                self._sync(records)\n",
             "                self._append(records)\n"),
        ),
        "crashes",
        ("one vote of a kind", "not both nullify and finalize", STOPPED, *LIVENESS),
    ),
    Mutant(
        "vote-durable-before-payload",
        "A vote in the log never names a payload that the store lost.",
        (
            ("p2pnode/node/shell.py",
             "        self._ports.store.commit((), sync=True)\n        self._append(records)\n"
             "        self._ports.log.sync()\n",
             "        self._append(records)\n        self._ports.log.sync()\n"),
        ),
        "crashes-alone",
        LIVENESS,
    ),
    Mutant(
        "old-log-unnoticed",
        "A log older than the store's mark is no memory.",
        (
            ("p2pnode/node/recovery.py", "return log.last_vote is None or log.last_vote < mark",
             "return False"),
        ),
        "old-log",
        ("one vote of a kind", "not both nullify and finalize", "double signature"),
    ),
    Mutant(
        "own-votes-forgotten",
        "The engine takes its own votes back from the log.",
        (
            (SIMPLEX,
             "if vote.sender != self._me or ballot.view <= self._views.floor_view:",
             "if True:"),
        ),
        "proposers-die",
        (ASKED, "one vote of a kind"),
    ),
    Mutant(
        "own-votes-forgotten-unguarded",
        "The same without the guard of the key.",
        (
            (SIMPLEX,
             "if vote.sender != self._me or ballot.view <= self._views.floor_view:",
             "if True:"),
            ("p2pnode/keys/safesigner.py", "if taken is not None and taken != value:",
             "if False:"),
        ),
        "proposers-die",
        ("one vote of a kind", "not both nullify and finalize"),
    ),
    Mutant(
        "skipped-views",
        "A proposal counts only when every view between it and its parent is nullified.",
        (
            (VOTING,
             "        if missing:\n            self._missing.wanted += tuple(missing)\n"
             "            return\n",
             "        if parent is None or parent.block is None:\n            return\n"),
        ),
        "hurried-skipper",
        ("agreement", "valid payloads", "parent links", STOPPED, *LIVENESS),
    ),
    Mutant(
        "check-always-ok",
        "A payload that breaks a rule gets no vote.",
        (
            ("p2pnode/consensus/judge.py",
             "        fault = payload_fault(payload, question, self._chain, epoch)\n",
             "        fault = None\n"),
        ),
        "bad-payload",
        ("valid payloads", STOPPED),
    ),
    Mutant(
        "usable-always-true",
        "A batch is stored and used only if its data is what its header says.",
        (
            ("p2pnode/availability/usable.py", "    if tx_root != header.tx_root:\n",
             "    if tx_root == b\"\":\n"),
        ),
        "void-packer",
        ("valid batches",),
    ),
    Mutant(
        "feed-sequence",
        "A batch is used only if its sequence is greater than the last of its feed.",
        (
            ("p2pnode/execution/executor.py",
             "        if not self.record.use_sequence(header.collator, header.sequence):\n",
             "        self.record.use_sequence(header.collator, header.sequence)\n"
             "        if False:\n"),
            ("p2pnode/execution/pipeline.py",
             "if executor is None or header.sequence <= executor.last_sequence(header.collator):",
             "if executor is None:"),
        ),
        "relister",
        ("results follow from the chain",),
    ),
    Mutant(
        "nonce",
        "A transaction executes only with its account's next nonce.",
        (
            ("p2pnode/execution/executor.py",
             "        if transaction.nonce != sender.nonce:\n", "        if False:\n"),
        ),
        "junk-packer",
        ("balances follow from the chain", "results follow from the chain", "executed once"),
    ),
    Mutant(
        "transaction-signature",
        "A transaction executes only with its sender's signature.",
        (
            ("p2pnode/execution/executor.py", "        if not ok:\n", "        if False:\n"),
        ),
        "junk-packer",
        ("balances follow from the chain", "results follow from the chain"),
    ),
    Mutant(
        "executed-height-forgotten",
        "A height executes once over all lives.",
        (
            ("p2pnode/execution/pipeline.py",
             'Write("meta", KEY_EXECUTED, block.height.to_bytes(8, "big"))',
             'Write("meta", b"elsewhere", block.height.to_bytes(8, "big"))'),
        ),
        "crashes",
        (STOPPED, "executed once"),
    ),
    Mutant(
        "one-signature-of-a-certificate",
        "Every signature of a certificate is checked.",
        (
            ("p2pnode/consensus/certs.py",
             "            for signer, sig in zip(self.signers, self.signatures, strict=True)\n"
             "        ]\n",
             "            for signer, sig in zip(self.signers, self.signatures, strict=True)\n"
             "        ][:1]\n"),
        ),
        "forger",
        ("valid finality proofs", "agreement", "finalized what was notarized", STOPPED, *LIVENESS),
    ),
    Mutant(
        "vote-signatures",
        "A vote counts only if its signature is valid.",
        (
            ("p2pnode/consensus/host.py", "            if not all(ok):\n",
             "            if False:\n"),
        ),
        "forger",
        ("valid finality proofs", "agreement", "finalized what was notarized", STOPPED, *LIVENESS),
    ),
    Mutant(
        "finalize-without-notarization",
        "finalize(c, v) only with the notarization of c.",
        (
            (VOTING,
             "            view.voted = votes.notarize(proposal)\n"
             "            self._emit(Broadcast(Draft(view.voted), TrafficClass.VOTE))\n",
             "            view.voted = votes.notarize(proposal)\n"
             "            self._emit(Broadcast(Draft(view.voted), TrafficClass.VOTE))\n"
             "            view.closed = votes.finalize(proposal)\n"
             "            self._emit(Broadcast(Draft(view.closed), TrafficClass.VOTE))\n"),
        ),
        "plain",
        ("finalize only with the notarization",),
    ),
    Mutant(
        "sync-without-proof",
        "Blocks from a peer count only under a proof that verifies.",
        (
            ("p2pnode/sync/catchup.py", "            if not all(ok):\n",
             "            if False:\n"),
        ),
        "straggler-and-liar",
        ("agreement", "valid finality proofs", STOPPED),
    ),
    Mutant(
        "result-quorum",
        "A result certificate is signed by more than two thirds.",
        (
            ("p2pnode/execution/results.py", "self._quorum = quorum_of_set(validators)",
             "self._quorum = sum(v.power for v in validators) // 3 + 1"),
            ("p2pnode/execution/results.py", "    quorum = quorum_of_set(validators)\n",
             "    quorum = sum(v.power for v in validators) // 3 + 1\n"),
        ),
        "plain",
        ("valid statements",),
    ),
    Mutant(
        "batch-quorum",
        "A batch certificate is signed by more than two thirds.",
        (
            ("p2pnode/availability/dispersal.py", "quorum=quorum_of_set(validators)",
             "quorum=sum(v.power for v in validators) // 3 + 1"),
            ("p2pnode/availability/certificate.py",
             "choose_signers(signatures, powers, quorum_of_set(validators))",
             "choose_signers(signatures, powers, sum(powers) // 3 + 1)"),
            ("p2pnode/availability/certificate.py", "    quorum = quorum_of_set(validators)\n",
             "    quorum = sum(v.power for v in validators) // 3 + 1\n"),
        ),
        "plain",
        ("valid statements",),
    ),
    Mutant(
        "evidence-of-nothing",
        "Evidence is two bodies that no correct node signs both.",
        (
            ("p2pnode/consensus/evidence.py",
             "return batch_evidence_claims(e, validators, chain.id)", "pass"),
            ("p2pnode/consensus/evidence.py",
             "    if e.signing_kind == host.kind:\n", "    elif False:\n"),
            ("p2pnode/consensus/evidence.py",
             "        if (a.chain, a.epoch, a.uid, a.height) != (b.chain, b.epoch, b.uid, "
             "b.height):\n", "        if a == b:\n"),
        ),
        "framer",
        ("only the guilty are accused", "valid statements"),
    ),
)  # fmt: skip

IN_MAKE_TEST: Final = (
    "engine-quorum",
    "finalize-without-notarization",
    "nullify-finalize-gate-unguarded",
    "one-signature-of-a-certificate",
    "send-without-sync",
)
"""The most important ones; the others take `make chaos`."""
