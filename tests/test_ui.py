"""Texts from outside as Markdown."""

from __future__ import annotations

import pytest

from librarian.ui import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Read *by* x", "Read \\*by\\* x"),
        ("at http://127.0.0.1:11434.", "at `http://127.0.0.1:11434`."),
        ("(HTTPS://a.b/c?d=[1])", "\\(`HTTPS://a.b/c?d=`\\[1\\]\\)"),
        ("www.a.b, me@a.b", "`www.a.b`, `me@a.b`"),
        ("http://a`b$c$", "`http://a`\\`b\\$c\\$"),
    ],
)
def test_an_address_is_code_and_all_else_is_escaped(text: str, shown: str) -> None:
    assert plain(text) == shown
