"""The terms of texts written for these tests, in both languages."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from librarian.models.english import singular
from librarian.models.mention import Kind
from librarian.models.terms import Found, find_terms
from librarian.models.words import split_sentences, stems

PROSE_RU = """
Глава 3. Возвращение

Осенью Марина Оленина приехала в Архангельск. На пристани её встретил Глеб Завьялов, давно ждавший
письма. Он помнил, что Аркадий Петрович Лунёв просил его никому не говорить о маяке.

— Вы были в Казани? — спросила Марина, не глядя на него.
— Был. Видел Аркадия Петровича Лунёва и его сестру, — ответил Завьялов. — Они живут под Казанью.

Письмо Марины Олениной лежало на столе. Завьялову не хотелось открывать конверт. Старый маяк стоял
за Северной Двиной, и смотритель маяка ждал лодку. К маяку никто не ходил с тех пор, как умер
прежний смотритель. О Марине Олениной в Архангельске говорили мало, а о маяке — много. Смотрителю
маяка привезли керосин. Завьялов с Мариной Олениной уехал утром.
"""

PROSE_EN = """
Chapter 3. The Return

In October Clara Whitmore came back to Port Ellis with two trunks and a sealed letter. At the
harbour she was met by Mr. Harding, who had kept the old lighthouse since the storm. "You have seen
the captain," said Harding. Clara nodded. The lighthouse belonged to Whitmore Shipping Company now.

Nobody in Port Ellis spoke about the lighthouse. Mr. Harding lit the lamp, and Clara read the sealed
letter aloud. The ships that passed Port Ellis were guided by the lighthouse lamp alone, and Clara
Whitmore knew the name of each. Lighthouses are lonely places.
"""

TECHNICAL_RU = """
4.2. Настройка загрузчика

Установщик читает файл ответов preseed.cfg при загрузке. Если файла ответов нет, то установщик
задаёт вопросы. Работой установщика управляет debconf. Загрузчик GRUB ставится на жёсткий диск;
запись о жёстком диске хранится в /etc/fstab. Подробнее см. Раздел 5.1.2, «Таблица разделов».
Вместе с установщиком в образ входит загрузчик GRUB. Проверьте жёсткие диски до начала.

Примечание
Установщику нужен DHCP. Без DHCP адрес задаётся вручную.
"""


def names(found: Found) -> list[str]:
    return [term.name for term in found.terms]


def test_cases_of_a_russian_name_are_one_term() -> None:
    found = find_terms(PROSE_RU, 15)
    assert "Марина Оленина" in names(found)
    assert "Завьялов" in names(found)
    assert not {"Марины Олениной", "Марине Олениной", "Завьялову"} & set(names(found))


def test_a_patronymic_stays_between_the_names() -> None:
    assert "Аркадий Петрович Лунёв" in names(find_terms(PROSE_RU, 25))


def test_people_and_places_are_told_apart() -> None:
    kinds = {term.name: term.kind for term in find_terms(PROSE_RU, 25).terms}
    assert kinds["Марина Оленина"] is Kind.PERSON
    assert kinds["Архангельск"] is Kind.PLACE
    assert kinds["Казань"] is Kind.PLACE


@pytest.mark.parametrize(
    "sentence",
    [
        "Вчера здесь видели Марину Оленину.",
        "Потом пришла Марина Оленина.",
        "Писем Марины Олениной не нашли.",
        "Все гордились Мариной Олениной.",
    ],
)
def test_a_name_is_the_same_in_chunks_that_know_nothing_of_each_other(sentence: str) -> None:
    assert names(find_terms(sentence, 5))[0] == "Марина Оленина"


@pytest.mark.parametrize(
    "sentence",
    ["Тут нужен установщик.", "Нет установщика.", "Займитесь установщиком.", "Установщики новы."],
)
def test_a_russian_noun_is_the_same_in_every_case_and_number(sentence: str) -> None:
    assert "установщик" in names(find_terms(sentence, 5))


def test_a_russian_phrase_is_called_by_its_nominative() -> None:
    found = names(find_terms(TECHNICAL_RU, 15))
    assert {"файл ответов", "жёсткий диск", "установщик"} <= set(found)
    assert "жёсткие диски" not in found


def test_files_commands_and_acronyms_keep_their_spelling() -> None:
    found = names(find_terms(TECHNICAL_RU, 20))
    assert {"preseed.cfg", "/etc/fstab", "debconf", "DHCP", "GRUB"} <= set(found)


def test_structure_words_and_references_are_not_terms() -> None:
    found = {name.lower() for name in names(find_terms(TECHNICAL_RU + PROSE_RU, 60))}
    assert not {"примечание", "раздел", "глава", "таблица разделов", "5.1.2"} & found


def test_english_names_are_found_in_mid_sentence() -> None:
    kinds = {term.name: term.kind for term in find_terms(PROSE_EN, 15).terms}
    assert kinds["Clara Whitmore"] is Kind.PERSON
    assert kinds["Mr Harding"] is Kind.PERSON
    assert "Port Ellis" in kinds
    assert "Whitmore Shipping Company" in kinds


def test_the_month_before_a_name_is_no_part_of_it() -> None:
    assert not [name for name in names(find_terms(PROSE_EN, 40)) if "October" in name]


def test_english_plurals_and_singulars_are_one_term() -> None:
    found = names(find_terms(PROSE_EN, 15))
    assert "lighthouse" in found
    assert "lighthouses" not in found
    assert [singular(word) for word in ("disks", "boxes", "libraries", "class", "status")] == [
        "disk",
        "box",
        "library",
        "class",
        "status",
    ]


def test_every_term_is_in_the_sentences_that_it_names() -> None:
    found = find_terms(PROSE_RU, 15)
    for term in found.terms:
        for place in term.sentences:
            told = set(stems(found.sentences[place].text))
            assert not told.isdisjoint(stems(term.name)), (term.name, place)


def test_cases_of_a_surname_share_a_stem() -> None:
    assert len(set(stems("Завьялов Завьялову Завьяловым Завьялове"))) == 1


def test_abbreviations_and_initials_do_not_end_a_sentence() -> None:
    texts = [
        sentence.text
        for sentence in split_sentences("Об этом писал А. С. Грин и др. авторы. Mr. Bell agreed.")
    ]
    assert texts == ["Об этом писал А. С. Грин и др. авторы.", "Mr. Bell agreed."]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0\x01\x02" * 1500,
        "я" * 5000,
        "a" * 5000,
        "/" * 5000,
        "a." * 2500,
        "а-" * 2500,
        "«" * 5000,
        "?!" * 2500,
        "<script>alert(1)</script> " * 200,
        "Раздел 5." * 550,
        "a" * 2500 + "@" + "b" * 2500,
        "漢字" * 2500,
        "\ud800 " * 2500,
        "http://" * 700,
    ],
)
def test_text_that_is_no_prose_is_read_quickly(text: str) -> None:
    started = time.thread_time()
    found = find_terms(text, 15)
    assert time.thread_time() - started < 2
    assert all(len(term.name) < 250 for term in found.terms)


def test_threads_find_what_one_thread_finds() -> None:
    texts = [PROSE_RU, PROSE_EN, TECHNICAL_RU] * 8
    alone = [names(find_terms(text, 15)) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: names(find_terms(text, 15)), texts)) == alone
