"""Who may see the dashboard: guards ready to hand in as `before_f`, and how a guard's answer becomes a refusal or none.

The dashboard shows addresses and paths of other people, so whatever is not clearly a yes is a no.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

from flask import Flask, Response, abort, current_app, request, url_for
from itsdangerous import BadSignature, TimestampSigner
from werkzeug.exceptions import HTTPException
from werkzeug.security import check_password_hash

from .addresses import parsed
from .config import SettingError

Guard = Callable[[], Any]
"""None or True allows, False denies with 403, a response is sent as it is, an exception denies."""

TOKEN_COOKIE = "statistics_token"  # noqa: S105 - its name, not its value # nosec B105
TOKEN_PARAMETER = "token"  # noqa: S105 # nosec B105
TOKEN_AGE = timedelta(days=30)
"""How long a browser that came with the token is let in without it."""
SHORTEST_TOKEN = 20
"""Characters; `secrets.token_urlsafe()` makes 43."""
PROXY_HEADERS = (
    *("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port"),
    *("X-Forwarded-Server", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"),
)
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class _Swap(Response):
    """Sets the cookie of somebody who showed the token: a guard's yes that takes one more request."""


# ---- ready to hand in ------------------------------------------------------------------------------------------------


def login_required() -> Any:
    """Lets in whoever is logged in with Flask-Login; sends others to its login view, or answers 401.

    Being logged in is enough: combine it, ``all_of(login_required, lambda: bool(current_user.is_admin))``, where anybody
    can register (`bool`, because a guard's None lets pass). Raises `RuntimeError`, which denies, if Flask-Login is not
    installed or has no `LoginManager` for the app.
    """
    try:
        from flask_login import current_user
    except ImportError:
        raise RuntimeError("login_required needs Flask-Login: pip install Flask-Login") from None
    manager = getattr(current_app, "login_manager", None)
    if manager is None:
        raise RuntimeError("login_required needs a LoginManager: LoginManager(app), with a user_loader.")
    return True if current_user.is_authenticated else manager.unauthorized()


def basic_auth(user: str, password_hash: str) -> Guard:
    """Lets in whoever sends this name and password; asks others for them. Only over HTTPS are they safe on their way.

    `password_hash` is what `werkzeug.security.generate_password_hash` returned. Raises `SettingError` if it is not.
    """
    if password_hash.count("$") != 2 or not password_hash.startswith(("scrypt:", "pbkdf2:")):
        raise SettingError(
            "basic_auth was given something that is no password hash. Make one with "
            "werkzeug.security.generate_password_hash, and keep it instead of the password."
        )
    key, expected, accepted = secrets.token_bytes(32), user.encode(), b""

    def guard() -> Any:
        nonlocal accepted
        sent = request.authorization
        if sent is not None and sent.type == "basic":
            name, password = (sent.username or "").encode(), sent.password or ""
            # the hash is slow on purpose, and a page asks a dozen times: what passed is known again by a fast one, which
            # is keyed and kept in memory alone
            digest = hashlib.blake2b(name + b":" + password.encode(), key=key).digest()
            if hmac.compare_digest(digest, accepted):
                return True
            # both are compared whatever the first says, so that time does not tell which one was wrong
            if check_password_hash(password_hash, password) & hmac.compare_digest(name, expected):
                accepted = digest
                return True
        challenge = {"WWW-Authenticate": 'Basic realm="Statistics", charset="UTF-8"'}
        return Response("Name and password are needed.\n", 401, challenge, mimetype="text/plain")

    return guard


def token(secret: str) -> Guard:
    """Lets in whoever opens ``/statistics/?token=<secret>`` once, or sends ``Authorization: Bearer <secret>``.

    The link is answered with a signed cookie and the same URL without the token, so that it stays out of histories,
    referrers and shared links. The cookie is HttpOnly, SameSite=Lax, Secure over HTTPS, for the dashboard's path alone,
    and ends after 30 days, or with the secret. Raises `SettingError` for a secret that could be guessed.
    """
    if not isinstance(secret, str) or len(secret) < SHORTEST_TOKEN:
        raise SettingError(
            f"token was given a secret that is not a text of at least {SHORTEST_TOKEN} characters. "
            "secrets.token_urlsafe() makes a good one."
        )
    expected = secret.encode()
    signer = TimestampSigner(secret, salt="flask-statistics.token", digest_method=hashlib.sha256)

    def guard() -> Any:
        sent = request.authorization
        if sent is not None and sent.type == "bearer" and hmac.compare_digest((sent.token or "").encode(), expected):
            return True
        shown = request.args.get(TOKEN_PARAMETER)
        if shown is not None and hmac.compare_digest(shown.encode("utf-8", "replace"), expected):
            return _swap(signer.sign(b"may see").decode())
        try:
            signer.unsign(request.cookies.get(TOKEN_COOKIE, ""), max_age=int(TOKEN_AGE.total_seconds()))
        except BadSignature:  # none, somebody's own, or too old
            return False
        return True

    return guard


