"""A peer-to-peer edge network node: a pure core decides, a Trio shell acts, surfaces watch."""
