"""Where the passage with the answer is among those that the offline model quotes.

A rank is that of a citation: the passage that a person sees who clicks on it. With the texts of
`--corpus`, questions are about them, and a passage is known by a few characters of it. Otherwise
they are about sentences that are put into a made-up text of the same size.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from librarian.answers import Answer, pieces
from librarian.app import Librarian
from librarian.evidence import Passage
from librarian.settings import Settings
from tests.bench import texts
from tests.bench.processes import Broken, own_folder, running, tail
from tests.bench.report import Row

Asked = tuple[str, tuple[str, ...]]  #: a question, and what the passage with its answer holds

MODES = ("mix", "naive")
PLACES = (1, 3, 5)
INGEST_S = 600.0
OPEN_S = 120.0
#: The search by words and its weights were chosen with these.
TUNED: tuple[Asked, ...] = (
    ("Какая команда показывает, от каких общих объектов зависит программа?", ("ldd - выда",)),
    ("Как перевести текст из одной кодировки в другую?", ("iconv - преобразует",)),
    ("Как не пускать обычных пользователей в систему?", ("nologin - отказывает",)),
    ("Сколько места на диске занимает KDE Plasma?", ("KDE Plasma", "4584")),
    ("Как устанавливать Debian через PPPoE?", ("modules=ppp-udeb",)),
    ("Какой кабель нужен для установки через параллельный порт?", ("DB-25",)),
    ("Как проверяется контрольная сумма файла ответов?", ("md5sum", "preseed/url/checksum=")),
    ("Что такое debootstrap и где взять его двоичный файл?", ("debootstrap_0.X.X_all.deb",)),
    ("Кто первоначально написал руководство по установке Debian?", ("Bruce Perens",)),
    ("Как ядро узнаёт, какое устройство содержит корневую файловую систему?", ("«root=…»",)),
    ("Что происходит с ядром после паники и как задать перезагрузку?", ("«panic=N»",)),
    ("Какие задачи tasksel можно выбрать в файле ответов?", ("xfce-desktop",)),
    (
        "Как изменить оценку процесса для убийцы при нехватке памяти?",
        ("/proc/pid/oom_score_adj (",),
    ),
    (
        "Сколько секунд простаивает соединение TCP, прежде чем посылаются проверки keepalive?",
        ("tcp_keepalive_time (",),
    ),
    ("Как наблюдать за изменениями файлов в каталоге?", ("inotify - наблюдает",)),
    ("Чем символьная ссылка отличается от жёсткой?", ("symlink - работа",)),
    ("Что записано в файле /etc/resolv.conf?", ("resolv.conf - файл",)),
    ("Для чего служит файл nsswitch.conf?", ("nsswitch.conf - файл",)),
    ("Какая кодировка была в России до Юникода, KOI8-R?", ("koi8-r - набор",)),
    ("Что такое пространства имён PID?", ("pid_namespaces - обзор",)),
    ("Как работают семафоры POSIX?", ("sem_overview - обзор",)),
    ("Как получить случайные числа от ядра?", ("random - обзор",)),
    ("How much memory does the installer need in low memory mode?", ("lowmem=1 or",)),
    ("Which boards does speakup support?", ("speakup only",)),
    ("How can I recover a broken system with rescue mode?", ("8.6. Recovering", "rescue")),
    ("How is the integrity of downloaded installation files verified?", ("SHA256SUMS",)),
)
#: Written when the search by words was there; its last weight was checked with them.
UNSEEN: tuple[Asked, ...] = (
    ("Какой мандат нужен, чтобы занять порт с номером меньше 1024?", ("CAP_NET_BIND_SERVICE",)),
    ("Чем ограничивается размер файловой системы tmpfs?", ("tmpfs - файловая",)),
    ("Что выдаёт команда getent?", ("getent - возвращает",)),
    ("Где перечислены оболочки, разрешённые для входа?", ("shells - полные",)),
    ("Что такое vdso и зачем она ядру?", ("vdso - обзор",)),
    ("Какая приставка обозначает 1024: киби или кило?", ("units - десятичные",)),
    ("How do I put the installer image on a USB stick?", ("/dev/sdX",)),
    ("В какой файл записывается дамп памяти упавшего процесса?", ("core_pattern",)),
    (
        "What happens with questions when the debconf priority is critical?",
        ("debconf/priority",),
    ),
    ("How long may a password of the root account be empty?", ("root password",)),
    ("Как программа iconvconfig хранит кэш модулей?", ("iconvconfig - создаёт",)),
    ("Какие утилиты разметки дисков есть в Debian?", ("partman", "cfdisk")),
    ("Кому принадлежат торговые марки?", ("собственностью их",)),
)
#: Sentences for a made-up text, with a question about each in other forms of its words.
PLANTED: tuple[tuple[str, str], ...] = (
    ("Где стоит маяк Тихвинской губы?", "Маяк Тихвинская губа стоит на острове Лосином."),
    ("Кто построил мельницу в Заречье?", "Мельницу Заречья построил плотник Ефим Долгов."),
    ("Чем кормили оленей зимой?", "Зимой оленей кормили ягелем, который сушили на крышах."),
    ("Сколько лет строили собор?", "Собор строили двадцать семь лет, и крышу клали дважды."),
    ("Когда замёрзла река Вага?", "В тот год Вага замёрзла в середине октября."),
    ("Какой врач лечил капитана?", "Капитана лечил фельдшер Андрей Шубин, врача не нашлось."),
    ("За сколько продали корову?", "Корову продали на ярмарке за одиннадцать рублей."),
    ("О чём писал Лермонтову дед?", "Дед писал Лермонтову о долгах и о дурных дорогах."),
    ("Почему запретили ловить сёмгу?", "Ловля сёмги запрещена указом, чтобы рыба не перевелась."),
    ("Откуда привезли колокола?", "Колокола привезены из Голландии на двух шхунах."),
    ("Что нашли под полом аптеки?", "Под полом аптеки нашлись весы и три медные гири."),
    ("Чьи сапоги украли у вдовы?", "У вдовы Кожиной украдены сапоги её младшего сына."),
    ("Какие яблоки росли у Павловых?", "В саду Павловых росла антоновка и белый налив."),
    ("Кто научил Настю плести кружева?", "Плести кружева Настю выучила слепая Агафья."),
    ("Who painted the bridge in Harwell?", "The Harwell bridge was painted by Ida Brown."),
    ("What did the miller pay for salt?", "For a sack of salt the miller paid four shillings."),
    ("Why was the school closed?", "The school stayed closed because its stove had cracked."),
    ("Where are the letters of Turner kept?", "Turner's letters are kept in a chapel at Ely."),
    ("How deep is the well at Moor Farm?", "Moor Farm has a well that is ninety feet deep."),
    ("When did swallows return to Dover?", "To Dover swallows returned on the tenth of April."),
)


def ranking(corpus: Path | None) -> list[Row]:
    """The offline model over all the texts, in the two modes that search passages."""
    with own_folder() as folder:
        if corpus is None:
            asked = {"planted": tuple((question, (said,)) for question, said in PLANTED)}
            paths = [_planted(texts.book(None, folder))]
        else:
            asked = {"tuned": TUNED, "unseen": UNSEEN}
            paths = texts.library(corpus, folder)
        _ingest(paths, folder)
        settings = replace(Settings(), home=folder / "home", backend="offline")
        librarian = Librarian.open(settings)
        try:
            librarian.wait_ready(OPEN_S)
            rows = []
            for name, questions in asked.items():
                for mode in MODES:
                    rows += _measured(librarian, f"ranking, {mode}, {name}", mode, questions)
            return rows
        finally:
            librarian.close()


def _planted(book: Path) -> Path:
    """The text with one sentence each in places that are equally far apart."""
    paragraphs = book.read_text(encoding="utf-8").split("\n\n")
    step = len(paragraphs) // (len(PLANTED) + 1)
    for number, (_, said) in enumerate(PLANTED, 1):
        paragraphs[number * step] += f" {said}"
    book.write_text("\n\n".join(paragraphs), encoding="utf-8")
    return book


def _ingest(paths: Sequence[Path], folder: Path) -> None:
    command = [sys.executable, "-m", "librarian", "ingest", "--home", str(folder / "home")]
    log = folder / "ingest.log"
    with running([*command, *map(str, paths)], {"LIBRARIAN_BACKEND": "offline"}, log) as process:
        try:
            code = process.wait(INGEST_S)
        except subprocess.TimeoutExpired as exc:
            raise Broken("The texts were not taken in.") from exc
    if code != 0:
        raise Broken(f"`ingest` ended with {code}.\n{tail(log)}")


def _measured(librarian: Librarian, what: str, mode: str, asked: Sequence[Asked]) -> list[Row]:
    ranks, found = [], 0
    for question, marks in asked:
        answer = librarian.ask(question, mode).answer
        ranks.append(_rank(answer, marks))
        found += any(_holds(passage, marks) for passage in answer.sources)
    places = [
        Row(
            what=f"{what}: among the first {most}" if most > 1 else f"{what}: the first",
            value=100 * sum(0 < rank <= most for rank in ranks) / len(ranks),
            unit="%",
        )
        for most in PLACES
    ]
    mean = sum(1 / rank for rank in ranks if rank) / len(ranks)
    return [
        *places,
        Row(what=f"{what}: mean reciprocal rank", value=mean, unit="times"),
        Row(what=f"{what}: found at all", value=100 * found / len(ranks), unit="%"),
        Row(what=f"{what}: questions", value=len(ranks)),
    ]


def _rank(answer: Answer, marks: tuple[str, ...]) -> int:
    """The place of the first right one among the different passages cited; 0 for none."""
    cited = [each for each in pieces(answer.text, answer.sources) if isinstance(each, Passage)]
    distinct = {passage.chunk: passage for passage in cited}
    held = [_holds(passage, marks) for passage in distinct.values()]
    return held.index(True) + 1 if True in held else 0


def _holds(passage: Passage, marks: tuple[str, ...]) -> bool:
    text = " ".join(passage.text.split())
    return all(mark in text for mark in marks)
