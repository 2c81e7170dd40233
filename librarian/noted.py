"""LightRAG's storages in memory, which note what changes in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from librarian.changes import Change

Row = dict[str, Any]
Matrix = NDArray[np.float32]
_said = json.JSONEncoder(ensure_ascii=False).encode  # `json.dumps` would make one for each
_GROWS = 2  # times; each growth copies everything once
_AT_ONCE = 256  # rows; memory that is used again costs less than memory that is new


class NotedRows(dict[str, Row]):
    """The rows of a storage of rows; LightRAG replaces a row and never changes one in place."""

    def __init__(self, rows: dict[str, Row]) -> None:
        super().__init__(rows)
        self.touched: dict[str, None] = {}

    def changed(self, storage: str) -> list[Change]:
        """What has changed since this was asked last."""
        keys, self.touched = self.touched, {}
        return [Change(storage, key, self.get(key)) for key in keys]

    def unsaved(self, changes: Iterable[Change]) -> None:
        """Says that these could not be written."""
        self.touched.update((each.key, None) for each in changes)

    def replay(self, changes: Iterable[Change]) -> None:
        """Brings the rows to what the changes say."""
        for each in changes:
            if each.value is None:
                super().pop(each.key, None)
            else:
                super().__setitem__(each.key, each.value)

    def __setitem__(self, key: str, value: Row) -> None:
        self.touched[key] = None
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.touched[key] = None
        super().__delitem__(key)

    def update(self, rows: dict[str, Row]) -> None:  # type: ignore[override]
        self.touched.update(dict.fromkeys(rows))
        super().update(rows)

    def pop(self, key: str, *default: Any) -> Any:
        self.touched[key] = None
        return super().pop(key, *default)

    def clear(self) -> None:
        self.touched.update(dict.fromkeys(self))
        super().clear()


class NotedGraph(nx.Graph):  # type: ignore[misc]
    """The graph; a key is the JSON of a node's name, or of the sorted names of an edge."""

    touched: dict[tuple[str, ...], None]

    @classmethod
    def of(cls, graph: nx.Graph) -> NotedGraph:
        """The same graph, from now on noted."""
        noted = cls()
        noted.touched = {}
        noted._node, noted._adj, noted.graph = graph._node, graph._adj, graph.graph
        return noted

    def changed(self, storage: str) -> list[Change]:
        """What has changed since this was asked last."""
        keys, self.touched = self.touched, {}
        return [Change(storage, _said(key), self._at(key)) for key in keys]

    def unsaved(self, changes: Iterable[Change]) -> None:
        """Says that these could not be written."""
        self.touched.update((tuple(json.loads(each.key)), None) for each in changes)

    def replay(self, changes: Iterable[Change]) -> None:
        """Brings the graph to what the changes say."""
        found = [(tuple(json.loads(each.key)), each.value) for each in changes]
        for key, value in sorted(found, key=lambda each: (each[1] is not None, -len(each[0]))):
            if value is None:
                self._drop(key)
        for length in (1, 2):
            for key, value in found:
                if value is not None and len(key) == length:
                    self._put(key, value)
        self.touched = {}

    def add_node(self, name: str, **attributes: Any) -> None:
        self.touched[(name,)] = None
        super().add_node(name, **attributes)

    def add_edge(self, source: str, target: str, **attributes: Any) -> None:
        for name in (source, target):
            if name not in self._node:
                self.touched[(name,)] = None
        self.touched[_pair(source, target)] = None
        super().add_edge(source, target, **attributes)

    def remove_node(self, name: str) -> None:
        self.touched[(name,)] = None
        self.touched.update((_pair(name, other), None) for other in self._adj[name])
        super().remove_node(name)

    def remove_edge(self, source: str, target: str) -> None:
        self.touched[_pair(source, target)] = None
        super().remove_edge(source, target)

    def _at(self, key: tuple[str, ...]) -> Row | None:
        if len(key) == 1:
            return dict(self._node[key[0]]) if key[0] in self._node else None
        return dict(self._adj[key[0]][key[1]]) if self.has_edge(*key) else None

    def _drop(self, key: tuple[str, ...]) -> None:
        if len(key) == 1 and key[0] in self._node:
            self.remove_node(key[0])
        elif len(key) == 2 and self.has_edge(*key):
            self.remove_edge(*key)

    def _put(self, key: tuple[str, ...], value: Row) -> None:
        if self._at(key) is None:
            self.add_node(key[0]) if len(key) == 1 else self.add_edge(*key)
        attributes = self._node[key[0]] if len(key) == 1 else self._adj[key[0]][key[1]]
        attributes.clear()
        attributes.update(value)


