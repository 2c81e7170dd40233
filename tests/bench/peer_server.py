"""LightRAG's own server with a tokenizer handed to it: its own one is a download.

It runs in an environment of its own, with this project's folder on the path for the tokenizer.
"""

from __future__ import annotations

import lightrag.lightrag
from lightrag.utils import Tokenizer

from librarian.tokens import PieceTokenizer


def main() -> None:
    """Starts the server as its command does."""
    lightrag.lightrag.TiktokenTokenizer = lambda name: Tokenizer(name, PieceTokenizer())
    from lightrag.api.lightrag_server import main as serve

    serve()


if __name__ == "__main__":
    main()
