"""`python -m tests.bench.event_loops`: LightRAG in a web server, in each of the usual ways."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import traceback
from dataclasses import asdict, replace
from importlib.metadata import version

import psutil

from tests.bench.event_loops import table
from tests.bench.event_loops.trial import Trial, Way, killed, prepare, try_out
from tests.bench.processes import own_folder, stand_in

LIMIT_S = 120.0
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
        for key in ("background-async", "portal"):
            prepare(BY_KEY[key], folder / key, ollama, given.limit)
        shared, ours, queued = (folder / key for key in ("background-async", "portal", "celery"))
        queued.mkdir()
        shared.rename(queued / "rag")  # the worker keeps its messages beside it
        homes = {"portal": ours, "celery": queued}
        for way in ways:
            home = homes.get(way.key, queued / "rag")
            try:
                trial = try_out(way, home, ollama, given.limit)
                if trial.calls:
                    trial = replace(trial, killed=killed(way, home, ollama, given.limit))
            except Exception:  # the others are tried all the same
                traceback.print_exc()
                continue
            trials.append(trial)
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
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
