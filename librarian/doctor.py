"""The doctor: looks at everything that the work needs, and says what to do where it is not well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from anyio import to_thread

from librarian.checks import Check, Report, Severity, failure, fine, warning
from librarian.errors import ModelError
from librarian.facts import of_database
from librarian.library import Library
from librarian.machine import of_machine
from librarian.models.ollama import PROMPT_TOKENS, builds_at, is_loopback, tagged
from librarian.models.openai import served_models
from librarian.models.servers import Server, Shown, survey
from librarian.settings import Settings

GB = 1e9  # as `ollama list` counts
WORDS_TOKENS = PROMPT_TOKENS - 1200  # LightRAG's own, around a chunk
GLEANING_TOKENS = 450  # of its words for one more round, which repeats the answer before it
ANSWER_TOKENS = 700  # of an answer about a chunk of English prose
DENSE = 2  # small models' tokenizers make so many tokens of one of ours, in Russian
OLD = (0, 10)  # before it, a server does not say how long a loaded model's context is
MANY_RELOADS = 5
SHOWN_MODELS = 8


async def doctor(library: Library, settings: Settings, backend: str, *, reloads: int = 0) -> Report:
    """Looks at the server and at this machine; a dead server takes two seconds.

    `reloads` is how often a call found its model not in memory.
    """
    missing: tuple[str, ...] = ()
    if backend == "openai":
        checks = await _of_endpoints(settings)
    else:
        checks, missing = await _of_hosts(library, settings, reloads)
    if backend == "offline":  # nothing waits for the server
        checks = tuple(map(_softened, checks))
    database = await of_database(library, settings)
    machine = await to_thread.run_sync(of_machine, library, settings)
    return Report(checks=(*checks, *database, *machine), missing=missing)


def longest_prompt(settings: Settings, chunk_tokens: int) -> int:
    """Tokens of the longest prompt of an extraction, in the language that takes most."""
    prompt = WORDS_TOKENS + DENSE * chunk_tokens
    return prompt + (ANSWER_TOKENS * DENSE + GLEANING_TOKENS) * bool(settings.gleaning)


def _softened(check: Check) -> Check:
    if check.severity is not Severity.FAIL:
        return check
    message = f"{check.message} The offline model is in use, so nothing waits for it."
    return replace(check, severity=Severity.WARN, message=message)


# --- the server ------------------------------------------------------------------------------


async def _of_hosts(
    library: Library, settings: Settings, reloads: int
) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """One after the other; with several, each check says of which it is."""
    names = (settings.llm_model, settings.embed_model)
    checks: list[Check] = []
    missing: list[str] = []
    for host in settings.ollama_hosts:
        server = await survey(host, names)
        found, lacks = _of_server(server, library, replace(settings, ollama_host=host), reloads)
        if settings.more_hosts:
            found = tuple(replace(each, name=f"{each.name}, {host}") for each in found)
        checks += found
        missing += lacks
    if settings.more_hosts:
        checks += [await _alike(name, settings.ollama_hosts) for name in dict.fromkeys(names)]
    return tuple(checks), tuple(dict.fromkeys(missing))


async def _of_endpoints(settings: Settings) -> tuple[Check, ...]:
    """Servers of OpenAI's protocol: whether they answer, and list the models that are set."""
    checks: list[Check] = []
    wanted = {settings.openai_url: [settings.llm_model]}
    wanted.setdefault(settings.openai_embed_url, []).append(settings.embed_model)
    for url, names in wanted.items():
        if settings.openai_key and url.startswith("http:") and not is_loopback(url):
            said = f"OPENAI_API_KEY goes to {url} in the clear."
            checks.append(warning("Key", said, "Set OPENAI_BASE_URL to an address with https."))
        try:
            listed = await served_models(url, settings.openai_key)
        except ModelError as exc:
            checks.append(failure(f"Server {url}", exc.detail or "It gave no list.", str(exc)))
            continue
        checks.append(fine(f"Server {url}", f"It lists {', '.join(listed[:SHOWN_MODELS])}."))
        for name in names:
            if name in listed:
                checks.append(fine(f"Model {name}", "It is on the server."))
            else:
                remedy = "Set LIBRARIAN_LLM_MODEL and LIBRARIAN_EMBED_MODEL to names of that list."
                checks.append(failure(f"Model {name}", f"{url} does not list it.", remedy))
    return tuple(checks)


async def _alike(name: str, hosts: tuple[str, ...]) -> Check:
    found = {host: (await builds_at(host) or {}).get(tagged(name), "") for host in hosts}
    title, there = f"The same {name} everywhere", {host: d for host, d in found.items() if d}
    if len(set(there.values())) <= 1:
        return fine(title, f"{len(there)} of {len(hosts)} hosts have it, the same build.")
    first = next(iter(there))
    others = ", ".join(host for host in there if there[host] != there[first])
    return failure(
        title,
        f"{others}: another build than at {first}, so it gets no calls.",
        f"Run `ollama pull {name}` at each of them.",
    )


