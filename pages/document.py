"""Document: one of them from all sides: its chunks, what was found in each, what it cost."""

import json

import streamlit as st

from librarian import ui
from librarian.dossier import Dossier, Part
from librarian.errors import UnknownDocument
from librarian.intake import RECOGNISED
from librarian.quality import Alarm
from librarian.ui_many import offered

A_PAGE = 6  # chunks
NAMES = 24  # entities of a chunk that are shown at once
TEXT_HEIGHT = 230
ALARMS = {
    Alarm.NOTHING: "no entities",
    Alarm.UNUSED: "unusable rows",
    Alarm.REPEATED: "repeated names",
    Alarm.LANGUAGE: "another language",
    Alarm.REPAIRED: "repaired answer",
    Alarm.THOUGHT: "thinking",
}
EVERYTHING, ODD = "All chunks", "With warnings"

librarian = ui.get_librarian()
snapshot = librarian.snapshot()
params = st.query_params
wanted = params.get("chunk", "")
doc = params.get("doc", "") or wanted.rpartition("-chunk-")[0]


def choose() -> None:
    params.clear()
    if chosen := st.session_state[f"chosen-{doc}"]:
        params["doc"] = chosen


def ask_again(part: Part) -> None:
    with ui.told():
        librarian.ask_again(doc, part)
        st.toast("The chunk is asked about again. The Indexing page shows how far it is.")


def head(dossier: Dossier) -> None:
    document = dossier.document
    st.title(ui.plain(document.name))
    for warning in document.warnings:
        st.warning(ui.plain(warning), icon=":material/warning:")
    if document.error:
        st.error(ui.plain(document.error), icon=":material/error:")
    with st.expander(f"About it: {document.status.value}", expanded=not wanted):
        about(dossier)


def about(dossier: Dossier) -> None:
    document, spent = dossier.document, dossier.spent
    with st.container(horizontal=True):
        st.metric("Chunks", f"{document.chunks_total or len(dossier.parts):,}")
        st.metric("Entities", f"{document.entities:,}")
        st.metric("Relations", f"{document.relations:,}")
        st.metric("Calls", f"{spent.calls:,}")
        st.metric("Model's time", ui.span(spent.model_s) if spent.calls else "–")
        st.metric("Tokens read", ui.rounded(spent.prompt_tokens))
        st.metric("Tokens written", ui.rounded(spent.output_tokens))
    saved = (
        f" {ui.many(document.chunks_saved, 'chunk')} had been paid for before."
        if document.chunks_saved
        else ""
    )
    st.caption(
        f"{ui.size(document.bytes)}, {document.characters:,} characters, "
        f"{ui.plain(document.language)}; added {ui.ago(document.created_at)}, worked on for "
        f"{ui.span(document.elapsed_s) if document.elapsed_s else 'no time yet'}.{saved} Calls "
        "are those for the chunks of this text; descriptions that are made of several chunks' are "
        "not counted to one document."
    )
    if dossier.recognised:
        st.caption(f":material/document_scanner: {RECOGNISED}")
    if dossier.versions:
        st.caption(f"It replaced {ui.many(len(dossier.versions), 'earlier version')}:")
        st.dataframe(
            [
                {
                    "added": ui.ago(each.created_at),
                    "replaced": ui.ago(each.replaced_at),
                    "size": ui.size(each.bytes),
                    "chunks": each.chunks,
                    "entities": each.entities,
                    "worked on for": ui.span(each.elapsed_s),
                }
                for each in dossier.versions
            ],
            hide_index=True,
            key="versions",
        )


def matching(dossier: Dossier) -> list[Part]:
    odd = dossier.with_alarm()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input("Find in the text", placeholder="Words of it", key="words")
        show = EVERYTHING
        if odd:
            show = (
                st.segmented_control(
                    "Chunks",
                    [EVERYTHING, ODD],
                    format_func=lambda each: f"{each} ({len(odd)})" if each == ODD else each,
                    default=EVERYTHING,
                    key="which",
                )
                or EVERYTHING
            )
    looked = text.casefold()
    return [
        part
        for part in (odd if show == ODD else dossier.parts)
        if not looked or looked in part.text.casefold()
    ]