def _swap(cookie: str) -> Response:
    """Back to the present URL without the token, with the cookie."""
    rest = [pair for pair in request.args.items(multi=True) if pair[0] != TOKEN_PARAMETER]
    # two slashes in front would be the name of another host
    path = "/" + quote(request.script_root + request.path).lstrip("/")
    response = _Swap(status=303, headers={"Location": f"{path}?{urlencode(rest)}" if rest else path})
    response.set_cookie(
        TOKEN_COOKIE,
        cookie,
        max_age=TOKEN_AGE,
        path=url_for("statistics.index").rstrip("/"),  # without the slash it is sent to both spellings
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",  # with Strict, a link in a mail would be answered with a cookie that is not sent back
    )
    return response


def local_only() -> bool:
    """Lets in requests from this very machine, by a local name and by no proxy that says so.

    A proxy on the same machine that adds no header (`X-Forwarded-For` and its like) cannot be told from a local client.
    """
    if any(header in request.headers for header in PROXY_HEADERS):
        return False
    # a name of somebody else's that leads here would let a foreign page read ours ("DNS rebinding")
    name = request.host.rpartition(":")[0] if not request.host.endswith("]") and ":" in request.host else request.host
    if name.strip("[]").lower() not in LOCAL_NAMES:
        return False
    before = request.environ.get("werkzeug.proxy_fix.orig", {}).get("REMOTE_ADDR")
    return _is_loopback(request.remote_addr) and (before is None or _is_loopback(before))


def _is_loopback(address: str | None) -> bool:
    found = parsed(address)
    return found is not None and found.is_loopback  # a Unix socket has none


def any_of(*guards: Guard) -> Guard:
    """Lets in whoever one of `guards` lets in. If none does, the first answer that is more than False is sent."""
    _check_guards("any_of", guards)

    def guard() -> Any:
        denial: Any = False
        for each in guards:
            answer = _ask(each)
            if _allows(answer) or isinstance(answer, _Swap):
                return answer
            if denial is False:
                denial = answer
        return _say(denial)

    return guard


def all_of(*guards: Guard) -> Guard:
    """Lets in whoever all of `guards` let in; the first that does not answers."""
    _check_guards("all_of", guards)

    def guard() -> Any:
        for each in guards:
            answer = _ask(each)
            if not _allows(answer):
                return _say(answer)
        return True

    return guard


def _check_guards(name: str, guards: tuple[Guard, ...]) -> None:
    if not guards or not all(map(callable, guards)):
        raise SettingError(f"{name} takes guards, each a function without arguments, but was given {guards!r}.")


def _ask(guard: Guard) -> Any:
    """The guard's answer; an HTTP exception, as `abort(401)` raises, is one."""
    try:
        return current_app.ensure_sync(guard)()
    except HTTPException as answer:
        return answer


def _say(denial: Any) -> Any:
    if isinstance(denial, HTTPException):
        raise denial
    return denial


def _allows(answer: Any) -> bool:
    return answer is None or answer is True


# ---- what a guard's answer does --------------------------------------------------------------------------------------


def refusal(guard: Guard | None, app: Flask) -> Response | None:
    """The response that refuses the present request, or None to let it pass; aborts with 403 where there is no other.

    An HTTP exception that the guard raises, as `abort(401)` does, is its answer and passes through.
    """
    if guard is None:
        return None
    try:
        answer = app.ensure_sync(guard)()
        if _allows(answer):
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
            "The statistics at %s/ are open to everyone who can reach this app. Close them with one of "
            "flask_statistics.guards: Statistics(app, db, Request, basic_auth(name, password_hash)).",
            url_prefix,
        )
