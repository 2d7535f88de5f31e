"""`python -m p2pnode`: the same as the command `p2pnode`."""

from __future__ import annotations

import sys

from p2pnode.cli.main import main

sys.exit(main())
