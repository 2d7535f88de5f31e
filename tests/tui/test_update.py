from __future__ import annotations

from dataclasses import replace

import pytest

from p2pnode.telemetry.ring import LogRecord
from p2pnode.tui.app import Copy, Quit, Suspend, Tick
from p2pnode.tui.chrome import HISTORY_MAX
from p2pnode.tui.doctor import doctor
from p2pnode.tui.keys import Key, Paste
from p2pnode.tui.model import (
    LOG_MAX,
    Admin,
    Connecting,
    LinkState,
    LogCame,
    Lost,
    Model,
    PeerAction,
    ScreenName,
    StatusCame,
)
from p2pnode.tui.rows import copied, peers, records
from p2pnode.tui.update import update
from tests.tui.worlds import NOW_S, healthy, peer_of, stalled, status_at


def pressed(model: Model, *keys: str) -> tuple[Model, tuple[object, ...]]:
    """Return the model after keys, and what the last one wished."""
    wishes: tuple[object, ...] = ()
    for key in keys:
        model, wishes = update(model, Key(key))
    return model, wishes


def record(number: int, event: str = "block_finalized") -> LogRecord:
    return LogRecord(number, number * 100, "info", "node", event)


def test_digits_and_tabs_go_to_screens() -> None:
    model, _ = pressed(healthy(), "7")
    assert model.ui.screen is ScreenName.LOG
    assert pressed(model, "tab", "tab")[0].ui.screen is ScreenName.OVERVIEW
    assert pressed(model, "1", "shift-tab")[0].ui.screen is ScreenName.DEVICE


def test_an_attached_tui_quits_without_a_question_and_the_node_goes_on() -> None:
    assert pressed(healthy(), "q")[1] == (Quit(),)
    assert pressed(healthy(), "ctrl-c")[1] == (Quit(130),)
    assert pressed(healthy(), "ctrl-z")[1] == (Suspend(),)


@pytest.mark.parametrize("key", ["q", "ctrl-c"])
def test_inside_a_node_quitting_is_confirmed_since_it_stops_the_node(key: str) -> None:
    inside = replace(healthy(), inside=True)
    model, wishes = pressed(inside, key)
    assert wishes == ()
    assert model.ui.confirm is not None
    assert pressed(model, "y")[1] == (Quit(),)
    assert pressed(model, "ctrl-c")[1] == (Quit(),)
    kept, wishes = pressed(model, "n")
    assert (kept.ui.confirm, wishes) == (None, ())
    # No other key answers by accident, and suspending would stop the node as well.
    assert pressed(model, "enter") == (model, ())
    assert pressed(inside, "ctrl-z")[1] == ()


def test_a_peer_is_banned_only_after_a_yes_and_only_with_the_admin_socket() -> None:
    model, wishes = pressed(healthy(), "3", "down", "b")
    assert (model.ui.confirm, wishes) == (None, ())
    assert model.ui.toast is not None
    assert "--data DIR" in model.ui.toast.text
    owner = replace(healthy(), admin=Admin("/node/admin.sock"))
    asked, wishes = pressed(owner, "3", "down", "b")
    assert wishes == ()
    assert asked.ui.confirm is not None
    assert "5 of 7 votes are needed" in asked.ui.confirm.text
    assert pressed(asked, "y")[1] == (PeerAction("peers_ban", peer_of(2)),)
    assert pressed(asked, "n")[1] == ()
    asked, _ = pressed(owner, "3", "d")
    assert pressed(asked, "y")[1] == (PeerAction("peers_disconnect", peer_of(1)),)


def test_a_paused_screen_stands_still_while_data_goes_on() -> None:
    model, _ = pressed(healthy(), "p")
    later, _ = update(model, StatusCame(status_at(95), NOW_S + 5))
    later, _ = update(later, Tick(NOW_S + 5.1))
    assert later.status == model.status
    assert later.age_s == model.age_s
    assert later.data.status == status_at(95)
    resumed, _ = pressed(later, "p")
    assert resumed.status == status_at(95)


def test_a_filter_narrows_while_it_is_typed_and_escape_shows_all_again() -> None:
    model, _ = pressed(healthy(), "3", "/", *"node2")
    assert [row.name for row in peers(model)] == ["node2"]
    kept, _ = pressed(model, "enter")
    assert [row.name for row in peers(kept)] == ["node2"]
    assert len(peers(pressed(kept, "escape")[0])) == 6
    assert len(peers(pressed(model, "escape")[0])) == 6
    pasted, _ = update(pressed(healthy(), "3", "/")[0], Paste("node5\nq"))
    assert [row.name for row in peers(pasted)] == ["node5"]
    # Keys are text while a filter is typed: q does not quit.
    assert pressed(model, "q")[1] == ()


