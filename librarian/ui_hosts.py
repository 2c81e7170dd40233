"""The hosts of the model on a page: what each does now, and why one rests."""

from __future__ import annotations

import streamlit as st

from librarian import ui
from librarian.app import Librarian
from librarian.snapshot import Snapshot


def hosts_table(snapshot: Snapshot) -> None:
    """A row for each host; nothing where there is only one."""
    if not snapshot.hosts:
        return
    rows = [
        {
            "host": host.address,
            "state": f"rests for {ui.span(host.rests_s)}" if host.trouble else "works",
            "running": host.running,
            "at once": host.at_once,
            "ended": host.calls,
            "half within": ui.span(host.median_s) if host.median_s else "–",
            "remarks": host.trouble,
        }
        for host in snapshot.hosts
    ]
    st.dataframe(rows, key="hosts", hide_index=True)


def hosts_area(librarian: Librarian) -> None:
    """The same with its heading, kept up to date."""
    if librarian.snapshot().hosts:
        st.subheader("Hosts of the model")
        _kept_up(librarian)


@st.fragment(run_every=ui.FAST)
def _kept_up(librarian: Librarian) -> None:
    hosts_table(librarian.snapshot())
