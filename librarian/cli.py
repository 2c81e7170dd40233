"""What the commands do: each written once, over a desk of this process or of a dashboard."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from librarian.errors import LibrarianError, UnknownDocument

if TYPE_CHECKING:
    from librarian.remote import Desk, Json

FORMATS = ("graphml", "csv", "html")
PLAIN_EVERY_S = 10.0  # a log of hours of work stays readable
PAUSE_S = 30.0  # LightRAG ends the calls that it has begun
SHOWN = 200  # characters of a source
ENDED = ("processed", "failed", "paused", "deleted")
APPLIES = {
    "pause": ("pending", "processing"),
    "next": ("pending",),
    "last": ("pending",),
    "retry": ("failed", "paused"),
    "delete": ("pending", "processing", "processed", "failed", "paused"),
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal would obey them


class WrongOutput(LibrarianError):
    """Name a file that can be written."""


class UnreadableInput(LibrarianError):
    """Save it as UTF-8."""


def say(text: str, end: str = "\n", *, wrap: bool = True) -> None:
    """Writes to standard output; without `wrap`, a terminal cuts long lines."""
    plain = _CONTROL.sub("", text) + end
    sys.stdout.write(plain if wrap else f"\x1b[?7l{plain}\x1b[?7h")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Writes to standard error."""
    sys.stderr.write(_CONTROL.sub("", text) + "\n")
    sys.stderr.flush()


