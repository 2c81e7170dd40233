"""Where entities stood in the last pictures, kept on disk so that the same graph looks the same."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

from librarian.durable import write_whole
from librarian.knowledge import Graph
from librarian.layout import layout

Places: TypeAlias = dict[str, tuple[float, float]]

FORM = 1  # of the files and of the layout; another number makes all pictures anew
PICTURES = 48  # kept on disk
PICTURE_BYTES = 8 * 1024 * 1024  # of one; 50,000 entities have 2 MB
ALL_BYTES = 32 * 1024 * 1024
HELD = 4  # kept in memory
RECENT = 12  # looked through for a picture to grow from
ALIKE = 0.3  # of both pictures is in the other one, from where on one grows from the other
FURTHEST = 1e7  # pixels; what is outside was not made here

_log = logging.getLogger(__name__)


class Positions:
    """Places by the content of a graph. Methods block for seconds; any thread may call them.

    The folder may be deleted at any time, and what is damaged in it is made anew: nothing in it is
    needed but for its looks.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._held: OrderedDict[str, Places] = OrderedDict()

    def of(
        self,
        graph: Graph,
        *,
        radii: Mapping[str, float] | None = None,
        inside: Mapping[str, str] | None = None,
        anew: bool = False,
    ) -> Places:
        """Positions of all entities, in pixels.

        The same names and relations (and `radii`, see `layout`) have the same picture, in the next
        run of the program too. A graph that has grown keeps the picture that it had, as far as it
        can; `anew` forgets that one and arranges everything freely. `inside` says under which
        other name an earlier picture may have had an entity: that of the node it was part of.
        """
        key = _key(graph, radii)
        names = frozenset(entity.name for entity in graph.entities)
        with self._guard:  # who asks for the same at once waits and has it too
            found = None if anew else self._held.get(key) or self._read(key)
            if found is not None and found.keys() != names:
                _log.warning("The picture in %s is of another graph; made anew.", f"{key}.json")
                found = None
            if found is None:
                before = None if anew else self._alike(names, inside or {})
                found = layout(graph, before=before, radii=radii)
                self._write(key, found)
            else:
                self._touch(key)
            self._held[key] = found
            self._held.move_to_end(key)
            while len(self._held) > HELD:
                self._held.popitem(last=False)
            return dict(found)

    def _alike(self, names: frozenset[str], inside: Mapping[str, str]) -> Places | None:
        """Places from the picture that has most in common with what is to be drawn."""
        best, share = None, ALIKE
        for path in self._files()[:RECENT]:
            found = self._read(path.stem)
            if not found:
                continue
            source = {name: name if name in found else inside.get(name, "") for name in names}
            placed = {name: found[other] for name, other in source.items() if other in found}
            used = len({source[name] for name in placed})
            this = min(len(placed) / max(1, len(names)), used / len(found))
            if this > share:
                best, share = placed, this
        return best

    def _files(self) -> list[Path]:
        """Newest first."""
        try:
            dated = [(path.stat().st_mtime_ns, path) for path in self._folder.glob("*.json")]
        except OSError as exc:
            _log.warning("Earlier pictures cannot be looked through: %s.", exc)
            return []
        return [path for _, path in sorted(dated, reverse=True)]

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _read(self, key: str) -> Places | None:
        path = self._path(key)
        try:
            if path.stat().st_size > PICTURE_BYTES:
                raise ValueError("it is too large")
            return _places(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as exc:
            _log.warning("The picture in %s is damaged and will be made anew: %s.", path.name, exc)
            self._remove(path)
            return None

    def _write(self, key: str, places: Places) -> None:
        """A picture that cannot be kept is shown all the same."""
        data = json.dumps(places, separators=(",", ":")).encode()
        if len(data) > PICTURE_BYTES:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(key), data)
            self._clear()
        except OSError as exc:
            _log.warning("A picture could not be kept in %s: %s.", self._folder.name, exc)

    def _clear(self) -> None:
        """Removes the pictures that nobody has looked at for longest."""
        total = 0
        for number, path in enumerate(self._files()):
            total += path.stat().st_size
            if number >= PICTURES or total > ALL_BYTES:
                self._remove(path)

    def _touch(self, key: str) -> None:
        try:
            os.utime(self._path(key))
        except OSError as exc:
            _log.info("A picture's file is not there any more: %s.", exc)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            _log.warning("%s could not be removed: %s.", path.name, exc)


def _key(graph: Graph, radii: Mapping[str, float] | None) -> str:
    """A hash of what is drawn: `Graph.version` counts within one run of the program only."""
    names = sorted(entity.name for entity in graph.entities)
    pairs = sorted(
        (min(relation.source, relation.target), max(relation.source, relation.target))
        for relation in graph.relations
    )
    sizes = None if radii is None else [round(radii[name], 1) for name in names]
    content = json.dumps((FORM, names, pairs, sizes)).encode()
    return blake2b(content, digest_size=16).hexdigest()


def _places(data: object) -> Places:
    """Raises ValueError if it is not what `_write` writes."""
    if not isinstance(data, dict):
        raise ValueError("it is no table")
    places: Places = {}
    for name, place in data.items():
        match place:
            case [float(x), float(y)] if abs(x) < FURTHEST and abs(y) < FURTHEST:
                places[name] = (x, y)
            case _:
                raise ValueError("a place in it is no pair of numbers")
    return places
