"""What the dashboard answers with, made by nothing of the host's: a Jinja environment, a response class and JSON of its own.

Delimiters, escaping, filters, context processors, response classes and JSON providers of the host do not reach it. What the
host may give is a token against forged requests, and templates that replace ours, under `templates/flask_statistics/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any
from weakref import WeakKeyDictionary

from flask import Flask, Response, current_app, g, get_flashed_messages, request, session, url_for
from jinja2 import ChoiceLoader, Environment, PackageLoader
from markupsafe import Markup
from werkzeug.datastructures import Headers

from .parameters import LONGEST_SEARCH

_environments: WeakKeyDictionary[Flask, Environment] = WeakKeyDictionary()


class Answer(Response):
    """One of the dashboard's: HTML unless said otherwise, and for pages of its own origin alone."""

    default_mimetype = "text/html"

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """Without what a CORS extension added, for which the numbers are as public as the host's API."""
        headers = super().get_wsgi_headers(environ)
        for name in [name for name in headers.keys() if name.lower().startswith("access-control-")]:  # noqa: SIM118
            del headers[name]
        return headers


def page(template: str, status: int = 200, **context: Any) -> Answer:
    """The page, or the part of one, that the template of this name under `flask_statistics/` makes of `context`."""
    return answer(html(template, **context), status)


def answer(markup: str, status: int = 200) -> Answer:
    """`markup` as an answer."""
    content = markup.encode()
    # not a list: what writes itself into pages of the host's, such as Flask-DebugToolbar, leaves a stream alone
    return Answer(iter((content,)), status, {"Content-Length": str(len(content))})


def html(template: str, **context: Any) -> Markup:
    """What the template of this name under `flask_statistics/` makes of `context`: other templates need not escape it."""
    return whole_name(f"flask_statistics/{template}.html", **context)


def whole_name(template: str, **context: Any) -> Markup:
    """What the template of this name makes of `context`: ours, or one of the host's own."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    if app not in _environments:
        _environments[app] = _environment(app)
    # of a template, whose environment escapes what it prints
    return Markup(_environments[app].get_template(template).render(context))  # noqa: S704 # nosec B704


def data(value: Mapping[str, Any], status: int = 200) -> Answer:
    """`value` as JSON; dates in ISO's form."""
    text = json.dumps(value, default=_plain, sort_keys=True, separators=(",", ":"))
    return Answer(f"{text}\n", status, mimetype="application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if hasattr(value, "as_integer_ratio") else str(value)  # Decimal, of a NUMERIC column


def _environment(app: Flask) -> Environment:
    ours = PackageLoader("flask_statistics")
    environment = Environment(
        loader=ours if app.jinja_loader is None else ChoiceLoader([app.jinja_loader, ours]),
        autoescape=True,
        auto_reload=bool(app.config["TEMPLATES_AUTO_RELOAD"] or app.debug),
    )
    environment.globals.update(
        csrf_token=_csrf_token,
        longest_search=LONGEST_SEARCH,
        config=app.config,
        g=g,
        get_flashed_messages=get_flashed_messages,
        request=request,
        session=session,
        url_for=url_for,
    )
    return environment


def _csrf_token() -> str:
    """The host's token against forged requests, from its Jinja environment or a context processor; empty without one."""
    found = current_app.jinja_env.globals.get("csrf_token")
    if found is None:
        found = _of_context_processors("csrf_token")
    return str(found() if callable(found) else found or "")


def _of_context_processors(name: str) -> Any:
    found: dict[str, Any] = {}
    try:
        for processor in current_app.template_context_processors.get(None, ()):
            found |= current_app.ensure_sync(processor)()
    except Exception:
        current_app.logger.exception("Flask-Statistics: a context processor failed, so %s may be missing.", name)
    return found.get(name)
