"""Long lists on the pages: a part at a time, and documents to choose from by a part of a name.

All of a library's documents would be megabytes for each tab, and for each refresh.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import streamlit as st

from librarian.shelf import like

A_PART = 500  # rows of a table
OFFERED = 200  # documents to choose from

T = TypeVar("T")


def part(items: Sequence[T], key: str, more: str = "") -> Sequence[T]:
    """Draws the way through a long list, and gives the part of it that is looked at.

    `more` is said beside it: where else they are found. A short list is given as it is.
    """
    if len(items) <= A_PART:
        return items
    with st.container(horizontal=True, vertical_alignment="center"):
        number = st.pagination(-(-len(items) // A_PART), key=key)
        first = (number - 1) * A_PART
        found = items[first : first + A_PART]
        st.caption(f"{first + 1:,} to {first + len(found):,} of {len(items):,}. {more}".rstrip())
    return found


def offered(names: Mapping[str, str], key: str, kept: Collection[str] = ()) -> list[str]:
    """The keys to choose from: all, or where there are many those that a search field asks for.

    What is `kept` is always among them.
    """
    if len(names) <= OFFERED:
        return [*names, *(each for each in kept if each not in names)]
    text = st.text_input(
        "Find a document", key=key, placeholder=f"Part of one of {len(names):,} names"
    )
    found = like(names, text, OFFERED)
    return [*(each for each in kept if each not in found), *found]
