"""`python -m tests.bench.event_loops`: LightRAG in a web server, in each of the usual ways."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import signal
import sys
import traceback
from dataclasses import asdict
from importlib.metadata import version

import psutil

from tests.bench.event_loops import table
from tests.bench.event_loops.servers import Way
from tests.bench.event_loops.trial import Trial, prepare, try_out
from tests.bench.processes import own_folder, stand_in

LIMIT_S = 60.0  # those that end do so in a sixth of it
ROUNDS = 3
LOOP, RUN, CHILD, PORTAL = "server's loop", "asyncio.run", "the worker", "portal's loop"
WAYS = tuple(
    Way(key=key, title=title, opened=opened)
    for key, title, opened in (
        ("route", "1  rag.insert() in the route", LOOP),
        ("thread", "2a asyncio.to_thread(rag.insert)", LOOP),
        ("thread-before", "2b asyncio.to_thread(rag.insert)", RUN),
        ("executor", "3a run_in_executor(None, rag.insert)", LOOP),
        ("executor-before", "3b run_in_executor(None, rag.insert)", RUN),
        ("nest", "4a nest_asyncio, rag.insert()", LOOP),
        ("nest-run", "4b nest_asyncio, run_until_complete(ainsert)", LOOP),
        ("nest-uvloop", "4c nest_asyncio, with uvloop", LOOP),
        ("background-sync", "5a BackgroundTasks, def, rag.insert()", LOOP),
        ("background-sync-before", "5b BackgroundTasks, def, rag.insert()", RUN),
        ("background-async", "5c BackgroundTasks, await rag.ainsert()", LOOP),
        ("background-async-before", "5d BackgroundTasks, await rag.ainsert()", RUN),
        ("celery", "6  Celery, one prefork worker", CHILD),
        ("portal", "7  our portal", PORTAL),
    )
)
BY_KEY = {way.key: way for way in WAYS}


def main() -> int:
    """Tries the ways one after the other: 0 all were tried, whatever came of it; 1 one was not."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all processes are ended
    ways = [BY_KEY[key] for key in given.only or BY_KEY]
    trials: list[Trial] = []
    load = psutil.getloadavg()[0]
    with own_folder() as folder, stand_in(folder) as ollama:
        homes = {key: folder / "before" / key / "home" for key in ("background-async", "portal")}
        for key, home in homes.items():
            home.mkdir(parents=True)
            prepare(BY_KEY[key], home, ollama, given.limit)
        plain = homes["background-async"]
        queued = folder / "before" / "celery" / "home"  # the worker keeps its messages beside it
        shutil.copytree(plain, queued / "rag")
        homes["celery"] = queued
        for way in ways:
            try:
                home = homes.get(way.key, plain)
                trials.append(try_out(way, home, ollama, given.rounds, given.limit))
            except Exception:  # the others are tried all the same
                traceback.print_exc()
            print(f"{way.title}: tried", file=sys.stderr)
    machine = {
        "cores": psutil.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load": [load, psutil.getloadavg()[0]],
        **{name: version(name) for name in ("lightrag-hku", "fastapi", "celery", "nest_asyncio")},
    }
    if given.json:
        report = {"machine": machine, "trials": [asdict(trial) for trial in trials]}
        print(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        print(table.text(trials, machine))
    return 0 if len(trials) == len(ways) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.event_loops", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=BY_KEY, metavar="WAY", help=", ".join(BY_KEY))
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="for each")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the book alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
