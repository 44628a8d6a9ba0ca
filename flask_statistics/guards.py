"""Who may see the dashboard: guards ready to hand in as `before_f`, and how a guard's answer becomes a refusal or none.

The dashboard shows addresses and paths of other people, so whatever is not clearly a yes is a no.
"""

from __future__ import annotations

import hashlib
import hmac
import inspect
import ipaddress
import re
import secrets
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from threading import Lock
from typing import Any
from urllib.parse import quote, urlencode

from flask import Flask, Response, abort, current_app, g, request, session, url_for
from itsdangerous import BadSignature, TimestampSigner
from werkzeug.exceptions import HTTPException
from werkzeug.security import check_password_hash

from . import rendering
from .addresses import normal, parsed
from .config import SettingError

Guard = Callable[[], Any]
"""True allows, and None if it is not one of ours; False and all that is empty denies with 403, a response is sent as it is, an
exception denies."""

TOKEN_COOKIE = "statistics_token"  # noqa: S105 - its name, not its value # nosec B105
TOKEN_PARAMETER = "token"  # noqa: S105 # nosec B105
TOKEN_AGE = timedelta(days=30)
"""How long a browser that came with the token is let in without it."""
SHORTEST_TOKEN = 20
"""Characters; `secrets.token_urlsafe()` makes 43."""
TOKEN_HASH = re.compile(r"sha256:[0-9a-f]{64}")
PROXY_HEADER = re.compile(
    # in the environment's spelling; whatever names a client, a host or a scheme for others, and all that begins with X- but
    # for what scripts send from a browser
    r"HTTP_(?:X_(?!(?:REQUESTED_WITH|CSRF_?TOKEN|XSRF_?TOKEN|HTTP_METHOD_OVERRIDE|DO_NOT_TRACK|PURPOSE|MOZ)$).*|.*FORWARDED.*|VIA|"
    r".*(?:CLIENT|REAL|CONNECTING|REMOTE|ORIGINATING|ORIGINAL|SOURCE|SRC|PEER|PROXYUSER|USER)_?"
    r"(?:IP|ADDR|ADDRESS|HOST|PORT|PROTO|URL|URI)|"
    r"(?:CF|CDN|CLOUDFRONT|FLY|FASTLY|AKAMAI|INCAP|DO|EAGLEEYE|ALI|TENCENT|RNDR|REMOTE|TAILSCALE|NGROK|KONG|L5D|GEOIP|SSL|PROXY)_.*|"
    r"TRUE_CLIENT.*|PROXY|FRONT_END_HTTPS|CONNECT_TIME|TRACEPARENT|TRACESTATE|BAGGAGE|SENTRY_TRACE|.*TRACE_?ID)"
)
"""Headers that proxies, load balancers and content networks add: each says that somebody stands between us and the client."""
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"),
    )
)
"""Networks of a house, an office or of containers on one machine."""
FREE_FAILURES = 3
"""Wrong passwords from one network that are only counted; from then on each one doubles the wait for the next."""
LONGEST_WAIT_S = 60.0
MOST_NETWORKS = 1_000
"""Networks of which wrong passwords are remembered."""
PATIENCE_S = 1.0
"""How long a password waits for the check of another, if none was wrong of late."""
_READER = "_statistics_reader"


@dataclass(frozen=True, slots=True)
class Reader:
    """Who was let in."""

    guard: str
    """Name of the guard that did."""
    name: str | None
    """The user, or the token's label; None: the guard knows of none."""


class _Swap(Response):
    """Sets the cookie of somebody who showed the token: a guard's yes that takes one more request."""


class _Closed(Response):
    """The 403 of an app whose developer has not said who may see the dashboard."""

    because = ""
    """Why this request was not let in, for the log."""


# ---- ready to hand in ------------------------------------------------------------------------------------------------


def everybody() -> bool:
    """Lets in everybody who can reach the app: for numbers that are meant to be public."""
    return True


