"""The dashboard's pages. Reads the URL, asks the questions, fills templates; every URL under the prefix is guarded here."""

from __future__ import annotations

from datetime import datetime, timezone

from flask import Blueprint, Response, abort, current_app, request

from . import api
from .guards import refusal
from .state import NAME, state_of

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def blueprint() -> Blueprint:
    """The dashboard of one app: pages, panels, the API and static files."""
    dashboard = Blueprint(NAME, __name__, template_folder="templates", static_folder="static")
    dashboard.before_request(_guard)
    dashboard.after_request(_protect)
    dashboard.add_url_rule("/", "index", index)
    api.register(dashboard)
    dashboard.add_url_rule("/<path:unknown>", "unknown", _unknown)
    return dashboard


def _guard() -> Response | None:
    """Ask the host's `before_f` before anything but a static file, which tells nobody anything, is answered."""
    if request.endpoint == f"{NAME}.static":
        return None
    state = state_of(current_app)
    if state.guard is None:
        state.open_warning.say(state.app, state.settings.url_prefix)
    return refusal(state.guard, state.app)


def _protect(response: Response) -> Response:
    """The headers that keep other people's addresses out of caches, frames and referrers."""
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    headers.setdefault("Referrer-Policy", "same-origin")
    if request.endpoint != f"{NAME}.static":
        headers["Cache-Control"] = "private, no-store"
    return response


def _unknown(unknown: str) -> Response:
    """A URL that is nobody's answers 404 behind the guard, so that it tells nothing before it."""
    abort(404)


def index() -> str:
    """The overview."""
    return ""


def utc_now() -> datetime:
    """The present instant, naive UTC as the raw dates are."""
    return datetime.now(timezone.utc).replace(tzinfo=None)
