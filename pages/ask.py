"""Ask: a question, the answer as it is written, and the passages behind it."""

from urllib.parse import urlencode

import streamlit as st

from librarian import ui
from librarian.answers import Answer, conversation
from librarian.conversations import to_markdown
from librarian.errors import LibrarianError
from librarian.evidence import Passage
from librarian.models.words import is_russian
from librarian.streams import AnswerStream
from librarian.ui_many import offered

MODES = {
    "mix": "Passages and graph together; the best start.",
    "hybrid": "Through the graph: entities and the themes that join them.",
    "local": "Through the entities that the question names.",
    "global": "Through themes and relations across the whole library.",
    "naive": "Only passages that are near in meaning; the graph is not used.",
}
BEAT_S = 0.15  # between two looks at what the model has written
DRAWN = 60  # entities of an answer in its picture
librarian = ui.get_librarian()
snapshot = librarian.snapshot()
state = st.session_state
turns: list[Answer] = state.setdefault("turns", [])
failed: dict[str, str] = state.setdefault("lost", {})  # the last question, if it has no answer
live: dict[str, AnswerStream] = state.setdefault("live", {})  # the answer that is being written
names = {view.document.id: view.document.name for view in snapshot.documents}
tags: dict[str, set[str]] = {}  # ids of the documents of each
for each in snapshot.documents:
    for tag in each.document.tags:
        tags.setdefault(tag, set()).add(each.document.id)

if cut := live.pop("stream", None):  # this run is one that a click began: the other one ends
    cut.stop()
    if so_far := cut.partial():
        turns.append(so_far)
        failed.clear()


def sources(answer: Answer) -> None:
    grouped: dict[int, list[Passage]] = {}
    for passage in answer.sources:
        grouped.setdefault(passage.number, []).append(passage)
    words = [ui.many(len(answer.sources), "passage")] if grouped else []
    words += [answer.mode, ui.span(answer.seconds)] + ["stopped by you"] * answer.stopped
    st.caption(" · ".join(words))
    for number, passages in grouped.items():
        icon = ":material/format_quote:" if number in answer.cited else ":material/notes:"
        known = names.get(passages[0].chunk.rpartition("-chunk-")[0], passages[0].document)
        label = f"\\[{number}\\] {ui.plain(known)}"
        with st.expander(f"{label} · {ui.many(len(passages), 'passage')}", icon=icon):
            for passage in passages:
                page = f", p. {passage.page:,}" if passage.page else ""
                with st.container(border=True):
                    st.text(passage.text)
                    st.page_link(
                        "document.py",
                        label=f"Open in its document{page}",
                        icon=":material/article:",
                        query_params={"chunk": passage.chunk},
                    )


def drawn(answer: Answer, key: str) -> None:
    entities = answer.entities[:DRAWN]
    if not entities:
        return
    label = f"What the answer drew on: {len(answer.entities)} entities"
    box = st.expander(label, icon=":material/hub:", key=f"drawn-{key}", on_change="rerun")
    if box.open:
        dark = st.context.theme.type == "dark"
        query = urlencode({"name": entities, "dark": int(dark)}, doseq=True)
        box.iframe(f"/graph-view?{query}", height=420)


def shown(answer: Answer, place: int) -> None:
    st.chat_message("user").text(answer.question)
    with st.chat_message("assistant"):
        st.markdown(ui.answer_markdown(answer.text, answer.sources))
        sources(answer)
        drawn(answer, str(place))
        with st.container(horizontal=True):
            with st.popover("Copy", icon=":material/content_copy:", type="tertiary"):
                st.code(answer.text, language=None, wrap_lines=True)
            if place == len(turns) - 1 and st.button(
                "Ask again", icon=":material/refresh:", type="tertiary"
            ):
                state.asked = turns.pop().question
                st.rerun()


def among() -> set[str]:
    """The documents that a question is asked of; none means all of them."""
    chosen = set(state.get("documents") or ())
    return chosen.union(*(tags[tag] for tag in state.get("tags") or () if tag in tags))


def keep() -> None:
    kept = librarian.conversations.keep(turns, state.get("kept", ""), state.get("title", ""))
    state.kept, state.title = kept.id, kept.title


