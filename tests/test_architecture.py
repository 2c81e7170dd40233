"""The shape that DESIGN.md gives: who may import what, and what nobody does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "librarian"

#: From the bottom up. A module imports only from its own layer and those below it.
LAYERS = (
    "errors checks knowledge tokens language database settings portal logbook samples durable"
    " collector"
    " vectors formats ebooks recognition secret limits sessions",
    "documents conversion wording gate chunking progress pace estimates models decisions turns"
    " tuning account",
    "forces layout mending standing",
    "catalogue changes graphml noted removed journal edits manifest library whereabouts backup"
    " inflight calls signals merges quality desk embeddings pulls lexicon borders",
    "telling evidence lighter recalled saving holdings tables postgres facts copying scope"
    " vector_index translation engine storages editing assembly opening workers intake snapshot"
    " outlook",
    "homes indexing answers conversations dossier shelf verify health communities positions",
    "machine doctor probes uploads archives",
    "arrivals names parts graph held reception watching",
    "exports views latest rooms reembed migration dumping",
    "streams examination doors backups shell",
    "app",
    "registry web entrance cli remote upkeep",
    "ui ui_many __main__",
    "ui_backup ui_graph ui_held ui_homes ui_hosts ui_shelf ui_upload ui_watched",
    "pages streamlit_app",
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}

#: The one room of each outside library, as paths from the root; a folder stands for all in it.
ROOMS = {
    "lightrag": (
        "librarian/engine.py",
        "librarian/assembly.py",
        "librarian/opening.py",
        "librarian/editing.py",
        "librarian/saving.py",
        "librarian/storages.py",
        "librarian/holdings.py",
        "librarian/lighter.py",
        "librarian/tables.py",
        "librarian/copying.py",
        "librarian/postgres.py",
        "librarian/scope.py",
        "librarian/translation.py",
    ),
    "asyncpg": ("librarian/postgres.py",),
    "ollama": ("librarian/models/client.py",),
    "pyvis": ("librarian/graph.py",),
    "starlette": (
        "librarian/doors.py",
        "librarian/web.py",
        "librarian/entrance.py",
        "librarian/shell.py",
        "streamlit_app.py",
    ),
    "uvicorn": ("librarian/web.py",),
    "streamlit": (
        "librarian/ui.py",
        "librarian/ui_backup.py",
        "librarian/ui_graph.py",
        "librarian/ui_held.py",
        "librarian/ui_homes.py",
        "librarian/ui_hosts.py",
        "librarian/ui_many.py",
        "librarian/ui_shelf.py",
        "librarian/ui_upload.py",
        "librarian/ui_watched.py",
        "librarian/cli.py",
        "librarian/__main__.py",
        "pages/",
        "streamlit_app.py",
    ),
    "kreuzberg": ("librarian/conversion.py",),
    "psutil": ("librarian/workers.py",),
    "filelock": ("librarian/homes.py", "librarian/library.py"),
    "platformdirs": ("librarian/settings.py",),
    "sqlite3": (
        "librarian/backup.py",
        "librarian/catalogue.py",
        "librarian/changes.py",
        "librarian/edits.py",
        "librarian/journal.py",
        "librarian/machine.py",
    ),
}
#: What starts, looks for or patches an event loop.
LOOP_FINDERS = {
    "nest_asyncio",
    "get_event_loop",
    "new_event_loop",
    "set_event_loop",
    "run_until_complete",
    "run_coroutine_threadsafe",
}
LINES = 350
#: Modules that have outgrown the limit, with what they may have until they are made two nouns.
OVERGROWN: dict[str, int] = {}


def sources() -> list[Path]:
    return sorted(
        [*PACKAGE.rglob("*.py"), *(ROOT / "pages").rglob("*.py"), ROOT / "streamlit_app.py"]
    )


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, inside functions too."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)} imports by dots"
            if node.module == "librarian":
                yield from (f"librarian.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def layer_name(path: Path) -> str:
    """The name by which the table knows a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "librarian" else parts[0]


