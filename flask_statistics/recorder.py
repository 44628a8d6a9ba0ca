"""Request to record: notes what happens during a request and hands one record of it to the writer.

Stands around the WSGI call and the steps of Flask in it: so an early answer of somebody's `before_request`, an exception that
propagates, a streamed body, a 404 and a second app all give exactly one row, and the row is written after the request's
contexts have released what the host holds. Nothing here can break a request: the one place that catches is `_safely`.
"""

from __future__ import annotations

import fnmatch
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from flask import Flask, Request, Response, current_app, has_app_context, request
from flask.signals import got_request_exception

from . import masking
from .addresses import Anonymize, NoSecret, local_day, normal, whole
from .config import Settings
from .masking import Masking

MOST_TIMED = 1_000
"""Requests of which the recording's own time is kept."""
QUIET_SECONDS = 60.0
"""A fault that lasts is logged once in this time, with the number of requests lost meanwhile."""

_EPOCH = datetime(1970, 1, 1)


@dataclass(slots=True)
class Record:
    """One request, by attribute names of the raw table; user agents are parsed later, by the writer."""

    date: datetime
    method: str
    path: str
    route: str | None
    query_string: str | None
    remote_address: str | None
    user_agent: str
    referrer: str | None
    status_code: int = 500
    size: int | None = None
    mimetype: str | None = None
    exception: str | None = None
    traceback: str | None = None
    response_time: float = 0.0

    def values(self) -> dict[str, Any]:
        """What it consists of, by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class Writer(Protocol):
    """Takes records to the raw table."""

    def write(self, record: Record, *, host_in_transaction: bool) -> int:
        """Store `record`, or keep it; how many rows are in the raw table now that were not. Raises `NotStored`.

        `host_in_transaction`: the host's session in this thread may hold a lock.
        """

    def flush(self) -> int:
        """At the end of each context: store what waited for it; how many rows. Raises `NotStored`."""

    def settle(self) -> int:
        """Before somebody looks at the raw table: store what waits, within a short time; how many rows."""

    def backlog(self) -> Backlog:
        """What waits now, and why."""

    def close(self) -> None:
        """Stop what runs and close what is open, with all stored that can be."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not in the raw table yet."""

    waiting: int
    """Records that wait for their way into the raw table."""
    trouble: str | None
    """Why they wait, in one line; None: nothing is wrong."""
    refused: int = 0
    """Records that the raw table refused and that are kept in the spool."""
    problems: tuple[str, ...] = ()
    """What else somebody should look after, as sentences."""


class NotStored(Exception):
    """Records that could not be stored and are lost; the cause is the database's error."""

    def __init__(self, lost: int, fix: str, reason: str = "", *, stored: int = 0) -> None:
        super().__init__(reason or f"{lost} lost")
        self.lost = lost
        self.fix = fix
        """What the operator can do about it."""
        self.stored = stored
        """Rows stored all the same."""


