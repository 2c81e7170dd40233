"""Sets up what is needed and starts the dashboard; `start.py test` runs every check instead.

Needs nothing but Python 3.11 or newer. Everything it installs goes into the folder `.venv`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
CHECKS = (
    ("format", ["-m", "ruff", "format", "--check", "."]),
    ("lint", ["-m", "ruff", "check", "."]),
    ("types", ["-m", "mypy"]),
    ("tests", ["-m", "pytest", "-n", "3", "--dist", "loadfile"]),
)


def main(arguments: list[str]) -> int:
    """Runs what the arguments ask for; gives the exit code."""
    if sys.version_info < (3, 11):
        found = ".".join(str(part) for part in sys.version_info[:3])
        print(f"Python 3.11 or newer is needed; this is {found}. Get one from python.org.")
        return 1
    if arguments[:1] == ["test"]:
        return test(arguments[1:]) if set_up("requirements-dev.txt") else 1
    if arguments[:1] in (["-h"], ["--help"]):
        print(__doc__)
        print("  python3 start.py             start the dashboard on http://localhost:8003")
        print("  python3 start.py test        run every check (further words go to pytest)")
        print("  python3 start.py COMMAND …   any command of `python -m librarian`")
        return 0
    if not set_up("requirements.txt"):
        return 1
    return run([str(PYTHON), "-m", "librarian", *(arguments or ["serve"])])


def set_up(requirements: str) -> bool:
    """Makes `.venv` and installs a requirements file, where it is not as it should be already."""
    try:
        import ensurepip  # noqa: F401
        import venv
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        print(
            "Python's module for virtual environments is missing. On Debian and Ubuntu: "
            f"sudo apt install python{version}-venv"
        )
        return False
    if not PYTHON.exists():
        say(f"Making {VENV.name} …")
        try:
            venv.create(VENV, with_pip=True, clear=VENV.exists())
        except (OSError, subprocess.CalledProcessError) as exc:
            print(f"{VENV} could not be made: {exc}")
            return False
    stamp = VENV / f"{requirements}.sha256"
    wanted = digest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return True
    say(f"Installing {requirements} (a few minutes the first time) …")
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "-q", "-r"]
    if run([*command, str(ROOT / requirements)]) != 0:
        print("The packages could not be installed. Is there an internet connection for this step?")
        return False
    stamp.write_text(wanted, encoding="utf-8")
    return True


def digest() -> str:
    """Changes whenever a requirements file or the Python behind `.venv` does."""
    parts = [sys.version, *(p.read_text(encoding="utf-8") for p in ROOT.glob("requirements*.txt"))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def test(arguments: list[str]) -> int:
    """Every check, each with its name; stops at none, and fails if any failed."""
    failed = []
    for name, command in CHECKS:
        say(f"── {name}")
        extra = arguments if name == "tests" else []
        if run([str(PYTHON), *command, *extra]) != 0:
            failed.append(name)
    say(f"Failed: {', '.join(failed)}." if failed else "All checks passed.")
    return 1 if failed else 0


def run(command: list[str]) -> int:
    """A command in the project's folder; Ctrl-C is left to it."""
    process = subprocess.Popen(command, cwd=ROOT)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the terminal has told the child as well; it saves and ends


def say(text: str) -> None:
    """A line that is there before what the next command prints."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