def login_required() -> Any:
    """Lets in whoever is logged in with Flask-Login; sends others to its login view, or answers 401.

    Clients that ask for JSON or CSV get 401 in any case. Being logged in is enough: combine it,
    ``all_of(login_required, lambda: current_user.is_admin)``, where anybody can register. Raises `RuntimeError`, which denies,
    if Flask-Login is not installed or has no `LoginManager` for the app.
    """
    try:
        from flask_login import current_user
    except ImportError:
        raise RuntimeError("login_required needs Flask-Login: pip install Flask-Login") from None
    manager = getattr(current_app, "login_manager", None)
    if manager is None:
        raise RuntimeError("login_required needs a LoginManager: LoginManager(app), with a user_loader.")
    if current_user.is_authenticated:
        return _let_in("login_required", str(current_user.get_id()))
    if asks_for_data():
        return _plain("Log in first.", 401)
    answer = manager.unauthorized()
    # a handler that forgot to return its answer must not open the door
    return False if answer is None or answer is True else answer


def basic_auth(user: str, password_hash: str) -> Guard:
    """Lets in whoever sends this name and password; asks others for them. Only over HTTPS are they safe on their way.

    `password_hash` is what `werkzeug.security.generate_password_hash` returned. One password is checked at a time, as a check
    is slow on purpose; whoever sends wrong ones has to wait (429). Raises `SettingError` if it is no hash.
    """
    if password_hash.count("$") != 2 or not password_hash.startswith(("scrypt:", "pbkdf2:")):
        raise SettingError(
            "basic_auth was given something that is no password hash. Make one with "
            "werkzeug.security.generate_password_hash, and keep it instead of the password."
        )
    return BasicAuth(user.encode(), password_hash)


class BasicAuth:
    """The guard that `basic_auth` makes."""

    def __init__(self, user: bytes, password_hash: str) -> None:
        self.failures = Failures()
        self._user = user
        self._hash = password_hash
        self._key, self._accepted = secrets.token_bytes(32), b""
        self._checking = Lock()

    def __call__(self) -> Any:
        sent = request.authorization
        if sent is None or sent.type != "basic":
            return self._challenge()
        name, password = (sent.username or "").encode(), sent.password or ""
        # what passed is known again by a fast hash, which is keyed and kept in memory alone: a page asks a dozen times
        digest = hashlib.blake2b(name + b":" + password.encode(), key=self._key).digest()
        if not hmac.compare_digest(digest, self._accepted):
            refused = self._check(name, password)
            if refused is not None:
                return refused
            self._accepted = digest
        return _let_in("basic_auth", name.decode())

    def _check(self, name: bytes, password: str) -> Response | None:
        """The answer to a name or a password that is wrong, or not looked at; None: both are right."""
        network = _network(request.remote_addr)
        wait = self.failures.wait_s(network, time.monotonic())
        patience = 0.0 if self.failures.any_of_late(time.monotonic()) else PATIENCE_S
        if wait > 0 or not self._checking.acquire(timeout=patience):
            return _plain("Too many attempts.", 429, {"Retry-After": str(int(max(wait, 0)) + 1)})
        try:
            # both are compared whatever the first says, so that time does not tell which one was wrong
            right = check_password_hash(self._hash, password) & hmac.compare_digest(name, self._user)
        finally:
            self._checking.release()
        if right:
            self.failures.forget(network)
            return None
        self._count(network)
        return self._challenge()

    def _count(self, network: str) -> None:
        if self.failures.add(network, time.monotonic()):
            current_app.logger.warning(
                "Flask-Statistics: %d wrong names or passwords for the dashboard since start, the last one from %s.",
                self.failures.total,
                normal(request.remote_addr) or "an unknown address",
            )

    @staticmethod
    def _challenge() -> Response:
        challenge = {"WWW-Authenticate": 'Basic realm="Statistics", charset="UTF-8"'}
        return _plain("Name and password are needed.", 401, challenge)


