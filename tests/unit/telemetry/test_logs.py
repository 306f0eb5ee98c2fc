"""Log lines as text and as JSON, without secrets and names."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

from placerank.config import settings
from placerank.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def _no_request() -> Iterator[None]:
    logs.begin({})
    yield
    logs.begin({})


def record(
    message: str, *arguments: Any, error: BaseException | None = None, about: dict[str, str] | None = None
) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("placerank.test", logging.INFO, __file__, 1, message, arguments, info)
    vars(made).update(about or {})
    return made


def as_json(made: logging.LogRecord, *secrets: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(logs.JsonFormatter("api", secrets).format(made))
    return found


def test_a_line_for_machines_is_one_object_whatever_it_says() -> None:
    found = as_json(record('two\nlines, "quoted" %s', "ü"))
    assert found["message"] == 'two\nlines, "quoted" ü'
    assert found["level"] == "INFO"
    assert found["process"] == "api"
    assert "\n" not in logs.JsonFormatter("api", ()).format(record("two\nlines"))


def test_a_line_says_what_it_is_about() -> None:
    about = logs.about("the-task", request_id="the-request", traceparent=TRACE, model_version="v3")
    found = as_json(record("done", about=about))
    assert found["task_id"] == "the-task"
    assert found["request_id"] == "the-request"
    assert found["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert found["model_version"] == "v3"
    line = logs.TextFormatter(()).format(record("done", about=about))
    assert line.endswith(
        "done [request_id=the-request task_id=the-task trace_id=0af7651916cd43dd8448eb211c80319c model_version=v3]"
    )


def test_what_is_known_of_the_request_in_hand_is_on_every_line() -> None:
    logs.begin({"request_id": "r"})
    logs.note("task_id", "t")
    assert {"request_id": "r", "task_id": "t"}.items() <= as_json(record("anything")).items()


def test_a_line_about_nothing_names_nothing() -> None:
    assert not set(logs.FIELDS) & set(as_json(record("started")))


def test_secrets_are_hidden_in_messages_and_tracebacks() -> None:
    try:
        int("postgresql://me:p@ssw0rd-long@host")
    except ValueError as raised:
        found = as_json(record("no way in with p@ssw0rd-long", error=raised), "p@ssw0rd-long")
    assert "p@ssw0rd-long" not in json.dumps(found)
    assert "***" in found["message"]
    assert "Traceback" in found["exception"]


def test_rows_that_the_database_quotes_are_left_out() -> None:
    quoted = "duplicate key\nDETAIL:  Key (name)=(Ottilie) already exists.\nCONTEXT:  JSON data, line 1: Ottilie"
    assert as_json(record("failed: %s", quoted))["message"] == "failed: duplicate key"


def test_auto_is_for_people_in_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    before = logging.getLogger().handlers[:]
    try:
        for terminal, kind in ((True, logs.TextFormatter), (False, logs.JsonFormatter)):
            monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)  # noqa: B023
            logs.set_up_logging("INFO")
            assert isinstance(logging.getLogger().handlers[0].formatter, kind)
        logs.set_up_logging("INFO", "text")
        assert isinstance(logging.getLogger().handlers[0].formatter, logs.TextFormatter)
    finally:
        logging.getLogger().handlers[:] = before


def test_the_settings_secrets_are_known_in_both_spellings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@host/db")
    monkeypatch.setenv("PLACERANK_DATABASE__PASSWORD", "a/b c:d")
    monkeypatch.setenv("PLACERANK_DATABASE__USER", "")
    monkeypatch.setenv("PLACERANK_API__KEYS", "key-one, key-two")
    monkeypatch.setenv("PLACERANK_API__ADMIN_KEYS", "key-three")
    monkeypatch.setenv("DATABASE_URL", "postgresql://host/db")
    monkeypatch.setenv("PLACERANK_DATABASE__USER", "me")
    found = settings.secrets(settings.load())
    assert {"a/b c:d", "a%2Fb%20c%3Ad", "key-one", "key-two", "key-three"} <= found
    assert "placerank" not in found
