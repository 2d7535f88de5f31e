"""The network TUI folds keys and answers: every action asks first, and states its effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from p2pnode.tui.app import Copy, Quit, Repaint, Suspend, Tick, Wish
from p2pnode.tui.keys import Key, Paste
from testnet.console.actions import effects
from testnet.console.model import (
    Action,
    Done,
    LogLine,
    LogsCame,
    Model,
    NetworkCame,
    Perform,
    Screen,
    SupervisorLost,
)
from testnet.console.update import update
from tests.tui.testnets import NOW_S, alone, cut, healthy, lost, partitioned, row, stalled, then


def type_keys(model: Model, *keys: str) -> tuple[Model, tuple[Wish, ...]]:
    wishes: tuple[Wish, ...] = ()
    for key in keys:
        model, more = update(model, Key(key))
        wishes += more
    return model, wishes


def asked(model: Model, *keys: str) -> str:
    """Return the effect that is stated when keys are typed, and nothing was done yet."""
    model, wishes = type_keys(model, *keys)
    assert not wishes
    assert model.ui.question is not None, model.ui.toast
    assert model.network is not None
    return effects(model.network, model.ui.question.options[model.ui.question.chosen].actions)


def done(model: Model, *keys: str) -> tuple[Action, ...]:
    """Return what is done when keys are typed and confirmed."""
    _, wishes = type_keys(model, *keys, "y")
    (wish,) = wishes
    assert isinstance(wish, Perform)
    return wish.actions


def after_done(model: Model, *keys: str) -> Model:
    model, wishes = type_keys(model, *keys, "y")
    (wish,) = wishes
    assert isinstance(wish, Perform)
    return update(model, Done(wish.actions, wish.undo, "", wish.undoes))[0]


def said(model: Model) -> str:
    assert model.ui.toast is not None
    return model.ui.toast.text


# --- actions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "effect"),
    [
        (("down", "k"), "Killing node1 leaves 6 of 7: blocks go on."),
        ((" ", " ", " ", "k"), "Killing node0, node1, node2 leaves 4 of 7, 5 needed: finality"),
        (("p",), "Pausing node0 leaves 6 of 7: blocks go on."),
        (("r",), "Ending node0 for the restart leaves 6 of 7: blocks go on."),
        (("c",), "Cutting all links of node0 leaves 6 of 7: blocks go on. node0 falls behind"),
        ((" ", " ", "c"), "Cutting node0-node1 leaves 7 of 7: blocks go on."),
        (("a", "c"), "Cutting the testnet in halves leaves 4 of 7, 5 needed: finality stops"),
        (("L",), ""),
        (("Q",), "Ends all 7 nodes and their supervisor."),
        (("l", "down", "down"), "12 links (each direction is one): 1-5 ms one way"),
    ],
)
def test_each_action_asks_first_and_states_its_effect(keys: Sequence[str], effect: str) -> None:
    model = healthy()
    assert model.network is not None
    model = then(model, load=replace(model.network.load, running=keys == ("L",)))
    told = asked(model, *keys)
    assert told.startswith(effect)
    assert told


def test_a_second_loss_is_told_before_it_stops_finality() -> None:
    model = healthy()
    assert model.network is not None
    gone = [replace(n, state="killed") if n.name == "node6" else n for n in model.network.nodes]
    told = asked(then(model, nodes=tuple(gone)), "k")
    assert "leaves 5 of 7: blocks go on. Losing any of" in told
    assert "too stops finality" in told


def test_the_effect_is_of_the_moment_and_not_of_the_question() -> None:
    model, _ = type_keys(healthy(), "k")
    assert model.network is not None
    gone = [replace(n, state="killed") if n.validator in (5, 6) else n for n in model.network.nodes]
    model = then(model, nodes=tuple(gone))
    assert model.network is not None
    assert model.ui.question is not None
    assert "finality stops" in effects(model.network, model.ui.question.options[0].actions)


@pytest.mark.parametrize("key", ["n", "escape", "q", "ctrl-c", "N"])
def test_a_question_can_be_left_without_doing_anything(key: str) -> None:
    model, wishes = type_keys(healthy(), "k", key)
    assert model.ui.question is None
    assert wishes == ()


def test_only_what_was_confirmed_is_done() -> None:
    assert done(healthy(), "down", "k") == (Action("kill", ("node1",)),)
    assert done(healthy(), " ", " ", "k") == (Action("kill", ("node0", "node1")),)
    (action,) = done(healthy(), " ", " ", "c", "2")
    assert action.pairs == (("node0", "node1"),)


def test_two_selected_nodes_offer_the_link_between_them_first() -> None:
    (action,) = done(healthy(), " ", " ", "c")
    assert (action.verb, action.pairs) == ("cut", (("node0", "node1"), ("node1", "node0")))


def test_a_paused_node_is_resumed_and_a_killed_one_is_not_killed_again() -> None:
    model = stalled()
    model = replace(model, ui=replace(model.ui, cursor=4))
    assert done(model, "p") == (Action("resume", ("node4",)),)
    model = replace(model, ui=replace(model.ui, cursor=2))
    assert "no process to kill" in said(type_keys(model, "k")[0])
    assert done(model, "r") == (Action("restart", ("node2",)),)


def test_heal_is_offered_for_all_cuts_or_for_the_selected() -> None:
    everything = asked(partitioned(), "h")
    assert "all cuts brings 7 of 7 together: blocks go on again" in everything
    model, _ = type_keys(partitioned(), " ", "h")
    assert model.ui.question is not None
    assert [option.label for option in model.ui.question.options] == [
        "the links of node0",
        "all cuts",
    ]


def test_without_a_cut_there_is_nothing_to_heal() -> None:
    assert "no link is cut" in said(type_keys(healthy(), "h")[0])


def test_a_testnet_of_one_has_no_links_to_cut_or_slow() -> None:
    for key in ("c", "l"):
        assert "one node has no links" in said(type_keys(alone(), key)[0])


def test_a_load_is_started_at_the_rate_that_was_typed() -> None:
    model = healthy()
    assert model.network is not None
    model = then(model, load=replace(model.network.load, running=False))
    (action,) = done(model, "L", "5", "0", "enter")
    assert (action.verb, action.rate_tx_s) == ("load", 50.0)
    model, wishes = type_keys(model, "L", "x", "enter")
    assert wishes == ()
    assert "is no rate" in said(model)


def test_regions_are_profiles_that_are_typed() -> None:
    model, _ = type_keys(healthy(), " ", " ", "l", "up", "y")
    assert model.ui.prompt is not None
    model, _ = type_keys(model, *"ireland-tokyo", "enter")
    assert model.ui.question is not None
    (action,) = model.ui.question.options[0].actions
    assert action.profile == "aws:ireland-tokyo"
    model, _ = type_keys(healthy(), "l", "up", "y", *"nowhere", "enter")
    assert "no link profile 'aws:nowhere'" in said(model)


def test_a_profile_slower_than_the_engine_waits_for_is_told() -> None:
    model = healthy()
    assert model.network is not None
    rows = []
    for node in model.network.nodes:
        assert node.status is not None
        consensus = replace(node.status.consensus, delta_max_s=0.2)
        rows.append(replace(node, status=replace(node.status, consensus=consensus)))
    model = then(model, nodes=tuple(rows))
    assert "slower than the engine ever waits for (0.2 s)" in asked(model, "l", "6")


def test_nothing_is_asked_of_a_supervisor_that_is_gone() -> None:
    model, wishes = type_keys(lost(), "k")
    assert wishes == ()
    assert model.ui.question is None
    assert "does not answer" in said(model)


# --- undo and what was seen -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "undone"),
    [
        (("k",), Action("restart", ("node0",))),
        (("p",), Action("resume", ("node0",))),
    ],
)
def test_undo_brings_back_what_was_killed_or_paused_here(
    keys: Sequence[str], undone: Action
) -> None:
    model = after_done(healthy(), *keys)
    assert model.network is not None
    state = "killed" if keys == ("k",) else "paused"
    gone = [replace(n, state=state) if n.name == "node0" else n for n in model.network.nodes]
    model = then(model, nodes=tuple(gone))
    assert done(model, "u") == (undone,)


def test_undo_heals_only_what_the_cut_has_cut() -> None:
    before = then(healthy(), links=cut(("node0",), ("node1",)))
    model = after_done(before, "c")
    model = then(model, links=cut(("node0",), tuple(f"node{i}" for i in range(1, 7))))
    (action,) = done(model, "u")
    assert action.verb == "heal"
    assert len(action.pairs) == 10
    assert ("node0", "node1") not in action.pairs


def test_undo_goes_back_step_by_step_and_skips_what_others_have_undone() -> None:
    model = after_done(after_done(healthy(), "k"), "down", "k")
    assert model.network is not None
    gone = [replace(n, state="killed") if n.name == "node0" else n for n in model.network.nodes]
    model = then(model, nodes=tuple(gone))
    assert done(model, "u") == (Action("restart", ("node0",)),)
    model = after_done(model, "u")
    assert model.ui.undo == ()
    assert "nothing was done here" in said(type_keys(model, "u")[0])


def test_what_was_done_is_said_and_then_what_was_seen() -> None:
    model = after_done(healthy(), "k")
    assert said(model) == "killed node0"
    assert model.network is not None
    rows = []
    for node in model.network.nodes:
        assert node.status is not None
        rows.append(replace(node, status=replace(node.status, height=node.status.height + 3)))
    model = then(model, nodes=tuple(rows))
    assert said(model) == "killed node0 · seen: height 825 → 828 in 1.0 s: blocks go on"


def test_a_stall_that_was_stated_is_said_to_be_seen() -> None:
    model = after_done(healthy(), " ", " ", " ", "k")
    for _ in range(6):
        model = then(model)
    assert "seen: nothing final for" in said(model)


def test_blocks_that_came_while_a_cut_was_made_do_not_hide_the_stall_after_it() -> None:
    model = after_done(healthy(), " ", " ", " ", "k")
    for _ in range(6):
        assert model.network is not None
        rows = []
        for node in model.network.nodes:
            assert node.status is not None
            stands = replace(node.status, height=828, last_block_age_s=4.5)
            rows.append(replace(node, status=stands))
        model = then(model, nodes=tuple(rows))
    assert "seen: nothing final for" in said(model)


def test_a_refusal_is_said() -> None:
    model, _ = update(healthy(), Done((), (), "node0 does not run (killed)"))
    assert said(model) == "node0 does not run (killed)"
    assert model.ui.undo == ()


def test_ending_the_testnet_ends_the_program() -> None:
    model, wishes = update(healthy(), Done((Action("end"),)))
    assert model.ended
    assert wishes == (Quit(),)


# --- moving, selecting, filtering -----------------------------------------------------------------


def test_space_all_ranges_and_the_others_select() -> None:
    assert type_keys(healthy(), " ", " ")[0].ui.selected == {"node0", "node1"}
    assert len(type_keys(healthy(), "a")[0].ui.selected) == 7
    assert type_keys(healthy(), "a", "a")[0].ui.selected == set()
    assert type_keys(healthy(), " ", "down", "v")[0].ui.selected == {"node0", "node1", "node2"}
    assert type_keys(healthy(), "shift-down", "shift-down")[0].ui.selected == {
        "node0",
        "node1",
        "node2",
    }
    assert len(type_keys(healthy(), " ", "i")[0].ui.selected) == 6
    assert type_keys(healthy(), "a", "escape")[0].ui.selected == set()


def test_the_cursor_stays_among_the_nodes() -> None:
    assert type_keys(healthy(), "up")[0].ui.cursor == 0
    assert type_keys(healthy(), "G")[0].ui.cursor == 6
    assert type_keys(healthy(), "G", "down", "home")[0].ui.cursor == 0
    assert type_keys(healthy(), "pagedown", "pageup")[0].ui.cursor == 0


def test_a_filter_narrows_the_list_and_what_actions_are_for() -> None:
    model, _ = type_keys(healthy(), "/", *"node5", "enter")
    assert [node.name for node in model.rows] == ["node5"]
    assert done(model, "k") == (Action("kill", ("node5",)),)
    assert len(type_keys(model, "escape")[0].rows) == 7


def test_digits_tab_and_enter_go_to_screens() -> None:
    for digit in "12345":
        assert type_keys(healthy(), digit)[0].ui.screen == int(digit)
    assert type_keys(healthy(), "tab")[0].ui.screen is Screen.LINKS
    assert type_keys(healthy(), "shift-tab")[0].ui.screen is Screen.NODE
    model, _ = type_keys(healthy(), "down", "enter")
    assert model.ui.screen is Screen.NODE
    assert model.current is not None
    assert model.current.name == "node1"
    assert type_keys(model, "escape")[0].ui.screen is Screen.NODES


def test_program_keys_are_wishes() -> None:
    assert type_keys(healthy(), "q")[1] == (Quit(),)
    assert type_keys(healthy(), "ctrl-c")[1] == (Quit(130),)
    assert type_keys(healthy(), "ctrl-l")[1] == (Repaint(),)
    assert type_keys(healthy(), "ctrl-z")[1] == (Suspend(),)
    assert type_keys(healthy(), "y")[1] == (Copy("http://127.0.0.1:41001"),)
    assert type_keys(healthy(), "?")[0].ui.help
    assert not type_keys(healthy(), "?", "escape")[0].ui.help


def test_pasted_text_goes_into_the_line_that_is_typed() -> None:
    model, _ = type_keys(healthy(), "/")
    model, _ = update(model, Paste("node3\nrm -rf"))
    assert model.filter == "node3"


# --- the log --------------------------------------------------------------------------------------


def texts(model: Model) -> list[str]:
    from testnet.console import logview

    return [f"{entry.node} {entry.event}" for entry in logview.shown(model)]


def test_the_log_is_filtered_by_node_level_event_and_text() -> None:
    model = healthy()
    assert len(texts(model)) == 60
    selected, _ = type_keys(model, " ", "3")
    assert {text.split()[0] for text in texts(selected)} == {"node0"}
    assert all("engine" in t for t in texts(type_keys(model, "3", "/", *"event:engine")[0]))
    assert all(t.startswith("node2") for t in texts(type_keys(model, "3", "/", *"node:node2")[0]))
    warnings, _ = type_keys(model, "3", "m")
    assert warnings.ui.level == "warning"
    assert len(texts(warnings)) == 15


def test_the_event_of_the_lowest_line_is_a_filter_and_goes_again() -> None:
    model, _ = type_keys(healthy(), "3", "e")
    assert model.filter == "event:peer_forgiven"
    assert type_keys(model, "e")[0].filter == ""


def test_a_log_that_is_looked_at_stands_still_until_it_is_followed() -> None:
    model, _ = type_keys(healthy(), "3", "up", "up")
    line = LogLine(1 << 50, "node1", "info", "later", "")
    model, _ = update(model, LogsCame((line,)))
    assert "node1 later" not in texts(model)
    model, _ = type_keys(model, "f")
    assert texts(model)[0] == "node1 later"


def test_lines_of_several_nodes_are_merged_by_time() -> None:
    model, _ = update(healthy(), LogsCame((LogLine(5, "node1", "info", "first", ""),), 3))
    assert model.log[0].event == "first"
    assert model.log_missed_count == 3


# --- the supervisor -------------------------------------------------------------------------------


def test_data_of_a_lost_supervisor_stays_and_grows_old() -> None:
    model, _ = update(healthy(), SupervisorLost("ended", NOW_S + 1))
    model, _ = update(model, Tick(NOW_S + 10))
    assert model.network is not None
    assert model.age_s == pytest.approx(10)
    assert model.lost is not None
    assert model.lost.since_s == NOW_S + 1
    back = replace(model.network, came_s=NOW_S + 11)
    assert update(model, NetworkCame(back))[0].lost is None


def test_a_tick_without_anything_new_draws_no_frame() -> None:
    model = healthy()
    assert update(model, Tick(model.now_s + 0.1))[0] is model


def test_a_restarted_node_has_no_cpu_of_its_life_before() -> None:
    model = healthy()
    assert model.network is not None
    again = replace(row(0, 2, NOW_S + 1), starts=2)
    model = then(model, nodes=(again, *model.network.nodes[1:]))
    assert model.histories["node0"].cpu[-1] == 0.0
    assert model.histories["node1"].cpu[-2] > 0.0