class Failures:
    """Wrong passwords in this process: how many, and how long each network has to wait. Instants are of a monotonic clock."""

    QUIET_S = 60.0
    """They are logged once in this time."""

    def __init__(self) -> None:
        self.total = 0
        self._networks: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Failures of each, and until when it has to wait."""
        self._last_at = self._said_at = -self.QUIET_S
        self._lock = Lock()

    def wait_s(self, network: str, now: float) -> float:
        """Seconds until that network may try again; 0 or less: now."""
        return self._networks.get(network, (0, now))[1] - now

    def any_of_late(self, now: float) -> bool:
        """Whether one was wrong in the last minute."""
        return now < self._last_at + self.QUIET_S

    def add(self, network: str, now: float) -> bool:
        """Count one; whether it is to be logged."""
        with self._lock:
            self.total += 1
            self._last_at = now
            count = self._networks.pop(network, (0, now))[0] + 1
            wait = min(2.0 ** min(count - FREE_FAILURES, 10), LONGEST_WAIT_S) if count >= FREE_FAILURES else 0.0
            self._networks[network] = count, now + wait
            if len(self._networks) > MOST_NETWORKS:
                self._networks.popitem(last=False)
            loud = now >= self._said_at + self.QUIET_S
            if loud:
                self._said_at = now
            return loud

    def forget(self, network: str) -> None:
        """It had the right one."""
        with self._lock:
            self._networks.pop(network, None)


def _network(address: str | None) -> str:
    """What one client is taken to have: an IPv4 address, or 64 bits of IPv6."""
    found = parsed(address)
    if found is None or found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))


def token_hash(secret: str) -> str:
    """What can be kept of a token instead of it. It is fast to compute: only for long random texts, as we ask for."""
    return f"sha256:{hashlib.sha256(secret.encode('utf-8', 'replace')).hexdigest()}"


@dataclass(slots=True)
class Token:
    """One token of the guard `token`."""

    label: str
    """Whose it is."""
    hash: str
    """`token_hash` of the secret, which is not kept."""
    signer: TimestampSigner | None = field(repr=False)
    """Signs its cookies; None: the app's secret key does, as the secret itself is not known."""
    used_at: datetime | None = None
    """When it let somebody in the last time, in this process; naive UTC."""

    @property
    def id(self) -> str:
        """What stands for it in a cookie."""
        return hashlib.sha256(self.hash.encode()).hexdigest()[:16]

    def sign(self) -> str:
        """The cookie of somebody who showed it."""
        return self._signer().sign(self.id).decode()

    def signed(self, cookie: str) -> bool:
        """Whether `cookie` is one of its own, and not too old."""
        try:
            self._signer().unsign(cookie, max_age=int(TOKEN_AGE.total_seconds()))
        except BadSignature:
            return False
        return True

    def _signer(self) -> TimestampSigner:
        if self.signer is not None:
            return self.signer
        key = current_app.secret_key
        if not key:
            raise RuntimeError("A token that is kept as a hash needs app.secret_key, which signs its cookies.")
        return _signer((key if isinstance(key, bytes) else key.encode()) + self.hash.encode())


def _signer(key: str | bytes) -> TimestampSigner:
    return TimestampSigner(key, salt="flask-statistics.token", digest_method=hashlib.sha256)


def token(secret: str | Mapping[str, str]) -> Guard:
    """Lets in whoever opens ``/statistics/?token=<secret>`` once, or sends ``Authorization: Bearer <secret>``.

    Several are a mapping of labels to secrets, or to what `token_hash` (or ``flask statistics token``) made of them:
    ``token({"Ada": "sha256:...", "monitor": "sha256:..."})``. Health shows each label with its last use. Whoever shall not see
    the dashboard any more is taken out of the mapping: the link and the cookies of that one end, the others go on.

    The link is answered with a signed cookie and the same URL without the token, so that it stays out of histories,
    referrers and shared links. The cookie is HttpOnly, SameSite=Lax, Secure over HTTPS, for the dashboard's path alone,
    and ends after 30 days, with the secret, or with "Log out". Raises `SettingError` for a secret that could be guessed.
    """
    named = dict(secret) if isinstance(secret, Mapping) else {"token": secret}
    if not named or not all(isinstance(label, str) and label.strip() for label in named):
        raise SettingError(
            f"token was given the labels {list(named)!r}, but needs one text that is not empty for each secret."
        )
    return TokenGuard([_token_of(label, each) for label, each in named.items()])


