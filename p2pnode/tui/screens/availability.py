"""Screen 4: the batches that this node keeps available."""

from __future__ import annotations

from p2pnode.tui.model import Model
from p2pnode.tui.screens.common import count, percent, ratio, size
from p2pnode.tui.text import Line, Size, Span, wrap
from p2pnode.tui.widgets import bar, heading, label


def availability(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    status = model.status
    assert status is not None
    kept = status.availability
    width = room.width
    scheme = kept.scheme or status.scheme
    ordered = max(0, kept.batches_count - kept.unordered_count)
    finished = kept.certified_count + kept.given_up_count
    wide = 16
    lines = [
        heading("kept here", width),
        label(
            "scheme", Span(scheme, "strong"), Span(f"  {_scheme_text(scheme)}", "dim"), width=wide
        ),
        label("rows", count(kept.rows_count), width=wide),
        label("batches", count(kept.batches_count), width=wide),
        label("size", size(kept.held_bytes), width=wide),
        label(
            "in blocks",
            bar(ratio(ordered, kept.batches_count), min(40, width // 3), "final"),
            f" {count(ordered)}",
            Span(f"  {count(kept.unordered_count)} in no final block yet", "dim"),
            width=wide,
        ),
        (),
        heading("batches of this node", width),
        label(
            "waiting",
            Span(count(kept.own_pending_count), "warn" if kept.own_pending_count > 8 else "strong"),
            Span("  for the signatures of a quorum", "dim"),
            width=wide,
        ),
        label(
            "certified",
            bar(ratio(kept.certified_count, finished), min(40, width // 3), "final"),
            f" {count(kept.certified_count)}",
            Span(f"  {percent(ratio(kept.certified_count, finished))} of those finished", "dim"),
            width=wide,
        ),
        label(
            "given up",
            Span(count(kept.given_up_count), "warn" if kept.given_up_count else "good"),
            width=wide,
        ),
        label(
            "equivocations",
            Span(count(kept.equivocations_count), "bad" if kept.equivocations_count else "good"),
            Span("  collators caught with two batches of one number", "dim"),
            width=wide,
        ),
        (),
        heading("sampling", width),
    ]
    text = (
        "Sampling has no code yet: with erasure-coded rows a light node will check here, with a few"
        " samples, that a batch can be rebuilt. Today each validator keeps whole batches, and"
        " signs that it does."
    )
    return lines + [(Span(part, "dim"),) for part in wrap(text, width, 4)]


def _scheme_text(scheme: str) -> str:
    return "whole batches, not coded: one row each" if scheme == "inline" else ""
