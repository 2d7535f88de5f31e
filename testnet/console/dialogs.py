"""What lies over a screen: the question with its effect, and the help. Pure."""

from __future__ import annotations

from typing import Final

from p2pnode.tui.text import Line, Size, Span, cut, line, pad, wrap
from p2pnode.tui.widgets import box, window
from testnet.console.actions import effects
from testnet.console.model import Model, Question

WIDTH_MAX: Final = 88

KEYS: Final[tuple[tuple[str, str], ...]] = (
    ("1 to 5  tab", "go to a screen, to the next one"),
    ("up  down  g  G", "move; with shift, select on the way"),
    ("space  a  v  i", "select: one, all, a range, the others; esc clears"),
    ("enter", "the node under the cursor in full; esc back"),
    ("k  p  r", "kill, pause or resume (also s), restart the selected"),
    ("c  h  l", "cut, heal, give links a profile"),
    ("L  u", "start or stop a load; undo what you did"),
    ("/", "filter; on 3 also event:x node:x level:x"),
    ("m  e  space  f", "on 3: least level, this event only, pause, follow"),
    ("y", "copy what is under the cursor"),
    ("ctrl-l  ctrl-z", "paint anew, suspend"),
    ("q", "quit; the testnet goes on"),
    ("Q", "end the testnet; asks first"),
)


def help_box(width: int) -> list[Line]:
    """Return the keys."""
    width = min(width, 76)
    lines: list[Line] = [line(Span(pad(keys, 17), "key"), text) for keys, text in KEYS]
    return box("keys", lines, width)


def question_box(model: Model, question: Question, room: Size) -> list[Line]:
    """Return a question; the effect of what is chosen stands in it before it is done."""
    width = min(room.width, WIDTH_MAX)
    inner = width - 4
    option = question.options[question.chosen]
    network = model.network
    effect = (
        "type a name" if network is None or not option.actions else effects(network, option.actions)
    )
    told = wrap(effect, inner, max(1, min(5, room.height - 8)))
    lines: list[Line] = []
    if len(question.options) > 1:
        shown = max(1, room.height - len(told) - 6)
        first = window(question.chosen, len(question.options), shown)
        for place, entry in enumerate(question.options[first : first + shown], first):
            chosen = place == question.chosen
            text = f"{place + 1} {entry.label}" if place < 9 else f"  {entry.label}"
            mark = "▸ " if chosen else "  "
            style = "selected" if chosen else "text"
            lines.append(line(Span(mark, "key"), Span(pad(cut(text, inner - 2), inner - 2), style)))
        lines.append(())
    lines += [(Span(part, "strong"),) for part in told]
    keys = line(Span("y enter", "key"), " do it   ", Span("n esc", "key"), " leave it")
    if len(question.options) > 1:
        keys = line(keys, Span("   up down", "key"), " choose")
    return box(question.title, [*lines, (), keys], width, "warn")
