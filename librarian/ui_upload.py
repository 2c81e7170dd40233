"""The place where files are dropped: a component that streams them to the server's disk."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import streamlit as st

from librarian.app import Librarian
from librarian.documents import Admission, Outcome

_STATIC = resources.files("librarian") / "static"
_COMPONENT = st.components.v2.component(
    "librarian_upload",
    html=(_STATIC / "upload.html").read_text(encoding="utf-8"),
    css=(_STATIC / "upload.css").read_text(encoding="utf-8"),
    js=(_STATIC / "upload.js").read_text(encoding="utf-8"),
)


def upload_area(librarian: Librarian, key: str) -> tuple[Admission, ...]:
    """Draws it, and gives what became of the files that have arrived since the last run."""
    result = _COMPONENT(
        key=key, data={"ticket": librarian.uploads.ticket}, on_arrived_change=lambda: None
    )
    arrived = getattr(result, "arrived", None)
    rows = arrived if isinstance(arrived, list) else []
    return tuple(_admission(row) for row in rows if isinstance(row, Mapping))


def _admission(row: Mapping[str, Any]) -> Admission:
    """What the route had answered, by way of the browser: words to show, and a key to check."""
    try:
        outcome = Outcome(str(row.get("outcome")))
    except ValueError:
        outcome = Outcome.REFUSED
    words = {name: str(row.get(name) or "") for name in ("name", "message", "upload")}
    return Admission(outcome=outcome, **words)
