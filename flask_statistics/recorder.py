"""Request to record: notes what happens during a request and hands one record of it to the writer.

Stands around the WSGI call, and hears from Flask's signals what happens inside: so an early answer of somebody's
`before_request`, an exception that propagates, a streamed body, a 404 and a second app all give exactly one row, and the row
is written after the request's contexts have released what the host holds. Nothing of Flask's is replaced. Nothing here can
break a request: the one place that catches is `_safely`.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, current_app, has_app_context, has_request_context, request
from flask.signals import (
    appcontext_tearing_down,
    before_render_template,
    got_request_exception,
    request_finished,
    request_tearing_down,
)
from werkzeug.exceptions import HTTPException

from . import masking
from .addresses import Anonymize, NoSecret, local_day, normal, whole
from .config import Settings
from .details import Details
from .exclusion import excluder
from .masking import Masking
from .record import Backlog, Counters, NotStored, Record, Writer, backlog_of, count_of, first_line
from .sending import Head, StartResponse, watched
from .signals import request_recording

if TYPE_CHECKING:
    from .timing.collector import Collector
    from .timing.timing import Timing

QUIET_SECONDS = 60.0
"""A fault that lasts is logged once in this time, with the number of requests lost meanwhile."""

MOST_SENT = 200
"""Pairs of a failed request that are looked at for secrets."""

EPOCH = datetime(1970, 1, 1)
"""From when the clock counts."""


class _Exchange:
    """What is known so far of a request under way."""

    __slots__ = (
        "arrived_at",
        "collector",
        "error",
        "fault",
        "handled",
        "noted",
        "overhead",
        "record",
        "request",
        "response",
        "started",
    )

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.arrived_at = EPOCH + timedelta(microseconds=time.time_ns() // 1_000)
        self.collector: Collector | None = None
        """What it waits for; None: nobody asks."""
        self.record: Record | None = None
        """None: not noted yet, or not to be recorded."""
        self.request: Request | None = None
        """What it was noted of; None: it is not recorded."""
        self.response: Response | None = None
        """None: not made yet, or nobody told."""
        self.error: BaseException | None = None
        """What nobody handled."""
        self.handled: BaseException | None = None
        """What an error handler of the host's answered, if it was seen."""
        self.fault: Exception | None = None
        """What `disable_f`, or the `record` of a dimension, raised."""
        self.overhead = 0.0
        """Seconds that recording it has taken so far."""
        self.noted = False
        """Whether it was looked at, and the host was asked."""


