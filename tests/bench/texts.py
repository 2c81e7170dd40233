"""The texts to measure with: those of a folder, or Russian ones made up in the same sizes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.processes import Broken

BOOK = "Floor_01.txt"
STORY = "Floor_08.txt"
SIZES = {BOOK: 2_069_992, "Floor_04.txt": 1_946_908, STORY: 320_000}  # bytes
SUBJECTS = (
    "программа команда утилита библиотека система функция служба процедура оболочка страница "
    "таблица структура операция задача версия настройка область очередь переменная запись"
).split()
VERBS = (
    "открывает читает проверяет изменяет создаёт удаляет сохраняет выводит получает использует "
    "возвращает обрабатывает запускает находит сравнивает копирует переносит описывает"
).split()
ADJECTIVES = (
    "новый старый общий полный пустой первый последний внешний внутренний временный обычный "
    "системный сетевой двоичный текстовый виртуальный постоянный открытый закрытый защищённый"
).split()
OBJECTS = (
    "файл каталог процесс сигнал пакет адрес параметр список сокет поток узел раздел диск "
    "журнал ключ индекс блок буфер запрос ответ символ указатель дескриптор сеанс терминал"
).split()
PLACES = (
    "в начале строки|перед запуском|после проверки|по умолчанию|при ошибке|без предупреждения|"
    "для каждого пользователя|во время загрузки|по требованию|в фоновом режиме|на сервере"
).split("|")
STARTS = "Ар Бел Вер Гор Дан Ел Жар Зор Ин Кал Лин Мар Нор Ор Пар Рад Сев Тар Ул Фор Хел Яр".split()
MIDDLES = "ан ел ив он ут ер ин ос ам ил".split()
ENDS = "ов ский ин ник тор град дар мир ан ец ис ум ор".split()
CAST = 12  # names of a chapter


def book(corpus: Path | None, folder: Path) -> Path:
    """A text that takes hours with a real model."""
    return _text(BOOK, corpus, folder)


def story(corpus: Path | None, folder: Path) -> Path:
    """A text that is indexed again and again."""
    return _text(STORY, corpus, folder)


def library(corpus: Path | None, folder: Path) -> list[Path]:
    """All the texts, for the whole way with the offline model."""
    if corpus is None:
        return [_made_up(name, folder) for name in SIZES]
    found = sorted(path.absolute() for path in corpus.glob("*.txt"))
    if not found:
        raise Broken(f"There is no .txt file in {corpus}.")
    return found


def _text(name: str, corpus: Path | None, folder: Path) -> Path:
    if corpus is None:
        return _made_up(name, folder)
    path = (corpus / name).absolute()
    if not path.is_file():
        raise Broken(f"There is no {name} in {corpus}.")
    return path


def _made_up(name: str, folder: Path) -> Path:
    path = folder / name
    size, parts = 0, []
    for paragraph in paragraphs(random.Random(name)):
        if size >= SIZES[name]:
            break
        parts.append(paragraph)
        size += len(paragraph.encode()) + 2
    path.write_text("\n\n".join(parts), encoding="utf-8")
    return path


def paragraphs(dice: random.Random) -> Iterator[str]:
    """Without end; each chapter is about a few names of its own and some that all know."""
    known = [_name(dice) for _ in range(CAST)]
    while True:
        cast = [*known[: dice.randint(0, 4)], *(_name(dice) for _ in range(CAST))]
        yield f"ГЛАВА {dice.choice(ADJECTIVES).upper()} {dice.choice(OBJECTS).upper()}"
        for _ in range(dice.randint(8, 30)):
            yield " ".join(_sentence(dice, cast) for _ in range(dice.randint(1, 6)))


def _sentence(dice: random.Random, cast: Sequence[str]) -> str:
    words = [dice.choice(SUBJECTS), dice.choice(cast), dice.choice(VERBS)]
    words += [dice.choice(ADJECTIVES), dice.choice(OBJECTS)]
    if dice.random() < 0.5:
        words.append(dice.choice(PLACES))
    if dice.random() < 0.4:
        words += ["и", dice.choice(VERBS), dice.choice(OBJECTS), dice.choice(cast)]
    text = " ".join(words)
    return f"{text[0].upper()}{text[1:]}."


def _name(dice: random.Random) -> str:
    return dice.choice(STARTS) + dice.choice(MIDDLES) + dice.choice(MIDDLES) + dice.choice(ENDS)
