"""The dashboard's routes. Reads the URL, has a page composed, fills its template; every URL is guarded here.

A view asks for a page of `pages`, which asks the questions; the clock is read once a request and handed down.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache, partial, wraps
from itertools import chain
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import sqlalchemy as sa
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    redirect,
    request,
    send_from_directory,
    url_for,
)
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException

from . import api, export, forms, guards, health, kept, origin, rendering, saved_views, trail
from .config import LONGEST_NAME
from .connections import RECORDING
from .databases import budgets
from .databases.errors import fix
from .dimensions import DimensionError, referrer_host
from .exclusion import excluder
from .formatting import clipped
from .guards import refusal
from .kept import Full
from .page_state import PageState, read_state
from .pages import health as health_page
from .pages import live, one_issue, own, tables
from .pages import one_request as request_page
from .pages.frame import frame
from .pages.page import Asker, Page, Route, Site, covered
from .pages.panel import Cells, Panel, View, compose
from .pages.panels import VIEWS, Panels
from .pages.series import series
from .places import Busy
from .queries.interface import Queries, TooManyValues
from .queries.remembering import Remembering
from .queries.statements import StatementQueries
from .query import BadParameter
from .spans import to_local
from .state import NAME, State, state_of
from .writers.transaction import Locked, commit

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'{nonce}; style-src 'self'{nonce}; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PICTURE_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""What a picture may load: nothing but the styles inside."""
ANY_HOST = "<statistics_host>"
"""The rule's host that is whichever host is asked."""
THEMES = ("auto", "light", "dark")
THEME_COOKIE = "statistics_theme"
A_YEAR = 365 * 24 * 3600
FOREVER = f"private, max-age={A_YEAR}, immutable"
NEVER = "private, no-store"
STATIC = Path(__file__).parent / "static"
FILES = frozenset(path.name for path in STATIC.iterdir())
MAY_BE_EMPTY = ("q", "search", "start", "end", "span")
"""Fields of forms: left empty, they say nothing and are taken out of the URL."""


class Dashboard(Blueprint):
    """The dashboard of one app, with its panels."""

    def __init__(self, panels: Panels) -> None:
        super().__init__(NAME, __name__)
        self.panels = panels


def blueprint(panels: Panels, host: str | None = None) -> Dashboard:
    """The dashboard of one app: pages, panels, exports, the API and static files; `host` where the app matches hosts."""
    dashboard = Dashboard(panels)
    dashboard.enable_openapi = False  # type: ignore[attr-defined] # APIFlask asks each blueprint that has a before_request
    dashboard.before_request(_guard)
    dashboard.before_request(_keep_other_sites_out)
    dashboard.after_request(_protect)
    dashboard.register_error_handler(Busy, _busy)
    add = dashboard.add_url_rule if host is None else partial(dashboard.add_url_rule, host=host)
    if host == ANY_HOST:
        dashboard.url_value_preprocessor(lambda _, values: values and values.pop("statistics_host"))
        dashboard.url_defaults(lambda _, values: values.setdefault("statistics_host", request.host))
    for rule, endpoint, view in (
        ("/", "index", panels_view("index")),
        ("/changes", "changes", offered_view("changes")),
        ("/errors", "errors", panels_view("errors")),
        ("/issue", "issue", issue_view),
        ("/requests", "requests", panels_view("requests")),
        ("/clients", "clients", offered_view("clients")),
        ("/database", "database", offered_view("database")),
        ("/unused", "unused", offered_view("unused")),
        ("/week", "week", panels_view("week")),
        ("/requests/<path:key>", "one_request", one_request),
        ("/live", "live", live_view),
        ("/health", "health", health_view),
        ("/list/<dimension>", "list", list_view),
        ("/page/<name>", "page", own_view),
        ("/panel/<name>", "panel", panel),
        ("/panel/<of>/<name>", "panel_of", panel),
        ("/export/<name>.csv", "export", export_csv),
        ("/chart.svg", "chart", chart_svg),
    ):
        add(rule, endpoint, _answering(view))
    add("/theme", "theme", theme, methods=["POST"])
    add("/issue", "decide", _answering(decide), methods=["POST"])
    add("/views", "save_view", _answering(save_view), methods=["POST"])
    add("/log-out", "log_out", log_out, methods=["POST"])
    add("/static/<path:filename>", "static", _static)
    api.register(add, panels)
    add("/<path:unknown>", "unknown", _unknown)
    return dashboard