def test_the_log_has_levels_and_who_reads_back_keeps_the_place() -> None:
    model, _ = pressed(stalled(), "7")
    assert {r.level for r in records(model)} == {"info", "error"}
    assert {r.level for r in records(pressed(model, "l")[0])} == {"error"}
    back, _ = pressed(model, "k", "k", "k")
    lowest = records(back)[-1 - back.ui.back]
    grown, _ = update(back, LogCame((record(61), record(62))))
    assert records(grown)[-1 - grown.ui.back] == lowest
    assert pressed(grown, "f")[0].ui.back == 0


def test_a_log_that_begins_anew_is_taken_and_repeated_lines_are_not() -> None:
    model = Model(healthy().link)
    model, _ = update(model, LogCame(tuple(record(n) for n in range(1, 6))))
    model, _ = update(model, LogCame((record(4), record(5), record(6))))
    assert [r.number for r in model.data.log] == [1, 2, 3, 4, 5, 6]
    model, _ = update(model, LogCame((record(1, "node_ready"),)))
    assert [r.number for r in model.data.log] == [1, 2, 3, 4, 5, 6, 1]


def test_histories_are_bounded() -> None:
    model = Model(healthy().link)
    for second in range(HISTORY_MAX + 20):
        model, _ = update(model, StatusCame(status_at(second), NOW_S + second))
    assert len(model.data.samples) == HISTORY_MAX
    model, _ = update(model, LogCame(tuple(record(n) for n in range(1, LOG_MAX + 50))))
    assert len(model.data.log) == LOG_MAX


def test_rates_come_from_totals_and_a_restart_is_no_negative_rate() -> None:
    model = Model(healthy().link)
    model, _ = update(model, StatusCame(status_at(10), NOW_S))
    model, _ = update(model, StatusCame(status_at(12), NOW_S + 2))
    sample = model.data.samples[-1]
    assert 200 < sample.transactions_per_s < 400
    assert 0.1 < sample.cpu < 0.4
    restarted = status_at(0)
    model, _ = update(model, StatusCame(restarted, NOW_S + 3))
    assert model.data.samples[-1].transactions_per_s == 0
    assert model.data.samples[-1].cpu == 0


def test_a_node_that_is_called_in_vain_is_lost_since_it_was_lost() -> None:
    model, _ = update(healthy(), Lost("Connection refused", NOW_S + 1, NOW_S + 2))
    for now_s in (NOW_S + 2, NOW_S + 4, NOW_S + 8):
        model, _ = update(model, Connecting(now_s))
        # Nor does the reason go while it is called.
        assert "no connection" in doctor(model).text
        model, _ = update(model, Lost("Connection refused", now_s, now_s + 8))
    assert model.link.since_s == NOW_S + 1


def test_a_lost_node_keeps_its_data_which_grows_old_until_it_is_back() -> None:
    model = healthy()
    model, _ = update(model, Lost("Connection refused", NOW_S + 1, NOW_S + 2))
    model, _ = update(model, Connecting(NOW_S + 2))
    model, _ = update(model, Lost("Connection refused", NOW_S + 2, NOW_S + 3))
    model, _ = update(model, Tick(NOW_S + 7))
    assert model.status is not None
    assert model.age_s == pytest.approx(7)
    assert model.link.state is LinkState.LOST
    model, _ = update(model, StatusCame(status_at(99), NOW_S + 9))
    assert model.link.state is LinkState.LIVE
    assert model.age_s == 0


def test_what_is_copied_is_what_is_selected() -> None:
    model, wishes = pressed(healthy(), "3", "j", "j", "y")
    assert wishes == (Copy(peer_of(3)),)
    assert model.ui.toast is not None
    assert peer_of(3) in model.ui.toast.text
    found = copied(pressed(healthy(), "1")[0])
    assert found is not None
    assert found[0].startswith("hash of block")
    assert copied(Model(healthy().link)) is None


def test_a_toast_goes_away_by_itself() -> None:
    model, _ = pressed(healthy(), "y")
    model, _ = update(model, Tick(NOW_S + 60))
    assert model.ui.toast is None
