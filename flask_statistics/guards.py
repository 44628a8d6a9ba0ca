"""Who may see the dashboard: what the host's `before_f` answers, turned into a refusal or none.

The dashboard shows addresses and paths of other people, so whatever is not clearly a yes is a no.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, abort
from werkzeug.exceptions import HTTPException

Guard = Callable[[], Any]
"""None or True allows, False denies with 403, a response is sent as it is, an exception denies."""


def refusal(guard: Guard | None, app: Flask) -> Response | None:
    """The response that refuses the present request, or None to let it pass; aborts with 403 where there is no other.

    An HTTP exception that the guard raises, as `abort(401)` does, is its answer and passes through.
    """
    if guard is None:
        return None
    try:
        answer = app.ensure_sync(guard)()
        if answer is None or answer is True:
            return None
        if answer is False:
            abort(403)
        return app.make_response(answer)
    except HTTPException:
        raise
    except Exception:
        app.logger.exception("Flask-Statistics: before_f raised, so the request was refused.")
        abort(403)


class OpenWarning:
    """Says once that nobody guards the dashboard."""

    def __init__(self) -> None:
        self._said = False

    def say(self, app: Flask, url_prefix: str) -> None:
        """Log the warning at the first view outside debug mode."""
        if self._said or app.debug or app.testing:
            return
        self._said = True
        app.logger.warning(
            "The statistics at %s/ are open to everyone who can reach this app. Close them with a function that answers "
            "True for those who may see them: Statistics(app, db, Request, may_see_statistics).",
            url_prefix,
        )
