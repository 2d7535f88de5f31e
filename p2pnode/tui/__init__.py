"""Terminal surfaces: a generic full-screen program on Trio, and the screens of a node.

`terminal`, `keys`, `text`, `paint`, `theme`, `widgets` and `app` know nothing of nodes; everything
else here shows one. A program is a pure `update` and a pure `view`; `app` runs it.
"""
