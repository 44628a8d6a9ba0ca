"""Lines of the log that were written while a request lasted, in its story."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from flask import Flask, request

from flask_statistics.timing.collector import LONGEST_HELD, LONGEST_LINE
from flask_statistics.timing.story import MOST_LINES, Line, Story, load

from ..conftest import App

MakeApp = Callable[..., App]
LOGGER = logging.getLogger("shop.search")


@pytest.fixture(autouse=True)
def factory() -> Iterator[None]:
    """Give back the way in which Python makes records."""
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


class Unspeakable:
    """A message that raises when it is read."""

    def __str__(self) -> str:
        raise ValueError("no text")


def pages(flask: Flask) -> None:
    @flask.route("/")
    def home() -> str:
        LOGGER.info("nothing to see")
        LOGGER.warning("the index is %d min old", 40)
        flask.logger.error("no stock")
        return "home"

    @flask.route("/many")
    def many() -> str:
        for number in range(MOST_LINES + 3):
            LOGGER.warning("line %d %s", number, "x" * LONGEST_LINE)
        return "many"

    @flask.route("/secret/<token>")
    def secret(token: str) -> str:
        LOGGER.warning("%s is wrong, password=hunter2hunter2", token)
        return "secret"

    @flask.route("/broken")
    def broken() -> str:
        LOGGER.warning("%d", "no number")
        return "broken"

    @flask.route("/unspeakable")
    def unspeakable() -> str:
        LOGGER.warning(Unspeakable())
        return "unspeakable"

    @flask.route("/made")
    def made() -> str:
        return str(logging.makeLogRecord({"levelno": logging.WARNING, "msg": "of another process"}).msg)

    @flask.route("/sign-in", methods=["POST"])
    def sign_in() -> str:
        LOGGER.warning("%s%s", "x" * int(request.form["before"]), request.form["password"])
        return "in"

    @flask.route("/thread")
    def thread() -> str:
        other = Thread(target=LOGGER.warning, args=("of nobody",))
        other.start()
        other.join()
        return "thread"

    @flask.route("/fails")
    def fails() -> str:
        LOGGER.critical("about to fail")
        raise RuntimeError("failed")


def story_of(app: App, path: str, **options: Any) -> Story:
    app.client.get(path, **options)
    return load(app.rows()[-1].story)


@pytest.mark.parametrize("writer", ["direct", "spool"])
def test_lines_of_a_request(make_app: MakeApp, tmp_path: Any, writer: str) -> None:
    spool = {"STATISTICS_WRITER": "spool", "STATISTICS_SPOOL_PATH": str(tmp_path)} if writer == "spool" else {}
    app = make_app(before=pages, STATISTICS_LOG_LINES=True, **spool)
    assert story_of(app, "/").lines == (
        Line("WARNING", "shop.search", "the index is 40 min old"),
        Line("ERROR", "tests.app", "no stock"),
    )
    failed = story_of(app, "/fails").lines
    assert failed[0] == Line("CRITICAL", "shop.search", "about to fail")
    assert failed[1].text.startswith("Exception on /fails")


def test_lines_are_kept_only_where_it_is_asked_for(make_app: MakeApp) -> None:
    app = make_app(before=pages)
    before = logging.getLogRecordFactory()
    app.client.get("/")
    assert app.row().story is None
    assert logging.getLogRecordFactory() is before


def test_many_long_lines_are_cut(make_app: MakeApp) -> None:
    story = story_of(make_app(before=pages, STATISTICS_LOG_LINES=True), "/many")
    assert 10 < len(story.lines) < MOST_LINES  # as many as the column takes
    assert len(story.lines) + story.more_lines == MOST_LINES + 3
    assert {len(line.text) for line in story.lines} == {LONGEST_LINE}


def test_a_secret_in_a_line_is_masked(make_app: MakeApp) -> None:
    app = make_app(before=pages, STATISTICS_LOG_LINES=True)
    (line,) = story_of(app, "/secret/8f14e45fceea167a").lines
    assert line.text == "*** is wrong, password=***"


def test_line_that_cannot_be_formatted_is_kept_as_it_is(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    app = make_app(before=pages, STATISTICS_LOG_LINES=True)
    assert [line.text for line in story_of(app, "/broken").lines] == ["%d"]


def test_a_message_that_has_no_text_breaks_no_request(make_app: MakeApp) -> None:
    app = make_app(before=pages, STATISTICS_LOG_LINES=True)
    other = logging.getLogger("shop.search")
    other.addHandler(logging.NullHandler())
    other.propagate = False  # pytest's own handler fails at it
    try:
        assert [line.text for line in story_of(app, "/unspeakable").lines] == ["Unspeakable"]
    finally:
        other.propagate = True
        other.handlers.clear()


def test_a_record_without_a_level_is_made_as_ever(make_app: MakeApp) -> None:
    app = make_app(before=pages, STATISTICS_LOG_LINES=True)
    assert app.client.get("/made").text == "of another process"
    assert logging.makeLogRecord({"msg": "outside"}).msg == "outside"


def test_a_factory_of_the_hosts_around_ours_doubles_no_line(make_app: MakeApp) -> None:
    app = make_app(before=pages, STATISTICS_LOG_LINES=True)
    app.client.get("/")
    ours = logging.getLogRecordFactory()
    logging.setLogRecordFactory(lambda *arguments, **options: ours(*arguments, **options))
    assert len(story_of(app, "/").lines) == 2
    assert len(story_of(app, "/").lines) == 2


@pytest.mark.parametrize("before", [LONGEST_LINE - 10, LONGEST_HELD - 10, 0])
@pytest.mark.parametrize("length", [30, LONGEST_HELD + 10])
def test_no_part_of_a_secret_stays_where_a_line_is_cut(make_app: MakeApp, before: int, length: int) -> None:
    app = make_app(before=pages, STATISTICS_LOG_LINES=True)
    password = "hunter2" * (length // 7)
    app.client.post("/sign-in", data={"before": before, "password": password})
    (line,) = load(app.row().story).lines
    assert "hun" not in line.text


def test_lines_of_threads_and_of_nobody_belong_to_no_request(make_app: MakeApp) -> None:
    app = make_app(before=pages, STATISTICS_LOG_LINES=True)
    LOGGER.warning("before")
    assert story_of(app, "/thread").lines == ()


def test_logging_is_set_up_by_the_app_all_the_same(make_app: MakeApp) -> None:
    root = logging.getLogger()
    before = root.handlers[:]
    make_app(before=pages, STATISTICS_LOG_LINES=True).client.get("/")
    assert root.handlers == before


def test_factory_is_wrapped_once(make_app: MakeApp) -> None:
    apps = [make_app(before=pages, STATISTICS_LOG_LINES=True) for _ in range(2)]
    apps[0].client.get("/")
    first = logging.getLogRecordFactory()
    for app in apps:
        app.client.get("/")
    assert logging.getLogRecordFactory() is first


@pytest.mark.parametrize(
    ("sent", "trace"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c"),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
        ("<script>", None),
    ],
)
def test_trace_of_a_request(make_app: MakeApp, sent: str, trace: str | None) -> None:
    assert story_of(make_app(before=pages), "/", headers={"traceparent": sent}).trace == trace
