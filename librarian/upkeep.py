"""The commands that keep a library up: the doctor, models, new vectors, forgotten answers."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from librarian.cli import PLAIN_EVERY_S, agreed, complain, duration, print_json, say
from librarian.errors import LibrarianError
from librarian.settings import Settings

if TYPE_CHECKING:
    from librarian.migration import Progress as Moved
    from librarian.pulls import Pull, Pulls
    from librarian.reembed import Progress
    from librarian.remote import Desk, Json

CACHES = {
    "lightrag": "LightRAG's copy of the answers",
    "journal": "the journal of answers",
    "all": "the journal of answers, and LightRAG's copy",
}
STOPPED = {
    "re-embed": "Stopped. The library is as it was, with its old vectors.",
    "migrate": "Stopped. The library is where it was; run `migrate` again to go on from here.",
    "pull": "Stopped. The server keeps what has arrived; pull again to go on.",
    "backup": "Stopped. Nothing was written.",
    "restore": "Stopped. Nothing was changed.",
}
WATCH_S = 0.2
FREE = (
    "Empty LightRAG's copy of the answers? The journal keeps them, so that indexing a text again "
    "costs nothing. Where a document is deleted later, what it shares with others keeps its words."
)


def clear_cache(desk: Desk, arguments: Namespace) -> int:
    """Forgets answers of the model; of the journal, it says first what that costs."""
    what = arguments.what
    holdings = desk.do("journal") if what != "lightrag" else None
    question = FREE if holdings is None else f"{cost(holdings)} Forget them?"
    if holdings is not None and arguments.yes and not arguments.json:
        say(cost(holdings))
    if not arguments.yes and not agreed(question):
        complain("Nothing was cleared.")
        return 1
    report = desk.do("clear-cache", what=what) | {"what": what}
    if arguments.json:
        return print_json(report | ({"forgotten": holdings} if holdings else {}))
    say(f"Now empty: {CACHES[what]}.")
    return 0


def cost(holdings: Json) -> str:
    """What is lost with the journal."""
    count = holdings["answers"]
    return (
        f"The journal has {count:,} answer{'s' * (count != 1)} of the model, which took "
        f"{duration(holdings['model_s'])} of its time, in {holdings['bytes'] / 1e6:,.1f} MB. "
        "Without them, texts that are indexed again are paid for again."
    )


def re_embed(settings: Settings, arguments: Namespace) -> int:
    """Makes all vectors of a library anew, without asking a language model."""
    from librarian.reembed import re_embed as run  # brings LightRAG, as `app` does

    report = run(settings, Gauge(quiet=arguments.json))
    if arguments.json:
        return print_json(asdict(report))
    if report.notice:
        complain(report.notice)
    for warning in report.warnings:
        complain(warning)
    say(
        f"{report.chunks:,} chunks, {report.entities:,} entities and {report.relations:,} "
        f"relations have vectors of {report.embed} now, {report.dimension:,} numbers each; before, "
        f"it was {report.before or 'none'}. It took {duration(report.elapsed_s)}."
    )
    return 0


def migrate(settings: Settings, arguments: Namespace) -> int:
    """Moves a library's graph and vectors into PostgreSQL or into files, without any model."""
    from librarian.migration import migrate as run  # brings LightRAG, as `app` does

    report = run(settings, arguments.to, Gauge("rows", quiet=arguments.json))
    parts = [{"name": each.name, "rows": each.rows, "sha256": each.sha256} for each in report.parts]
    if arguments.json:
        keys = ("to", "rows", "apart", "elapsed_s", "kept")
        return print_json({key: getattr(report, key) for key in keys} | {"parts": parts})
    place = "PostgreSQL" if report.to == "postgres" else "files"
    if not parts:
        say(f"There was nothing to move. The library is in {place} now.")
        return 0
    for each in report.parts:
        say(f"{each.rows:>9,} rows of {each.name}, SHA-256 {each.sha256[:16]}… on both sides")
    say(
        f"The library is in {place} now: {report.rows:,} rows, compared one by one. It took "
        f"{duration(report.elapsed_s)}."
    )
    if report.kept:
        say(f"The files are in {report.kept}. Delete them when you are content.")
    return 0


class Gauge:
    """Shows how many are done: in one line of a terminal, or in a line now and then."""

    def __init__(self, what: str = "texts", *, quiet: bool) -> None:
        self._what = what
        self._quiet = quiet
        self._live = sys.stdout.isatty() and not quiet
        self._next = time.monotonic() + PLAIN_EVERY_S
        self._waiting = ""

    def __call__(self, progress: Progress | Moved) -> None:
        """Takes the state of this moment."""
        if self._quiet or not progress.total:
            return
        line = f"{progress.done:,} of {progress.total:,} {self._what}"
        if progress.waiting != self._waiting:
            self._waiting = progress.waiting
            complain(progress.waiting or "It goes on.")
        if self._live:
            sys.stdout.write(f"\r\x1b[K{line}" + "\n" * (progress.done == progress.total))
            sys.stdout.flush()
        elif time.monotonic() > self._next:
            self._next = time.monotonic() + PLAIN_EVERY_S
            say(line)