def show_part(part: Part) -> None:
    marked = part.id == wanted
    with st.container(border=True, key=f"chunk-{part.order}{'-marked' if marked else ''}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**Chunk {part.order + 1:,}**")
            if marked:
                st.badge("the one you came for", icon=":material/bookmark:", color="blue")
            for alarm in part.reading.alarms:
                st.badge(ALARMS[alarm], icon=":material/warning:", color="orange")
            page = f"p. {part.page:,}, " if part.page else ""
            st.caption(f"{page}{part.tokens:,} tokens, from character {part.start:,}")
        with st.container(height="content" if marked else TEXT_HEIGHT, border=False):
            st.text(part.text)
        names = part.entities or part.reading.entities
        if names:
            entity = st.pills(
                f"{ui.many(len(names), 'entity').replace('entitys', 'entities')}, "
                f"{ui.many(part.relations or part.reading.relations, 'relation')}",
                names[:NAMES],
                format_func=ui.plain,
                key=f"names-{part.order}",
            )
            if len(names) > NAMES:
                st.caption(f"and {len(names) - NAMES} more")
            if entity:
                st.switch_page("graph.py", query_params={"centre": entity})
        elif part.answered:
            st.caption("No entity was found in it.")
        with st.expander("The model's answer", icon=":material/neurology:"):
            answers(part)


def answers(part: Part) -> None:
    kept = librarian.answers_about(part)
    if not kept:
        st.caption(
            "The journal has no answer about this chunk: it is not read yet, or was cleared."
        )
        return
    for each in reversed(kept):
        tokens = f"{each.answer.prompt_tokens:,} tokens read, {each.answer.output_tokens:,} written"
        st.caption(
            ui.plain(
                f"{each.model}, {ui.ago(each.at)}: {tokens}, in {ui.span(each.answer.total_s)}"
            )
        )
        text = pretty(each.answer.text)
        height: int | str = 260 if text.count("\n") > 10 else "content"
        st.code(text, language="json", height=height, wrap_lines=True)  # type: ignore[arg-type]
    with st.popover("Ask the model again", icon=":material/refresh:"):
        st.markdown(
            "The model reads this chunk once more, and the document is put together anew; all its "
            "other answers are there already. The old answer is kept, and is used no more."
        )
        st.button(
            "Ask again", key=f"again-{part.order}", on_click=ask_again, args=(part,), type="primary"
        )


def pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    except (ValueError, RecursionError):
        return text


if not doc:
    st.title("Document")
ui.banners(snapshot)
names = {view.document.id: view.document.name for view in reversed(snapshot.documents)}
with st.container(horizontal=True, vertical_alignment="bottom"):
    choices = offered(names, "find", [doc] if doc in names else [])
    st.selectbox(
        "Document",
        choices,
        index=choices.index(doc) if doc in names else None,
        format_func=lambda each: names.get(each, each),
        placeholder="Which document?" if names else "No documents yet",
        key=f"chosen-{doc}",
        on_change=choose,
        disabled=not names,
    )
if doc and snapshot.ready:
    with ui.told(), st.spinner("Reading it…", show_time=True):
        try:
            dossier = librarian.dossier(doc)
        except UnknownDocument:
            st.warning(
                "No document of the library is the one of this address: it may have been deleted "
                "or replaced. Choose another above.",
                icon=":material/search_off:",
            )
            st.page_link("library.py", label="See Library", icon=":material/library_books:")
            st.stop()
        head(dossier)
        parts = matching(dossier)
        if not parts:
            st.info("No chunk is like that." if dossier.parts else "It is not cut into chunks yet.")
        place = next((n for n, part in enumerate(parts) if part.id == wanted), 0)
        pages = -(-len(parts) // A_PAGE)
        page = 1
        if pages > 1:
            page = st.pagination(
                pages, default=place // A_PAGE + 1, key=f"page-{doc}-{wanted}-{pages}"
            )
        for part in parts[(page - 1) * A_PAGE : page * A_PAGE]:
            show_part(part)
