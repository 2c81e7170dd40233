"""What only the model's own time can tell: how many calls run at once, and how fast one is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import anyio

from librarian.account import CallRecord
from librarian.checks import Check, Speed, failure, fine, warning
from librarian.doctor import ANSWER_TOKENS
from librarian.errors import ModelError
from librarian.models.forms import EXTRACTION
from librarian.models.ollama import PROMPT_TOKENS, options_of
from librarian.models.servers import Timed, survey, timed
from librarian.samples import SAMPLES
from librarian.settings import Settings

LOAD_LIMIT_S = 180.0  # a large model takes minutes from a slow disk; breaking off undoes it
LIMIT_S = 20.0  # of each of the two measurements
TINY_TOKENS = 12
EDGE = 0.15  # of an answer's time, at both ends
PAGE_TOKENS = 400  # of that question, where the server did not come to count them
MOST_TOKENS = 200  # of the answer that is measured
TYPICAL_OF = 5  # chunks read in this process, after which nothing is assumed any more
BOOK_CHUNKS = 500  # of a book of 2 MB
SLOW_S = 60.0  # a chunk; a book takes a night then

_COUNT = "Count from 1 to 100 in words, separated by commas."
_ASK = (
    "Extract the entities of the text and the relationships between them, as JSON with the lists "
    "`entities` (name, type, description) and `relationships` (source, target, keywords, "
    "description). Describe each in one or two sentences.\n---Input Text---\n```\n"
)


async def probe(
    settings: Settings, finished: Sequence[CallRecord] = ()
) -> tuple[tuple[Check, ...], Speed | None]:
    """Measures the model; `finished` are the calls so far, for what is typical of a chunk.

    It loads the model if need be, for up to three minutes, and then takes up to 40 seconds.
    """
    if settings.backend == "openai":
        said = (
            "Only Ollama is measured in advance; the Indexing page measures while a book is read."
        )
        return (fine("Probe", said),), None
    host, model = settings.ollama_host, settings.llm_model
    shown = (await survey(host, (model,))).shown.get(model)
    request: dict[str, Any] = {"model": model}
    if shown is not None and shown.capabilities and "thinking" in shown.capabilities:
        request["think"] = False  # old servers refuse the word for a model that cannot
    try:
        loading = await timed(host, _tiny(settings, request), LOAD_LIMIT_S)
        if not loading.whole:
            return (_silent(f"It gave no answer within {LOAD_LIMIT_S:.0f} s."),), None
        together, one_s, all_s = await _at_once(settings, request)
        answer = await timed(host, _long(settings, request, loading), LIMIT_S)
    except ModelError as exc:
        return (failure("Probe", exc.detail or "It failed.", _advice(exc)),), None
    calls = _calls_check(settings, together, one_s, all_s)
    speed = _speed(settings, answer, finished)
    if speed is None:
        return (
            calls,
            _silent(f"Of a prompt with a page of text, not a word came within {LIMIT_S:.0f} s."),
        ), None
    gain = min(together, settings.llm_max_async * one_s / all_s) if all_s else 1.0
    speed = replace(speed, at_once=together, gain=round(max(1.0, gain), 2))
    return (calls, _speed_check(speed, loading, answer, finished)), speed


def _tiny(settings: Settings, request: dict[str, Any]) -> dict[str, Any]:
    options = options_of(settings.num_ctx) | {"num_predict": TINY_TOKENS}
    return {**request, "messages": [{"role": "user", "content": _COUNT}], "options": options}


def _long(settings: Settings, request: dict[str, Any], before: Timed) -> dict[str, Any]:
    """A question about a page; its beginning is new, so that no server has it read already."""
    rate = before.output_tokens / before.output_s if before.output_s else MOST_TOKENS
    tokens = max(TINY_TOKENS, min(MOST_TOKENS, int(rate * LIMIT_S / 2)))
    text = f"Question {time.time_ns()}. {_ASK}{list(SAMPLES.values())[-1]}\n```\n"
    return {
        **request,
        "messages": [{"role": "user", "content": text}],
        "format": dict(EXTRACTION),
        "options": options_of(settings.num_ctx) | {"num_predict": tokens},
    }


async def _at_once(settings: Settings, request: dict[str, Any]) -> tuple[int, float, float]:
    """How many answers were written at the same time; seconds of one alone, and of all."""
    found: list[Timed] = []
    host, tiny = settings.ollama_host, _tiny(settings, request)

    async def ask() -> None:
        found.append(await timed(host, tiny, LIMIT_S - one_s))

    begun = time.monotonic()
    await timed(host, tiny, LIMIT_S / 2)
    one_s = time.monotonic() - begun
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(settings.llm_max_async):
                tasks.start_soon(ask)
    except* ModelError as group:
        raise group.exceptions[0] from group
    return _most_at_once(found), one_s, time.monotonic() - begun - one_s


def _most_at_once(answers: Sequence[Timed]) -> int:
    """The most that were between their first and their last piece at one moment.

    One that only begins as another ends has taken its place, however late that was heard here.
    """
    moments: list[tuple[float, int]] = []
    for each in answers:
        if each.first_s:
            edge = EDGE * (each.ended_s - each.first_s)
            moments += [(each.first_s + edge, 1), (each.ended_s - edge, -1)]
    now = most = 0
    for _, change in sorted(moments):  # at the same moment, ends come first
        now += change
        most = max(most, now)
    return max(1, most)


def _speed(settings: Settings, answer: Timed, finished: Sequence[CallRecord]) -> Speed | None:
    if not answer.first_s:
        return None
    # A server whose clock jumped, or that was broken off, is measured from here.
    prompt_s = answer.prompt_s or max(1e-3, answer.first_s - answer.begun_s - answer.load_s)
    output_s = answer.output_s or max(1e-3, answer.ended_s - answer.first_s)
    asked, answered = _typical(settings, finished)
    words = answer.prompt_tokens or PAGE_TOKENS
    prompt_rate, output_rate = words / prompt_s, (answer.output_tokens or answer.pieces) / output_s
    return Speed(
        seconds_per_chunk=round(asked / prompt_rate + answered / max(output_rate, 1e-3), 2),
        at_once=1,
        gain=1.0,
        prompt_tokens_per_s=round(prompt_rate, 1),
        output_tokens_per_s=round(output_rate, 1),
        chunk_prompt_tokens=asked,
        chunk_output_tokens=answered,
    )


def _typical(settings: Settings, finished: Sequence[CallRecord]) -> tuple[int, int]:
    """Tokens of a chunk's prompt and of its answer."""
    chunks = [call for call in finished if call.role == "extract" and call.output_tokens]
    if len(chunks) < TYPICAL_OF:
        return PROMPT_TOKENS - 1200 + settings.chunk_tokens, ANSWER_TOKENS
    asked = median(call.prompt_tokens for call in chunks)
    return int(asked), int(median(call.output_tokens for call in chunks))