def _of_server(
    server: Server, library: Library, settings: Settings, reloads: int
) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    if server.version is None:
        return (failure("Ollama", server.trouble, way_to(server.trouble)),), ()
    llm, embed = settings.llm_model, settings.embed_model
    missing = tuple(
        name
        for name in dict.fromkeys((llm, embed))
        if server.listed is not None and not server.has(name)
    )
    checks = [_answering(server, settings), _listing(server)]
    for name in dict.fromkeys((llm, embed)):
        if name in missing:
            remedy = f"Run `ollama pull {name}` or `python -m librarian pull {name}`."
            checks.append(failure(f"Model {name}", "It is not on the server.", remedy))
        elif server.has(name):
            checks.append(fine(f"Model {name}", "It is on the server."))
    chunk = library.manifest.chunk_tokens or settings.chunk_tokens
    if shown := server.shown.get(llm):
        checks.append(_writing(llm, shown, server))
        checks.append(_room(server, shown, settings, chunk))
    if shown := server.shown.get(embed):
        checks.append(_embedding(embed, shown, library))
        checks.append(_embedded_whole(embed, shown, server, chunk))
        checks.append(_vectors(embed, shown, library))
    if not missing:
        checks.extend(_in_memory(server, settings, reloads))
    return tuple(checks), missing


def way_to(trouble: str) -> str:
    """What to do about a server that does not answer as it should."""
    if "is not Ollama" in trouble:
        return "Set OLLAMA_HOST to where Ollama runs."
    if "refuses" in trouble:
        return (
            "A proxy may stand between, or Ollama does not know the name that it is asked by: "
            "start it with OLLAMA_HOST=0.0.0.0, or set OLLAMA_HOST here to its number."
        )
    if "no answer within" in trouble:
        return "Restart it with `ollama serve`; a firewall may also swallow the question."
    return "Start it with `ollama serve`, or set OLLAMA_HOST to where it runs."


def _answering(server: Server, settings: Settings) -> Check:
    message = f"Version {server.version} answers at {settings.ollama_host}."
    if _older(server, OLD):
        older = f"{message} It is older than {'.'.join(map(str, OLD))} and may think unasked."
        return warning("Ollama", older, "Update it: ollama.com/download.")
    return fine("Ollama", message)


def _listing(server: Server) -> Check:
    if server.listed is None:
        return failure("Models", "It gave no list of its models.", "Look at the server's log.")
    names = [each.name for each in server.listed]
    if not names:
        return fine("Models", "None is on the server's disk.")
    more = f" and {len(names) - SHOWN_MODELS} more" if len(names) > SHOWN_MODELS else ""
    size = sum(each.bytes for each in server.listed) / GB
    shown = ", ".join(names[:SHOWN_MODELS])
    return fine("Models", f"On the server's disk, {size:.1f} GB: {shown}{more}.")


def _writing(name: str, shown: Shown, server: Server) -> Check:
    able = shown.capabilities
    title = f"Abilities of {name}"
    if able is None:
        return fine(title, "The server is too old to say what it can do.")
    if "completion" not in able:
        remedy = "Set LIBRARIAN_LLM_MODEL to a language model, such as qwen3:8b."
        return failure(title, f"It cannot write text, only: {_words(able)}.", remedy)
    if "thinking" in able and not _older(server, (0, 9)):
        return fine(title, "It writes text. It could think; that is turned off for every call.")
    return fine(title, "It writes text.")


def _embedding(name: str, shown: Shown, library: Library) -> Check:
    able, title = shown.capabilities, f"Abilities of {name}"
    proved = library.manifest.embed == name and library.manifest.dimension > 0
    if able is None and not proved:
        return fine(title, "The server is too old to say what it can do.")
    if proved or (able is not None and "embedding" in able):
        return fine(title, "It makes vectors.")
    remedy = "Set LIBRARIAN_EMBED_MODEL to an embedding model, such as bge-m3."
    return failure(title, f"It cannot make vectors, only: {_words(able or ())}.", remedy)


