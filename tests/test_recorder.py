"""Request to record, through a test client: exactly one right row, whatever happens during the request."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from flask import (
    Flask,
    Response,
    abort,
    copy_current_request_context,
    current_app,
    g,
    redirect,
    render_template_string,
    request,
    send_file,
    stream_with_context,
)
from flask.signals import got_request_exception, request_finished, request_started
from flask.views import MethodView
from flask.wrappers import Request
from flask_sqlalchemy import SQLAlchemy
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client, create_environ

from flask_statistics import RequestMixin, Statistics
from flask_statistics.exclusion import excluder
from flask_statistics.guards import everybody
from flask_statistics.masking import LONGEST_TRACEBACK

from .conftest import App, result_of

MakeApp = Callable[..., App]
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:72.0) Gecko/20100101 Firefox/72.0"


def view(rule: str, function: Callable[..., Any], **options: Any) -> Callable[[Flask], None]:
    """Adds one view to an app that is being made."""
    return lambda app: app.add_url_rule(rule, "view", function, **options)


def hello(**_: Any) -> str:
    return "hello"


def broken() -> str:
    raise ValueError("broken")


# ---- what is stored ----------------------------------------------------------------------------------------------


def test_recorder_fills_every_column(make_app: MakeApp) -> None:
    app = make_app(before=view("/user/<int:number>", hello))
    before = datetime.now(timezone.utc).replace(tzinfo=None)
    app.client.get("/user/7?a=1&token=x", headers={"User-Agent": FIREFOX, "Referer": "https://x.example/?q=1"})
    row = app.row()
    assert before <= row.date <= datetime.now(timezone.utc).replace(tzinfo=None)
    assert 0 < row.response_time < 1
    names = "method path route query_string status_code size mimetype exception traceback remote_address user_agent"
    assert {name: getattr(row, name) for name in f"{names} browser platform device referrer".split()} == {
        "method": "GET",
        "path": "/user/7",
        "route": "/user/<int:number>",
        "query_string": "a=1&token=***",
        "status_code": 200,
        "size": 5,
        "mimetype": "text/html",
        "exception": None,
        "traceback": None,
        "remote_address": "127.0.0.1",
        "user_agent": FIREFOX,
        "browser": "firefox 72.0",
        "platform": "Windows",
        "device": "desktop",
        "referrer": "https://x.example/?q=1",
    }


def test_recorder_stores_what_is_absent(make_app: MakeApp) -> None:
    app = make_app()
    app.client.get("/nowhere", headers={"User-Agent": ""})
    row = app.row()
    assert (row.user_agent, row.browser, row.platform, row.device) == ("", None, None, "other")
    assert (row.route, row.query_string, row.referrer) == (None, None, None)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/page", 200),
        ("HEAD", "/page", 200),
        ("OPTIONS", "/page", 200),
        ("POST", "/page", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/static/nothing.css", 404),
    ],
)
def test_recorder_method_and_status(make_app: MakeApp, method: str, path: str, status: int) -> None:
    app = make_app(before=view("/page", hello))
    app.client.open(path, method=method)
    row = app.row()
    assert (row.method, row.path, row.status_code) == (method, path, status)


def answer_304() -> Response:
    response = Response(b"hello", headers={"ETag": '"x"'})
    return response.make_conditional(request)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("method", "made"),
    [
        ("HEAD", hello),
        ("HEAD", lambda: Response(iter([b"x"]), headers={"Content-Length": "1"})),
        ("GET", answer_304),
        ("GET", lambda: ("gone", 204)),
        ("GET", lambda: Response("x", 204, {"Content-Length": "1"})),
    ],
)
def test_recorder_answer_without_a_body_has_the_size_0(
    make_app: MakeApp, method: str, made: Callable[..., Any]
) -> None:
    app = make_app(before=view("/page", made))
    with app.client.open("/page", method=method, headers={"If-None-Match": '"x"'}) as response:
        assert response.data == b""
    assert (app.row().status_code, app.row().size) == (response.status_code, 0)


def test_recorder_redirect_to_the_slash(make_app: MakeApp) -> None:
    app = make_app(before=view("/page/", hello))
    app.client.get("/page", follow_redirects=True)
    assert [(row.path, row.status_code, row.route) for row in app.rows()] == [
        ("/page", 308, None),
        ("/page/", 200, "/page/"),
    ]


def test_recorder_duration_ignores_g_start_time(make_app: MakeApp) -> None:
    def before(app: Flask) -> None:
        app.before_request(lambda: setattr(g, "start_time", 0))

    app = make_app(before=before)
    app.client.get("/")
    assert app.row().response_time < 1


def test_recorder_early_answer_of_before_request(make_app: MakeApp) -> None:
    app = make_app(before=lambda flask: flask.before_request(lambda: ("early", 418)))
    app.client.get("/page")
    row = app.row()
    assert (row.path, row.status_code, row.size) == ("/page", 418, 5)


# ---- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["TESTING", "DEBUG", "PROPAGATE_EXCEPTIONS"])
def test_recorder_error_that_propagates(make_app: MakeApp, key: str) -> None:
    app = make_app(before=view("/", broken), **{key: True})
    with pytest.raises(ValueError, match="broken"):
        app.client.get("/")
    row = app.row()
    assert (row.status_code, row.exception, row.size, row.mimetype) == (500, "ValueError('broken')", None, None)
    assert row.traceback.endswith("ValueError: broken\n")


def test_recorder_error_page(make_app: MakeApp) -> None:
    app = make_app(before=view("/", broken))
    size = len(app.client.get("/").data)
    row = app.row()
    assert (row.status_code, row.exception, row.size, row.mimetype) == (500, "ValueError('broken')", size, "text/html")


def quietly() -> str:
    return "sorry"


def logging_it() -> str:
    current_app.logger.error("broken")
    return "sorry"


def rendering() -> str:
    return render_template_string("sorry")


def telling() -> str:
    got_request_exception.send(current_app._get_current_object(), exception=sys.exc_info()[1])  # type: ignore[attr-defined]
    return "sorry"


@pytest.mark.parametrize(
    ("handled", "answer", "status", "kept"),
    [
        (500, quietly, 500, True),
        (Exception, logging_it, 500, True),
        (Exception, rendering, 503, True),
        (ValueError, telling, 502, True),
        (Exception, quietly, 500, False),  # nobody is told of it
    ],
)
def test_recorder_error_handler_keeps_the_exception(
    make_app: MakeApp, handled: Any, answer: Callable[[], str], status: int, kept: bool
) -> None:
    def before(app: Flask) -> None:
        app.register_error_handler(handled, lambda error: (answer(), status))
        app.add_url_rule("/", "view", broken)

    app = make_app(before=before)
    app.client.get("/")
    row = app.row()
    assert (row.status_code, row.exception, row.size) == (status, "ValueError('broken')" if kept else None, 5)
    assert (row.traceback is not None) == kept


def test_recorder_exception_that_somebody_logged_is_not_the_next_requests(make_app: MakeApp) -> None:
    app = make_app(before=lambda flask: flask.register_error_handler(ValueError, lambda error: (logging_it(), 400)))
    app.flask.add_url_rule("/", "view", broken)
    app.flask.add_url_rule("/busy", "busy", lambda: ("busy", 503))
    for path in ("/", "/busy"):
        app.client.get(path)
    assert [(row.status_code, row.exception) for row in app.rows()] == [(400, None), (503, None)]


def test_recorder_replaces_no_method_of_the_host(make_app: MakeApp) -> None:
    before: dict[str, Any] = {}
    app = make_app(before=lambda flask: before.update(vars(flask)))
    after = vars(app.flask)
    assert {name for name in after if after[name] is not before.get(name) and callable(getattr(Flask, name, None))} == {
        "wsgi_app"
    }
    for scope in ("request_class", "response_class", "json", "session_interface", "jinja_environment"):
        assert scope not in after or after[scope] is before.get(scope), scope


def test_recorder_keeps_no_app_alive() -> None:
    flask = Flask("short")
    flask.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db = SQLAlchemy(flask)
    Statistics(flask, db, type("Request", (RequestMixin, db.Model), {}), lambda: True)
    gone = weakref.ref(flask)
    del flask, db
    gc.collect()
    assert gone() is None


def test_recorder_exception_that_is_answered_is_none(make_app: MakeApp) -> None:
    def before(app: Flask) -> None:
        app.register_error_handler(ValueError, lambda error: ("try again", 400))
        app.add_url_rule("/", "view", broken)

    app = make_app(before=before)
    app.client.get("/")
    assert (app.row().status_code, app.row().exception) == (400, None)


def test_recorder_abort_has_no_exception(make_app: MakeApp) -> None:
    app = make_app(before=view("/", lambda: abort(404)))
    app.client.get("/")
    assert (app.row().status_code, app.row().exception) == (404, None)


def test_recorder_failing_after_request(make_app: MakeApp) -> None:
    def fail(response: Response) -> Response:
        raise ValueError("after")

    def before(app: Flask) -> None:
        app.add_url_rule("/", "view", hello)
        app.after_request(fail)

    app = make_app(before=before)
    app.client.get("/")
    assert (app.row().status_code, app.row().exception) == (500, "ValueError('after')")


def test_recorder_after_request_that_always_fails(make_app: MakeApp) -> None:
    def fail(response: Response) -> Response:
        raise ValueError(f"after {response.status_code}")

    app = make_app(before=lambda flask: flask.after_request(fail))
    size = len(app.client.get("/nowhere").data)  # Flask sends its page for a 500 all the same, and tells nobody
    row = app.row()
    assert (row.status_code, row.size, row.mimetype, row.exception) == (
        500,
        size,
        "text/html",
        "ValueError('after 404')",
    )


@pytest.mark.parametrize("signal", [request_started, request_finished])
def test_recorder_listener_of_the_host_that_fails_first(make_app: MakeApp, signal: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("listener")

    app = make_app(before=lambda flask: signal.connect(fail, flask, weak=False))
    app.client.get("/page")
    assert (app.row().path, app.row().status_code, app.row().exception) == ("/page", 500, "ValueError('listener')")


def test_recorder_failing_teardown_is_a_500(make_app: MakeApp) -> None:
    def fail(_error: BaseException | None) -> None:
        raise ValueError("teardown")

    def before(app: Flask) -> None:
        app.add_url_rule("/", "view", hello)
        app.teardown_request(fail)

    app = make_app(before=before)
    with pytest.raises(Exception, match="teardown") as raised:
        app.client.get("/")
    assert "ValueError('teardown')" in repr(raised.value)  # from Flask 3.2 on, in a group of all that fails then
    assert (app.row().status_code, app.row().exception) == (500, repr(raised.value))


def test_recorder_session_that_cannot_be_opened(make_app: MakeApp) -> None:
    class Sessions:
        def open_session(self, _app: Flask, _request: Request) -> None:
            raise ConnectionError("no sessions")

    app = make_app(before=view("/page", hello))
    app.flask.session_interface = Sessions()  # type: ignore[assignment]
    app.client.get("/page")
    row = app.row()
    assert (row.path, row.status_code, row.exception) == ("/page", 500, "ConnectionError('no sessions')")


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_recorder_worker_that_is_told_to_stop(make_app: MakeApp, error: type[BaseException]) -> None:
    def stop() -> str:
        raise error(1)

    asked: list[str] = []
    app = make_app(before=view("/", stop), disable_f=lambda: asked.append(request.path))
    with pytest.raises(error):
        app.client.get("/")
    assert (app.row().status_code, app.row().exception) == (500, f"{error.__name__}(1)")
    assert asked == ["/"]


def test_recorder_error_handler_that_fails(make_app: MakeApp) -> None:
    def fail(_error: Exception) -> str:
        raise KeyError("handler")

    def before(app: Flask) -> None:
        app.register_error_handler(ValueError, fail)
        app.add_url_rule("/", "view", broken)

    app = make_app(before=before)
    app.client.get("/")
    assert (app.row().status_code, app.row().exception) == (500, "KeyError('handler')")


def test_recorder_abort_in_before_request(make_app: MakeApp) -> None:
    app = make_app(before=lambda flask: flask.before_request(lambda: abort(401)))
    app.client.get("/page")
    assert (app.row().path, app.row().status_code, app.row().exception) == ("/page", 401, None)


def test_recorder_websocket_that_took_the_connection_over(make_app: MakeApp) -> None:
    class Hijack(Response):
        def __call__(self, *_: Any) -> Any:
            raise StopIteration  # as Flask-Sock does under gunicorn

    app = make_app(before=view("/", Hijack))
    with pytest.raises(StopIteration):
        app.flask.wsgi_app(create_environ("/"), lambda *_: bytes)
    assert (app.row().status_code, app.row().exception) == (200, None)


def test_recorder_keeps_nothing_alive_of_an_answered_error(make_app: MakeApp) -> None:
    class Thing: ...

    things: list[weakref.ref[Thing]] = []

    def fail() -> str:
        thing = Thing()
        things.append(weakref.ref(thing))
        raise ValueError("failed")

    def before(app: Flask) -> None:
        app.add_url_rule("/", "view", fail)
        app.register_error_handler(ValueError, lambda error: ("sorry", 400))

    app = make_app(before=before)
    gc.disable()
    try:
        app.client.get("/")
        assert things[0]() is None
    finally:
        gc.enable()


def test_recorder_exception_without_a_repr(make_app: MakeApp) -> None:
    class Shy(Exception):
        def __repr__(self) -> str:
            raise RuntimeError

        __str__ = __repr__

    def raise_shy() -> str:
        raise Shy

    app = make_app(before=view("/", raise_shy))
    app.flask.log_exception = lambda *_: None  # type: ignore[method-assign]
    app.client.get("/")
    assert app.row().exception == "Shy(...)"
    assert "raise Shy" in app.row().traceback


def test_recorder_cuts_tracebacks_at_their_start(make_app: MakeApp) -> None:
    def raise_long() -> str:
        raise ValueError("x" * 30_000 + "end")

    app = make_app(before=view("/", raise_long))
    app.client.get("/")
    assert len(app.row().traceback) == LONGEST_TRACEBACK
    assert app.row().traceback.endswith("xend\n")


# ---- streams -----------------------------------------------------------------------------------------------------


def test_recorder_stream_counts_its_bytes_at_its_end(make_app: MakeApp) -> None:
    app = make_app(before=view("/", lambda: Response(iter([b"one", b"three"]))))
    response = app.client.get("/", buffered=False)
    assert app.rows() == []
    assert response.data == b"onethree"
    response.close()
    assert (app.row().status_code, app.row().size) == (200, 8)


def test_recorder_head_of_a_stream_sends_nothing(make_app: MakeApp) -> None:
    app = make_app(before=view("/", lambda: Response(iter([b"one"]))))
    app.client.head("/").close()
    assert (app.row().method, app.row().status_code, app.row().size) == ("HEAD", 200, 0)


def test_recorder_stream_that_fails_in_the_middle(make_app: MakeApp) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise ValueError("middle")

    app = make_app(before=view("/", lambda: Response(chunks())))
    with pytest.raises(ValueError, match="middle"):
        app.client.get("/").get_data()
    row = app.row()
    assert (row.status_code, row.size, row.exception) == (200, 3, "ValueError('middle')")


def test_recorder_stream_whose_client_disconnects(make_app: MakeApp) -> None:
    closed = []

    def chunks() -> Iterator[bytes]:
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append(True)

    app = make_app(before=view("/", lambda: Response(chunks())))
    response = app.client.get("/", buffered=False)
    assert next(iter(response.response)) == b"one"
    response.close()
    assert (app.row().status_code, app.row().size, closed) == (200, 3, [True])


@pytest.mark.parametrize("length", [{}, {"Content-Length": "1000"}])
def test_recorder_stream_that_ends_early_has_the_size_sent(make_app: MakeApp, length: dict[str, str]) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise ValueError("middle")

    app = make_app(before=view("/<how>", lambda how: Response(chunks(), headers=length)))
    with pytest.raises(ValueError, match="middle"):
        app.client.get("/fails").get_data()
    left = app.client.get("/left", buffered=False)
    next(iter(left.response))
    left.close()
    assert [(row.size, row.exception) for row in app.rows()] == [(3, "ValueError('middle')"), (3, None)]


@pytest.mark.parametrize("length", [{}, {"Content-Length": "2"}])
def test_recorder_stream_is_timed_to_its_end(make_app: MakeApp, length: dict[str, str]) -> None:
    app = make_app(before=view("/", lambda: Response(iter([b"1", b"2"]), headers=length)))
    response = app.client.get("/", buffered=False)
    chunks = iter(response.response)
    next(chunks)
    between = time.perf_counter()
    while time.perf_counter() < between + 0.02:
        pass
    next(chunks)
    response.close()
    assert app.row().response_time >= 0.02


class Wrapper:
    """As gunicorn's and wsgiref's, which the server recognises and sends without reading it here."""

    def __init__(self, filelike: Any, _size: int = 8192) -> None:
        self.filelike = filelike
        self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.filelike.read(2), b"")


@pytest.mark.parametrize("sent", [0, 4, 10])
def test_recorder_file_that_the_server_sends(make_app: MakeApp, tmp_path: Path, sent: int) -> None:
    (tmp_path / "file.bin").write_bytes(b"0123456789")
    app = make_app(before=view("/", lambda: send_file(tmp_path / "file.bin")))
    environ = create_environ("/") | {"wsgi.file_wrapper": Wrapper}
    body: Any = app.flask(environ, lambda *_: bytes)
    assert isinstance(body, Wrapper)
    body.filelike.seek(sent)  # as socket.sendfile leaves it
    assert app.rows() == []
    body.close()
    body.close()
    assert (body.filelike.closed, app.row().status_code, app.row().size) == (True, 200, sent)


def test_recorder_file_that_the_server_sends_unseen(make_app: MakeApp, tmp_path: Path) -> None:
    class Closed(Wrapper):
        __slots__ = ()

        def __init__(self, file: Any, _size: int = 8192) -> None:
            self.file = file  # as waitress has it

    (tmp_path / "file.bin").write_bytes(b"0123456789")
    app = make_app(before=view("/", lambda: send_file(tmp_path / "file.bin")))
    body: Any = app.flask(create_environ("/") | {"wsgi.file_wrapper": Closed}, lambda *_: bytes)
    assert isinstance(body, Closed)
    body.file.close()
    assert (app.row().status_code, app.row().size) == (200, 10)


def test_recorder_leaves_a_file_to_a_server_that_knows_it_by_itself(make_app: MakeApp, tmp_path: Path) -> None:
    given: list[Any] = []

    def wrapper(file: Any, _size: int = 8192) -> Any:
        given.append(file)  # as uWSGI's, which sends by itself what is the same object afterwards
        return file

    (tmp_path / "file.bin").write_bytes(b"0123456789")
    app = make_app(before=view("/", lambda: send_file(tmp_path / "file.bin")))
    body: Any = app.flask(create_environ("/") | {"wsgi.file_wrapper": wrapper}, lambda *_: bytes)
    assert [body] == given
    body.close()
    assert (app.row().status_code, app.row().size) == (200, 10)


@pytest.mark.parametrize(
    ("made", "size"),
    [
        (lambda: ["a", "list"], 13),
        (lambda: Response([b"one", b"three"]), 8),
        (lambda: Response(headers={"X-Accel-Redirect": "/files/1"}), None),
        (lambda: Response(headers={"X-Sendfile": "/files/1", "Content-Length": "20"}), 20),
        (lambda: Response(b"", 200), 0),
        (lambda: Response(iter([b"four"]), headers={"Content-Length": "nonsense"}), 4),
    ],
)
def test_recorder_size_as_sent(make_app: MakeApp, made: Callable[[], Any], size: int | None) -> None:
    app = make_app(before=view("/", made))
    with app.client.get("/") as response:
        assert response.status_code == 200
    assert app.row().size == size


@pytest.mark.parametrize("length", [{}, {"Content-Length": "4"}])
def test_recorder_stream_with_context_is_asked_for(make_app: MakeApp, length: dict[str, str]) -> None:
    def stream() -> Response:
        return Response(stream_with_context(iter([request.method])), headers=length)

    app = make_app(
        before=lambda flask: flask.add_url_rule("/<name>", "view", lambda name: stream()),
        disable_f=lambda: request.path == "/private",
    )
    assert app.client.get("/private", headers=length).data == b"GET"
    assert app.client.get("/public").data == b"GET"
    assert [row.path for row in app.rows()] == ["/public"]


# ---- who and what is not recorded --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/statistics", "/statistics/", "/statistics/api/summary", "/statistics/nowhere", "/statistics/static/x.js"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_recorder_leaves_the_dashboard_out(make_app: MakeApp, path: str, method: str) -> None:
    app = make_app()
    app.client.open(path, method=method)
    assert app.rows() == []


def test_recorder_keeps_what_only_looks_like_the_dashboard(make_app: MakeApp) -> None:
    def before(app: Flask) -> None:
        app.add_url_rule("/statistics-of-cats", "cats", hello)
        app.add_url_rule("/statistics/mine", "mine", hello)

    app = make_app(before=before)
    for path in ("/statistics-of-cats", "/statistics/mine"):
        app.client.get(path)
    assert [(row.path, row.status_code) for row in app.rows()] == [
        ("/statistics-of-cats", 200),
        ("/statistics/mine", 200),
    ]


def test_recorder_excludes_paths_and_endpoints(make_app: MakeApp) -> None:
    def before(app: Flask) -> None:
        app.add_url_rule("/health", "health", hello)
        app.add_url_rule("/admin/<page>", "admin.page", hello)
        app.add_url_rule("/shop", "shop", hello)

    app = make_app(before=before, STATISTICS_EXCLUDE=["/heal*", "admin.*", "/static/*.css"])
    for path in ("/health", "/admin/users", "/static/site.css", "/static/site.js", "/shop", "/admin"):
        app.client.get(path)
    assert [row.path for row in app.rows()] == ["/static/site.js", "/shop", "/admin"]


def test_excluder_without_patterns_excludes_nothing() -> None:
    assert not excluder(())("/", "home")
    assert not excluder(("/a",))("/", "home")
    assert not excluder(("home",))("/home", None)


@pytest.mark.parametrize("header", ["Sec-GPC", "DNT"])
def test_recorder_respects_gpc_if_told(make_app: MakeApp, header: str) -> None:
    app, other = make_app(STATISTICS_RESPECT_GPC=True), make_app()
    for value in ("1", "0"):
        app.client.get(f"/{value}", headers={header: value})
        other.client.get(f"/{value}", headers={header: value})
    assert [row.path for row in app.rows()] == ["/0"]
    assert [row.path for row in other.rows()] == ["/1", "/0"]


def test_recorder_records_nothing_if_not_enabled(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.client.get("/")
    assert app.rows() == []
    assert app.json("health")["recording"] is False


# ---- disable_f ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/broken", "/nowhere"])
def test_disable_f_is_asked_once_a_request(make_app: MakeApp, path: str) -> None:
    def before(app: Flask) -> None:
        app.add_url_rule("/", "view", hello)
        app.add_url_rule("/broken", "broken", broken)

    asked: list[str] = []
    app = make_app(before=before, disable_f=lambda: asked.append(request.path))
    with app.client:
        app.client.get(path)
        assert asked == [path]
    assert asked == [path]
    assert app.row().path == path


@pytest.mark.parametrize("key", ["TESTING", "DEBUG"])
def test_disable_f_is_asked_when_an_error_propagates(make_app: MakeApp, key: str) -> None:
    app = make_app(before=view("/", broken), disable_f=lambda: True, **{key: True})
    with pytest.raises(ValueError, match="broken"):
        app.client.get("/")
    assert app.rows() == []


def test_disable_f_knows_what_happened_in_the_request(make_app: MakeApp) -> None:
    from flask import session

    def login() -> str:
        session["private"] = True
        return "welcome"

    app = make_app(before=view("/login", login), disable_f=lambda: session.get("private"), SECRET_KEY="x")
    for path in ("/", "/login", "/"):
        app.client.get(path)
    assert [row.path for row in app.rows()] == ["/"]


def test_disable_f_that_raises_is_logged_and_not_recorded(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(before=view("/", hello), disable_f=broken)
    assert app.client.get("/").status_code == 200
    assert app.rows() == []
    assert [record.message for record in caplog.records] == [
        "Flask-Statistics: disable_f raised, so this request was not recorded."
    ]
    assert caplog.records[0].exc_info


def test_disable_f_is_asked_after_contexts_that_were_copied(make_app: MakeApp) -> None:
    def work_in_a_thread() -> str:
        thread = threading.Thread(target=copy_current_request_context(lambda: None))
        thread.start()
        thread.join()
        g.private = True
        return "done"

    app = make_app(before=view("/", work_in_a_thread), disable_f=lambda: g.get("private"))
    app.client.get("/")
    assert app.rows() == []


def test_disable_f_can_be_a_coroutine_function(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    async def disabled() -> bool:
        return request.path == "/private"

    monkeypatch.setattr(Flask, "async_to_sync", lambda _, function: lambda: result_of(function()))
    app = make_app(disable_f=disabled)
    for path in ("/private", "/public"):
        app.client.get(path)
    assert [row.path for row in app.rows()] == ["/public"]


def test_disable_f_none_is_as_if_not_given(make_app: MakeApp) -> None:
    app = make_app(before=view("/", hello), disable_f=None)
    assert app.client.get("/").status_code == 200
    assert app.row().path == "/"


# ---- addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "headers", "address"),
    [
        (None, {"X-Real-IP": "6.6.6.6", "X-Forwarded-For": "6.6.6.6"}, "127.0.0.1"),
        ("X-Real-IP", {"X-Real-IP": "192.0.2.7"}, "192.0.2.7"),
        ("X-Real-IP", {"X-Real-IP": "2001:DB8::7"}, "2001:db8::7"),
        ("X-Real-IP", {"X-Real-IP": "fe80::7%anything at all"}, "fe80::7"),
        ("X-Real-IP", {}, "127.0.0.1"),
        ("X-Real-IP", {"X-Real-IP": "nonsense'--"}, "127.0.0.1"),
        ("X-Real-IP", {"X-Forwarded-For": "6.6.6.6"}, "127.0.0.1"),
        ("X-Forwarded-For", {"X-Forwarded-For": "6.6.6.6, 192.0.2.7"}, "192.0.2.7"),
    ],
)
def test_recorder_address(make_app: MakeApp, header: str | None, headers: dict[str, str], address: str) -> None:
    app = make_app(STATISTICS_REAL_IP_HEADER=header)
    app.client.get("/", headers=headers)
    assert app.row().remote_address == address


@pytest.mark.parametrize("first", [True, False])
def test_recorder_address_behind_proxy_fix(make_app: MakeApp, first: bool) -> None:
    def fix(flask: Flask) -> None:
        flask.wsgi_app = ProxyFix(flask.wsgi_app)  # type: ignore[method-assign]

    app = make_app(before=fix if first else None)
    if not first:
        fix(app.flask)
    app.client.get("/", headers={"X-Forwarded-For": "6.6.6.6, 192.0.2.7"})
    assert app.row().remote_address == "192.0.2.7"


# ---- apps and mounts ---------------------------------------------------------------------------------------------


def test_recorder_path_is_without_script_name(make_app: MakeApp) -> None:
    app = make_app(before=view("/page", hello), before_f=everybody)
    client = Client(DispatcherMiddleware(Flask("front"), {"/shop": app.flask}))
    assert client.get("/shop/page").data == b"hello"
    answer = client.get("/shop/statistics/api/health")
    assert answer.json is not None
    assert answer.json.keys() == app.json("health").keys()
    assert app.row().path == "/page"


def test_recorder_app_mounted_in_another_app(make_app: MakeApp) -> None:
    inner = make_app(before=view("/page", hello))
    outer = make_app(before=view("/page", hello))
    outer.flask.wsgi_app = DispatcherMiddleware(outer.flask.wsgi_app, {"/in": inner.flask})  # type: ignore[method-assign]
    for path in ("/page", "/in/page", "/in/statistics/", "/in/nowhere"):
        outer.client.get(path)
    assert [row.path for row in outer.rows()] == ["/page"]
    assert [row.path for row in inner.rows()] == ["/page", "/nowhere"]


def test_recorder_app_that_is_called_by_a_view_of_another(make_app: MakeApp) -> None:
    inner = make_app(before=view("/page", hello))
    outer = make_app(before=view("/", lambda: inner.client.get("/page").data))
    outer.client.get("/")
    assert (outer.row().path, inner.row().path) == ("/", "/page")


def test_recorder_app_that_calls_itself_with_the_same_environment(make_app: MakeApp) -> None:
    def forward() -> str:
        environ = request.environ
        environ["PATH_INFO"] = "/inner"
        return b"".join(app.flask.wsgi_app(environ, lambda *_: bytes)).decode()

    def before(flask: Flask) -> None:
        flask.add_url_rule("/", "forward", forward)
        flask.add_url_rule("/inner", "inner", hello)

    app = make_app(before=before)
    assert app.client.get("/").text == "hello"
    assert [(row.path, row.status_code, row.size) for row in app.rows()] == [("/inner", 200, 5), ("/", 200, 5)]


def test_recorder_blueprint(make_app: MakeApp) -> None:
    from flask import Blueprint

    def before(app: Flask) -> None:
        blog = Blueprint("blog", __name__, url_prefix="/blog")
        blog.add_url_rule("/<slug>", "post", hello)
        blog.register_error_handler(404, lambda error: ("not in this blog", 404))
        app.register_blueprint(blog)

    app = make_app(before=before)
    app.client.get("/blog/cats")
    assert (app.row().path, app.row().route) == ("/blog/cats", "/blog/<slug>")


def test_recorder_two_apps_on_one_object(make_app: MakeApp) -> None:
    statistics = Statistics()
    one, two = (make_app(STATISTICS_ENABLED=False) for _ in range(2))
    apps = []
    for app in (one, two):
        flask = Flask("another")
        flask.config["SQLALCHEMY_DATABASE_URI"] = app.flask.config["SQLALCHEMY_DATABASE_URI"]
        app.db.init_app(flask)
        statistics.init_app(flask, app.db, app.Request)
        apps.append(flask)
    apps[0].test_client().get("/one")
    apps[1].test_client().get("/two")
    assert (one.row().path, two.row().path) == ("/one", "/two")
    for flask, app in zip(apps, (one, two), strict=True):
        with flask.app_context():
            app.db.engine.dispose()


def test_recorder_method_view_and_redirect(make_app: MakeApp) -> None:
    class Form(MethodView):
        def post(self) -> Any:
            return redirect("/", 302)

    app = make_app(before=view("/form", Form.as_view("form"), methods=["POST"]))
    app.client.post("/form", data={"password": "secret"})
    row = app.row()
    assert (row.method, row.status_code, row.query_string) == ("POST", 302, None)


# ---- contexts of tests -------------------------------------------------------------------------------------------


def test_recorder_with_client(make_app: MakeApp) -> None:
    app = make_app(before=view("/<path>", hello))
    with app.client as client:
        client.get("/one")
        client.get("/two")
        assert request.path == "/two"
    assert [row.path for row in app.rows()] == ["/one", "/two"]


def test_recorder_is_silent_about_bare_contexts(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(before=view("/", hello))
    with app.flask.test_request_context("/") as context:
        asked = [context][: len(signature(app.flask.full_dispatch_request).parameters)]  # none before Flask 3.2
        app.flask.preprocess_request(*asked)
        assert app.flask.full_dispatch_request(*asked).data == b"hello"
    assert app.rows() == []
    assert caplog.records == []


def test_recorder_rows_do_not_mix_under_an_outer_context(make_app: MakeApp) -> None:
    def before(app: Flask) -> None:
        app.add_url_rule("/", "view", hello)
        app.add_url_rule("/broken", "broken", broken)

    app = make_app(before=before, TESTING=True)
    with app.flask.app_context():
        app.client.get("/")
        with pytest.raises(ValueError, match="broken"):
            app.client.get("/broken")
    assert [(row.path, row.size, row.mimetype) for row in app.rows()] == [
        ("/", 5, "text/html"),
        ("/broken", None, None),
    ]


# ---- threads and faults ------------------------------------------------------------------------------------------


def test_recorder_concurrent_threads(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url, before=view("/<path:name>", hello))

    def visit(thread: int) -> None:
        client = app.flask.test_client()
        for number in range(10):
            client.get(f"/{thread}/{number}")

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row.path for row in app.rows()) == sorted(f"/{t}/{n}" for t in range(8) for n in range(10))
    assert app.json("health")["recorded"] == 80


def test_recorder_own_fault_is_logged_and_counted(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    class Strange(Request):
        @property
        def method(self) -> str:
            raise RuntimeError("strange")

        @method.setter
        def method(self, value: str) -> None: ...

    app = make_app(before=lambda flask: flask.before_request(hello))
    app.flask.request_class = Strange
    assert app.client.get("/").data == b"hello"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.message == (
        "Flask-Statistics could not record a request, which was served all the same (1 lost since start): strange. "
        "This is a fault of Flask-Statistics; please report it with this traceback."
    )
    assert app.rows() == []


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        (None, None),
        ("https://x.example/token?", "https://x.example/token?"),
        ("https://x.example/reset?token=x&a=1#top", "https://x.example/reset?token=***&a=1#top"),
    ],
)
def test_recorder_masks_the_secrets_of_the_referrer(make_app: MakeApp, url: str | None, masked: str | None) -> None:
    app = make_app()
    app.client.get("/", headers={"Referer": url} if url else {})
    assert app.row().referrer == masked


def test_recorder_date_is_when_the_request_arrived(make_app: MakeApp) -> None:
    app = make_app(before=view("/", lambda: Response(iter([b"x"]))))
    app.client.get("/").get_data()
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    assert timedelta() <= now - app.row().date - timedelta(seconds=app.row().response_time) < timedelta(seconds=10)