def _token_of(label: str, secret: Any) -> Token:
    if isinstance(secret, str) and TOKEN_HASH.fullmatch(secret):
        return Token(label, secret, None)
    if not isinstance(secret, str) or len(secret) < SHORTEST_TOKEN:
        raise SettingError(
            f"token was given a secret that is not a text of at least {SHORTEST_TOKEN} characters. "
            "secrets.token_urlsafe() makes a good one."
        )
    return Token(label, token_hash(secret), _signer(secret))


class TokenGuard:
    """The guard that `token` makes."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens

    def __call__(self) -> Any:
        sent = request.authorization
        if sent is not None and sent.type == "bearer":
            bearer = self._shown(sent.token or "")
            if bearer is not None:
                return self._used(bearer)
        shown = request.args.get(TOKEN_PARAMETER)
        by_link = None if shown is None else self._shown(shown)
        if by_link is not None:
            self._used(by_link)
            return _swap(by_link.sign())
        cookie = request.cookies.get(TOKEN_COOKIE, "")
        holder = next((each for each in self.tokens if each.id == cookie.partition(".")[0]), None)
        return holder is not None and holder.signed(cookie) and self._used(holder)

    def _shown(self, secret: str) -> Token | None:
        shown, found = token_hash(secret), None
        for each in self.tokens:  # all of them, so that time does not tell which one it resembles
            if hmac.compare_digest(shown, each.hash):
                found = each
        return found

    @staticmethod
    def _used(by: Token) -> bool:
        by.used_at = datetime.now(timezone.utc).replace(tzinfo=None)
        return _let_in("token", by.label)


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
        path=_cookie_path(),
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",  # with Strict, a link in a mail would be answered with a cookie that is not sent back
    )
    return response


def _cookie_path() -> str:
    return url_for("statistics.index").rstrip("/")  # without the slash it is sent to both spellings


def log_out(response: Response) -> None:
    """Have the browser forget the token's cookie."""
    response.delete_cookie(TOKEN_COOKIE, path=_cookie_path(), secure=request.is_secure, httponly=True, samesite="Lax")


def can_log_out() -> bool:
    """Whether the present reader has a cookie to end."""
    return TOKEN_COOKIE in request.cookies


def local_only() -> bool:
    """Lets in requests from this very machine, by a local name and by no proxy that says so.

    A proxy on the same machine that adds no header (`X-Forwarded-For` and its like), asks by a local name and in HTTP/1.1
    cannot be told from a local client; nginx as it comes asks in HTTP/1.0, which no browser does.
    """
    return _not_local() is None and _let_in("local_only", None)


def closed() -> Any:
    """The guard of an app that hands in none: `local_only`; in debug mode also whoever has a private address.

    The developer's browser is beside a container, and comes from its network. Others get a page that says how to open it.
    """
    because = _not_local(private=current_app.debug)
    if because is None:
        return _let_in("local_only", None)
    response = _closed_page()
    if asks_for_data():
        response = _Closed(rendering.data({"error": CLOSED}).data, 403, mimetype="application/json")
    response.because = because
    return response


CLOSED = "This is closed. If this is your app, hand in a guard: see 'Who may see it' in the documentation."


def _closed_page() -> _Closed:
    """The 403 as a page: its style is in it, and the policy allows just that, as nothing else is served to who gets it."""
    html = rendering.html("closed")
    style = "".join(re.findall("<style>(.*?)</style>", html, re.DOTALL))
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return _Closed(html, 403, {"Content-Security-Policy": policy}, mimetype="text/html")


