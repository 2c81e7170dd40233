"""A library whose graph and vectors are in PostgreSQL: all that files can do, and what they cannot.

A real server, out of a wheel; or the one that LIBRARIAN_TEST_DATABASE_URL names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from librarian.app import Librarian
from librarian.backup import restore
from librarian.checks import Check, Severity
from librarian.database import parse
from librarian.documents import Status
from librarian.dumping import gathered
from librarian.errors import (
    DatabaseUnavailable,
    DatabaseUnfit,
    LibrarianError,
    SettingsError,
    WrongStorage,
)
from librarian.facts import Facts, of_database
from librarian.knowledge import Graph
from librarian.library import ATTEMPT, Library
from librarian.mending import Rename
from librarian.models.offline import OfflineModel
from librarian.models.protocol import Vectors
from librarian.postgres import connect
from librarian.reembed import re_embed
from librarian.settings import Settings
from librarian.tables import Tables
from librarian.vector_index import VectorIndex
from tests.conftest import Opened, until, until_processed, view_of
from tests.postgres_server import GIVEN, PostgresServer
from tests.test_app import ENGINE_EN, MUSIC_RU, SOMERVILLE_EN

SOUND = Facts(
    version=16,
    version_text="16.2",
    vector="0.8.0",
    offered="0.8.0",
    may_extend=True,
    may_create=True,
    most=97,
    used=3,
)
Kept = Callable[[str], Settings]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if GIVEN:
        yield GIVEN
        return
    with PostgresServer() as server:
        yield server.url


@pytest.fixture
def kept(url: str, tmp_path: Path) -> Kept:
    """Settings of a library by its name, kept in the database."""
    return lambda name: settings_of(tmp_path / name, url)


def settings_of(home: Path, url: str = "") -> Settings:
    environ = {"LIBRARIAN_DATABASE_URL": url}
    return Settings.from_env(environ, home=home, backend="offline", chunk_tokens=200)


def filled(librarian: Librarian) -> Librarian:
    librarian.add_text("engine.txt", ENGINE_EN)
    librarian.add_text("music.txt", MUSIC_RU)
    until_processed(librarian, "engine.txt", "music.txt")
    return librarian


def names_in(graph: Graph) -> set[str]:
    return {entity.name for entity in graph.entities}


def told(graph: Graph) -> object:
    """What a graph says, however it is ordered; a relation has no direction in PostgreSQL."""
    return (
        sorted((each.name, each.type, each.description) for each in graph.entities),
        sorted((*sorted((r.source, r.target)), r.description, r.weight) for r in graph.relations),
    )


def answered(librarian: Librarian, question: str, documents: frozenset[str] = frozenset()) -> str:
    return librarian.ask(question, "mix", documents=documents).answer.text


def test_a_library_in_the_database_has_the_same_graph_as_one_in_files(
    kept: Kept, opened: Opened, tmp_path: Path
) -> None:
    there = filled(opened(kept("there"))).graph()
    here = filled(opened(settings_of(tmp_path / "here"))).graph()
    assert told(there) == told(here)
    assert len(there.entities) > 10
    assert not list((tmp_path / "there" / "lightrag_cache").rglob("*.*"))


@pytest.mark.parametrize("database", [True, False], ids=["PostgreSQL", "files"])
def test_an_entity_is_read_with_what_it_is_related_to_and_nothing_else(
    kept: Kept, opened: Opened, tmp_path: Path, database: bool
) -> None:
    librarian = filled(opened(kept("home") if database else settings_of(tmp_path / "home")))
    graph = librarian.graph()
    for entity in graph.entities:
        relations = [each for each in graph.relations if entity.name in (each.source, each.target)]
        ends = {entity.name} | {end for each in relations for end in (each.source, each.target)}
        found = librarian.around(entity.name)
        part = Graph(
            entities=tuple(each for each in graph.entities if each.name in ends),
            relations=tuple(relations),
            version="",
        )
        assert told(found) == told(part)
    assert librarian.around("nobody").entities == ()
    names = [entity.name for entity in reversed(graph.entities)]
    found = librarian.entities(["nobody", *names, names[0]])
    assert list(found) == names
    assert set(found.values()) == set(graph.entities)


def test_it_answers_from_all_documents_and_from_chosen_ones(kept: Kept, opened: Opened) -> None:
    librarian = filled(opened(kept("home")))
    view = view_of(librarian, "music.txt")
    assert view is not None
    assert "Babbage" in answered(librarian, "Who designed the Analytical Engine?")
    only = answered(librarian, "Analytical Engine Бах", frozenset({view.document.id}))
    assert "Babbage" not in only


def test_a_deleted_document_is_gone_after_a_restart_and_the_rest_is_there(kept: Kept) -> None:
    settings = kept("home")
    first = Librarian.open(settings)
    try:
        first.wait_ready()
        filled(first).delete("music.txt")
        until(lambda: not first._library.catalogue.deletions(), "the deletion")
        until(lambda: "Charles Babbage" in names_in(first.graph()), "the graph")
        before = first.graph()
    finally:
        first.close()
    second = Librarian.open(settings)
    try:
        second.wait_ready()
        assert told(second.graph()) == told(before)
        assert not any("music.txt" in each.documents for each in second.graph().entities)
        assert "Babbage" in answered(second, "Who designed the Analytical Engine?")
        second.add_text("somerville.txt", SOMERVILLE_EN)
        until_processed(second, "somerville.txt")
        assert "Burntisland" in names_in(second.graph())
    finally:
        second.close()


def test_two_libraries_in_one_database_do_not_see_each_other(kept: Kept, opened: Opened) -> None:
    one = Librarian.open(kept("one"))
    try:
        one.wait_ready()
        one.add_text("engine.txt", ENGINE_EN)
        until_processed(one, "engine.txt")
    finally:
        one.close()
    two = opened(kept("two"))
    assert not two.graph().entities
    two.add_text("music.txt", MUSIC_RU)
    until_processed(two, "music.txt")
    assert "Babbage" not in answered(two, "Who designed the Analytical Engine?")
    assert "Charles Babbage" not in names_in(two.graph())
    two.delete("music.txt")
    until(lambda: not two.graph().entities, "an empty graph")
    two.close()
    again = opened(kept("one"))
    assert "Charles Babbage" in names_in(again.graph())


def test_an_edit_is_made_in_the_database_and_taken_back(kept: Kept, opened: Opened) -> None:
    librarian = filled(opened(kept("home")))
    before = told(librarian.graph())
    number = librarian.mend(Rename("Charles Babbage", "C. Babbage"))
    assert "C. Babbage" in names_in(librarian.graph())
    assert "Charles Babbage" not in names_in(librarian.graph())
    librarian.undo_edit(number)
    assert told(librarian.graph()) == before


def test_a_library_in_the_database_does_not_open_without_it(kept: Kept, tmp_path: Path) -> None:
    librarian = Librarian.open(kept("home"))
    try:
        librarian.wait_ready()
        librarian.add_text("engine.txt", ENGINE_EN)
        until_processed(librarian, "engine.txt")
    finally:
        librarian.close()
    without = Librarian.open(settings_of(tmp_path / "home"))
    try:
        with pytest.raises(WrongStorage, match="LIBRARIAN_DATABASE_URL"):
            without.wait_ready()
    finally:
        without.close()


def test_another_database_is_not_taken_for_an_empty_library(
    kept: Kept, opened: Opened, url: str
) -> None:
    settings = kept("home")
    filled(opened(settings)).close()

    async def prepare() -> None:
        connection = await connect(parse(url))
        await connection.execute("DROP DATABASE IF EXISTS other")
        await connection.execute("CREATE DATABASE other")
        await connection.close()

    with start_blocking_portal() as portal:
        portal.call(prepare)
    other = Librarian.open(settings_of(settings.home, f"{url.rpartition('/')[0]}/other"))
    try:
        with pytest.raises(WrongStorage, match="has nothing of this library"):
            other.wait_ready()
    finally:
        other.close()
    assert opened(settings).graph().entities


def test_a_library_that_has_documents_in_files_stays_there(kept: Kept, tmp_path: Path) -> None:
    librarian = Librarian.open(settings_of(tmp_path / "home"))
    try:
        librarian.wait_ready()
        librarian.add_text("engine.txt", ENGINE_EN)
        until_processed(librarian, "engine.txt")
    finally:
        librarian.close()
    again = Librarian.open(kept("home"))
    try:
        again.wait_ready()
        assert "Charles Babbage" in names_in(again.graph())
        assert "migrate --to postgres" in again.snapshot().notice
    finally:
        again.close()


def test_tables_stand_in_place_of_files_and_in_the_success_table(
    kept: Kept, opened: Opened
) -> None:
    librarian = filled(opened(kept("home")))
    names = {each.name for each in librarian.snapshot().files if each.table}
    until(lambda: any(each.table for each in librarian.snapshot().files), "the sizes of tables")
    names = {each.name for each in librarian.snapshot().files if each.table}
    assert {"lightrag_graph_nodes", "lightrag_doc_chunks", "lightrag_llm_cache"} <= names
    rows = {row.name: row.value for row in librarian.verify()}
    assert int(rows["lightrag_graph_nodes + lightrag_graph_edges"].split()[0]) > 0
    assert librarian.snapshot().count(Status.PROCESSED) == 2


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"version": 13, "version_text": "13.9"}, "PostgreSQL", "Update the server"),
        ({"vector": "", "offered": ""}, "pgvector", "apt install postgresql-16-pgvector"),
        ({"vector": "0.4.4"}, "pgvector", "ALTER EXTENSION vector UPDATE"),
        ({"vector": "", "may_extend": False}, "pgvector", "CREATE EXTENSION vector"),
        ({"may_create": False}, "Database rights", "GRANT CREATE"),
    ],
)
def test_each_fault_of_a_server_says_what_to_do(
    change: dict[str, object], name: str, words: str
) -> None:
    assert replace(SOUND, **change).faults.keys() == {name}  # type: ignore[arg-type]
    assert words in replace(SOUND, **change).faults[name][1]  # type: ignore[arg-type]
    assert not SOUND.faults


def checks_of(settings: Settings) -> dict[str, Check]:
    library = Library.open(settings.home)
    try:
        with start_blocking_portal() as portal:
            return {c.name: c for c in portal.call(of_database, library, settings)}
    finally:
        library.close()


def test_the_doctor_looks_at_the_server(kept: Kept, tmp_path: Path, url: str) -> None:
    checks = checks_of(kept("home"))
    assert {each.severity for each in checks.values()} == {Severity.OK}
    assert checks.keys() == {"PostgreSQL", "pgvector", "Database rights", "Database connections"}
    assert not checks_of(settings_of(tmp_path / "other"))
    wrong = url.replace(parse(url).password, "not-it")
    refused = checks_of(settings_of(tmp_path / "refused", wrong))["PostgreSQL"]
    assert refused.severity is Severity.FAIL
    assert "LIBRARIAN_DATABASE_URL" in refused.message
    assert "not-it" not in refused.message + refused.remedy
    nobody = checks_of(settings_of(tmp_path / "nobody", "postgresql://a:secret@127.0.0.1:9/b"))
    assert nobody["PostgreSQL"].severity is Severity.FAIL
    assert "secret" not in repr(nobody)


def test_a_user_without_rights_is_told_what_an_administrator_has_to_do(
    url: str, tmp_path: Path
) -> None:
    async def prepare() -> None:
        connection = await connect(parse(url))
        for command in (
            "DROP DATABASE IF EXISTS bare",
            "DROP ROLE IF EXISTS guest",
            "CREATE DATABASE bare",
            "CREATE ROLE guest LOGIN PASSWORD 'guest'",
        ):
            await connection.execute(command)
        await connection.close()

    with start_blocking_portal() as portal:
        portal.call(prepare)
    server = url.partition("@")[2].rpartition("/")[0]
    guest = settings_of(tmp_path / "home", f"postgresql://guest:guest@{server}/bare")
    checks = checks_of(guest)
    assert checks["pgvector"].severity is Severity.FAIL
    assert "CREATE EXTENSION vector" in checks["pgvector"].remedy
    assert checks["Database rights"].severity is Severity.FAIL
    librarian = Librarian.open(guest)
    try:
        with pytest.raises(DatabaseUnfit, match="CREATE EXTENSION vector"):
            librarian.wait_ready()
    finally:
        librarian.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host/base",
        "postgresql://user:hidden@/base",
        "mysql://user:hidden@host/base",
        "postgresql://user:hidden@host",
        "postgresql://user:hidden@host:port/base",
        "postgresql://user:hidden@host/base?sslmode=maybe",
        "postgresql://user:hidden@host/base?options=-csearch_path",
        "postgresql://user:hidden@[host/base",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="LIBRARIAN_DATABASE_URL") as refused:
        parse(url)
    assert "hidden" not in str(refused.value)


def test_a_url_is_read_with_all_its_parts_and_shown_without_its_password() -> None:
    found = parse(
        "postgres://a%40b:p%2Fw@[::1]:6543/my%20base?sslmode=verify-ca&sslrootcert=/c.pem"
    )
    assert (found.user, found.password, found.host, found.port) == ("a@b", "p/w", "::1", 6543)
    assert (found.name, found.ssl, found.files) == (
        "my base",
        "verify-ca",
        {"sslrootcert": "/c.pem"},
    )
    assert str(found) == "[::1]:6543/my base (user a@b)"
    assert "se/cret" not in repr(
        Settings.from_env({"LIBRARIAN_DATABASE_URL": "postgres://a:se%2Fcret@h/b"})
    )
    socket = parse("postgresql://me@/base?host=/run/postgresql")
    assert (socket.host, socket.port, socket.password) == ("/run/postgresql", 5432, "")


def tables_of(url: str, like: str) -> set[str]:
    async def read() -> set[str]:
        connection = await connect(parse(url))
        sql = "SELECT tablename FROM pg_tables WHERE tablename LIKE $1"
        rows = await connection.fetch(sql, like)
        await connection.close()
        return {row["tablename"] for row in rows}

    with start_blocking_portal() as portal:
        return portal.call(read)


def test_vectors_are_made_anew_in_the_database_and_the_old_ones_go(
    kept: Kept, opened: Opened, url: str
) -> None:
    settings = kept("home")
    librarian = filled(opened(settings))
    before, old = told(librarian.graph()), librarian._library.manifest.workspace
    librarian.close()
    report = re_embed(settings, lambda _: None, OfflineModel(dimension=128))
    assert (report.dimension, report.entities) == (128, len(before[0]))  # type: ignore[index]
    again = Librarian.open(settings, model=OfflineModel(dimension=128))
    try:
        again.wait_ready()
        new = again._library.manifest.workspace
        assert told(again.graph()) == before
        assert "Babbage" in answered(again, "Who designed the Analytical Engine?")
        assert not (settings.home / ATTEMPT).exists()
    finally:
        again.close()
    assert tables_of(url, f"lightrag_vdb_entity_{new}%") == {f"lightrag_vdb_entity_{new}_128d"}
    assert not tables_of(url, f"%{old}%")


ENTITIES = "lightrag_vdb_entity"


def asked_of(url: str, sql: str) -> list[tuple[object, ...]]:
    async def read() -> list[tuple[object, ...]]:
        connection = await connect(parse(url))
        rows = await connection.fetch(sql)
        await connection.close()
        return [tuple(row) for row in rows]

    with start_blocking_portal() as portal:
        return portal.call(read)


def indexes_of(url: str, table: str) -> list[tuple[object, ...]]:
    return asked_of(
        url,
        "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "JOIN pg_am ON pg_am.oid = relam "
        f"WHERE indrelid = '{table}'::regclass AND amname = 'hnsw'",
    )


async def looked_after(
    url: str, table: str, *, busy: bool = False, enough: int = 1, many: int = 1000, dimension: int
) -> bool:
    """Whether the index is there, or is not made though it is looked for at least three times."""
    looks = iter(range(6))  # at most two each time

    def was_busy() -> bool:
        if next(looks, None) is None:
            scope.cancel()
        return busy

    with anyio.fail_after(30), anyio.CancelScope() as scope:
        database = parse(url)
        index = VectorIndex(
            database, dimension, enough=enough, many=many, quiet_s=0.01, again_s=0.01
        )
        await index.run([table], was_busy)
    return not scope.cancelled_caught


def test_vectors_get_an_index_once_there_are_enough_and_nothing_is_read(
    kept: Kept, opened: Opened, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    librarian = filled(opened(kept("home")))
    space = librarian._library.manifest.workspace
    (table,) = tables_of(url, f"{ENTITIES}_{space}%")
    dimension = int(table.rpartition("_")[2].removesuffix("d"))
    seen = partial(looked_after, url, table, dimension=dimension)
    with start_blocking_portal() as portal:
        assert indexes_of(url, table) == []  # LightRAG makes none
        assert not portal.call(partial(seen, enough=1000))
        assert not portal.call(partial(seen, busy=True))
        assert indexes_of(url, table) == []
        assert portal.call(partial(seen, busy=True, many=2))
        assert indexes_of(url, table) == [(True,)]
        assert portal.call(partial(seen, dimension=2001)), "pgvector has none for so many numbers"
    assert "could not be made" not in caplog.text
    assert "Babbage" in answered(librarian, "Who designed the Analytical Engine?")
    librarian.delete("engine.txt")
    until(
        lambda: not any("engine.txt" in each.documents for each in librarian.graph().entities),
        "the deletion",
    )


def test_all_tables_of_vectors_of_a_library_are_looked_after(
    kept: Kept, opened: Opened, url: str
) -> None:
    librarian = filled(opened(kept("home")))
    space = librarian._library.manifest.workspace
    engine = librarian._portal.call(librarian._rooms.engine_ready)
    tables = tables_of(url, f"lightrag_vdb_%_{space}_%")
    assert len(tables) == 3

    async def kept_up() -> None:
        assert isinstance(engine.holdings, Tables)
        index = VectorIndex(parse(url), 512, enough=1, quiet_s=0.01)
        held = Tables(engine._rag, engine.holdings._waiting, index)
        with anyio.fail_after(30):
            await held.keep_files(lambda: False, engine.editing.still)

    librarian._portal.call(kept_up)
    assert {table: indexes_of(url, table) for table in tables} == dict.fromkeys(tables, [(True,)])


def test_a_table_says_that_its_index_is_being_made(kept: Kept, opened: Opened, url: str) -> None:
    librarian = filled(opened(kept("home")))
    space = librarian._library.manifest.workspace
    engine = librarian._portal.call(librarian._rooms.engine_ready)
    (table,) = tables_of(url, f"{ENTITIES}_{space}%")

    async def seen() -> list[list[str]]:
        assert isinstance(engine.holdings, Tables)
        index = VectorIndex(parse(url), 512, enough=1, quiet_s=0.01)
        held = Tables(engine._rag, engine.holdings._waiting, index)

        async def now() -> list[str]:
            return [each.name for each in await held.sizes() if each.indexed_now]

        writer, found = await connect(parse(url)), [await now()]
        with anyio.fail_after(30):
            async with writer.transaction(), anyio.create_task_group() as tasks:
                await writer.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
                tasks.start_soon(index.run, [table], lambda: False)
                while not index.making:  # noqa: ASYNC110 - it waits for the writer
                    await anyio.sleep(0.01)
                found.append(await now())
                tasks.cancel_scope.cancel()
        await writer.close()
        return [*found, await now()]

    assert librarian._portal.call(seen) == [[], [table], []]


def test_an_index_that_is_given_up_is_made_anew(kept: Kept, opened: Opened, url: str) -> None:
    librarian = filled(opened(kept("home")))
    space = librarian._library.manifest.workspace
    (table,) = tables_of(url, f"{ENTITIES}_{space}%")
    librarian.close()

    async def made() -> bool:
        return await looked_after(url, table, dimension=512)

    async def given_up() -> None:
        """A transaction that writes the table keeps it from being ended."""
        writer, looker = await connect(parse(url)), await connect(parse(url))
        sql = "SELECT count(*) FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'"
        async with writer.transaction():
            await writer.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(made)
                with anyio.fail_after(30):
                    while not await looker.fetchval(sql):  # noqa: ASYNC110 - it is the server's
                        await anyio.sleep(0.01)
                    # Another process leaves the one that is being made alone.
                    assert not await made()
                    assert await looker.fetchval(sql) == 1
                tasks.cancel_scope.cancel()
            assert await looker.fetchval(sql) == 0  # the server has given it up, too
        await writer.close()
        await looker.close()

    with start_blocking_portal() as portal:
        portal.call(given_up)
        assert indexes_of(url, table) == [(False,)]
        assert portal.call(made)
    assert indexes_of(url, table) == [(True,)]


def test_an_index_waits_for_a_server_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """It says so, and looks again."""
    nowhere = "postgresql://me:x@127.0.0.1:1/none"
    with start_blocking_portal() as portal:
        assert not portal.call(partial(looked_after, nowhere, "some", dimension=64))
    assert caplog.text.count("The index over the vectors could not be made") == 3


def test_new_vectors_that_fail_leave_the_library_as_it_was(
    kept: Kept, opened: Opened, url: str
) -> None:
    class Failing(OfflineModel):
        async def embed(self, texts: Sequence[str]) -> Vectors:
            raise RuntimeError("It cannot.")

    settings = kept("home")
    librarian = filled(opened(settings))
    graph, tables = told(librarian.graph()), tables_of(url, "lightrag_vdb_%")
    librarian.close()
    with pytest.raises(LibrarianError):
        re_embed(settings, lambda _: None, Failing(dimension=64))
    assert tables_of(url, "lightrag_vdb_%") == tables
    again = opened(settings)
    assert told(again.graph()) == graph


def test_a_backup_of_a_library_in_the_database_is_whole_and_opens_without_it(
    kept: Kept, opened: Opened, tmp_path: Path
) -> None:
    librarian = filled(opened(kept("home")))
    graph = told(librarian.graph())
    made = librarian.backups.make(tmp_path / "kept.zip")
    librarian.close()
    restore(Path(made.path), tmp_path / "restored")
    again = opened(settings_of(tmp_path / "restored"))
    assert told(again.graph()) == graph
    assert "Babbage" in answered(again, "Who designed the Analytical Engine?")


def test_an_error_of_the_process_that_reads_the_database_arrives_as_it_was(
    kept: Kept, opened: Opened, tmp_path: Path
) -> None:
    filled(opened(kept("home"))).close()
    nobody = settings_of(tmp_path / "home", "postgresql://me@127.0.0.1:9/library")
    library = Library.open(tmp_path / "home")
    parts = tmp_path / "parts"
    parts.mkdir()
    try:
        with start_blocking_portal() as portal, pytest.raises(DatabaseUnavailable, match="9"):
            portal.call(gathered, library, nobody, parts)
    finally:
        library.close()
