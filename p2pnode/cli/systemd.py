"""The systemd unit of a node: unprivileged, and shut off from what it does not need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOMES: Final = (Path("/home"), Path("/root"))
"""Folders that services do not see (ProtectHome), but for what is bound into them."""

STATE: Final = Path("/var/lib")
"""Folders directly under it are made by systemd, for the service's user."""


@dataclass(frozen=True, slots=True)
class UnitOptions:
    """What differs from machine to machine."""

    command: tuple[str, ...]
    """Absolute path of the program, and arguments before `run`."""
    data: Path
    """The node's folder, absolute."""
    user: str
    code: tuple[Path, ...] = ()
    """Folders the program is loaded from: those in somebody's home are shown to the service."""
    passphrase_file: Path | None = None
    """Handed to the node as a credential; only root needs to be able to read it."""


def render(options: UnitOptions) -> str:
    """Return the content of the unit file."""
    lines = [
        "# Written by `p2pnode service install`; changes belong into a drop-in:"
        " `systemctl edit p2pnode`.",
        "[Unit]",
        "Description=p2pnode, a node of a peer-to-peer edge network",
        "Wants=network-online.target",
        "After=network-online.target time-sync.target",
        "StartLimitIntervalSec=10min",
        "StartLimitBurst=10",
        "",
        "[Service]",
        # The node says when its API answers and peers can connect.
        "Type=notify",
        f"ExecStart={_command((*options.command, 'run', '--data', str(options.data)))}",
        f"User={options.user}",
        f"Group={options.user}",
        "UMask=0077",
        "Restart=on-failure",
        "RestartSec=5s",
        # Mistakes in the arguments do not go away by trying again.
        "RestartPreventExitStatus=2",
        "TimeoutStartSec=10min",
        "TimeoutStopSec=15s",
        "LimitNOFILE=16384",
    ]
    if options.data.parent == STATE:
        lines += [f"StateDirectory={options.data.name}", "StateDirectoryMode=0700"]
    else:
        lines.append(f"ReadWritePaths={_quoted(str(options.data))}")
    if options.passphrase_file is not None:
        lines += [
            f"LoadCredential=passphrase:{str(options.passphrase_file).replace('%', '%%')}",
            "Environment=P2PNODE_PASSPHRASE_FILE=%d/passphrase",
        ]
    lines += ["", "# No rights that a node does not need.", *_hardening(options)]
    lines += ["", "[Install]", "WantedBy=multi-user.target", ""]
    return "\n".join(lines)


def _hardening(options: UnitOptions) -> Sequence[str]:
    shown = [path for path in options.code if in_home(path)]
    home = ["ProtectHome=yes"]
    if shown or in_home(options.data):
        # Homes are replaced by empty folders, into which only these are put.
        home = ["ProtectHome=tmpfs"]
        home += [f"BindReadOnlyPaths={_quoted(str(path))}" for path in shown]
        if in_home(options.data):
            home.append(f"BindPaths={_quoted(str(options.data))}")
    return (
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "ProtectSystem=strict",
        *home,
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "ProtectProc=invisible",
        "RemoveIPC=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
        "SystemCallErrorNumber=EPERM",
        "KeyringMode=private",
    )


def in_home(path: Path) -> bool:
    """Tell whether a path lies in a folder that ProtectHome hides."""
    return any(path.is_relative_to(home) for home in HOMES)


def _command(words: Sequence[str]) -> str:
    # `:` before the program would keep `$` from being read; doubling it does so word by word.
    return " ".join(_quoted(word.replace("$", "$$")) for word in words)


def _quoted(word: str) -> str:
    """Return a word as unit files have it, `%` and all."""
    word = word.replace("%", "%%")
    if word and not any(c.isspace() or c in "\"'\\;" for c in word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