def _not_local(*, private: bool = False) -> str | None:
    """Why the present request is not from this machine, or with `private` from a private network; None: it is."""
    environ = request.environ
    header = next((name for name in environ if name.startswith("HTTP_") and _is_of_a_proxy(name[:100])), None)
    if header is not None:
        return f"it has the header {header[5:].replace('_', '-').title()[:60]!r}, which proxies add"
    if environ.get("SERVER_PROTOCOL") in ("HTTP/1.0", "HTTP/0.9"):
        return "it was made in HTTP/1.0, as by a proxy"
    # a name of somebody else's that leads here would let a foreign page read ours ("DNS rebinding")
    name = request.host.rpartition(":")[0] if not request.host.endswith("]") and ":" in request.host else request.host
    name = name.strip("[]").lower()
    if name not in LOCAL_NAMES and not (private and (name.endswith(".localhost") or parsed(name) is not None)):
        return f"it asks for the host {name[:60]!r}"
    before = environ.get("werkzeug.proxy_fix.orig", {}).get("REMOTE_ADDR", request.remote_addr)
    for address in (request.remote_addr, before):
        found = parsed(address)
        if found is None:  # a Unix socket has none
            return "its address is not known"
        if not found.is_loopback and not (private and any(found in network for network in PRIVATE)):
            return f"it comes from {found}"
    return None


@lru_cache(maxsize=1_000)
def _is_of_a_proxy(header: str) -> bool:
    return PROXY_HEADER.fullmatch(header) is not None


def any_of(*guards: Guard) -> Guard:
    """Lets in whoever one of `guards` lets in, with True. If none does, the first answer that is more than a no is sent."""
    _check_guards("any_of", guards)

    def any_guard() -> Any:
        denial: Any = False
        before = g.get(_READER)
        for each in guards:
            setattr(g, _READER, before)  # not whom one let in that another one refused then
            answer = _ask(each)
            if answer is True or isinstance(answer, _Swap):
                return answer
            if denial is False and answer:
                denial = answer
        return _say(denial)

    any_guard.guards = guards  # type: ignore[attr-defined]
    return any_guard


def all_of(*guards: Guard) -> Guard:
    """Lets in whoever all of `guards` let in, with True; the first that does not answers."""
    _check_guards("all_of", guards)

    def all_guards() -> Any:
        for each in guards:
            answer = _ask(each)
            if answer is not True:
                return _say(answer or False)
        return True

    all_guards.guards = guards  # type: ignore[attr-defined]
    return all_guards


def parts(guard: Guard) -> Iterator[Guard]:
    """`guard`, and those that it combines."""
    yield guard
    for each in getattr(guard, "guards", ()):
        yield from parts(each)


def is_open(guard: Guard) -> bool:
    """Whether `guard` is known to let everybody in."""
    return any(each is everybody for each in parts(guard)) and name_of(guard) != "all_of"


def may_change(guard: Guard) -> bool:
    """Whether who is let in may mark and save: not where everybody is, who then could write on everybody's page."""
    return not is_open(guard)


def name_of(guard: Guard) -> str:
    """What `guard` is called in the trail and on Health."""
    if guard is closed:
        return "local_only"
    if isinstance(guard, (BasicAuth, TokenGuard)):
        return "basic_auth" if isinstance(guard, BasicAuth) else "token"
    name = str(getattr(guard, "__name__", type(guard).__name__))
    return {"any_guard": "any_of", "all_guards": "all_of"}.get(name, name)


def _check_guards(name: str, guards: tuple[Guard, ...]) -> None:
    if not guards or not all(map(callable, guards)):
        raise SettingError(f"{name} takes guards, each a function without arguments, but was given {guards!r}.")


def _ask(guard: Guard) -> Any:
    """The guard's answer; an HTTP exception, as `abort(401)` raises, is one. None, which Python returns by mistake, is a no."""
    try:
        answer = _answer(guard)
    except HTTPException as raised:
        return raised
    if answer is True and g.get(_READER) is None:
        _let_in(name_of(guard), None)
    return answer


def _answer(guard: Guard) -> Any:
    """What the guard says, also one that has to be waited for: of a coroutine function, or of an object that is called as one."""
    answer = guard()
    if not inspect.iscoroutine(answer):
        return answer

    async def wait() -> Any:
        return await answer

    try:
        return current_app.ensure_sync(wait)()
    finally:
        answer.close()  # without asgiref nobody waits for it


