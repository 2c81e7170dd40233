"""What is leaned on inside the pinned Streamlit; fails on an upgrade."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

from streamlit import config, file_util
from streamlit.runtime.scriptrunner import script_runner

from librarian.shell import WHERE, shell
from tests.test_architecture import ROOT


def test_streamlit_knows_every_option_of_ours() -> None:
    text = (ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8")
    names = [
        f"{section}.{name}"
        for section, options in tomllib.loads(text).items()
        for name, value in options.items()
        if not isinstance(value, dict)
    ]
    assert "runner.postScriptGC" in names
    for name in names:
        config.get_option(name)  # it raises for one that it does not know


def test_a_run_of_a_page_is_followed_by_a_collection_only_where_that_is_wanted() -> None:
    source = inspect.getsource(script_runner)
    assert source.count("gc.collect") == 1
    wanted = source.index('if config.get_option("runner.postScriptGC"):')
    assert 0 < source.index("gc.collect") - wanted < 100


def test_the_scripts_of_streamlit_are_told_by_the_page_where_the_server_is() -> None:
    static = Path(file_util.get_static_dir())
    index = (static / "index.html").read_text(encoding="utf-8")
    (first,) = re.findall(r'<script type="module"[^>]* src="\./(static/js/index\.[^"]+)"', index)
    script = (static / first).read_text(encoding="utf-8")
    assert "window.__streamlit" in script
    assert "BACKEND_BASE_URL" in script
    told = shell(index)
    assert told.index(f"<script>{WHERE}</script>") < told.index(first)
    assert told.replace(f"<script>{WHERE}</script>\n    ", "") == index
