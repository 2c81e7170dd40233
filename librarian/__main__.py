"""`python -m librarian`: the arguments of the commands, and their exit codes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from librarian import cli, upkeep
from librarian.errors import LibrarianError
from librarian.settings import Settings, check_door

MODES = ("mix", "hybrid", "local", "global", "naive")
KEPT = "Stopped. The work done so far is kept; it goes on in the dashboard or at the next start."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command: 0 all well, 1 something failed and was named, 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack a letter of a name
    arguments = _arguments(argv)
    _quiet(arguments.command)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except LibrarianError as exc:
        cli.complain(f"error: {exc}")
        return 1
    except KeyboardInterrupt:
        cli.complain(f"\n{upkeep.STOPPED.get(arguments.command, KEPT)}")
        return 130
    except BrokenPipeError:  # `… | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: argparse.Namespace) -> int:
    settings = Settings.from_env(
        home=arguments.home,
        port=getattr(arguments, "port", None),
        host=getattr(arguments, "host", None),
    )
    if arguments.command == "serve":
        return _serve(settings)
    if arguments.command in upkeep.ALONE:
        return upkeep.ALONE[arguments.command](settings, arguments)
    from librarian.remote import open_desk

    commands = cli.COMMANDS | upkeep.COMMANDS
    with open_desk(settings) as desk:
        return commands[arguments.command](desk, arguments)


def _serve(settings: Settings) -> int:
    """Runs the dashboard until it is stopped.

    Raises:
        LibraryBusy: another process has the home.
        SettingsError: it would be open to the network.
    """
    from librarian.library import Library

    check_door(settings)
    Library.open(settings.home).close()  # who has it is said here, before any server is started
    os.environ["LIBRARIAN_HOME"] = str(settings.home)
    os.environ["LIBRARIAN_HOST"], os.environ["LIBRARIAN_PORT"] = settings.host, str(settings.port)
    root = Path(__file__).resolve().parents[1]
    os.chdir(root)  # Streamlit looks for .streamlit/config.toml here
    sys.argv = ["streamlit", "run", str(root / "streamlit_app.py")]
    sys.argv += ["--server.address", settings.host, "--server.port", str(settings.port)]
    from streamlit.web.cli import main

    main()
    return 0


def _quiet(command: str) -> None:
    """Warnings to stderr; what this program logs itself stays in the library's own log."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    logging.basicConfig(handlers=[handler], format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("librarian").propagate = command == "serve"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command == "export-graph" and arguments.format is None:
        arguments.format = arguments.out.suffix.lower().lstrip(".")
        if arguments.format not in cli.FORMATS:
            parser.error(f"give --format, or OUT an ending: {', '.join(cli.FORMATS)}")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m librarian", description="A library of texts.")
    parser.add_argument("--home", type=_home, help="its folder (LIBRARIAN_HOME, or ./library)")
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument("--home", type=_home, default=argparse.SUPPRESS, help="the library's folder")
    report = argparse.ArgumentParser(add_help=False, parents=[home])
    report.add_argument("--json", action="store_true", help="print JSON")
    sure = argparse.ArgumentParser(add_help=False)
    sure.add_argument("--yes", action="store_true", help="do not ask")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", parents=[home], help="run the dashboard")
    serve.add_argument("--host", help="the address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=_port, help="the port to listen on (8003)")
    ingest = commands.add_parser("ingest", parents=[report], help="add files and folders")
    ingest.add_argument("paths", nargs="+", type=_path, metavar="PATH")
    ingest.add_argument("--pause-s", type=_seconds, default=0.0, help="seconds between two files")
    ingest.add_argument("--replace", action="store_true", help="take new texts of known names")
    insert = commands.add_parser("insert", parents=[report], help="add a text")
    insert.add_argument("text", metavar="TEXT", help="the text; - reads the standard input")
    insert.add_argument("--name", default="", help="its name; else its first words")
    commands.add_parser("status", parents=[report], help="what is there and what is being done")
    ask = commands.add_parser("ask", parents=[report], help="ask a question")
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument("--mode", choices=MODES, default="mix", help="where to look (%(default)s)")
    for name, what in (
        ("pause", "stop the work on documents and keep what is done"),
        ("resume", "go on with paused and failed documents"),
        ("retry", "the same as resume; also asks for what documents with warnings lack"),
    ):
        _with_document(commands.add_parser(name, parents=[report], help=what))
    for name in ("next", "last"):
        moved = commands.add_parser(name, parents=[report], help=f"put a document {name} in line")
        moved.add_argument("doc", metavar="DOC", help="its name or id")
    _with_document(commands.add_parser("delete", parents=[report, sure], help="remove documents"))
    commands.add_parser("verify", parents=[report], help="print the success table")
    doctor = commands.add_parser("doctor", parents=[report], help="look at all that the work needs")
    doctor.add_argument(
        "--probe", action="store_true", help="also measure the model; takes a minute"
    )
    pull = commands.add_parser("pull", parents=[report], help="have Ollama get models")
    pull.add_argument("models", nargs="*", metavar="MODEL", help="else those set that it lacks")
    export = commands.add_parser("export-graph", parents=[report], help="write the graph to a file")
    export.add_argument("out", type=_path, metavar="OUT")
    export.add_argument(
        "--format",
        choices=cli.FORMATS,
        help="else by OUT's ending; PNG is saved from the picture in the page",
    )
    clear = commands.add_parser(
        "clear-cache", parents=[report, sure], help="forget answers of the model"
    )
    clear.add_argument(
        "--what",
        choices=upkeep.CACHES,
        default="lightrag",
        help="LightRAG's copies (%(default)s), the journal with every answer, or both",
    )
    watch = commands.add_parser(
        "watch", parents=[report], help="a folder whose new files come in by themselves"
    )
    watch.add_argument("path", nargs="?", type=_path, metavar="PATH")
    watch.add_argument("--off", action="store_true", help="watch none")
    for name, what in (
        ("backup", "write all of a library into one file, while it works"),
        ("restore", "make a library of a backup"),
    ):
        kept = commands.add_parser(name, parents=[report], help=what)
        kept.add_argument("file", type=_path, metavar="FILE")
        kept.add_argument(
            "--replace", action="store_true", help="also where there is one; a library is kept"
        )
    commands.add_parser(
        "re-embed", parents=[report], help="make all vectors anew with the embedding model now set"
    )
    move = commands.add_parser(
        "migrate", parents=[report], help="move graph and vectors into PostgreSQL, or into files"
    )
    move.add_argument("--to", choices=("postgres", "files"), required=True)
    return parser


def _with_document(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "doc", nargs="?", metavar="DOC", help="its id or name; else all that this applies to"
    )


def _path(text: str) -> Path:
    if not text.strip("\0 "):
        raise argparse.ArgumentTypeError("it is empty")
    return Path(text).expanduser()


def _home(text: str) -> Path:
    return _path(text).absolute()


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError("it may be from 1 to 65535")
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 86_400:
        raise argparse.ArgumentTypeError("it may be from 0 to 86400")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