def backup(settings: Settings, arguments: Namespace) -> int:
    """Writes all of a library into one file, through the dashboard where one has it open."""
    from librarian.backup import gather, gathering, pack
    from librarian.dumping import dump
    from librarian.library import Library, owner_of
    from librarian.remote import open_desk
    from librarian.whereabouts import database_of

    target = arguments.file.absolute()
    if target.exists() and not arguments.replace:
        complain(f"{target} exists. Name another file, or say --replace.")
        return 1
    if not (settings.home / "library.json").exists():
        complain(f"There is no library in {settings.home}. Name its folder by --home.")
        return 1
    owner = owner_of(settings.home)
    if owner is not None and owner.address:
        with open_desk(settings) as desk:
            complain("The dashboard that has the library open writes it.")
            made = desk.do("backup", path=str(target))
    else:
        library = Library.open(settings.home)
        try:
            with gathering(library) as parts:
                gather(library, parts)
                if database_of(library, settings):
                    dump(settings, library.manifest, parts)
                made = asdict(pack(parts, target, Bytes(quiet=arguments.json)))
        finally:
            library.close()
    if arguments.json:
        return print_json(made)
    say(f"{made['path']} is written: {made['files']:,} files, {made['bytes'] / 1e6:,.1f} MB.")
    return 0


def restore(settings: Settings, arguments: Namespace) -> int:
    """Makes a library of a backup."""
    from librarian.backup import restore as run

    heard = Bytes(quiet=arguments.json)
    made = run(arguments.file.absolute(), settings.home, replace=arguments.replace, heard=heard)
    if arguments.json:
        return print_json(asdict(made))
    say(f"{settings.home} is the library of {made.made_at} now, with {made.files:,} files.")
    if made.kept:
        say(f"The one that was there is in {made.kept}; delete it when you do not need it.")
    return 0


def watch(desk: Desk, arguments: Namespace) -> int:
    """Names the folder whose new files come in by themselves, or says which it is."""
    body: dict[str, object] = {"off": arguments.off}
    if arguments.path:
        body["path"] = str(arguments.path.absolute())
    report = desk.do("watch", **body)
    if arguments.json:
        return print_json(report)
    if report["folder"] is None:
        say("No folder is watched.")
        return 0
    say(f"{report['folder']} is watched by the dashboard; {report['taken']:,} files came from it.")
    for line in filter(None, (report["trouble"], *map(": ".join, report["refused"]))):
        complain(line)
    return 0


class Bytes:
    """Says now and then how many bytes are done."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._next = time.monotonic() + PLAIN_EVERY_S

    def __call__(self, done: int, whole: int) -> None:
        """Takes the state of this moment."""
        if not self._quiet and time.monotonic() > self._next:
            self._next = time.monotonic() + PLAIN_EVERY_S
            complain(f"{done / 1e6:,.0f} of {whole / 1e6:,.0f} MB")


def doctor(desk: Desk, arguments: Namespace) -> int:
    """Prints what was looked at, what was seen, what to do."""
    report = desk.doctor()
    if arguments.probe and report["ok"]:
        complain("The model is measured: a minute, or more if it has to be loaded.")
        report = desk.do("probe")
    elif arguments.probe:
        complain("The model was not measured: mend what failed first.")
    if arguments.json:
        print_json(report)
    else:
        for check in report["checks"]:
            verdict = check["severity"].upper().ljust(4)
            say(f"{verdict}  {check['name']}: {check['message']} {check['remedy']}".rstrip())
    return 0 if report["ok"] else 1


def pull(settings: Settings, arguments: Namespace) -> int:
    """Has the server get models, one after another, without opening a library.

    Raises:
        LibrarianError: it is not known which, because the server does not say what it has.
    """
    from librarian.portal import Portal
    from librarian.pulls import PullState, open_pulls

    portal = Portal()
    try:
        names = arguments.models or portal.call(_lacking, settings)
        pulls = portal.enter(open_pulls(settings.ollama_hosts))
        ended = []
        for name in names:
            portal.call(pulls.start, name)
            ended.append(_watched(pulls, name, quiet=arguments.json))
    finally:
        portal.close()
    good = all(each.state is PullState.DONE for each in ended)
    if arguments.json:
        keys = ("model", "state", "done", "total", "error")
        print_json({"ok": good, "models": [{key: getattr(e, key) for key in keys} for e in ended]})
    elif not ended:
        say(f"{settings.llm_model} and {settings.embed_model} are on the server.")
    return 0 if good else 1


async def _lacking(settings: Settings) -> tuple[str, ...]:
    from librarian.doctor import way_to
    from librarian.models.servers import survey

    wanted = tuple(dict.fromkeys((settings.llm_model, settings.embed_model)))
    lacking: dict[str, None] = {}
    for host in settings.ollama_hosts:
        server = await survey(host, ())
        if server.listed is None:
            trouble = server.trouble or "The server does not say which models it has."
            raise LibrarianError(f"{trouble} {way_to(trouble)}")
        lacking |= dict.fromkeys(name for name in wanted if not server.has(name))
    return tuple(lacking)


def _watched(pulls: Pulls, name: str, *, quiet: bool) -> Pull:
    """Shows one pull until it has ended."""
    live = sys.stdout.isatty() and not quiet
    told_s = time.monotonic()
    while True:
        seen = next(each for each in pulls.seen if each.model == name)
        if live:
            sys.stdout.write(f"\r\x1b[K{name}: {seen.text}")
            sys.stdout.flush()
        if seen.state != "running":
            break
        if not quiet and not live and time.monotonic() > told_s + PLAIN_EVERY_S:
            told_s = time.monotonic()
            say(f"{name}: {seen.text}")
        time.sleep(WATCH_S)
    if live:
        sys.stdout.write("\r\x1b[K")
    if not quiet and seen.error:
        complain(seen.error)
    elif not quiet:
        say(f"{name}: {seen.text}")
    return seen


COMMANDS: dict[str, Callable[[Desk, Namespace], int]] = {
    "clear-cache": clear_cache,
    "doctor": doctor,
    "watch": watch,
}
# Those that do not go through the dashboard that has the library.
ALONE: dict[str, Callable[[Settings, Namespace], int]] = {
    "re-embed": re_embed,
    "migrate": migrate,
    "pull": pull,
    "backup": backup,
    "restore": restore,
}
