"""Why is nothing final, or that all is well: one sentence with numbers, and what to do next.

`explain(situation)` is pure: what nodes say about themselves and what the caller knows of processes
and links go in, an `Explanation` comes out. What is the matter (`diagnosis`) and how it is said
(`sentences`) are apart, so that surfaces colour by kind and tests check kinds.
"""

from p2pnode.explain.diagnosis import diagnose
from p2pnode.explain.facts import (
    Condition,
    Diagnosis,
    Explanation,
    Kind,
    LinkFacts,
    NodeFacts,
    Severity,
    Situation,
)
from p2pnode.explain.sentences import next_step, sentence
from p2pnode.node.status import NodeStatus

__all__ = (
    "Condition",
    "Diagnosis",
    "Explanation",
    "Kind",
    "LinkFacts",
    "NodeFacts",
    "Severity",
    "Situation",
    "explain",
    "explain_node",
)


def explain(situation: Situation) -> Explanation:
    """Return what is the matter with a network."""
    found = diagnose(situation)
    return Explanation(
        kind=found.kind,
        severity=found.severity,
        sentence=sentence(found),
        next_step=next_step(found),
        nodes=found.nodes,
        facts=found,
    )


def explain_node(status: NodeStatus | None, *, name: str = "node") -> Explanation:
    """Return what is the matter as far as one node can tell.

    Args:
        status: What it says; None when it does not answer.
        name: What to call it then.
    """
    condition = Condition.ANSWERS if status is not None else Condition.SILENT
    facts = NodeFacts(name if status is None else status.name, status, condition)
    return explain(Situation((facts,)))
