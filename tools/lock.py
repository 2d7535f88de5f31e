"""Write requirements.lock anew: the newest versions pyproject.toml allows, with their hashes.

Runs pip-tools in a throw-away environment of the running Python, which has to be 3.11, the oldest
one: what it needs is a superset of what the newer ones do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"


def main() -> int:
    if sys.version_info[:2] != (3, 11):
        print(f"tools/lock.py: needs Python 3.11, this is {sys.version}", file=sys.stderr)
        return 2
    # A folder of wheels built here would put hashes into the lock that nobody else can match.
    env = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    env["CUSTOM_COMPILE_COMMAND"] = "python tools/lock.py"
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", "pip-tools>=7.5"], check=True)
        subprocess.run(
            [
                *(python, "-m", "piptools", "compile", "--quiet", "--generate-hashes"),
                *("--no-emit-index-url", "--no-emit-find-links", "--no-config"),
                *("--strip-extras", "--allow-unsafe", "--extra", "dev"),
                *(["--upgrade"] if "--upgrade" in sys.argv[1:] else []),
                *("--output-file", str(LOCK), "pyproject.toml"),
            ],
            cwd=ROOT,
            env=env,
            check=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
