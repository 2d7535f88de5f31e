"""`python -m testnet`."""

from __future__ import annotations

import sys

from testnet.cli.main import main

sys.exit(main())
