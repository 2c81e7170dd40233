"""Edits in words, for a person: what each does, what it would change, and where it is."""

from __future__ import annotations

import time

from librarian.edits import Entry, State
from librarian.mending import (
    Describe,
    DropEntity,
    DropRelation,
    Edit,
    Merge,
    Preview,
    Rename,
)

STATES = {
    State.BEGUN: "being made",
    State.DONE: "in the graph",
    State.UNDOING: "being undone",
    State.UNDONE: "undone",
    State.LET_GO: "in the graph, let go",
}
_UNDO, _LET_GO = "Undo", "Let go"


def sentence(edit: Edit) -> str:
    """What an edit does."""
    match edit:
        case Rename(old, new):
            return f"{old} → {new}"
        case Merge(gone, kept):
            return f"{gone} merged into {kept}"
        case Describe(name):
            return f"{name}: another description or type"
        case DropEntity(name):
            return f"{name} deleted"
        case DropRelation(source, target):
            return f"{source} – {target}: relation deleted"


def effects(seen: Preview) -> str:
    """What an edit would change, counted."""
    counted = (
        (seen.moved, "relation moves", "relations move"),
        (seen.joined, "relation becomes one with another", "relations become one with others"),
        (seen.dropped, "relation goes", "relations go"),
        (seen.chunks, "passage is concerned", "passages are concerned"),
        (seen.vectors, "text is embedded anew", "texts are embedded anew"),
    )
    parts = [f"{count:,} {one if count == 1 else many}" for count, one, many in counted if count]
    return f"{'; '.join(parts)}."


def row(entry: Entry) -> dict[str, object]:
    """A line of the table of edits, with the ways back that there are."""
    ways = [_UNDO] if entry.state in (State.DONE, State.LET_GO) else []
    if entry.state is State.DONE and not entry.cause:
        ways.append(_LET_GO)
    return {
        "number": entry.number,
        "way back": ways,
        "edit": sentence(entry.edit),
        "state": STATES[entry.state],
        "made": time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.made_at)),
        "cause": entry.cause or "you",
    }
