"""The commands about links: cut, heal, link, links."""

from __future__ import annotations

from typing import Any

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.errors import ConfigError
from p2pnode.net.links.profile import LinkProfile, profile_named
from testnet.cli.nodes import say_effect
from testnet.cli.request import request
from testnet.cli.screen import after_links, links_table
from testnet.folder import Folder, find


def cut(arguments: Any, console: Console) -> int:
    """Cut links, having said what that does to the quorum."""
    folder = find(arguments.name)
    message = {"command": "cut", **_nodes(arguments)}
    if arguments.halves is not None:
        if arguments.node:
            raise ConfigError("--halves takes all of its nodes itself")
        message["halves"] = [name for name in arguments.halves.split(",") if name]
    elif not arguments.node:
        raise ConfigError("name a node, the two ends of a link, or --halves NODE,…")
    return _act(folder, message, arguments, console, after="testnet heal")


def heal(arguments: Any, console: Console) -> int:
    """Undo cuts."""
    folder = find(arguments.name)
    message = {"command": "heal", **_nodes(arguments)}
    if arguments.all and arguments.node:
        raise ConfigError("--all heals every link: name no node")
    message["all"] = arguments.all
    message["last"] = not arguments.all and not arguments.node
    return _act(folder, message, arguments, console, after="testnet links")


def link(arguments: Any, console: Console) -> int:
    """Give links a profile."""
    folder = find(arguments.name)
    message = {"command": "link", **_nodes(arguments), "all": arguments.all, **_wish(arguments)}
    if bool(arguments.node) == arguments.all:
        raise ConfigError("name a node or the two ends of a link, or say --all")
    answer = request(folder, message)
    _show(answer, console)
    console.next("testnet links", "testnet link --all --clear")
    return ExitCode.OK


def links(arguments: Any, console: Console) -> int:
    """Show every link."""
    folder = find(arguments.name)
    rows = request(folder, {"command": "links"})["links"]
    if console.json:
        console.document(rows)
    else:
        console.data(links_table(rows))
    console.next(*after_links(rows))
    return ExitCode.OK


def _act(
    folder: Folder, message: dict[str, Any], arguments: Any, console: Console, *, after: str
) -> int:
    effect = request(folder, {"command": "effect", "action": message})["effect"]
    if arguments.dry_run:
        return say_effect(effect, console)
    console.tell(effect)
    _show(request(folder, message), console)
    console.next(after, "testnet status")
    return ExitCode.OK


def _show(answer: dict[str, Any], console: Console) -> None:
    if console.json:
        console.document({key: value for key, value in answer.items() if key != "ok"})
        return
    count = len(answer["changed"])
    console.data(f"{count} link{'s' * (count != 1)} changed (each direction is one)")


def _nodes(arguments: Any) -> dict[str, Any]:
    if arguments.one_way and len(arguments.node) != 2:
        raise ConfigError("--one-way needs the two ends of a link")
    return {"nodes": arguments.node, "one_way": arguments.one_way}


def _wish(arguments: Any) -> dict[str, Any]:
    """Return what the links shall be: a name, numbers, or neither."""
    numbers = (
        arguments.latency, arguments.jitter, arguments.loss, arguments.burst, arguments.rate
    )  # fmt: skip
    given = any(number is not None for number in numbers)
    if arguments.clear + (arguments.profile is not None) + given != 1:
        raise ConfigError("one of --clear, --profile NAME, or --latency, --loss, --rate … expected")
    if arguments.profile is not None:
        profile_named(arguments.profile)
        return {"profile": arguments.profile}
    if not given:
        return {}
    latency_ms = 1000 * (arguments.latency or 0.0)
    jitter_ms = 1000 * (arguments.jitter or 0.0)
    profile = LinkProfile(
        max(0.0, latency_ms - jitter_ms),
        latency_ms + jitter_ms,
        loss=arguments.loss or 0.0,
        rate_bytes_per_s=arguments.rate,
        loss_burst=arguments.burst or 1.0,
    )
    return {"numbers": profile.to_json()}