class NotedVectors:
    """Vectors and their rows, in place of NanoVectorDB, whose every writing looks at every row.

    It has that class's methods and attributes, as far as LightRAG uses them.
    """

    def __init__(self, stored: Row, file: str) -> None:
        """`stored` has `embedding_dim`, `data` and `matrix` of shape `(rows, embedding_dim)`."""
        self.storage_file = file
        self._NanoVectorDB__storage = stored  # LightRAG reads it under this name
        self._room: Matrix = stored["matrix"]
        self._places = {row["__id__"]: place for place, row in enumerate(stored["data"])}
        self.touched: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def rows(self) -> list[Row]:
        """All of them, in the order of the matrix."""
        rows: list[Row] = self._NanoVectorDB__storage["data"]
        return rows

    @property
    def matrix(self) -> Matrix:
        """Shape `(rows, dimension)`, each of length 1."""
        return self._room[: len(self.rows)]

    def changed(self, storage: str) -> list[Change]:
        """What has changed since this was asked last."""
        keys, self.touched = self.touched, {}
        return [self._change(storage, key) for key in keys]

    def unsaved(self, changes: Iterable[Change]) -> None:
        """Says that these could not be written."""
        self.touched.update((each.key, None) for each in changes)

    def replay(self, changes: Iterable[Change]) -> None:
        """Brings the rows to what the changes say."""
        found = list(changes)
        self.delete([each.key for each in found if each.value is None])
        rows = [(each.value, each.vector or b"") for each in found if each.value is not None]
        vectors = np.frombuffer(b"".join(vector for _, vector in rows), np.float32)
        self._put([row for row, _ in rows], vectors.reshape(len(rows), self.dimension))
        self.touched = {}

    def upsert(self, datas: Sequence[Row]) -> None:
        """Takes rows, each with its vector under `__vector__`."""
        self._make_room(len(self.rows) + len(datas))
        for start in range(0, len(datas), _AT_ONCE):
            rows = datas[start : start + _AT_ONCE]
            given = [row.pop("__vector__") for row in rows]
            vectors = np.asarray(given, dtype=np.float32).reshape(len(rows), self.dimension)
            self._put(rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def get(self, ids: Iterable[str]) -> list[Row]:
        """The rows of these ids that there are."""
        return [self.rows[self._places[each]] for each in ids if each in self._places]

    def delete(self, ids: Iterable[str]) -> None:
        """Takes rows out; the last one moves to the place of each."""
        rows = self.rows
        for gone in ids:
            place = self._places.pop(gone, None)
            if place is None:
                continue
            self.touched[gone] = None
            last = rows.pop()
            if place < len(rows):
                rows[place] = last
                self._room[place] = self._room[len(rows)]
                self._places[last["__id__"]] = place
        self._show()

    def query(
        self,
        query: Matrix,
        top_k: int = 10,
        better_than_threshold: float | None = None,
        filter_lambda: Callable[[Row], bool] | None = None,
    ) -> list[Row]:
        """The most similar rows, best first, each with its cosine under `__metrics__`."""
        rows = self.rows
        places = np.arange(len(rows))
        if filter_lambda is not None:
            places = np.array([n for n, row in enumerate(rows) if filter_lambda(row)], dtype=int)
        if not len(places):
            return []
        chosen = self.matrix if filter_lambda is None else self.matrix[places]
        scores = chosen @ (query / np.linalg.norm(query))
        best = np.argsort(scores)[-top_k:][::-1]
        least = -np.inf if better_than_threshold is None else better_than_threshold
        return [
            {**rows[places[each]], "__metrics__": scores[each]}
            for each in best
            if not scores[each] < least
        ]

    def _put(self, rows: Sequence[Row], vectors: Matrix) -> None:
        self._make_room(len(self.rows) + len(rows))
        places = []
        for row in rows:
            name = row["__id__"]
            place = self._places.setdefault(name, len(self.rows))
            places.append(place)
            if place == len(self.rows):
                self.rows.append(row)
            else:
                self.rows[place] = row
            self.touched[name] = None
        self._room[places] = vectors
        self._show()

    def _make_room(self, rows: int) -> None:
        if rows > len(self._room) or not self._room.flags.writeable:
            grown = np.empty((max(rows, _GROWS * len(self.rows)), self.dimension), np.float32)
            grown[: len(self.rows)] = self.matrix
            self._room = grown

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return int(self._NanoVectorDB__storage["embedding_dim"])

    def _show(self) -> None:
        self._NanoVectorDB__storage["matrix"] = self.matrix

    def _change(self, storage: str, key: str) -> Change:
        place = self._places.get(key)
        if place is None:
            return Change(storage, key)
        return Change(storage, key, self.rows[place], self._room[place].tobytes())


def _pair(source: str, target: str) -> tuple[str, str]:
    return (source, target) if source <= target else (target, source)