def guard_misses(app: Flask) -> None:
    """Have the guard asked for what no route answers as well: 405, redirects to a right spelling.

    Flask answers these without asking a blueprint anything, and their answers tell which URLs there are.
    """
    app.after_request(_guard_miss)


def exempt(app: Flask) -> None:
    """Keep Flask-Limiter's limits for the app's visitors off the dashboard, of which a page takes a dozen requests."""
    for limiter in app.extensions.get("limiter", ()):
        limiter.exempt(app.blueprints[NAME])


def _guard_miss(response: Response) -> Response:
    if request.routing_exception is None:
        return response
    prefix = state_of(current_app).settings.url_prefix
    path = re.sub("/{2,}", "/", request.path)
    if path != prefix and not path.startswith(f"{prefix}/"):
        return response
    try:
        refused = _guard()
    except HTTPException as error:  # abort(401), say; what an after_request function raises would be a 500
        refused = error.get_response()  # type: ignore[assignment]
    return _protect(refused or response)


# ---- before and after every view -------------------------------------------------------------------------------------


def _guard() -> Response | None:
    """Ask the host's `before_f` before anything is answered."""
    state = state_of(current_app)
    refused = refusal(state.guard, state.app, state.said)
    if refused is None and not state.host_in_transaction():
        state.settle()  # what was just requested shall be seen
    if refused is not None:
        refused.headers["Cache-Control"] = NEVER
    elif request.endpoint == f"{NAME}.static" and (request.view_args or {})["filename"] not in FILES:
        abort(404)  # before Flask looks for it: a name with a NUL makes it raise
    return refused


def _keep_other_sites_out() -> Response | None:
    """403 for what would change something, sent by a page of another site with the cookies of its reader."""
    if not origin.is_from_another_site(request.method, request.headers, request.host):
        return None
    text = "It came from a page of another site, which may change nothing here."
    return _failed(403, "This is refused", text)


def _protect(response: Response) -> Response:
    """The headers that keep other people's addresses out of caches, frames and referrers."""
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Content-Security-Policy", content_security_policy())
    headers.setdefault("Referrer-Policy", "same-origin")
    # a guard may have answered for a static file, with 200 and a form to log in
    if request.endpoint != f"{NAME}.static" or headers.get("Cache-Control") == NEVER:
        headers["Cache-Control"] = NEVER
    elif response.status_code == 200 and request.args.get("v") == _digest((request.view_args or {})["filename"]):
        headers["Cache-Control"] = FOREVER
    return response


def content_security_policy() -> str:
    """What a page of the dashboard may load: its own files, and those that carry the host's nonce."""
    nonce = _nonce()
    return CONTENT_SECURITY_POLICY.format(nonce=f" 'nonce-{nonce}'" if nonce else "")


def _nonce() -> str | None:
    """The nonce of the present request from the host's `STATISTICS_CSP_NONCE`; None without one."""
    ask = state_of(current_app).settings.csp_nonce
    nonce = None if ask is None else ask()
    if nonce and not re.fullmatch(r"[A-Za-z0-9+/_-]+={0,2}", nonce):
        raise ValueError(f"STATISTICS_CSP_NONCE returned {nonce!r}, but a nonce is base64.")
    return nonce or None


@cache
def _digest(filename: str) -> str:
    """What changes with a static file's content: browsers may keep the file under that name for ever."""
    return hashlib.sha256((STATIC / filename).read_bytes()).hexdigest()[:12]


def asset(filename: str) -> str:
    """The URL of a static file, with its digest."""
    return url_for(f"{NAME}.static", filename=filename, v=_digest(filename))


# ---- pages -----------------------------------------------------------------------------------------------------------


class _NotStored(LookupError):
    """There is no request with that key; says the URL of the list where it was looked for."""