def answered(question: str) -> None:
    """Asks, shows what is written, and keeps it in this tab however it ends."""
    st.chat_message("user").text(question)
    with st.chat_message("assistant"):
        stop, place = st.empty(), st.empty()
        # Any click ends this run; the one that it begins keeps what was written.
        stop.button("Stop the answer", icon=":material/stop_circle:")
        place.caption("Looking through the library…")
        failed.update(question=question, reason="It was stopped before its first word.")
        live["stream"] = stream = librarian.ask(question, state.mode, conversation(turns), among())
        written = ""
        try:
            for piece in stream.beats(BEAT_S):
                written += piece
                if written:
                    place.markdown(ui.answer_markdown(written))
                else:
                    place.caption("Looking through the library…")
            turns.append(stream.answer)
            failed.clear()
            live.clear()
        except LibrarianError as exc:
            failed.update(reason=str(exc))
            live.clear()
        finally:
            stream.stop()  # a closed tab must not keep the model busy
    if state.get("kept") and turns:
        with ui.told():
            keep()


@st.dialog("Delete this conversation?")
def delete(id_: str, title: str) -> None:
    st.text(title)
    st.caption("It cannot be brought back.")
    if st.button("Delete", type="primary"):
        with ui.told():
            librarian.conversations.delete(id_)
            if state.get("kept") == id_:
                state.kept = state.title = ""
            st.rerun()


def shelf() -> None:
    """The kept conversations: open, rename, delete."""
    kept, damaged = librarian.conversations.all()
    if damaged:
        st.caption(f"{ui.many(damaged, 'file')} cannot be read; the log of System names them.")
    if not kept:
        st.caption("None is kept yet.")
    for each in kept:
        with st.container(border=True):
            title = st.text_input("Title", each.title, key=f"t{each.id}{each.title}")
            if title != each.title:
                with ui.told():
                    librarian.conversations.rename(each.id, title)
                    if state.get("kept") == each.id:
                        state.title = title
                    st.rerun()
            with st.container(horizontal=True):
                if st.button("Open", key=f"o{each.id}"):
                    state.turns, state.kept, state.title = list(each.turns), each.id, each.title
                    st.rerun()
                if st.button("Delete", key=f"d{each.id}", type="tertiary"):
                    delete(each.id, each.title)


st.title("Ask")
ui.banners(snapshot)
with st.container(horizontal=True, vertical_alignment="bottom"):
    mode = st.selectbox("Mode", list(MODES), key="mode", width=160)
    choices = offered(names, "find", names.keys() & set(state.get("documents") or ()))
    st.multiselect(
        "Documents",
        choices,
        key="documents",
        format_func=lambda each: names.get(each, each),
        placeholder="All",
    )
    if tags:
        st.multiselect("Tags", sorted(tags), key="tags", placeholder="Any")
st.caption(MODES[mode])
with st.container(horizontal=True):
    if turns and not state.get("kept") and st.button("Keep", icon=":material/bookmark_add:"):
        with ui.told():
            keep()
            st.rerun()
    if turns:
        data = to_markdown(turns)
        st.download_button(
            "Markdown",
            data,
            "conversation.md",
            icon=":material/download:",
            on_click="ignore",
        )
    if turns and st.button("New conversation", icon=":material/restart_alt:", type="tertiary"):
        state.turns, state.kept, state.title = [], "", ""
        failed.clear()
        st.rerun()

# Not in a popover: it would lie over the question that a deletion asks.
kept_ones = st.expander(
    "Kept conversations", icon=":material/bookmarks:", key="shelf", on_change="rerun"
)
if kept_ones.open:
    with kept_ones:
        shelf()
for place, turn in enumerate(turns):
    shown(turn, place)
about = " ".join(st.query_params.get("about", "").split())[:200]
question = st.chat_input("Ask the library", disabled=not snapshot.ready) or state.pop("asked", "")
if question:
    st.query_params.pop("about", None)
    answered(question)
    st.rerun()
elif failed:
    st.chat_message("user").text(failed["question"])
    st.warning(ui.plain(failed["reason"]), icon=":material/error:")
    if st.button("Try again", icon=":material/refresh:"):
        state.asked = failed["question"]
        st.rerun()
elif about:
    words = "Что говорится о «{}»?" if is_russian(about) else "What is said about “{}”?"
    suggested = words.format(about)
    if st.button(ui.plain(suggested), icon=":material/forum:", disabled=not snapshot.ready):
        state.asked = suggested
        st.rerun()
elif not turns:
    ready = any(view.document.entities for view in snapshot.documents)
    st.info(
        "Ask in your own words, in any language of your books."
        if ready
        else "Answers come from the documents of the library; none is processed yet.",
        icon=":material/lightbulb:",
    )
