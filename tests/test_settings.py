"""Settings: every variable, every mistake by name."""

import dataclasses
from pathlib import Path

import pytest

from librarian.errors import SettingsError
from librarian.settings import Settings, check_door, ollama_url


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_env({})
    assert settings.home == Path("library").absolute()
    assert (settings.host, settings.port) == ("127.0.0.1", 8003)
    assert (settings.backend, settings.llm_max_async, settings.gleaning) == ("auto", 4, 0)
    assert settings.ollama_host == "http://127.0.0.1:11434"
    assert settings.language == ""


def test_every_variable_is_read(tmp_path: Path) -> None:
    environ = {
        "LIBRARIAN_HOME": str(tmp_path),
        "LIBRARIAN_BACKEND": " Ollama ",
        "OLLAMA_HOST": "10.0.0.5",
        "LIBRARIAN_LLM_MODEL": "qwen3:4b",
        "LIBRARIAN_EMBED_MODEL": "nomic-embed-text",
        "LLM_MAX_ASYNC": "8",
        "LIBRARIAN_GLEANING": "1",
        "LIBRARIAN_NUM_CTX": "16384",
        "LIBRARIAN_EMBED_BATCH": "16",
        "LIBRARIAN_LANGUAGE": "Russian",
        "LIBRARIAN_API_TOKEN": "secret",
        "LIBRARIAN_LIBRARIES": str(tmp_path / "list.json"),
        "LIBRARIAN_PORT": "9000",
        "LIBRARIAN_HOST": "0.0.0.0",
    }
    assert Settings.from_env(environ) == Settings(
        home=tmp_path,
        backend="ollama",
        ollama_host="http://10.0.0.5:11434",
        llm_model="qwen3:4b",
        embed_model="nomic-embed-text",
        llm_max_async=8,
        gleaning=1,
        num_ctx=16384,
        embed_batch=16,
        language="Russian",
        api_token="secret",
        homes_file=tmp_path / "list.json",
        port=9000,
        host="0.0.0.0",
    )


def test_what_is_given_wins_over_the_environment(tmp_path: Path) -> None:
    environ = {"LIBRARIAN_HOME": "elsewhere", "LIBRARIAN_PORT": "9000"}
    settings = Settings.from_env(environ, home=tmp_path, port=None)
    assert (settings.home, settings.port) == (tmp_path, 9000)


def test_blank_variables_are_as_good_as_none() -> None:
    names = (
        "LIBRARIAN_HOME",
        "LIBRARIAN_BACKEND",
        "OLLAMA_HOST",
        "LLM_MAX_ASYNC",
        "LIBRARIAN_PORT",
    )
    assert Settings.from_env(dict.fromkeys(names, "")) == Settings.from_env({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIBRARIAN_BACKEND", "gpt4"),
        ("LLM_MAX_ASYNC", "0"),
        ("LLM_MAX_ASYNC", "many"),
        ("LLM_MAX_ASYNC", "1.5"),
        ("LIBRARIAN_GLEANING", "-1"),
        ("LIBRARIAN_NUM_CTX", "512"),
        ("LIBRARIAN_EMBED_BATCH", "0"),
        ("LIBRARIAN_PORT", "65536"),
        ("OLLAMA_HOST", "ftp://example.org"),
        ("OLLAMA_HOST", "http://host:port"),
        ("OLLAMA_HOST", "http://"),
        ("OLLAMA_HOST", "[::1"),
        ("LIBRARIAN_DATABASE_URL", "postgresql://localhost/library"),
    ],
)
def test_a_mistake_names_its_variable_and_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="colour"):
        Settings.from_env({}, colour="red")


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_a_home_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert Settings.from_env({"LIBRARIAN_HOME": "~/books"}).home == tmp_path / "books"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("localhost:1234", "http://localhost:1234"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:9999", "http://127.0.0.1:9999"),
        ("http://[::]:9999", "http://[::1]:9999"),
        ("[::1]:9999", "http://[::1]:9999"),
        ("http://gpu", "http://gpu:80"),
        ("https://gpu", "https://gpu:443"),
        ("https://gpu/ollama/", "https://gpu:443/ollama"),
        ("'192.168.0.7:11434'", "http://192.168.0.7:11434"),
        ('"gpu"', "http://gpu:11434"),
        ("  gpu  ", "http://gpu:11434"),
    ],
)
def test_a_host_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    assert ollama_url(host) == url


def test_a_door_to_the_network_wants_a_token() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        check_door(Settings.from_env({"LIBRARIAN_HOST": host}))
    for host in ("0.0.0.0", "::", "192.168.1.7", "library.example"):
        with pytest.raises(SettingsError, match=r"LIBRARIAN_API_TOKEN.*127\.0\.0\.1"):
            check_door(Settings.from_env({"LIBRARIAN_HOST": host}))
        check_door(Settings.from_env({"LIBRARIAN_HOST": host, "LIBRARIAN_API_TOKEN": "long"}))
