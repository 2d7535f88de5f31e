"""Make .venv from requirements.lock, with nothing but a system Python; run by the Makefile.

Says everything on stderr. Ends with the exact command when something only the reader may install
is missing. Runs again only when the lock, pyproject.toml or the interpreter has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".ready"
LOG = VENV / "install.log"
LOCK = ROOT / "requirements.lock"
PYPROJECT = ROOT / "pyproject.toml"

PYTHON_MIN = (3, 11)
PYTHON_BELOW = (3, 14)

# libp2p needs fastecdsa, which has no wheel for most systems: it compiles against Python and GMP.
# Each Debian package stands beside a C program that only works once it is there.
PROBES = {
    "libc6-dev": ("#include <stdlib.h>\nint main(void) { return 0; }\n", []),
    "libgmp-dev": ("#include <gmp.h>\nint main(void) { return 0; }\n", ["-lgmp"]),
    "python3-dev": ("#include <Python.h>\nint main(void) { return 0; }\n", []),
}

# Installed first, so that building takes nothing that the lock does not name.
BUILD_TOOLS = ("packaging==", "setuptools==", "wheel==")

# Homebrew's folder on Apple silicon is not on the compiler's path.
HOMEBREW = [Path("/opt/homebrew"), Path("/usr/local")]


def say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


def stop(text: str) -> None:
    say(text)
    sys.exit(1)


def ask(python: str, code: str) -> str | None:
    """Return what the interpreter prints for the code, or None where it fails."""
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find_python() -> str:
    """Return the first interpreter that p2pnode runs on: this one, else one on the PATH."""
    seen = []
    for name in (sys.executable, "python3.11", "python3.12", "python3.13", "python3"):
        path = shutil.which(name)
        if path is None:
            continue
        version = ask(path, "import sys; print('%d.%d' % sys.version_info[:2])")
        if version is None:
            continue
        if PYTHON_MIN <= tuple(int(part) for part in version.split(".")) < PYTHON_BELOW:
            return path
        seen.append(f"{path} is {version}")
    stop(f"needs Python 3.11, 3.12 or 3.13; found {', '.join(seen) or 'none'}")
    raise AssertionError("unreachable")


def compiles(cc: str, program: str, flags: list[str], include: str) -> bool:
    """Tell whether the C program compiles and links."""
    command = [cc, "-x", "c", "-", "-I", include, *flags, "-o", os.devnull]
    return subprocess.run(command, input=program, capture_output=True, text=True).returncode == 0


def missing_packages(python: str) -> list[str]:
    """Return the Debian packages whose work is not done by anything here, in a fixed order."""
    missing = []
    if ask(python, "import ensurepip, venv") is None:
        missing.append("python3-venv")
    cc = shutil.which("gcc") or shutil.which("cc")
    if cc is None:
        # Without a compiler the rest cannot be tried; asking for a package twice does no harm.
        return [*missing, "gcc", *PROBES]
    include = ask(python, "import sysconfig; print(sysconfig.get_path('include'))") or "."
    return missing + [
        package
        for package, (program, flags) in PROBES.items()
        if not compiles(cc, program, flags, include)
    ]


def require_system(python: str) -> dict[str, str]:
    """See that the system can build the lock, and return what to add to pip's environment."""
    if platform.system() == "Darwin":
        for folder in HOMEBREW:
            if (folder / "include" / "gmp.h").exists():
                return {"CFLAGS": f"-I{folder}/include", "LDFLAGS": f"-L{folder}/lib"}
        stop("GMP is missing; run:  brew install gmp")
    missing = missing_packages(python)
    if not missing:
        return {}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if shutil.which("apt-get") is None:
        stop(f"missing (Debian's names; use your system's): {' '.join(missing)}")
    if os.geteuid() != 0:
        commands = f"sudo apt-get update && sudo {' '.join(install)}"
        stop(f"system packages are missing; run:  {commands}")
    say(f"installing {' '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], install):
        if subprocess.run(command, stdout=2, env=env).returncode != 0:
            stop(f"`{' '.join(command)}` failed; set-up needs: {' '.join(missing)}")
    still = missing_packages(python)
    if still:
        stop(f"still missing for {python} after installing: {' '.join(still)}")
    return {}


def pip(arguments: list[str], extra: dict[str, str], total: int) -> None:
    """Run the environment's pip, counting packages on a terminal; show its words if it fails."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", *arguments]
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", **extra}
    terminal = sys.stderr.isatty()
    collected = 0
    lines = []
    with LOG.open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            lines.append(line)
            collected += line.startswith("Collecting ")
            if terminal and line.startswith(("Collecting ", "Building ", "Installing ")):
                counter = f"{min(collected, total)}/{total}"
                sys.stderr.write(f"\r\033[Ksetup: {counter} {line.strip()[:60]}")
                sys.stderr.flush()
        code = process.wait()
    if terminal:
        sys.stderr.write("\r\033[K")
    if code != 0:
        sys.stderr.write("".join(lines[-30:]))
        stop(f"pip ended with {code}; all it said is in {LOG}")


def build_tools() -> str:
    """Return the part of the lock that builds the packages without a wheel, hashes included."""
    blocks = LOCK.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    return "\n".join(block for block in blocks if block.startswith(BUILD_TOOLS)) + "\n"


def drop_stale_stubs() -> None:
    """Remove the types of an old Trio that libp2p's trio-typing lays over Trio's own."""
    for stubs in VENV.glob("lib/python3.*/site-packages/trio-stubs"):
        shutil.rmtree(stubs)


def fingerprint(python: str) -> str:
    """Return a digest of everything the environment depends on."""
    digest = hashlib.sha256()
    for path in (LOCK, PYPROJECT, Path(__file__)):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    digest.update(str(ROOT).encode())
    digest.update((ask(python, "import sys; print(sys.version, sys.base_prefix)") or "").encode())
    return digest.hexdigest()


def fits(python: str) -> bool:
    """Tell whether .venv is there, works, and was made by the same version of Python."""
    version = "import sys; print(sys.version)"
    found = ask(str(VENV / "bin" / "python"), version)
    return found is not None and found == ask(python, version)


def main() -> None:
    os.chdir(ROOT)
    # Two targets started at once in one clone: the second waits, then finds the work done.
    folder = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    python = find_python()
    wanted = fingerprint(python)
    if STAMP.exists() and STAMP.read_text() == wanted and fits(python):
        STAMP.touch()
        return
    start_s = time.monotonic()
    extra = require_system(python)
    version = ask(python, "import platform; print(platform.python_version())")
    STAMP.unlink(missing_ok=True)
    if not fits(python):
        say(f"making .venv with Python {version}")
        subprocess.run([python, "-m", "venv", "--clear", str(VENV)], check=True, stdout=2)
    LOG.unlink(missing_ok=True)
    total = sum(1 for line in LOCK.read_text().splitlines() if "==" in line and line[0] != " ")
    say(f"installing {total} packages from {LOCK.name} (once; a minute or two)")
    first = VENV / "build-tools.lock"
    first.write_text(build_tools(), encoding="utf-8")
    pip(["--require-hashes", "-r", str(first)], extra, total)
    pip(["--require-hashes", "--no-build-isolation", "-r", str(LOCK)], extra, total)
    pip(["--no-deps", "--no-build-isolation", "-e", str(ROOT)], extra, 1)
    drop_stale_stubs()
    STAMP.write_text(wanted)
    say(f"ready in {time.monotonic() - start_s:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        say("interrupted; the next run begins where this one stopped")
        sys.exit(130)