@dataclass(slots=True)
class Counters:
    """What this process has recorded since it started."""

    recorded: int = 0
    """Rows stored in the raw table."""
    lost: int = 0
    """Requests that are in no table and in no spool."""
    last_error: str | None = None
    last_error_at: datetime | None = None
    """Naive UTC."""
    lost_because: Counter[str] = field(default_factory=Counter)
    """Requests lost by the type of the error."""
    started_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc).replace(tzinfo=None))
    """Naive UTC."""
    overhead: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_TIMED))
    """Seconds that recording took of the latest requests."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def store(self, rows: int) -> None:
        """Count rows that are in the raw table now."""
        with self.lock:
            self.recorded += rows

    def lose(self, rows: int, because: str, error: str) -> int:
        """Count requests that are stored nowhere, by the type of the error; how many there are by now."""
        with self.lock:
            self.lost += rows
            self.lost_because[because] += rows
            self.last_error = f"{because}: {error}"[:500]
            self.last_error_at = datetime.now(timezone.utc).replace(tzinfo=None)
            return self.lost


class _Exchange:
    """What is known so far of a request under way."""

    __slots__ = (
        "arrived_at",
        "asked",
        "error",
        "fault",
        "handled",
        "noted",
        "overhead",
        "record",
        "response",
        "started",
    )

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.arrived_at = _EPOCH + timedelta(microseconds=time.time_ns() // 1_000)
        self.record: Record | None = None
        """None: not noted yet, or not to be recorded."""
        self.response: Response | None = None
        self.error: BaseException | None = None
        self.handled: BaseException | None = None
        self.fault: Exception | None = None
        """What `disable_f` raised."""
        self.overhead = 0.0
        """Seconds that recording it has taken so far."""
        self.noted = False
        """Whether it was looked at."""
        self.asked = False
        """Whether `disable_f` was asked."""


class Recorder:
    """Records the requests of one app. `attach` starts it."""

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        *,
        writer: Writer,
        disabled: Callable[[], Any],
        host_in_transaction: Callable[[], bool],
        blueprint: str,
        keeps_traceback: bool,
        counters: Counters,
        masked: Masking,
        anonymize: Anonymize = whole,
    ) -> None:
        self.counters = counters
        self._app = app
        self._settings = settings
        self._writer = writer
        self._disabled = disabled
        self._host_in_transaction = host_in_transaction
        self._blueprint = blueprint
        self._keeps_traceback = keeps_traceback
        self._anonymize = anonymize
        self._masking = masked
        self._key = f"flask_statistics.{id(app)}"
        self._excluded = excluder(settings.exclude)
        self._quiet_until = 0.0
        self._loud = False

    def settle(self) -> None:
        """Before the dashboard answers: let the raw table have what was just requested, if that takes no long time."""
        self._safely(self._writer.settle)

    def attach(self) -> None:
        """Begin to record: stand around the app's WSGI call and the steps of it that tell what happens.

        Flask's signals tell the same, at twice the price of everything else that is done here for a request.
        """
        app = self._app
        self._serve = app.wsgi_app
        app.wsgi_app = self._wsgi_app  # type: ignore[method-assign]
        # Flask sends no signal for an exception that an error handler answers, and a 500 without its cause helps nobody
        self._handle = app.handle_user_exception
        app.handle_user_exception = self._handle_user_exception  # type: ignore[method-assign, assignment]
        self._dispatch = app.full_dispatch_request
        app.full_dispatch_request = self._full_dispatch_request  # type: ignore[method-assign]
        self._finalize = app.finalize_request
        app.finalize_request = self._finalize_request  # type: ignore[method-assign]
        got_request_exception.connect(self._on_exception, app, weak=False)  # only where something failed
        self._end_context = app.do_teardown_appcontext
        app.do_teardown_appcontext = self._do_teardown_appcontext  # type: ignore[method-assign]

    def backlog(self) -> Backlog:
        """What is not in the raw table yet."""
        return self._writer.backlog()

    @contextmanager
    def replaced(self, *, writer: Writer | None = None, loud: bool = False) -> Iterator[None]:
        """Record with another writer for a while (None: the same), for tests; `loud`: a failure raises as well."""
        before = self._writer, self._loud
        self._writer, self._loud = writer or self._writer, loud
        try:
            yield
        finally:
            self._writer, self._loud = before

    # ---- around the request --------------------------------------------------------------------------------------

    def _wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        exchange, outer = _Exchange(), environ.get(self._key)
        environ[self._key] = exchange
        try:
            body = self._serve(environ, start_response)
        except BaseException as error:
            # a StopIteration from a response tells gunicorn that a WebSocket took the connection over (Flask-Sock)
            if exchange.response is None or not isinstance(error, StopIteration):
                # nobody made a response of it, or a tear-down function failed after it: the server answers 500
                exchange.error, exchange.response = exchange.error or error, None
            self._finish(exchange)
            raise
        finally:
            if outer is not None:
                environ[self._key] = outer  # a view called the app again with its own environment
        response = exchange.response
        if exchange.record is not None and response is not None and _is_of_unknown_length(response):
            return _Body(body, exchange, self._finish)
        self._finish(exchange)
        return body

    def _exchange(self) -> _Exchange | None:
        """That of the present request; None: it was made without the server's call."""
        # not `request.environ`: the proxy takes eight times as long for an attribute
        environ: dict[str, Any] = request._get_current_object().environ  # type: ignore[attr-defined]
        return environ.get(self._key)

    def _handle_user_exception(self, error: Exception) -> Any:
        exchange = self._exchange()
        if exchange is not None:
            exchange.handled = error
        return self._handle(error)

    def _full_dispatch_request(self, *context: Any) -> Response:
        exchange = self._exchange()
        if exchange is None:  # a test's full_dispatch_request() inside a bare request context is no request
            return self._dispatch(*context)
        self._note(exchange)
        try:
            return self._dispatch(*context)
        except Exception:
            raise  # told by the signal
        except BaseException:  # SystemExit and its like
            self._ask(exchange)
            raise

    def _finalize_request(self, *arguments: Any, **options: Any) -> Response:
        response = self._finalize(*arguments, **options)
        exchange = self._exchange()
        if exchange is not None:
            exchange.response = response
            self._ask(exchange)
        return response

    def _on_exception(self, _sender: Flask, *, exception: BaseException, **_: Any) -> None:
        exchange = self._exchange()
        if exchange is not None:
            exchange.error = exception
            self._note(exchange)  # if it was the session that could not be opened, nothing was started
            self._ask(exchange)

    def _do_teardown_appcontext(self, *arguments: Any, **options: Any) -> None:
        try:
            self._end_context(*arguments, **options)
        finally:
            self._safely(self._writer.flush)

    # ---- the record ----------------------------------------------------------------------------------------------

    def _note(self, exchange: _Exchange) -> None:
        """Make the record of the present request, once, unless it is one that is not recorded."""
        if not exchange.noted:
            exchange.noted = True
            started = time.perf_counter()
            self._safely(lambda: self._begin(exchange))
            exchange.overhead = time.perf_counter() - started

    def _ask(self, exchange: _Exchange) -> None:
        """Ask `disable_f`, once a request, and drop the record if it says so."""
        if exchange.asked or exchange.record is None:
            return
        exchange.asked = True
        try:
            unwanted = bool(self._disabled())
        except Exception as error:
            # whoever asked not to be recorded must not be, even when the question fails
            unwanted = True
            exchange.fault = error
            self._app.logger.exception("Flask-Statistics: disable_f raised, so this request was not recorded.")
        if unwanted:
            exchange.record = None

    def _begin(self, exchange: _Exchange) -> int:
        # without the proxy, which looks for the request at each access
        current: Request = request._get_current_object()  # type: ignore[attr-defined]
        if self._is_own(current) or self._excluded(current.path, current.endpoint):
            return 0
        if self._settings.respect_gpc and "1" in (current.headers.get("Sec-GPC"), current.headers.get("DNT")):
            return 0
        exchange.record = self._record(current, exchange.arrived_at)
        return 0

    def _is_own(self, request: Request) -> bool:
        """Whether it is for the dashboard: also where no route matches, as for its URL without the slash."""
        if request.url_rule is not None:
            blueprint: str = request.url_rule.endpoint.rpartition(".")[0]
            return blueprint == self._blueprint
        prefix, path = self._settings.url_prefix, re.sub("/{2,}", "/", request.path)
        return path.startswith(prefix) and path[len(prefix) :][:1] in ("", "/")

    def _record(self, request: Request, arrived_at: datetime) -> Record:
        headers = request.environ
        route = request.url_rule.rule if request.url_rule is not None else None
        return Record(
            date=arrived_at,
            method=request.method,
            path=self._masking.path(request.path, route),
            route=route,
            query_string=self._masking.query(request.query_string.decode("utf-8", "replace")) or None,
            remote_address=self._client(request),
            user_agent=masking.masked_header(headers.get("HTTP_USER_AGENT", "")),
            referrer=self._masking.referrer(headers.get("HTTP_REFERER")),
        )

    def _client(self, request: Request) -> str | None:
        header = self._settings.real_ip_header
        if header is not None:
            # a list is written from left to right, so only its last entry comes from the proxy in front of us
            named = normal(request.headers.get(header, "").rpartition(",")[2])
            if named is not None:
                return named
        return normal(request.remote_addr)

    def _finish(self, exchange: _Exchange, sent: int | None = None) -> None:
        record = exchange.record
        if record is not None:
            started = time.perf_counter()
            self._safely(lambda: self._complete(record, exchange, sent))
            self.counters.overhead.append(exchange.overhead + time.perf_counter() - started)
        # a traceback holds the environment, which holds the exchange: without this, all that a view held would live on
        exchange.error = exchange.handled = exchange.response = None
        fault, exchange.fault = exchange.fault, None
        if fault is not None and self._loud:
            raise fault

    def _complete(self, record: Record, exchange: _Exchange, sent: int | None) -> int:
        response, error = exchange.response, exchange.error
        record.response_time = time.perf_counter() - exchange.started
        if response is not None:
            record.status_code = response.status_code
            record.mimetype = response.mimetype
            record.size = response.headers.get("Content-Length", type=int) if sent is None else sent
            if response.status_code >= 500:
                error = error or exchange.handled
        if error is not None:
            record.exception = masking.exception(error)
            record.traceback = masking.formatted(error) if self._keeps_traceback else None
        record.remote_address = self._stored_address(record)
        return self._writer.write(record, host_in_transaction=self._host_lives())

    def _stored_address(self, record: Record) -> str | None:
        """What is stored of the client's address, asked for when the host's transaction is over: it may take a commit."""
        if self._settings.anonymize_ip is None:  # and the day need not be known, which takes a while
            return record.remote_address
        try:
            return self._anonymize(record.remote_address, local_day(record.date, self._settings.timezone))
        except NoSecret as error:
            if self._loud:
                raise
            if time.monotonic() >= self._quiet_until:
                self._quiet_until = time.monotonic() + QUIET_SECONDS
                self._app.logger.error(
                    "Flask-Statistics stores requests without their addresses, because the secret to hash them with cannot "
                    "be read. Is the database running? 'flask statistics init' creates missing tables.",
                    exc_info=error,
                )
            return None

    def _host_lives(self) -> bool:
        """Whether a context of this app outlives the request with the host's session in a transaction (as in tests)."""
        return (
            has_app_context()
            and current_app._get_current_object() is self._app  # type: ignore[attr-defined]
            and self._host_in_transaction()
        )

    def _safely(self, action: Callable[[], int]) -> None:
        """Run `action`, which says how many rows it stored; what fails is logged and counted here, never the request's."""
        counters = self.counters
        try:
            stored = action()
        except NotStored as failure:
            stored = failure.stored
            cause = failure.__cause__ or failure
            # the whole message of a database repeats the row, with line ends that the client wrote into it
            shown = NotStored(failure.lost, failure.fix, _first_line(cause)).with_traceback(cause.__traceback__)
            self._lose(failure.lost, cause, failure.fix, shown=shown)
            if self._loud:
                raise
        except Exception as error:
            stored = 0
            fix = "This is a fault of Flask-Statistics; please report it with this traceback."
            self._lose(1, error, fix, shown=error)
            if self._loud:
                raise
        if stored:
            counters.store(stored)

    def _lose(self, lost: int, error: BaseException, fix: str, *, shown: BaseException) -> None:
        """Count `lost` requests and log why, with the traceback of `shown`."""
        counters, now = self.counters, time.monotonic()
        total = counters.lose(lost, type(error).__name__, _first_line(error))
        with counters.lock:
            quiet = now < self._quiet_until
            if not quiet:
                self._quiet_until = now + QUIET_SECONDS
        if not quiet:
            self._app.logger.error(
                "Flask-Statistics could not record a request, which was served all the same (%d lost since start): %s %s",
                total,
                _first_line(error),
                fix,
                exc_info=shown,
            )