def _answering(view: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
    """`view`, with a page of its own for a database, or a host's dimension, that does not answer."""

    @wraps(view)
    def answer(**values: str) -> ResponseReturnValue:
        try:
            return view(**values)
        except sa.exc.SQLAlchemyError as error:
            if budgets.is_timeout(error):
                return _message(503, "This takes too long", api.too_slow(state_of(current_app)))
            state_of(current_app).complaints.tell("the database did not answer the dashboard's questions", error)
            return _message(
                503,
                "The numbers cannot be read",
                f"The database did not answer. {fix(error)} The app's log says more.",
            )
        except TooManyValues as error:
            return _message(503, "This is too much for one page", str(error))
        except (DimensionError, own.PanelError) as error:
            current_app.logger.exception("Flask-Statistics: a page could not be computed.")
            return _message(500, "This could not be computed", f"{error} The app's log says how.")

    return answer


def _busy(error: Busy) -> Response:
    """503, and when to come again."""
    response = _failed(503, "The statistics are busy", str(error))
    response.headers["Retry-After"] = str(error.come_again_s)
    return response


def _failed(status: int, heading: str, text: str) -> Response:
    """Why there is no answer: as a page, or as the API says it."""
    of_api = (request.endpoint or "").startswith(f"{NAME}.api_")
    return api.refused(status, text) if of_api else _message(status, heading, text)


def panels_view(name: str) -> Callable[[], ResponseReturnValue]:
    """The route of a page that is made of panels."""
    return lambda: _show_panels(name, VIEWS[name])


def offered_view(name: str) -> Callable[[], ResponseReturnValue]:
    """The route of a page whose panels not every app has."""
    return lambda: _show_panels(name, VIEWS[name]) if _panels().on(name) else _no_page()


def own_view(name: str) -> ResponseReturnValue:
    """A page of the host's own."""
    view = next((view for view in _panels().own_views if view.name == name), None)
    if view is None:
        return _no_page()
    return _show_panels("page", view)


def _show_panels(endpoint: str, view: View) -> ResponseReturnValue:
    return _show(
        endpoint,
        view.title,
        partial(_composed, view),
        tab=view.name,
        template=view.template,
        json=view.json,
        csv=view.file,
        outside=view.outside,
    )


def _composed(view: View, page: Page) -> dict[str, Any]:
    nothing = view.instead(page)
    if nothing is not None:
        return {"nothing": nothing}
    grids = compose(page, _panels().on(view.name))
    return {
        "grids": [
            {"width": grid.width, "panels": [_markup(page, each.panel, each.content) for each in grid.panels]}
            for grid in grids
        ]
    }


def _panels() -> Panels:
    return cast(Dashboard, current_app.blueprints[NAME]).panels


def _markup(page: Page, panel: Panel, content: Any) -> Markup:
    if not panel.is_own:
        retry = page.state.table_url_at(page.site.url("panel_of", of=panel.page, name=panel.name))
        return rendering.html(f"panels/{panel.template}", panel=content, retry=retry)
    if panel.template != own.TEMPLATE and content.rows is not None:
        found = page.asker.attempt(panel.name, lambda: rendering.whole_name(panel.template, panel=content))
        if found is not None:
            return found
        content = replace(content, rows=None)
    return rendering.whole_name(own.TEMPLATE, panel=content)


class _NoIssue(LookupError):
    """No stored request has that issue, or the URL names none; says the URL of the list."""


def issue_view() -> ResponseReturnValue:
    """One issue."""
    if not _panels().on("issue"):
        return _no_page()

    def compose_issue(page: Page) -> dict[str, Any]:
        head = one_issue.head(page)
        if head is None:
            raise _NoIssue(page.state.at(_url("errors"), filters=page.state.filters.without("issue")))
        grids = compose(page, _panels().on("issue"))
        shown = [each for grid in grids for each in grid.panels]
        return {"head": head, "panels": {one.panel.name: _markup(page, one.panel, one.content) for one in shown}}

    try:
        return _show("issue", "Issue", compose_issue, tab="errors", template="issue", about="issue")
    except _NoIssue as error:
        if not request.args.get("issue"):
            return redirect(str(error))
        text = "No stored request has it: it never was, or was recorded when messages were told apart in another way."
        return _message(404, "There is no such issue", text, back=("Back to the issues", str(error)))


def decide() -> ResponseReturnValue:
    """Let an issue have another state, and go back to the page."""
    if not guards.may_change(state_of(current_app).guard):
        return _message(403, "This cannot be changed here", f"{api.EVERYBODY}.")
    try:
        api.decide(request.form)
    except BadParameter as error:
        return _message(400, "This cannot be read", f"{error}.")
    except Full as error:
        return _message(409, "There is no room for more", str(error))
    except Locked:
        return _message(503, "The database is locked", "Nothing was changed. Go back and try again.")
    return redirect(_own_url(request.form.get("back", ""), _url("errors")), 303)


def live_view() -> ResponseReturnValue:
    """The last half hour, as it goes on."""
    return _show("live", "Live", live.live, json="api_requests")


def health_view() -> ResponseReturnValue:
    """How the statistics themselves do; also where the database does not answer."""
    found = health.collect(state_of(current_app), utc_now())
    if found.database != "ok":
        return _message(503, "The numbers cannot be read", " ".join(found.problems))
    return _show("health", "Health", lambda page: health_page.view(page, found), json="api_health")


def list_view(dimension: str) -> ResponseReturnValue:
    """All values of one dimension."""
    known = state_of(current_app).dimensions.get(dimension)
    if known is None:
        return _no_page()
    return _show(
        "list",
        known.plural,
        lambda page: tables.listing(page, dimension),
        json="api_breakdown",
        csv=lambda page: dimension,
    )


def one_request(key: str) -> ResponseReturnValue:
    """One request with every stored column."""

    def compose(page: Page) -> request_page.OneRequest:
        row = page.ask(page.queries.request, key)
        page.asker.give_up_without_answer()
        if row is None:
            raise _NotStored(request_page.back_url(page))
        trail.note(state_of(current_app).app, "opened", f"request {key}")
        return request_page.one_request(page, row)

    try:
        return _show("one_request", "Request", compose, template="request", json=None)
    except _NotStored as error:
        text = "It never was, or it has been deleted since."
        return _message(404, "This request is not stored", text, back=("Back to the requests", str(error)))


def _show(
    endpoint: str,
    title: str,
    compose: Callable[[Page], Any],
    *,
    tab: str | None = None,
    template: str | None = None,
    json: str | None = "api_summary",
    csv: Callable[[Page], str | None] = lambda _: None,
    outside: Callable[[Page], int | None] = lambda _: None,
    about: str | None = None,
) -> ResponseReturnValue:
    """The page at `endpoint`: what `compose` makes of it, in its frame; `json` and `csv` are its numbers elsewhere.

    `about` is the dimension whose filter says what it is about.
    """
    values, began = dict(request.view_args or {}), time.perf_counter()
    with _page(url_for(f"{NAME}.{endpoint}", **values)) as page:
        if forms.is_sent(request.args):
            return redirect(_url_of_form(page))
        if any(request.args.get(name) == "" for name in MAY_BE_EMPTY):
            return redirect(page.state.table_url_at(page.state.base))
        content = compose(page)
        page.asker.give_up_without_answer()
        file = csv(page)
        framed = frame(
            page,
            tab or endpoint,
            title=title,
            default=state_of(current_app).settings.default_date_span,
            json_url=None if json is None else page.in_full(json, **(values if json == "api_breakdown" else {})),
            csv_url=None if file is None else page.csv(file),
            outside=outside(page),
            about=about,
        )
    helps = health.advice_for_page(state_of(current_app), time.perf_counter() - began - page.asker.host_s)
    return _render(template or endpoint, frame=replace(framed, notices=(*framed.notices, *helps)), view=content)


def _url_of_form(page: Page) -> str:
    """What the present URL, which a form made, is called without the form; what cannot be read stays, for the page to say so."""
    state = state_of(current_app)
    args = forms.as_parameters(request.args, state.dimensions)
    read = _read_state(state, args, page.state.base, page.now, page.asker)
    return (
        read.table_url_at(read.base) if not read.notices else f"{read.base}?{urlencode(list(args.items(multi=True)))}"
    )


@contextmanager
def _page(base: str) -> Iterator[Page]:
    """The page at the path `base` in the state that the present URL says, with a connection to ask on."""
    state, now = state_of(current_app), utc_now()
    with state.queries() as queries:
        asker = Asker(Remembering(queries), state.complaints.tell, state.roll_back_host)
        yield Page(_read_state(state, request.args, base, now, asker), _site(state, queries), asker, now)


def _read_state(state: State, args: MultiDict[str, str], base: str, now: datetime, asker: Asker) -> PageState:
    return read_state(
        args,
        base=base,
        now=now,
        zone=state.settings.timezone,
        default=state.settings.default_date_span,
        dimensions=state.dimensions,
        usual=state.usual,
        earliest=asker.queries.earliest,
    )


def _site(state: State, queries: Queries) -> Site:
    return Site(
        dimensions=state.dimensions,
        columns=state.raw.columns,
        waits=state.waits,
        url=_url,
        title=_title(),
        host=referrer_host(request.host_url) or "",
        own_tabs=[(view.name, view.title) for view in _panels().own_views],
        theme=_theme(),
        statements=None if state.statements is None else StatementQueries(state.statements, state.reading_ours),
        issues=state.issues,
        may_change=guards.may_change(state.guard),
        files=state.files,
        can_log_out=guards.can_log_out(),
        retention=state.settings.raw_retention,
        most_rows=state.settings.raw_max_rows,
        routes=partial(_routes, state),
        kept=cache(partial(state.read_kept, queries)),  # one page asks once
        views=state.views,
        left_behind=state.left_behind,
        query_timeout=state.settings.query_timeout,
    )


def _routes(state: State) -> list[Route]:
    """The routes of the app that requests are recorded of."""
    excluded = excluder(state.settings.exclude)
    found: dict[str, Route] = {}
    for rule in state.app.url_map.iter_rules():
        if rule.build_only or rule.endpoint.rpartition(".")[0] == NAME or excluded(rule.rule, rule.endpoint):
            continue
        known = found.get(rule.rule)
        methods = {*(rule.methods or ()), *(known.methods if known else ())} - {"HEAD", "OPTIONS"}
        found[rule.rule] = Route(rule.rule, tuple(sorted(methods)), known.endpoint if known else rule.endpoint)
    return [found[name] for name in sorted(found)]


def _title() -> str:
    """What the pages call the app."""
    state = state_of(current_app)
    return clipped(state.settings.title or state.app.name)


def _url(endpoint: str, **values: Any) -> str:
    return url_for(f"{NAME}.{endpoint}", **values)


def _render(template: str, status: int = 200, **context: Any) -> Response:
    return rendering.page(template, status, asset=asset, nonce=_nonce(), **context)


def _message(status: int, heading: str, text: str, *, back: tuple[str, str] | None = None) -> Response:
    """A page that says one thing, and leads `back`: to the overview, unless said otherwise."""
    back_text, back_url = back or ("Back to the overview", _url("index"))
    return _render(
        "message",
        status,
        heading=heading,
        text=text,
        back_text=back_text,
        back_url=back_url,
        home_url=_url("index"),
        name=_title(),
        theme=_theme(),
    )


# ---- panels ----------------------------------------------------------------------------------------------------------


def panel(name: str, of: str | None = None) -> ResponseReturnValue:
    """One panel with the markup that its page has, for whoever asks for it alone; `of` None: of the first page that has it."""
    chosen = _panels().get(name, of)
    if chosen is None:
        abort(404)
    with _page(_url(chosen.page) if chosen.page in VIEWS else _url("page", name=chosen.page)) as page:
        if page.state.notices:  # a part of a page has no place for them
            return _refusal(page.state.notices)
        content = chosen.compose(replace(page, is_whole=False))
        page.asker.give_up_without_answer()
        markup = _markup(page, chosen, content)
    response = rendering.answer(markup)
    response.headers["HX-Push-Url"] = page.state.table_url_at(page.state.base)
    return response


def _refusal(notices: Sequence[str]) -> Response:
    return rendering.Answer("\n".join(notices), 400, mimetype="text/plain")


# ---- exports ---------------------------------------------------------------------------------------------------------


def export_csv(name: str) -> ResponseReturnValue:
    """A table with all of its rows, sent as they are read."""
    state, now = state_of(current_app), utc_now()
    chosen = _panels().get(name)
    if chosen is None or chosen.rows is None:
        abort(404)
    with _page(_url("index")) as page:
        shown = page
    if shown.state.notices:  # a file has no place for them, and would be taken for what was asked
        return _refusal(shown.state.notices)
    lines = _lines(state, shown, chosen.rows)
    begun = list(lines) if chosen.is_own else [next(lines)]  # what fails, fails before anything is sent
    trail.note(state.app, "exported", f"{name}.csv")
    response = rendering.Answer(chain(begun, lines), mimetype="text/csv")
    response.call_on_close(lines.close)
    local = to_local(now, state.settings.timezone)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}-{local:%Y-%m-%d}.csv"'
    return response


