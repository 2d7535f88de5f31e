"""The network TUI: a testnet on one screen, and its faults under one's fingers.

`model`, `update`, `actions` and `view` are pure; `feed` and `perform` talk to the supervisor, and
`app` puts them together on the generic terminal layer (p2pnode/tui/app.py).
"""
