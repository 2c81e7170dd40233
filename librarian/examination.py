"""The doctor over an open library: its report, and the probe that asks the model something."""

from __future__ import annotations

import threading
from dataclasses import replace

from librarian.checks import Check, Report, Speed, failure
from librarian.doctor import doctor
from librarian.errors import LibrarianError
from librarian.library import Library
from librarian.portal import Portal
from librarian.probes import probe
from librarian.rooms import Rooms
from librarian.settings import Settings

DOCTOR_S = 10.0  # its questions to the server take 2 s; the rest is this machine's own trouble


class Examination:
    """Looks at an open library; the last probe stays in its reports."""

    def __init__(self, library: Library, settings: Settings, portal: Portal, rooms: Rooms) -> None:
        self._library = library
        self._settings = settings
        self._portal = portal
        self._rooms = rooms
        self._probing = threading.Lock()
        self._probed: tuple[tuple[Check, ...], Speed | None] = ((), None)

    def report(self) -> Report:
        """Looks at everything that the work needs; within seconds, whatever is broken."""
        looking = self._portal.start(self._examine)
        try:
            return looking.result(DOCTOR_S)
        except TimeoutError:
            looking.cancel()
            seen = f"It has not answered for {DOCTOR_S:.0f} s; it is at {self._portal.where()}."
            remedy = "Restart the program: the work goes on from where it was."
            return Report(checks=(failure("Event loop", seen, remedy),))

    def probe(self) -> Report:
        """The doctor's report with the speed of the model, which is asked for that.

        Raises:
            LibrarianError: the model is measured already.
        """
        if not self._probing.acquire(blocking=False):
            raise LibrarianError("The model is being measured already.")
        try:
            self._probed = self._portal.call(self._measure)
        finally:
            self._probing.release()
        report = self.report()
        return replace(report, checks=(*report.checks, *report.probed))

    async def _examine(self) -> Report:
        calls, library = self._rooms.calls, self._library
        backend = calls.model.card.backend if calls else library.manifest.backend
        reloads = calls.account.reloads if calls else 0
        report = await doctor(
            library, self._settings, backend or self._settings.backend, reloads=reloads
        )
        return replace(report, probed=self._probed[0], speed=self._probed[1])

    async def _measure(self) -> tuple[tuple[Check, ...], Speed | None]:
        calls = self._rooms.calls
        checks, speed = await probe(self._settings, tuple(calls.account.finished) if calls else ())
        if speed is not None and self._rooms.indexing is not None:
            await self._rooms.indexing.probed(speed)
        return checks, speed