def _lines(state: State, page: Page, rows: Callable[[Page], Iterator[Cells]]) -> Generator[str]:
    """The pieces of a file. Between two of them nothing is open: the reader sets the pace, and may have gone to lunch."""
    page = replace(page, asker=Asker(state.queries_apart(), state.complaints.tell))
    with state.places.file() as sending:
        for piece in export.lines(page, rows(page)):
            yield piece
            sending.check()


def chart_svg() -> ResponseReturnValue:
    """The chart that a page shows, as a picture with its styles inside."""
    state, now = state_of(current_app), utc_now()
    with _page(_url("index")) as page:
        if page.state.notices:
            return _refusal(page.state.notices)
        drawn = series(page, metric=page.state.metric, label=covered(page))
        if drawn is None:
            raise page.asker.errors[-1]
    trail.note(state.app, "exported", "chart.svg")
    picture = rendering.whole_name("flask_statistics/chart.svg", series=drawn, name=_title())
    response = rendering.Answer(picture, mimetype="image/svg+xml")
    local = to_local(now, state.settings.timezone)
    response.headers["Content-Disposition"] = f'attachment; filename="{page.state.metric}-{local:%Y-%m-%d}.svg"'
    response.headers["Content-Security-Policy"] = PICTURE_SECURITY_POLICY
    return response