def _calls_check(settings: Settings, together: int, one_s: float, all_s: float) -> Check:
    wanted = settings.llm_max_async
    message = (
        f"{together} of {wanted} ran at once: a short answer took {one_s:.1f} s alone, "
        f"{wanted} of them {all_s:.1f} s."
    )
    if together >= wanted:
        return fine("Calls at once", message)
    return warning(
        "Calls at once",
        message,
        f"Start the server with OLLAMA_NUM_PARALLEL={wanted} if its memory has room for so many "
        "contexts; else the calls take turns, which loses nothing.",
    )


def _speed_check(
    speed: Speed, loading: Timed, answer: Timed, finished: Sequence[CallRecord]
) -> Check:
    read = sum(call.role == "extract" and call.output_tokens > 0 for call in finished)
    basis = f"as {read} chunks had" if read >= TYPICAL_OF else "as is assumed"
    hours = BOOK_CHUNKS * speed.seconds_per_chunk / speed.gain / 3600
    parts = [
        f"{speed.prompt_tokens_per_s:,.0f} tokens/s are read and {speed.output_tokens_per_s:,.0f} "
        f"written, so a chunk takes {speed.seconds_per_chunk:.1f} s: a prompt of "
        f"{speed.chunk_prompt_tokens:,} tokens and an answer of {speed.chunk_output_tokens:,}, "
        f"{basis}. A book of {BOOK_CHUNKS} chunks takes about {hours:.1f} h."
    ]
    if loading.load_s > 1:
        parts.append(f"Loading took {loading.load_s:.0f} s.")
    if not answer.whole:
        parts.append(f"It was broken off after {LIMIT_S:.0f} s, so this is rough.")
    queued = answer.total_s - answer.load_s - answer.prompt_s - answer.output_s
    if answer.whole and queued > 2:
        parts.append(f"It waited {queued:.0f} s first: another program uses the model.")
    message = " ".join(parts)
    if speed.seconds_per_chunk / speed.gain > SLOW_S:
        remedy = "Choose a smaller model, or a machine with a larger GPU."
        return warning("Speed", message, remedy)
    return fine("Speed", message)


def _silent(message: str) -> Check:
    return failure(
        "Speed",
        message,
        "Choose a smaller model, or see with `ollama ps` whether another program has the server.",
    )


def _advice(exc: ModelError) -> str:
    return " ".join((type(exc).__doc__ or "").split())