class Screen:
    """Shows documents on their way: a line of each that changes in place, or lines now and then."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stdout.isatty() and not quiet
        self._height = 0
        self._told: set[str] = set()
        self._next = time.monotonic() + PLAIN_EVERY_S

    def show(self, report: Json, documents: Sequence[Json]) -> None:
        """Takes the state of this moment."""
        if self._quiet:
            return
        self._erase()
        for document in documents:
            if document["status"] in ENDED and document["id"] not in self._told:
                self._told.add(document["id"])
                say(_line(document))
        lines = [_line(each) for each in documents if each["status"] == "processing"]
        waiting = sum(document["status"] == "pending" for document in documents)
        lines += [f"{waiting} more in the queue"] * bool(waiting)
        if report["health"]["verdict"] not in ("idle", "working"):
            lines.append(f"{report['health']['cause']} {report['health']['remedy']}")
        if self._live and lines:
            # Without wrapping, a line is a row, and as many rows can be erased again.
            say("".join(f"{line}\n" for line in lines), end="", wrap=False)
            self._height = len(lines)
        elif not self._live and time.monotonic() > self._next:
            self._next = time.monotonic() + PLAIN_EVERY_S
            for line in lines:
                say(line)

    def _erase(self) -> None:
        if self._height:
            sys.stdout.write(f"\x1b[{self._height}A\x1b[J")
            self._height = 0


def ingest(desk: Desk, arguments: Namespace) -> int:
    """Adds files and folders, waits until they are processed."""
    from librarian.intake import files_in

    admissions: list[Json] = []
    for path in arguments.paths:
        found = list(files_in(path))
        if not found:
            reason = "There is no file at this path that is read."
            admissions.append({"name": str(path), "outcome": "refused", "message": reason})
            _tell([admissions[-1]], arguments)
        for name, file in found:
            if admissions:
                time.sleep(arguments.pause_s)
            body = {"path": str(file.absolute()), "name": name, "replace": arguments.replace}
            admissions += _tell(desk.do("add", **body)["admissions"], arguments)
    return _follow_admitted(desk, admissions, arguments)


def insert(desk: Desk, arguments: Namespace) -> int:
    """Adds a text, waits until it is processed."""
    text = arguments.text
    if text == "-":
        try:
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise UnreadableInput("The standard input is not UTF-8.") from exc
    admissions = desk.do("insert", text=text, name=arguments.name)["admissions"]
    return _follow_admitted(desk, _tell(admissions, arguments), arguments)


def status(desk: Desk, arguments: Namespace) -> int:
    """Prints what is there and what is being done."""
    report = desk.status()
    if arguments.json:
        return print_json(report)
    model, health = report["model"], report["health"]
    if report["trouble"]:
        say(report["trouble"])
    say(f"Model: {model['llm'] or 'none yet'}, {model['embed'] or 'no embeddings yet'}.")
    say(" ".join(filter(None, (f"Work: {health['verdict']}.", health["cause"], health["remedy"]))))
    if queue := report.get("queue"):
        from librarian.estimates import Queue, sentence  # as below

        say(sentence(Queue(**queue)))
    counts = ", ".join(f"{number} {name}" for name, number in report["counts"].items() if number)
    say(f"Documents: {counts or 'none'}.")
    for document in report["documents"]:
        say(f"  {_line(document)}")
    return 0


def ask(desk: Desk, arguments: Namespace) -> int:
    """Prints an answer and what it was made from."""
    if arguments.json:
        return print_json(desk.ask(arguments.question, arguments.mode, lambda _: None))
    # A person sees the text grow; a file gets it with its citations checked.
    live = sys.stdout.isatty()
    answer = desk.ask(
        arguments.question, arguments.mode, lambda piece: say(piece, end="") if live else None
    )
    say("" if live else answer["text"])
    for source in answer["sources"]:
        text = " ".join(source["text"].split())
        more = "…" if len(text) > SHOWN else ""
        page = f", p. {source['page']}" if source.get("page") else ""
        say(f"\n[{source['number']}] {source['document']}{page}: {text[:SHOWN]}{more}")
    return 0


def change(desk: Desk, arguments: Namespace) -> int:
    """Pauses, retries or deletes one document, or all that this applies to."""
    verb = "retry" if arguments.command == "resume" else arguments.command
    chosen = _chosen(desk.status()["documents"], verb, arguments.doc)
    if verb == "delete" and chosen and not arguments.yes:
        wanted = arguments.doc or f"all {len(chosen)} documents"
        silent = arguments.doc and not sys.stdin.isatty()
        if not silent and not agreed(f"Delete {wanted}?"):
            complain("Nothing was deleted.")
            return 1
    for document in chosen:
        desk.do(verb, doc=document["id"])
    ids = [document["id"] for document in chosen]
    if verb == "delete":
        changed = [{**document, "status": "deleted"} for document in chosen]
    elif verb in ("next", "last"):
        changed = chosen
    elif verb == "retry":
        changed = _follow(desk, ids, Screen(quiet=arguments.json))
    else:
        changed = _follow(desk, ids, Screen(quiet=True), timeout_s=PAUSE_S)
    if arguments.json:
        print_json({"documents": changed})
    elif not chosen:
        say(f"There is nothing to {arguments.command}.")
    elif verb != "retry":
        for document in changed:
            say(_line(document))
    return 1 if any(document["status"] == "failed" for document in changed) else 0


def verify(desk: Desk, arguments: Namespace) -> int:
    """Prints the success table."""
    report = desk.do("verify")
    rows = report["rows"]
    if arguments.json:
        print_json(report)
    else:
        widths = [max(len(row[key]) for row in rows) for key in ("name", "value")]
        for row in rows:
            verdict = "pass" if row["passed"] else "FAIL"
            name, value = row["name"].ljust(widths[0]), row["value"].rjust(widths[1])
            say(f"{verdict}  {name}  {value}  ({row['target']})")
            if row["why"]:
                say(f"      {row['why']}")
    return 0 if all(row["passed"] for row in rows) else 1


def export_graph(desk: Desk, arguments: Namespace) -> int:
    """Writes the graph: one file, or one of entities and one of relations as CSV."""
    files = desk.do(arguments.format)["files"]
    written = []
    for ending, text in files.items():
        path = arguments.out if len(files) == 1 else arguments.out.with_suffix(ending)
        try:
            path.write_bytes(text.encode("utf-8", "replace"))
        except OSError as exc:
            raise WrongOutput(f"{path}: {exc.strerror or exc}.") from exc
        written.append(str(path))
    if arguments.json:
        return print_json({"files": written})
    for name in written:
        say(f"{name} is written.")
    return 0


COMMANDS: dict[str, Callable[[Desk, Namespace], int]] = {
    "ingest": ingest,
    "insert": insert,
    "status": status,
    "ask": ask,
    "pause": change,
    "next": change,
    "last": change,
    "resume": change,
    "retry": change,
    "delete": change,
    "verify": verify,
    "export-graph": export_graph,
}


def _tell(admissions: list[Json], arguments: Namespace) -> list[Json]:
    """Says what became of what was offered; gives it back."""
    for admission in admissions:
        bad = admission["outcome"] in ("refused", "conflict")
        text = f"{admission['name']}: {admission['outcome']}. {admission['message']}".rstrip()
        if bad:
            complain(text)
        elif not arguments.json:
            say(text)
    return admissions


def _follow_admitted(desk: Desk, admissions: list[Json], arguments: Namespace) -> int:
    bad = [each for each in admissions if each["outcome"] in ("refused", "conflict")]
    ids = [each["doc_id"] for each in admissions if each not in bad]
    documents = _follow(desk, ids, Screen(quiet=arguments.json))
    if arguments.json:
        print_json({"admissions": admissions, "documents": documents})
    return 1 if bad or any(each["status"] == "failed" for each in documents) else 0


def _follow(
    desk: Desk, ids: Iterable[str], screen: Screen, timeout_s: float = math.inf
) -> list[Json]:
    documents: list[Json] = []
    if known := list(dict.fromkeys(ids)):
        from librarian.remote import watch

        for report, documents in watch(desk, known, timeout_s):
            screen.show(report, documents)
    return documents


def _chosen(documents: Sequence[Json], verb: str, doc: str | None) -> list[Json]:
    if doc is None:
        # Those in the queue first: else the next begins when the running one is paused.
        found = [each for each in documents if _applies(verb, each)]
        return sorted(found, key=lambda each: each["status"] == "processing")
    named = [
        each for each in documents if doc == each["id"] or doc.replace("/", "∕") == each["name"]
    ]
    if not named:
        raise UnknownDocument(f"{doc!r}:")
    return [each for each in named if _applies(verb, each)]


def _applies(verb: str, document: Json) -> bool:
    status, warnings = document["status"], document["warnings"]
    lacking = status == "processed" and any("Retry" in warning for warning in warnings)
    return (verb == "retry" and lacking) or status in APPLIES[verb]


def _line(document: Json) -> str:
    """A document in one line."""
    status, parts = document["status"], []
    if status == "deleted":
        return f"{document['name']}: deleted"
    if document.get("phase"):
        parts.append(document["phase"])
    if document.get("chunks_total"):
        parts.append(f"{document['chunks_done']} of {document['chunks_total']} chunks")
    if document.get("chunks_saved"):
        parts.append(f"{document['chunks_saved']} of them kept from before")
    if status == "processed":
        parts.append(f"{document['entities']} entities, {document['relations']} relations")
    if document.get("elapsed_s"):
        parts.append(duration(document["elapsed_s"]))
    if document.get("eta_s") is not None:
        from librarian.estimates import between  # not needed for `--help`, and not quick

        etas = [document[key] for key in ("eta_s", "eta_low_s", "eta_high_s")]
        parts.append(f"about {between(*etas)} left")
    tail = [document.get("error") or "", *document.get("warnings", ())]
    return ". ".join(filter(None, (f"{document['name']}: {', '.join((status, *parts))}", *tail)))


def duration(seconds: float) -> str:
    """A length of time for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def agreed(question: str) -> bool:
    """Asks a person at the terminal."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def print_json(report: Json) -> int:
    """Writes a report to standard output."""
    sys.stdout.write(json.dumps(report, ensure_ascii=False, indent=2) + "\n")
    return 0