# ---- theme -----------------------------------------------------------------------------------------------------------


def theme() -> ResponseReturnValue:
    """Remember the theme in a cookie and go back to the page. With JavaScript the page sets the same cookie itself."""
    chosen, home = request.form.get("theme", ""), _url("index")
    response = redirect(_own_url(request.form.get("back", ""), home), 303)
    if chosen in THEMES:
        response.set_cookie(THEME_COOKIE, chosen, max_age=A_YEAR, path=home, samesite="Lax")
    return response


def _own_url(url: str, otherwise: str) -> str:
    """`url`, if it is one of the dashboard's, and no trick to lead elsewhere."""
    home = _url("index")
    if not url.startswith(home) or "\\" in url or not url.isprintable() or urlsplit(url).netloc:
        return otherwise
    return url


def log_out() -> ResponseReturnValue:
    """Have the browser forget the cookie that the dashboard's token was swapped for."""
    response = _message(200, "You are logged out", "The link that you came with opens it again.")
    guards.log_out(response)
    return response


def save_view() -> ResponseReturnValue:
    """Keep the view that a form was on under a name, or delete the one that it names, and go back to it."""
    state, back = state_of(current_app), _own_url(request.form.get("back", ""), _url("index"))
    if not guards.may_change(state.guard):
        return _message(403, "This is refused", f"{api.EVERYBODY}.")
    try:
        where = _delete_view(state, back) if "delete" in request.form else _save_view(state, back)
    except (ValueError, kept.Full) as error:
        return _message(400, "This view cannot be saved", f"{str(error).rstrip('.')}.", back=("Back", back))
    except Locked:
        return _message(503, "The database is locked", "Nothing was changed. Try it again.", back=("Back", back))
    return redirect(where, 303)