class _Body:
    """A streamed body that counts the bytes it sends; its request is recorded at its end, or when the server closes it."""

    def __init__(
        self, body: Iterable[bytes], exchange: _Exchange, finish: Callable[[_Exchange, int | None], None]
    ) -> None:
        self._body = body
        self._chunks = iter(body)
        self._exchange = exchange
        self._finish = finish
        self._sent = 0
        self._recorded = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._record()
            raise
        except BaseException as error:
            self._exchange.error = error
            self._record()
            raise
        self._sent += len(chunk)
        return chunk

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._record()

    def _record(self) -> None:
        if not self._recorded:
            self._recorded = True
            self._finish(self._exchange, self._sent)


def _is_of_unknown_length(response: Response) -> bool:
    return response.is_streamed and response.content_length is None


def excluder(patterns: tuple[str, ...]) -> Callable[[str, str | None], bool]:
    """Whether a path or an endpoint is excluded; patterns that begin with `/` are for paths."""
    if not patterns:
        return lambda path, endpoint: False
    paths = _union(pattern for pattern in patterns if pattern.startswith("/"))
    endpoints = _union(pattern for pattern in patterns if not pattern.startswith("/"))
    return lambda path, endpoint: bool(paths.match(path) or (endpoint and endpoints.match(endpoint)))


def _union(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs) or r"(?!)")


def _first_line(error: BaseException) -> str:
    return "".join(filter(str.isprintable, str(error).partition("\n")[0]))