def _say(denial: Any) -> Any:
    if isinstance(denial, HTTPException):
        raise denial
    return denial


OURS = (everybody, login_required, local_only, closed)


def _is_ours(guard: Guard) -> bool:
    return guard in OURS or isinstance(guard, (BasicAuth, TokenGuard)) or hasattr(guard, "guards")


def _plain(text: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """A short answer in the form that the client asks for."""
    response: Response
    if asks_for_data():
        response = rendering.data({"error": text}, status)
    else:
        response = rendering.Answer(f"{text}\n", status, mimetype="text/plain")
    response.headers.update(headers or {})
    return response


def asks_for_data() -> bool:
    """Whether the present request wants JSON or CSV, and no page: it is no browser that could follow to a form."""
    if re.search(r"/(?:api|export)/", request.path) or request.headers.get("Authorization"):
        return True
    accepted = request.accept_mimetypes
    named = [quality for kind, quality in accepted if re.search(r"[/+](?:json|csv)$", kind.lower())]
    data = max(*named, *(accepted[kind] for kind in ("application/json", "text/csv")))
    return bool(accepted) and data > 0 and data > accepted["text/html"]


# ---- who was let in --------------------------------------------------------------------------------------------------


def _let_in(guard: str, name: str | None) -> bool:
    """A yes, with whom it is for; one who is known by name stays so."""
    known: Reader | None = g.get(_READER)
    if known is None or known.name is None:
        setattr(g, _READER, Reader(guard, name))
    return True


def reader() -> Reader:
    """Who was let in for the present request."""
    found: Reader = g.get(_READER) or Reader("before_f", None)
    return found if found.name is not None else Reader(found.guard, _user())


def _user() -> str | None:
    """The user that Flask-Login knows, if the app uses it."""
    if getattr(current_app, "login_manager", None) is None:
        return None
    from flask_login import current_user

    return str(current_user.get_id()) if current_user.is_authenticated else None


# ---- what a guard's answer does --------------------------------------------------------------------------------------


def refusal(guard: Guard, app: Flask, said: set[str]) -> Response | None:
    """The response that refuses the present request, or None to let it pass; aborts with 403 where there is no other.

    An HTTP exception that the guard raises, as `abort(401)` does, is its answer and passes through. `said` is what was logged
    of this app already, and is not to be said again.
    """
    g.pop(_READER, None)  # an outer request's, in one context
    try:
        answer = _answer(guard)
        if answer is True or (answer is None and not _is_ours(guard)):
            if g.get(_READER) is None:
                _let_in(name_of(guard), None)
            if answer is None and "none" not in said and _is_anonymous():
                said.add("none")
                _warn_of_none(app, guard)
            return None
        if isinstance(answer, _Closed) and "closed" not in said:
            said.add("closed")
            _warn_of_closed(app, answer)
        if not answer:
            abort(403)
        return app.make_response(answer)
    except HTTPException:
        raise
    except Exception:
        app.logger.exception("Flask-Statistics: before_f raised, so the request was refused.")
        abort(403)


def _is_anonymous() -> bool:
    """Whether nothing says who makes the present request."""
    known = request.authorization is not None or bool(set(request.cookies) - {"statistics_theme"})
    return not known and not session and _user() is None


def _warn_of_none(app: Flask, guard: Guard) -> None:
    app.logger.warning(
        "Flask-Statistics: the guard %r answered None to somebody who is not logged in, and None lets in, as in version 1. If "
        "it forgot to return its answer, everybody sees the dashboard: return True or False.",
        name_of(guard),
    )


def _warn_of_closed(app: Flask, answer: _Closed) -> None:
    app.logger.warning(
        "Flask-Statistics: the dashboard was asked for and is closed: without a guard it answers on this machine alone, and this "
        "request is not from there, as %s. Say who may see it: Statistics(app, db, Request, guard), with one of "
        "flask_statistics.guards, such as basic_auth(name, password_hash), or everybody to leave it open.",
        answer.because,
    )
