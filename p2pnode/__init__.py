"""p2pnode: a peer-to-peer edge network on Trio and py-libp2p."""

from typing import Final

__version__: Final = "0.1.0"
"""Version of the package; pyproject.toml reads it from here."""
