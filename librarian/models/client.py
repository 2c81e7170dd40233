"""The `ollama` package, imported so that it does not read OLLAMA_HOST.

It makes a client of that host as it is imported, and fails where there are several or it is none.
The value is ours to read: what is wrong with it is said in words.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType


def _imported() -> ModuleType:
    given = os.environ.pop("OLLAMA_HOST", None)
    try:
        return importlib.import_module("ollama")
    finally:
        if given is not None:
            os.environ["OLLAMA_HOST"] = given


ollama = _imported()