@pytest.fixture(params=sources(), ids=shown)
def source(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_an_outside_library_has_one_room(source: Path) -> None:
    strangers = [
        name
        for full in imports_of(source)
        if (name := full.partition(".")[0]) in ROOMS and not shown(source).startswith(ROOMS[name])
    ]
    assert not strangers, f"{shown(source)} imports {strangers}"


def test_imports_point_down_only(source: Path) -> None:
    if source.name == "__init__.py":
        return
    own = layer_name(source)
    assert own in LEVEL, f"{own} has no place in the table of layers"
    upward = []
    for full in imports_of(source):
        if full.partition(".")[0] not in ("librarian", "pages"):
            continue
        name = full.split(".")[1] if full.startswith("librarian.") else "pages"
        if LEVEL.get(name, len(LAYERS)) > LEVEL[own]:
            upward.append(full)
    assert not upward, f"{shown(source)} reaches up to {upward}"


def test_nothing_looks_for_a_loop_or_starts_one(source: Path) -> None:
    found = []
    for node in ast.walk(tree_of(source)):
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        if name in LOOP_FINDERS:
            found.append(name)
        if isinstance(node, ast.Attribute) and node.attr in ("run", "Runner"):
            owner = node.value
            if isinstance(owner, ast.Name) and owner.id in ("asyncio", "anyio"):
                found.append(f"{owner.id}.{node.attr}")
    found += [name for name in imports_of(source) if name in LOOP_FINDERS]
    assert not found, f"{shown(source)}: {found}"


def test_a_module_fits_in_its_lines(source: Path) -> None:
    lines = len(source.read_text(encoding="utf-8").splitlines())
    most = OVERGROWN.get(shown(source), LINES)
    assert lines <= most, f"{shown(source)} has {lines} lines: it is two nouns"


def test_the_environment_is_read_in_one_place(source: Path) -> None:
    """The guards around two imports are the exception; writing for a server is no reading."""
    guards = ("librarian/opening.py", "librarian/models/client.py")
    if shown(source) in ("librarian/settings.py", *guards):
        return
    tree = tree_of(source)
    written = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
    }
    reads = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and node not in written
    ]
    assert not reads, f"{shown(source)} reads the environment in lines {reads}"


def test_a_download_does_not_run_the_page_again(source: Path) -> None:
    """Streamlit forgets a deferred file at the end of a run, also one that is being fetched."""
    for call in ast.walk(tree_of(source)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "st.download_button":
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert given.get("on_click") == "'ignore'", f"line {call.lineno}"


def test_importing_a_module_does_nothing_else(source: Path) -> None:
    """Pages and the app itself are scripts."""
    name = layer_name(source)
    if name in ("pages", "streamlit_app", "__main__"):
        return
    allowed = (
        ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        | ast.Assign | ast.AnnAssign | ast.If
    )  # fmt: skip
    acting = [
        node.lineno
        for node in tree_of(source).body
        if not isinstance(node, allowed)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]
    assert not acting, f"{shown(source)} acts on import in lines {acting}"


def test_the_table_of_layers_and_its_exceptions_are_of_this_project() -> None:
    names = {layer_name(path) for path in sources()}
    later = {"cli", "remote", "exports", "ui", "__main__", "pages"}  # none of them is needed below
    assert set(LEVEL) - later <= names
    for path, most in OVERGROWN.items():
        lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        assert lines > LINES, f"{path} fits now: take it off the list"
        assert lines <= most


def test_lightrag_is_imported_inside_functions_only() -> None:
    """It takes two seconds to import, so that nothing does it on top of a module."""
    top = [
        node
        for room in ROOMS["lightrag"]
        for node in tree_of(ROOT / room).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    modules = {getattr(node, "module", None) or node.names[0].name for node in top}
    assert not any(str(name).startswith("lightrag") for name in modules)
