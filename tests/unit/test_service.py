"""A node as a process shows it."""

from __future__ import annotations

from unittest.mock import MagicMock

from p2pnode.api.view import NodeView
from p2pnode.service import MeasuredNode


def test_a_process_answers_every_question_that_the_api_may_ask() -> None:
    asked = {name for name in vars(NodeView) if not name.startswith("_")}
    assert {"banned", "peers", "log", "status"} <= asked
    shown = MeasuredNode(MagicMock(), MagicMock(), MagicMock())
    assert {name for name in asked if not hasattr(shown, name)} == set()