def _room(server: Server, shown: Shown, settings: Settings, chunk: int) -> Check:
    """The context that a request gets, against what an extraction needs."""
    name, asked = settings.llm_model, settings.num_ctx
    title = f"Context of {name}"
    given = min(asked, shown.context) if shown.context else asked
    longest, least = longest_prompt(settings, chunk), WORDS_TOKENS + chunk
    words = f"{given:,} tokens"
    if given < asked:
        words += f" (it was made for no more; LIBRARIAN_NUM_CTX is {asked:,})"
    need = f"the longest prompt of an extraction has about {longest:,}"
    way = "Choose a model with more." if given < asked else "Raise LIBRARIAN_NUM_CTX."
    if given < least + ANSWER_TOKENS:
        message = f"{words}; a chunk in English and the answer need {least + ANSWER_TOKENS:,}."
        return failure(title, message, way)
    if given < longest + ANSWER_TOKENS:
        return warning(title, f"{words}; {need}, and its answer has to fit as well.", way)
    runner = server.runner(name)
    if runner is not None and runner.context and runner.context != given:
        return warning(
            title,
            f"{words} are asked for, but it is loaded with {runner.context:,}: another program "
            "uses it, and at each change of hands it is loaded anew.",
            f"Let both ask for the same, or set LIBRARIAN_NUM_CTX={runner.context}.",
        )
    return fine(title, f"{words}; {need}, which leaves {given - longest:,} for its answer.")


def _embedded_whole(name: str, shown: Shown, server: Server, chunk: int) -> Check:
    title = f"Context of {name}"
    runner = server.runner(name)
    room = runner.context if runner is not None and runner.context else shown.context
    if not room:
        return fine(title, "The server does not say it.")
    if room < chunk:
        return warning(
            title,
            f"{room:,} tokens: of a chunk of {chunk:,}, only the beginning gets into its vector.",
            "Set LIBRARIAN_EMBED_MODEL to one that reads more, such as bge-m3, and run `re-embed`.",
        )
    return fine(title, f"{room:,} tokens; a chunk has up to {chunk:,}.")


def _vectors(name: str, shown: Shown, library: Library) -> Check:
    known, gives = library.manifest, shown.dimension
    says = f"{name} gives {gives:,} numbers a vector" if gives else f"{name} does not say its size"
    if not (known.dimension and library.catalogue.any_indexed()):
        return fine("Vectors", f"{says}; the library has none yet.")
    has = f"the library's are of {known.embed}, {known.dimension:,} numbers each"
    same = known.embed == name and gives in (0, known.dimension)
    if same or known.backend == "offline":
        return fine("Vectors", f"{says}; {has}.")
    keep = "Pull the old model again" if known.embed == name else f"Set it to {known.embed}"
    variable = "" if known.embed == name else "LIBRARIAN_EMBED_MODEL is another model. "
    remedy = f"{variable}{keep}, or make all vectors anew with `python -m librarian re-embed`."
    return failure("Vectors", f"{says}, but {has}.", remedy)


def _in_memory(server: Server, settings: Settings, reloads: int) -> Iterator[Check]:
    if server.loaded is None:
        yield warning("In memory", "The server did not say.", "Look at `ollama ps`.")
        return
    names = tuple(dict.fromkeys((settings.llm_model, settings.embed_model)))
    for name in names:
        runner, title = server.runner(name), f"In memory: {name}"
        if runner is None:
            yield fine(title, "Not now; the next call loads it.")
            continue
        share, size = runner.gpu_share, f"{runner.bytes / GB:.1f} GB"
        slow = name == settings.llm_model
        if share >= 0.995:
            yield fine(title, f"All of it on the GPU, {size}.")
        elif not slow:
            yield fine(title, f"{share:.0%} of it on the GPU, the rest on the CPU, {size}.")
        elif share <= 0.005:
            yield warning(
                title,
                f"All of it on the CPU, {size}: a chunk takes minutes.",
                "`python -m librarian doctor --probe` says how many. A smaller model is faster; "
                "if there is a GPU, the server's log says why it is not used.",
            )
        else:
            yield warning(
                title,
                f"{share:.0%} of it on the GPU, the rest on the CPU, {size}: that is several "
                "times slower.",
                "Choose a smaller model, or lower LIBRARIAN_NUM_CTX or OLLAMA_NUM_PARALLEL.",
            )
    if len(names) == 2:
        yield _together(names, server, reloads)


def _together(names: tuple[str, ...], server: Server, reloads: int) -> Check:
    there = [name for name in names if server.runner(name)]
    if len(there) == 2:
        return fine("Both models", "They are in memory at once.")
    if reloads >= MANY_RELOADS:
        return warning(
            "Both models",
            f"A model had to be loaded {reloads} times since the start: they push each other out.",
            "Start the server with OLLAMA_MAX_LOADED_MODELS=2, or choose a smaller model.",
        )
    seen = f"Only {there[0]} is in memory" if there else "Neither is in memory"
    return fine("Both models", f"{seen} now; whether both fit is seen while documents are read.")


def _older(server: Server, than: tuple[int, int]) -> bool:
    """Builds that people make themselves are 0.0.0."""
    parts = re.match(r"v?(\d+)\.(\d+)", server.version or "")
    found = (int(parts[1]), int(parts[2])) if parts else than
    return (0, 0) < found < than


def _words(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "nothing"