class Recorder:
    """Records the requests of one app. `attach` starts it."""

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        *,
        writer: Writer,
        disabled: Callable[[], Any] | None,
        host_in_transaction: Callable[[], bool],
        blueprint: str,
        keeps_traceback: bool,
        counters: Counters,
        masked: Masking,
        anonymize: Anonymize = whole,
        own: Mapping[str, Callable[[], Any]] | None = None,
        details: Details,
        timing: Timing | None = None,
    ) -> None:
        """`own` tells, while a request lasts, what is stored in a column of the host's, by attribute name.

        `timing` tells what a request waited for; None: that is not measured.
        """
        self.counters = counters
        self._app = app
        self._settings = settings
        self._writer = writer
        self._disabled = disabled
        self._host_in_transaction = host_in_transaction
        self._blueprint = blueprint
        self._keeps_traceback = keeps_traceback
        self._anonymize = anonymize
        self._own = own or {}
        self._details = details
        self._timing = timing
        self._masking = masked
        self._key = _key_of(app)
        self._excluded = excluder(settings.exclude)
        self._quiet_until = 0.0
        self._loud = False
        self._flushes = False
        """Whether a record ever had to wait for the end of a context of the host's."""
        self._failed: set[str] = set()
        """Columns of the host's whose failure was logged."""

    def settle(self) -> None:
        """Before the dashboard answers: let the raw table have what was just requested, if that takes no long time."""
        self._safely(self._writer.settle)

    def attach(self) -> None:
        """Begin to record: stand around the app's WSGI call, and listen to what Flask tells of the steps in it."""
        app = self._app
        self._serve = app.wsgi_app
        app.wsgi_app = self._wsgi_app  # type: ignore[method-assign]
        # held by blinker weakly, so that it keeps no app alive: the app's state holds the recorder
        request_finished.connect(self._on_response, app)
        got_request_exception.connect(self._on_exception, app)
        # each costs a tenth of all else that is done here for a request, so nobody listens to one that tells nothing new
        if self._disabled is not None or self._own or self._details.user is not None:
            request_tearing_down.connect(self._on_end, app)
        # Flask tells of no exception that an error handler answers, but a handler that renders or logs is heard here
        before_render_template.connect(_see_handled, app)
        logging.getLogger(app.name).addFilter(_see_handled)  # app.logger, which it is, would set logging up too early

    def backlog(self) -> Backlog:
        """What is not in the raw table yet."""
        return backlog_of(self._writer.backlog)

    def in_memory(self) -> Backlog:
        """What of it would be lost with this process."""
        return backlog_of(self._writer.in_memory)

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

    def _wsgi_app(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        exchange = _Exchange()
        outer = environ.get(self._key)
        environ[self._key] = exchange
        head = Head(start_response)
        try:
            if self._timing is None:
                body = self._serve(environ, head)
            else:
                exchange.collector = self._timing.begin()
                body = self._timing.answer(exchange.collector, self._serve, environ, head)
        except BaseException as error:
            # a StopIteration from a response tells gunicorn that a WebSocket took the connection over (Flask-Sock)
            if exchange.response is None or not isinstance(error, StopIteration):
                # nobody made a response of it, or a tear-down function failed after it: the server answers 500
                exchange.error, exchange.response, head.status = exchange.error or error, None, None
            self._finish(exchange, head, None)
            raise
        finally:
            if outer is not None:
                environ[self._key] = outer  # a view called the app again with its own environment
        record, response = exchange.record, exchange.response
        if record is None:
            self._finish(exchange, head, None)
            return body
        if head.has_no_body(record.method):
            self._finish(exchange, head, 0)
            return body
        declared = head.declared_size()
        known = response is not None and response.is_sequence and declared is not None
        if not known and not head.is_sent_by_the_server():

            def done(sent: int | None, error: BaseException | None) -> None:
                exchange.error = error or exchange.error
                self._finish(exchange, head, sent)

            seen = watched(body, environ, done, declared)
            if seen is not None:
                timing, collector = self._timing, exchange.collector
                return seen if timing is None or collector is None else timing.body(seen, collector)
        self._finish(exchange, head, declared)
        return body

    def _exchange(self) -> _Exchange | None:
        """That of the present request; None: it was made without the server's call."""
        # not `request.environ`: the proxy takes eight times as long for an attribute
        environ: dict[str, Any] = request._get_current_object().environ  # type: ignore[attr-defined]
        return environ.get(self._key)

    def _on_response(self, _sender: Flask, *, response: Response, **_: Any) -> None:
        exchange = self._exchange()
        if exchange is not None:  # a test's full_dispatch_request() inside a bare request context is no request
            exchange.response = response
            self._note(exchange)

    def _on_exception(self, _sender: Flask, *, exception: BaseException, **_: Any) -> None:
        exchange = self._exchange()
        if exchange is not None:
            exchange.error = exception
            self._note(exchange)

    def _on_end(self, _sender: Flask, *, exc: BaseException | None = None, **_: Any) -> None:
        if exc is None or isinstance(exc, Exception):  # told before; and copies of the context may end long before it
            return
        exchange = self._exchange()
        if exchange is not None:
            self._note(exchange)  # SystemExit and its like end a request without another word

    def _on_end_of_context(self, _sender: Flask, **_: Any) -> None:
        self._safely(self._writer.flush)

    # ---- the record ----------------------------------------------------------------------------------------------

    def _note(self, exchange: _Exchange) -> None:
        """Make the record of the present request, once, unless it is one that is not recorded, and ask the host."""
        if not exchange.noted:
            exchange.noted = True
            started = time.perf_counter()
            self._safely(lambda: self._begin(exchange))
            exchange.overhead = time.perf_counter() - started
            if exchange.record is not None:
                self._ask(exchange, exchange.record)

    def _ask(self, exchange: _Exchange, record: Record) -> None:
        """Ask the host whether to drop the record (`disable_f`), then what is in columns of its own."""
        try:
            unwanted = self._disabled is not None and bool(self._disabled())
        except Exception as error:
            # whoever asked not to be recorded must not be, even when the question fails
            unwanted = True
            exchange.fault = error
            self._app.logger.exception("Flask-Statistics: disable_f raised, so this request was not recorded.")
        if unwanted:
            exchange.record = None
            return
        if self._details.user is not None:
            record.user = self._own_value("user", self._details.user, exchange)
        if self._own:
            record.own = {name: self._own_value(name, ask, exchange) for name, ask in self._own.items()}

    def _own_value(self, name: str, ask: Callable[[], Any], exchange: _Exchange) -> Any:
        """What the host says is in its column `name`; None where it cannot say."""
        try:
            return ask()
        except Exception as error:
            exchange.fault = error
            if name not in self._failed:
                self._failed.add(name)
                self._app.logger.exception(
                    "Flask-Statistics: the function that fills %r failed, so it is NULL. This is logged once.", name
                )
            return None

    def _begin(self, exchange: _Exchange) -> int:
        # without the proxy, which looks for the request at each access
        current: Request = request._get_current_object()  # type: ignore[attr-defined]
        if self._is_own(current) or self._excluded(current.path, current.endpoint):
            return 0
        if self._settings.respect_gpc and "1" in (current.headers.get("Sec-GPC"), current.headers.get("DNT")):
            return 0
        exchange.record, exchange.request = self._record(current, exchange.arrived_at), current
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
        record = Record(
            date=arrived_at,
            method=request.method,
            path=self._masking.path(request.path, route),
            route=route,
            query_string=self._masking.query(request.query_string.decode("utf-8", "replace")) or None,
            remote_address=self._client(request),
            user_agent=masking.masked_header(headers.get("HTTP_USER_AGENT", "")),
            referrer=self._masking.referrer(headers.get("HTTP_REFERER")),
        )
        self._details.note(record, request)
        return record

    def _client(self, request: Request) -> str | None:
        header = self._settings.real_ip_header
        if header is not None:
            # a list is written from left to right, so only its last entry comes from the proxy in front of us
            named = normal(request.headers.get(header, "").rpartition(",")[2])
            if named is not None:
                return named
        return normal(request.remote_addr)

    def _finish(self, exchange: _Exchange, head: Head, sent: int | None) -> None:
        record = exchange.record
        if record is not None:
            started = time.perf_counter()
            self._safely(lambda: self._complete(record, exchange, head, sent))
            self.counters.overhead.append(exchange.overhead + time.perf_counter() - started)
        # a traceback holds the environment, which holds the exchange: without this, all that a view held would live on
        exchange.error = exchange.handled = exchange.response = exchange.request = None
        fault, exchange.fault = exchange.fault, None
        if fault is not None and self._loud:
            raise fault

    def _complete(self, record: Record, exchange: _Exchange, head: Head, sent: int | None) -> int:
        response, error = exchange.response, exchange.error
        record.response_time = time.perf_counter() - exchange.started
        timing, collector = self._timing, exchange.collector
        story = None
        if timing and collector:
            story = timing.note(record, collector, lambda: _secrets_of(exchange.request))
        self._details.note_story(record, story, exchange.request)
        status = head.status_code or (response.status_code if response is not None else None)
        if status is not None:
            record.status_code = status
            record.mimetype = head.mimetype(None if response is None else response.mimetype)
            record.size = sent
            if status >= 500:
                error = error or exchange.handled
        if error is not None:
            secrets = _secrets_of(exchange.request)
            record.exception = masking.exception(error, secrets)
            record.traceback = masking.formatted(error, secrets) if self._keeps_traceback else None
        self._details.note_country(record)
        record.remote_address = self._stored_address(record)
        if request_recording.receivers and not self._is_wanted(record):
            return 0
        # Of what a receiver left of the exception, which it may have masked.
        if error is not None and record.issue is None:
            self._details.note_issue(record, error)
        if timing and collector:
            timing.keep(record, collector)
        host_lives = self._host_lives()
        if host_lives and not self._flushes:
            self._flushes = True
            appcontext_tearing_down.connect(self._on_end_of_context, self._app)
        return self._writer.write(record, host_in_transaction=host_lives)

    def _is_wanted(self, record: Record) -> bool:
        """Whether it shall be stored, after those who listen have changed it. Raises `NotStored` if one of them failed."""
        fix = "A receiver of the signal request_recording must be mended; it may have been about to take something out."
        try:
            request_recording.send(self._app, _async_wrapper=self._app.ensure_sync, record=record)
        except Exception as error:
            raise NotStored(1, fix) from error
        misfits = [] if record.dropped else record.misfits()
        if misfits:
            raise NotStored(1, fix) from TypeError(
                f"the record has a value that cannot be stored in {', '.join(misfits)}"
            )
        return not record.dropped

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
            stored = count_of(action())
        except NotStored as failure:
            stored = failure.stored
            cause = failure.__cause__ or failure
            # the whole message of a database repeats the row, with line ends that the client wrote into it
            shown = NotStored(failure.lost, failure.fix, first_line(cause)).with_traceback(cause.__traceback__)
            self._lose(failure.lost, cause, failure.fix, shown=shown, explained=failure.explained)
            if self._loud:
                raise
        except Exception as error:
            stored = 0
            ours = type(self._writer).__module__.startswith(__package__)
            fix = (
                "This is a fault of Flask-Statistics; please report it with this traceback."
                if ours
                else "This is a fault of the app's own writer, or of Flask-Statistics: the traceback says which."
            )
            self._lose(1, error, fix, shown=error)
            if self._loud:
                raise
        if stored:
            counters.store(stored)

    def _lose(
        self, lost: int, error: BaseException, fix: str, *, shown: BaseException, explained: bool = False
    ) -> None:
        """Count `lost` requests and log why, with the traceback of `shown`; where `fix` explains it, that is for debugging."""
        counters, now = self.counters, time.monotonic()
        total = counters.lose(lost, type(error).__name__, first_line(error))
        with counters.lock:
            quiet = now < self._quiet_until
            if not quiet:
                self._quiet_until = now + QUIET_SECONDS
        if not quiet:
            self._app.logger.error(
                "Flask-Statistics could not record a request, which was served all the same (%d lost since start): %s. %s",
                total,
                first_line(error),
                fix,
                exc_info=None if explained else shown,
            )
            if explained:
                self._app.logger.debug("Flask-Statistics: its traceback", exc_info=shown)


def _key_of(app: Flask) -> str:
    """Under which a request's environment has what is known of it to the recorder of `app`."""
    return f"flask_statistics.{id(app)}"


def _secrets_of(request: Request | None) -> list[str]:
    """Texts that came as secrets with `request`: an exception may quote them. A body counts where the host read it as a form."""
    if request is None:
        return []
    rule = "" if request.url_rule is None else request.url_rule.rule
    pairs = [*request.args.items(multi=True), *request.headers.items()]
    if "form" in vars(request):
        pairs += request.form.items(multi=True)
    found = masking.sent_secrets(pairs[:MOST_SENT], request.view_args or {}, rule)
    found += [*request.cookies.values()][:MOST_SENT]
    sent = request.authorization
    if sent is not None:
        found += [sent.token or "", sent.get("password") or "", request.headers["Authorization"].partition(" ")[2]]
    return found


def _see_handled(*_: Any, **__: Any) -> bool:
    """Note the exception that is being handled while a template is rendered or something is logged; True: log it."""
    error = sys.exc_info()[1]
    if isinstance(error, Exception) and not isinstance(error, HTTPException) and has_request_context():
        exchange = request.environ.get(_key_of(current_app._get_current_object()))  # type: ignore[attr-defined]
        if exchange is not None:
            exchange.handled = error
    return True
