"""Names, tags, replacements and deletions, over a real library."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.app import Librarian
from librarian.documents import Document, Outcome, Status, clean_name
from librarian.errors import LibraryError, NameTaken, UnknownDocument
from librarian.exports import to_csv
from librarian.models.offline import OfflineModel
from librarian.models.protocol import Completion, Heard, Prompt, Role
from librarian.reembed import re_embed
from librarian.settings import Settings
from librarian.shelf import (
    MOST_TAGS,
    NO_TAG,
    TAG_LENGTH,
    Choice,
    TooManyTags,
    UnfitName,
    chosen,
    clean_tag,
    folders_of,
)
from librarian.snapshot import DocumentView
from librarian.views import GraphRequest
from tests.conftest import Opened, until, until_processed, until_status
from tests.ollama_server import OllamaServer

ENGINE = "Charles Babbage designed the Analytical Engine in London with Ada Lovelace."
OTHER = "Charles Babbage quarrelled with the Royal Society about the Difference Engine."
CHANGED = "Charles Babbage designed the Analytical Engine in Turin with Luigi Menabrea."
HOSTILE = "<img src=x onerror=alert(1)>\x00\u202e[a](javascript:1)\ud800.txt"


def view(name: str, *tags: str, status: Status = Status.PROCESSED, file: str = "") -> DocumentView:
    document = Document(
        id=f"doc-{name}",
        name=name,
        status=status,
        bytes=1,
        characters=1,
        language="English",
        file=file or f"{name}.txt",
        created_at=0.0,
        updated_at=0.0,
        tags=tags,
    )
    return DocumentView(document=document)


def names_of(views: list[DocumentView]) -> list[str]:
    return [each.document.name for each in views]


def doc(librarian: Librarian, name: str) -> str:
    return librarian._library.catalogue.get(name).id


def until_read(librarian: Librarian, doc_id: str | None) -> None:
    """By its id: another version of the same name may have been read before."""
    catalogue = librarian._library.catalogue
    until(
        lambda: catalogue.get(str(doc_id)).status is Status.PROCESSED and not catalogue.deletions(),
        "the new version",
    )


def asked(server: OllamaServer) -> int:
    return sum(call.role not in ("query", "keyword", "embed", "") for call in server.calls)


SHELF = [
    view("books∕архив∕Ёлка.txt", "Зима"),
    view("books∕Note.md", status=Status.FAILED, file="note.pdf"),
    view("plain.txt", "winter", "read"),
]


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        (Choice(), 3),
        (Choice(text="елка"), 1),
        (Choice(text="ЗИМА books"), 1),
        (Choice(text="note.md plain"), 0),
        (Choice(statuses=["failed"]), 1),
        (Choice(formats=["pdf", "md"]), 1),
        (Choice(tags=["read", "Зима"]), 2),
        (Choice(tags=[NO_TAG]), 1),
        (Choice(folders=["books"]), 2),
        (Choice(folders=["books∕архив"]), 1),
        (Choice(folders=["book"]), 0),
    ],
)
def test_documents_are_found_by_name_tag_status_format_and_folder(
    choice: Choice, found: int
) -> None:
    assert len(chosen(SHELF, choice)) == found


def test_folders_that_only_hold_folders_are_listed_too() -> None:
    assert folders_of([view("a∕b∕c.txt"), view("d.txt")]) == ["a", "a∕b"]


@given(st.text())
def test_a_tag_is_one_short_visible_line_or_refused(text: str) -> None:
    try:
        tag = clean_tag(text)
    except UnfitName:
        return
    assert tag == clean_tag(tag)
    assert 0 < len(tag) <= TAG_LENGTH
    assert tag.isprintable()
    tag.encode()


@given(st.text(alphabet=st.characters()))
def test_a_search_for_anything_ends(text: str) -> None:
    assert len(chosen(SHELF, Choice(text=text))) <= len(SHELF)


def test_tags_are_given_and_taken_and_survive_a_restart(tmp_path: Path, opened: Opened) -> None:
    settings = Settings.from_env({}, home=tmp_path / "library", backend="offline")
    librarian = opened(settings)
    ids = [str(librarian.add_text(f"{n}.txt", f"{ENGINE} {n}").doc_id) for n in range(2)]
    librarian.shelf.tag(ids, ["Машины", "read"])
    librarian.shelf.tag(ids[:1], ["МАШИНЫ", "Лондон"], ["READ"])
    until_processed(librarian, "0.txt", "1.txt")  # the queue has older copies of both
    librarian.close()
    again = opened(settings)
    assert again.shelf.tags() == ("read", "Лондон", "Машины")
    tags = {each.name: each.tags for each in again._library.catalogue.all()}
    assert tags == {"0.txt": ("Лондон", "Машины"), "1.txt": ("read", "Машины")}


def test_too_many_tags_change_no_document_at_all(librarian: Librarian) -> None:
    ids = [str(librarian.add_text(f"{n}.txt", f"{ENGINE} {n}").doc_id) for n in range(2)]
    librarian.shelf.tag(ids[1:], [f"old {n}" for n in range(MOST_TAGS)])
    with pytest.raises(TooManyTags):
        librarian.shelf.tag(ids, ["new"])
    assert "new" not in librarian.shelf.tags()


def test_a_name_that_is_taken_is_refused_in_any_case(librarian: Librarian) -> None:
    librarian.add_text("Отчёт.txt", ENGINE)
    librarian.add_text("b.txt", OTHER)
    for name in ("Отчёт.txt", "ОТЧЕТ.TXT"):
        with pytest.raises(NameTaken):
            librarian.shelf.rename(doc(librarian, "b.txt"), name)
    for name in ("", "  ", "///", "\x00"):
        with pytest.raises(UnfitName):
            librarian.shelf.rename(doc(librarian, "b.txt"), name)
    with pytest.raises(UnknownDocument):
        librarian.shelf.rename("doc-none", "c.txt")
    assert librarian.shelf.rename(doc(librarian, "Отчёт.txt"), "отчёт.txt") == "отчёт.txt"


def test_a_new_name_is_shown_everywhere_and_asks_no_model(librarian: Librarian) -> None:
    librarian.add_text("a.txt", ENGINE)
    librarian.add_text("b.txt", OTHER)
    until_processed(librarian, "a.txt", "b.txt")
    id_, file = doc(librarian, "a.txt"), librarian._library.catalogue.get("a.txt").file
    answers = librarian.journal().answers
    name = librarian.shelf.rename(id_, HOSTILE)
    until_status(librarian, name, Status.PROCESSED)

    assert name == clean_name(HOSTILE)
    assert (doc(librarian, name), librarian._library.catalogue.get(name).file) == (id_, file)
    entity = next(one for one in librarian.graph().entities if one.name == "Analytical Engine")
    assert entity.documents == (name,)
    part = librarian.graph_part(GraphRequest(documents=frozenset({name})))
    assert {"Analytical Engine"} <= {one.name for one in part.entities}
    assert "Royal Society" not in {one.name for one in part.entities}
    assert name in to_csv(librarian.graph())[0].decode()
    assert "a.txt" not in to_csv(librarian.graph())[0].decode()
    answer = librarian.ask("Who designed the Analytical Engine?").answer
    assert {each.document for each in answer.sources} == {name, "b.txt"}
    assert librarian.dossier(id_).document.name == name
    assert librarian.journal().answers - answers <= 2  # the question's own


class Listening(OfflineModel):
    """Keeps the prompts of questions."""

    prompts: tuple[str, ...] = ()

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        if prompt.role is Role.QUERY:
            self.prompts += (prompt.messages[0].content,)
        return await super().complete(prompt, heard)


def test_the_model_reads_the_new_name_too(tmp_path: Path) -> None:
    settings = Settings.from_env({}, home=tmp_path / "library", backend="offline")
    librarian = Librarian.open(settings, model=(model := Listening()))
    try:
        librarian.wait_ready()
        librarian.add_text("scan0123.txt", ENGINE)
        until_processed(librarian, "scan0123.txt")
        librarian.shelf.rename(doc(librarian, "scan0123.txt"), "Babbage.txt")
        assert librarian.ask("Who designed the Analytical Engine?").answer.sources
    finally:
        librarian.close()
    (prompt,) = model.prompts
    assert "[1] Babbage.txt" in prompt
    assert "scan0123.txt" not in prompt


def test_a_file_of_the_old_name_is_still_that_document(librarian: Librarian) -> None:
    librarian.add_text("a.txt", ENGINE)
    until_processed(librarian, "a.txt")
    librarian.shelf.tag([doc(librarian, "a.txt")], ["machines"])
    librarian.shelf.rename(doc(librarian, "a.txt"), "Babbage.txt")
    assert librarian.add_text("a.txt", CHANGED).outcome is Outcome.CONFLICT
    admission = librarian.add_text("a.txt", CHANGED, replace=True)
    assert admission.outcome is Outcome.ACCEPTED
    until_read(librarian, admission.doc_id)
    (document,) = librarian._library.catalogue.all()
    assert (document.id, document.tags) == (admission.doc_id, ("machines",))
    entities = {one.name: one.documents for one in librarian.graph().entities}
    assert entities["Turin"] == ("Babbage.txt",)
    assert "London" not in entities
    (version,) = librarian._library.catalogue.versions("Babbage.txt")
    assert version.id != document.id


def test_names_that_change_places_stay_apart(librarian: Librarian) -> None:
    librarian.add_text("a.txt", ENGINE)
    librarian.add_text("b.txt", OTHER)
    until_processed(librarian, "a.txt", "b.txt")
    first, second = doc(librarian, "a.txt"), doc(librarian, "b.txt")
    librarian.shelf.rename(first, "c.txt")
    librarian.shelf.rename(second, "a.txt")
    entities = {one.name: set(one.documents) for one in librarian.graph().entities}
    assert entities["Analytical Engine"] == {"c.txt"}
    assert entities["Royal Society"] == {"a.txt"}
    assert entities["Babbage"] == {"a.txt", "c.txt"}
    admission = librarian.add_text("a.txt", CHANGED, replace=True)
    assert admission.outcome is Outcome.ACCEPTED
    until_read(librarian, admission.doc_id)
    entities = {one.name: set(one.documents) for one in librarian.graph().entities}
    assert "Royal Society" not in entities
    assert entities["Turin"] == {"a.txt"}


def test_a_new_version_takes_the_place_of_a_chosen_document(librarian: Librarian) -> None:
    librarian.add_text("a.txt", ENGINE)
    librarian.add_text("b.txt", OTHER)
    until_processed(librarian, "a.txt", "b.txt")
    librarian.shelf.rename(doc(librarian, "a.txt"), "Babbage's engine")
    before = doc(librarian, "Babbage's engine")
    refused = librarian.shelf.replace(before, "new.exe", b"MZ")
    assert refused.outcome is Outcome.REFUSED
    same = librarian.shelf.replace(before, "other name.md", OTHER.encode())
    assert same.outcome is Outcome.DUPLICATE
    assert doc(librarian, "Babbage's engine") == before
    taken = librarian.shelf.replace(before, "other name.md", CHANGED.encode())
    assert taken.outcome is Outcome.ACCEPTED
    until_read(librarian, taken.doc_id)
    assert doc(librarian, "Babbage's engine") == taken.doc_id
    assert len(librarian._library.catalogue.all()) == 2
    with pytest.raises(UnknownDocument):
        librarian.shelf.replace(before, "late.md", b"late")


def test_a_deletion_says_what_goes_and_takes_just_that(librarian: Librarian) -> None:
    librarian.add_text("a.txt", ENGINE)
    librarian.add_text("b.txt", OTHER)
    until_processed(librarian, "a.txt", "b.txt")
    graph = librarian.graph()
    losses = librarian.shelf.losses([doc(librarian, "a.txt"), "doc-none"], graph)
    assert (losses.documents, losses.chunks, losses.spent.calls) == (1, 1, 1)
    assert librarian.shelf.delete([doc(librarian, "a.txt")]) == ("a.txt",)
    until(lambda: not librarian._library.catalogue.deletions(), "the graph to forget it")
    after = librarian.graph()
    assert len(graph.entities) - len(after.entities) == losses.entities > 0
    assert len(graph.relations) - len(after.relations) == losses.relations > 0
    assert librarian.shelf.losses((), after).documents == 0


def test_what_is_added_again_or_put_back_asks_the_model_for_nothing(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    librarian = opened(
        Settings.from_env({"OLLAMA_HOST": server.url}, home=tmp_path / "l", backend="ollama")
    )
    librarian.add_text("a.txt", ENGINE)
    librarian.add_text("b.txt", OTHER)
    until_processed(librarian, "a.txt", "b.txt")
    librarian.shelf.tag([doc(librarian, "a.txt")], ["machines"])
    graph, paid = librarian.graph(), asked(server)
    for again in range(2):
        gone = doc(librarian, "a.txt")
        librarian.shelf.delete([gone])
        until(lambda: not librarian._library.catalogue.deletions(), "the graph to forget it")
        if again:
            librarian.add_text("a.txt", ENGINE)
        else:
            assert librarian.shelf.put_back(gone).tags == ("machines",)
        until_read(librarian, gone)
        assert asked(server) == paid
        named = {one.name for one in librarian.graph().entities}
        assert named == {one.name for one in graph.entities}


def test_what_was_deleted_is_put_back_whole_or_refused(librarian: Librarian) -> None:
    first = librarian.add_text("a.txt", ENGINE)
    until_processed(librarian, "a.txt")
    librarian.shelf.delete([str(first.doc_id)])
    (removed,) = librarian.shelf.removed()
    assert removed.document.name == "a.txt"
    librarian.add_text("a.txt", OTHER)
    with pytest.raises(NameTaken):
        librarian.shelf.put_back(str(first.doc_id))
    librarian.shelf.rename(doc(librarian, "a.txt"), "b.txt")
    librarian.shelf.put_back(str(first.doc_id))  # both have come as a.txt
    until_read(librarian, first.doc_id)
    until_processed(librarian, "b.txt")
    documents = {one.name: one.documents for one in librarian.graph().entities}
    assert documents["Analytical Engine"] == ("a.txt",)
    assert documents["Royal Society"] == ("b.txt",)
    assert librarian.shelf.removed() == ()
    with pytest.raises(LibraryError, match="for good"):
        librarian.shelf.put_back(str(first.doc_id))


def test_the_graph_and_answers_keep_to_documents_with_a_tag(librarian: Librarian) -> None:
    librarian.add_text("a.txt", ENGINE)
    librarian.add_text("b.txt", OTHER)
    until_processed(librarian, "a.txt", "b.txt")
    librarian.shelf.tag([doc(librarian, "a.txt")], ["машины"])
    request = GraphRequest.read([("tag", "машины")])
    assert request.address() == {"tag": ["машины"]}
    names = {one.name for one in librarian.graph_part(request).entities}
    assert "Analytical Engine" in names
    assert "Royal Society" not in names
    assert librarian.graph_part(GraphRequest.read([("tag", "nobody's")])).entities == ()
    page = librarian.graph_page(request)
    assert '"name": "London"' in page
    assert '"name": "Royal Society"' not in page


def test_names_and_tags_survive_new_vectors(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    environ = {"OLLAMA_HOST": server.url}
    settings = Settings.from_env(environ, home=tmp_path / "l", backend="ollama")
    librarian = opened(settings)
    librarian.add_text("a.txt", ENGINE)
    until_processed(librarian, "a.txt")
    librarian.shelf.rename(doc(librarian, "a.txt"), "Babbage.txt")
    librarian.shelf.tag([doc(librarian, "Babbage.txt")], ["machines"])
    entities = librarian.graph().entities
    librarian.close()
    assert re_embed(settings, lambda _: None).chunks == 1
    again = opened(settings)
    assert again._library.catalogue.get("Babbage.txt").tags == ("machines",)
    assert set(again.graph().entities) == set(entities)
    assert {name for one in entities for name in one.documents} == {"Babbage.txt"}