def _save_view(state: State, back: str) -> str:
    """Save it; gives its URL. Raises `ValueError` or `Full` for what cannot be."""
    home, now = _url("index"), utc_now()
    name = kept.checked("The name", request.form.get("name"), LONGEST_NAME)
    try:
        url = saved_views.canonical(
            back.removeprefix(home),
            dimensions=state.dimensions,
            now=now,
            zone=state.settings.timezone,
            default=state.settings.default_date_span,
            usual=state.usual,
            of_clients=False,
        )
    except saved_views.ViewError as error:
        raise ValueError(f"What is saved must be {error}") from None
    view = kept.SavedView(name, url)
    commit(
        state.our_engine_for(RECORDING),
        lambda connection: kept.save_view(connection, state.kept, view, now),
        wait_ms=api.WAIT_MS,
    )
    trail.note(state.app, "changed", f"saved the view {name}")
    return home + url


def _delete_view(state: State, back: str) -> str:
    key, found = request.form["delete"], list[bool]()
    commit(
        state.our_engine_for(RECORDING),
        lambda connection: found.append(kept.delete_view(connection, state.kept, key)),
        wait_ms=api.WAIT_MS,
    )
    if found[-1]:
        trail.note(state.app, "changed", f"deleted the saved view {key}")
    return back


def _theme() -> str:
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else THEMES[0]


def _static(filename: str) -> Response:
    return send_from_directory(STATIC, filename, max_age=current_app.get_send_file_max_age(filename))


def _unknown(unknown: str) -> Response:
    """A URL that is nobody's answers 404 behind the guard, so that it tells nothing before it."""
    return _no_page()


def _no_page() -> Response:
    return _message(404, "There is no such page", "The address may be misspelt, or what it showed is gone.")


def utc_now() -> datetime:
    """The present instant, naive UTC as the raw dates are."""
    return datetime.now(timezone.utc).replace(tzinfo=None)
