"""The shelf: a person's order among the documents. Names, tags, what is chosen, what goes."""

from __future__ import annotations

import re
import threading
import time
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from librarian.documents import (
    Admission,
    Document,
    Outcome,
    Status,
    clean_name,
    one_line,
    suffix_of,
)
from librarian.errors import DocumentError, NameTaken
from librarian.evidence import Retrieval
from librarian.intake import Convert, admit_file, discard, removed_of
from librarian.journal import Spent
from librarian.knowledge import Entity, Graph, Relation
from librarian.library import Library
from librarian.removed import Removed
from librarian.snapshot import DocumentView

FOLDERS = "∕"  # joins the folders of a name, see `clean_name`
TAG_LENGTH = 40  # characters
MOST_TAGS = 20  # of one document; more is a description
NO_TAG = ""  # among the tags of a choice: documents that have none


class UnfitName(DocumentError):
    """Write one with at least a letter or a digit."""


class TooManyTags(DocumentError):
    """Take some away first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which documents are looked for; what is empty asks for nothing."""

    text: str = ""
    statuses: Collection[str] = ()
    formats: Collection[str] = ()
    tags: Collection[str] = ()
    folders: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What a deletion takes with it."""

    documents: int = 0
    chunks: int = 0
    entities: int = 0  #: that only these documents speak of
    relations: int = 0
    spent: Spent = Spent()  #: of the model's work, for their chunks


class Shelf:
    """Names, tags and removals of a library. Methods block; any thread may call them."""

    def __init__(self, library: Library, told: Callable[[], None], converter: Convert) -> None:
        """`told` is called when the list of documents has changed."""
        self._library = library
        self._converter = converter
        self._told = told
        self._removed = removed_of(library)
        self._removed.settle({each.file for each in library.catalogue.all()}, time.time())
        self._removed.sweep(time.time())
        self._guard = threading.Lock()
        self._named: tuple[object, Graph] | None = None

    def rename(self, doc: str, name: str) -> str:
        """Gives a document another name, and says which: names are cleaned as at the door.

        Its text, id and original are as they were; LightRAG keeps the name that it came with.

        Raises:
            UnfitName: nothing of the name is left.
            NameTaken: another document has it, or one that people would take for it.
        """
        shown = clean_name(name)
        if not re.search(r"\w", name):
            raise UnfitName(f"{name!r:.60} is no name.")
        with self._library.admission:
            document = self._library.catalogue.get(doc)
            for other in self._library.catalogue.all():
                if other.id != document.id and _folded(other.name) == _folded(shown):
                    raise NameTaken(f"{other.name} is another document's name.")
            self._library.catalogue.rename(document.id, shown)
        self._told()
        return shown

    def tag(self, docs: Iterable[str], add: Iterable[str] = (), drop: Iterable[str] = ()) -> None:
        """Gives tags to documents and takes some away; all of it or nothing.

        A tag that differs from a known one only in case is that one.

        Raises:
            UnfitName: nothing of a tag is left.
            TooManyTags: one of the documents would have more than `MOST_TAGS`.
        """
        known = {_folded(tag): tag for tag in self.tags()}
        added = [known.get(_folded(tag), tag) for tag in map(clean_tag, add)]
        dropped = set(map(_folded, drop))

        def change(tags: tuple[str, ...]) -> tuple[str, ...]:
            kept = [tag for tag in tags if _folded(tag) not in dropped]
            kept = sorted({_folded(tag): tag for tag in (*kept, *added)}.values(), key=_folded)
            if len(kept) > MOST_TAGS:
                raise TooManyTags(f"A document has at most {MOST_TAGS} tags.")
            return tuple(kept)

        self._library.catalogue.tag(docs, change)
        self._told()

    def tags(self) -> tuple[str, ...]:
        """Every tag that a document has."""
        found = {tag for document in self._library.catalogue.all() for tag in document.tags}
        return tuple(sorted(found, key=_folded))

    def replace(self, doc: str, name: str, data: bytes) -> Admission:
        """Puts a new version in a document's place, whatever its file is called.

        The document keeps its name and tags; only chunks that changed are asked about.

        Raises:
            UnknownDocument: it is gone.
        """
        document = self._library.catalogue.get(doc)
        admission = admit_file(
            self._library, name, data, converter=self._converter, instead=document
        )
        if admission.outcome is Outcome.ACCEPTED:
            self._told()
        return admission

    def losses(self, docs: Iterable[str], graph: Graph) -> Losses:
        """What deleting these documents would take with it, by the graph as it is now."""
        ids = frozenset(docs)
        documents = [each for each in self._library.catalogue.all() if each.id in ids]
        journal = self._library.journal.spent
        spent = [journal[each.id] for each in documents if each.id in journal]
        return Losses(
            documents=len(documents),
            chunks=sum(each.chunks_total for each in documents),
            entities=sum(_only(ids, one) for one in graph.entities),
            relations=sum(_only(ids, one) for one in graph.relations),
            spent=Spent(
                calls=sum(each.calls for each in spent),
                prompt_tokens=sum(each.prompt_tokens for each in spent),
                output_tokens=sum(each.output_tokens for each in spent),
                model_s=sum(each.model_s for each in spent),
            ),
        )

    def delete(self, docs: Iterable[str], *, for_good: bool = False) -> tuple[str, ...]:
        """Takes documents out of the library; their names.

        Their originals are kept for a while, unless it is `for_good`. Some that are gone already
        are passed over.
        """
        ids = frozenset(docs)
        gone = [each for each in self._library.catalogue.all() if each.id in ids]
        for document in gone:
            discard(self._library, document, for_good=for_good)
        self._removed.sweep(time.time())
        self._told()
        return tuple(document.name for document in gone)

    def removed(self) -> tuple[Removed, ...]:
        """What was deleted and can be put back, the last first."""
        there = {each.id for each in self._library.catalogue.all()}  # added again meanwhile
        return tuple(each for each in self._removed.all() if each.document.id not in there)

    def put_back(self, doc_id: str) -> Document:
        """Puts a deleted document back into the queue, with its name and tags.

        Raises:
            NameTaken: another document has its name now.
            LibraryError: it is not there any more, or is in the library already.
        """
        with self._library.admission:
            document = self._removed.put_back(doc_id, self._library.catalogue)
        self._told()
        return document

    def drop(self, doc_id: str) -> None:
        """Removes the original of a deleted document for good."""
        self._removed.drop(doc_id)

    def tagged(self, tags: Collection[str]) -> frozenset[str]:
        """The names of the documents that have one of the tags."""
        return frozenset(
            each.name
            for each in self._library.catalogue.all()
            if not set(tags).isdisjoint(each.tags)
        )

    def named(self, graph: Graph) -> Graph:
        """The graph with its documents by the names that they have now."""
        key = (graph.version, self._library.catalogue.labels)
        with self._guard:
            if self._named is None or self._named[0] != key:
                self._named = key, with_names(graph, self._library.catalogue.renamed())
            return self._named[1]

    def name_now(self, name: str) -> str:
        """What a document is called that LightRAG has by a name."""
        return self._library.catalogue.renamed().get(name, name)


def clean_tag(tag: str) -> str:
    """A tag that can be shown: one short line without invisible marks.

    Raises:
        UnfitName: nothing of it is left.
    """
    text = one_line(tag, TAG_LENGTH)
    if not re.search(r"\w", text):
        raise UnfitName(f"{tag!r:.60} is no tag.")
    return text


def chosen(views: Iterable[DocumentView], choice: Choice) -> list[DocumentView]:
    """The documents that a choice asks for, in their order.

    Of its text every word must be in the name or a tag, in any case; `ё` is `е`.
    """
    if choice == Choice():
        return list(views)
    words = _folded(choice.text).split()
    return [view for view in views if _is_chosen(view.document, choice, words)]


def like(names: Mapping[str, str], text: str, most: int) -> list[str]:
    """The keys of the first `most` names that have every word of a text, as `chosen` compares."""
    words = _folded(text).split()
    found = (
        key
        for key, name in names.items()
        if not words or all(word in _folded(name) for word in words)
    )
    return list(islice(found, most))


def _is_chosen(document: Document, choice: Choice, words: Sequence[str]) -> bool:
    said = _folded(" ".join((document.name, *document.tags)))
    tags, folder = set(document.tags or (NO_TAG,)), f"{folder_of(document.name)}{FOLDERS}"
    return (
        all(word in said for word in words)
        and (not choice.statuses or standing_of(document) in choice.statuses)
        and (not choice.formats or format_of(document) in choice.formats)
        and (not choice.tags or not tags.isdisjoint(choice.tags))
        and (not choice.folders or any(folder.startswith(f + FOLDERS) for f in choice.folders))
    )


def standing_of(document: Document) -> str:
    """Its status, as people look for it: what is processed may lack something."""
    lacking = document.status is Status.PROCESSED and document.warnings
    return "with warnings" if lacking else document.status.value


def format_of(document: Document) -> str:
    """The kind of its file, by the ending of the original: `pdf`; another name changes nothing."""
    return suffix_of(document.file).lstrip(".") or "txt"


def folder_of(name: str) -> str:
    """The folder that a document came from; empty for one that came alone."""
    return name.rpartition(FOLDERS)[0]


def folders_of(views: Iterable[DocumentView]) -> list[str]:
    """Every folder of the documents, those that only hold folders too."""
    found: set[str] = set()
    for view in views:
        folder = folder_of(view.document.name)
        while folder and folder not in found:
            found.add(folder)
            folder = folder_of(folder)
    return sorted(found, key=_folded)


def with_names(graph: Graph, names: Mapping[str, str]) -> Graph:
    """A graph whose documents have other names, by those that it has them by."""
    if not names:
        return graph

    def now(documents: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(each, each) for each in documents)

    def entity(one: Entity) -> Entity:
        touched = not names.keys().isdisjoint(one.documents)
        return replace(one, documents=now(one.documents)) if touched else one

    def relation(one: Relation) -> Relation:
        touched = not names.keys().isdisjoint(one.documents)
        return replace(one, documents=now(one.documents)) if touched else one

    return Graph(
        entities=tuple(map(entity, graph.entities)),
        relations=tuple(map(relation, graph.relations)),
        version=f"{graph.version}-{hash(tuple(names.items())) & 0xFFFFFFFF:08x}",
    )


def cited_by_name(found: Retrieval, names: Mapping[str, str]) -> Retrieval:
    """What was found for a question, with documents by the names that they have now.

    The prompt lists them too, a line each: `[1] name`.
    """
    passages = tuple(replace(p, document=names.get(p.document, p.document)) for p in found.passages)
    system, *rest = found.messages
    content = system.content
    for old, new in zip(found.passages, passages, strict=True):
        if old.document != new.document:
            line = f"\n[{old.number}] {old.document}"
            content = content.replace(f"{line}\n", f"\n[{old.number}] {new.document}\n")
    return replace(found, passages=passages, messages=(replace(system, content=content), *rest))


def _only(ids: Collection[str], one: Entity | Relation) -> bool:
    """Whether nothing but these documents speaks of it."""
    documents = {chunk.rpartition("-chunk-")[0] for chunk in one.chunks}
    return bool(documents) and documents <= set(ids)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().replace("ё", "е")
