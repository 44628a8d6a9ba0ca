"""Made-up but plausible requests to a small web shop with a blog: for demos, load tests and benchmarks.

Pure: the same arguments give the same rows, from the standard library's `random` alone; nothing is read or written.
The rows come in order of their date, and memory does not grow with their number. Their shape:

- *Time:* a European day, quieter weekends, growth by half over the span; crawlers come day and night alike. Every 30
  days, last some days before the end, there is an incident: one hour in which the database answers late or never.
- *Paths:* Zipf's law within every route of the shop; each path has its median response time (log-normal around it, one
  request in a hundred far slower), mimetype and size. Scanners ask for some forty paths more, which do not exist.
- *Visitors:* some are loyal, most stay for a while and are followed by new ones. Each keeps its address and user agent:
  IPv4 in 10.0.0.0/8, a few IPv6 in 2001:db8::/32, bots in 198.18.0.0/15. None of these is anybody's.
- *User agents:* about 560, 15 % of the requests from bots; browser, platform and device are what `user_agents.parse`
  says of them.
- *Answers:* 200, 201, 204, 302, 304, 400, 401, 404, 429 and 500, the last with exception and traceback. `size` is
  `None` where the body is streamed and for 304; `referrer` is `None` for an eighth of people and nearly all bots.
- *What there is to find:* from release v42 on the search is slower, a category asks for each price by itself, and the forms
  of one of three tenants fail.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

from . import user_agents
from .channels import campaign_of, channel_of
from .issues.text import issue_of
from .traffic_waits import slowed, waited

Row = dict[str, Any]
_Item = TypeVar("_Item")

MAX_VISITORS: Final = 1 << 24
"""10.0.0.0/8 has no more addresses."""

_BOT_SHARE: Final = 0.15
_SCANNER_SHARE: Final = 0.12  # of the bots' requests
_LOYAL_SHARE: Final = 0.3  # of people's requests
_BOTS: Final = 600
_SLICE_ROWS: Final = 2048  # rows made at once: what memory holds
_TABLE: Final = 8192  # entries of the tables that replace a weighted draw a row

_HOUR: Final = timedelta(hours=1)
_INCIDENT_EVERY: Final = timedelta(days=30)
_INCIDENT_BEFORE_END: Final = timedelta(days=2.5)
_INCIDENT_ERRORS: Final = 0.35
_INCIDENT_SLOWDOWN: Final = 9.0

# fmt: off
_BY_HOUR: Final = (0.35, 0.24, 0.18, 0.16, 0.2, 0.34, 0.62, 0.95, 1.18, 1.3, 1.36, 1.38,
                   1.42, 1.33, 1.3, 1.28, 1.27, 1.3, 1.42, 1.6, 1.62, 1.4, 0.98, 0.62)
_BY_WEEKDAY: Final = (1.08, 1.1, 1.06, 1.04, 0.98, 0.82, 0.92)
# fmt: on


class _Hour(NamedTuple):
    """A stretch of the span, an hour or what the span's end leaves of one."""

    start: datetime
    length: timedelta
    requests: int
    bot_share: float
    load: float
    """Factor of the response times."""
    incident: bool


class _Page(NamedTuple):
    """A path of the shop."""

    path: str
    route: str | None
    """The rule of Flask's that matches it; `None` if none does."""
    kind: str
    """Key of `_OUTCOMES`."""
    mimetype: str
    median: float
    """Median response time in seconds."""
    size: int | None
    """Bytes of the smallest body; `None` if it is streamed."""
    varies: int
    """Bytes by which bodies differ."""
    queries: tuple[str | None, ...]
    error: "_Error"
    """What goes wrong here, if something does."""


class _Error(NamedTuple):
    exception: str
    issue: str
    traceback: str


class _Agent(NamedTuple):
    user_agent: str
    browser: str | None
    platform: str | None
    device: str
    bot: str | None


def generate(
    *,
    start: datetime,
    end: datetime,
    requests: int,
    seed: int,
    visitors: int | None = None,
    paths: int = 1400,
) -> Iterator[Row]:
    """`requests` rows from `start` (included) to `end` (excluded), oldest first, made as they are asked for.

    A row has all of the raw table's columns as keys but that of its number, and `tenant`, a column of the shop's own.
    `visitors` are the people at most; `None`: one for 20 requests, at most 500,000. The bots have 600 addresses more.
    `paths` are those that exist.

    :raises ValueError: the span is empty, or a number is out of its range.
    """
    visitors = max(1, min(500_000, requests // 20)) if visitors is None else visitors
    if start.tzinfo or end.tzinfo or start >= end:
        raise ValueError(f"start must be before end, both naive UTC: {start!r}, {end!r}")
    for name, value, least, most in (
        ("requests", requests, 0, None),
        ("visitors", visitors, 1, MAX_VISITORS),
        ("paths", paths, 1, None),
    ):
        if value < least or (most is not None and value > most):
            allowed = f"at least {least}" + (f" and at most {most}" if most else "")
            raise ValueError(f"{name} must be {allowed}, not {value!r}")
    return _rows(start, end, requests=requests, seed=seed, visitors=visitors, paths=paths)


def _rows(start: datetime, end: datetime, *, requests: int, seed: int, visitors: int, paths: int) -> Iterator[Row]:
    rng = Random(seed)  # noqa: S311 - made-up traffic needs no secrecy, but to be the same again # nosec B311
    shop = _Shop(rng, visitors=visitors, paths=paths)
    span = end - start
    for hour in _hours(start, end, requests=requests, rng=rng):
        slices = math.ceil(hour.requests / _SLICE_ROWS)
        for number in range(slices):
            first, last = hour.requests * number // slices, hour.requests * (number + 1) // slices
            since = hour.start + hour.length * number // slices
            until = hour.start + hour.length * (number + 1) // slices
            yield from shop.rows(hour, since, until, count=last - first, progress=(since - start) / span)


# --- Time ---


def _hours(start: datetime, end: datetime, *, requests: int, rng: Random) -> Iterator[_Hour]:
    """The span's hours with their requests, which add up to `requests` exactly."""
    starts = [start + _HOUR * number for number in range(math.ceil((end - start) / _HOUR))]
    span = end - start
    usual = [_BY_HOUR[at.hour] * _BY_WEEKDAY[at.weekday()] * rng.uniform(0.92, 1.08) for at in starts]
    people = [value * (1 + 0.5 * (at - start) / span) for at, value in zip(starts, usual, strict=True)]
    mean = sum(people) / len(people)
    lengths = [min(_HOUR, end - at) for at in starts]
    weights = [
        (_BOT_SHARE + (1 - _BOT_SHARE) * value / mean) * (length / _HOUR)
        for value, length in zip(people, lengths, strict=True)
    ]
    total, weight_before, requests_before = sum(weights), 0.0, 0
    incidents = _incidents(start, end)
    for at, length, value, weight in zip(starts, lengths, people, weights, strict=True):
        weight_before += weight
        requests_until = min(requests, round(requests * weight_before / total))
        yield _Hour(
            at,
            length,
            requests_until - requests_before,
            bot_share=_BOT_SHARE / (_BOT_SHARE + (1 - _BOT_SHARE) * value / mean),
            load=0.8 + 0.25 * value / mean,
            incident=any(at <= incident < at + length for incident in incidents),
        )
        requests_before = requests_until


def _incidents(start: datetime, end: datetime) -> list[datetime]:
    """Instants in the hours of an incident: early afternoons; the middle of a span too short to have one."""
    found = []
    at = (end - _INCIDENT_BEFORE_END).replace(hour=13, minute=0, second=0, microsecond=0)
    while at >= start:
        found.append(at)
        at -= _INCIDENT_EVERY
    return found or [start + (end - start) / 2]


# --- Requests ---


class _Shop:
    """Pages, visitors and their habits as tables to draw from."""

    def __init__(self, rng: Random, *, visitors: int, paths: int) -> None:
        self._random = rng.random
        self._choices = rng.choices
        pages = _pages(rng, paths)
        self._pages = [page for page, _ in pages]
        self._cumulative = list(accumulate(weight for _, weight in pages))
        self._people = _table(rng, _agents(_PEOPLE))
        self._bots = _table(rng, _agents(_BOT_AGENTS))
        self._factors = [
            math.exp(rng.gauss(0.0, 0.55)) * (rng.uniform(5, 14) if rng.random() < 0.01 else 1.0) for _ in range(_TABLE)
        ]
        places = Random(_SPREAD)  # noqa: S311 - as above; of its own, so that all else stays as it is # nosec B311
        self._places, self._hosts = _table(places, _PLACES), _table(places, _HOSTS)
        self._outcomes = {kind: _table(rng, outcomes) for kind, outcomes in _OUTCOMES.items()}
        views = [(page, weight) for page, weight in pages if page.kind == "view"]
        self._internal = [_ORIGIN + page.path for page in _table(rng, views)]
        self._external = _table(rng, _external_urls(rng))
        self._last = visitors - 1
        self._loyal = max(1, visitors // 50)
        self._window = max(1, visitors // 5)

    def rows(self, hour: _Hour, since: datetime, until: datetime, *, count: int, progress: float) -> Iterator[Row]:
        """`count` rows from `since` to `until`; `progress` is how much of the whole span is over, 0 to 1.

        One long loop of local names, because this is what takes the time when ten million rows are made.
        """
        random, outcomes, factors = self._random, self._outcomes, self._factors
        people, bots, internal, external = self._people, self._bots, self._internal, self._external
        table, spread, load, loyal, last = _TABLE, _SPREAD, hour.load, self._loyal, self._last
        bot_share, incident, window = hour.bot_share, hour.incident, self._window
        places, hosts = self._places, self._hosts
        release = _RELEASES[min(int(progress * len(_RELEASES)), len(_RELEASES) - 1)]
        newest = window + (last + 1 - window) * progress
        microseconds = (until - since) // timedelta(microseconds=1)
        offsets = sorted([int(random() * microseconds) for _ in range(count)])
        pages = self._choices(self._pages, cum_weights=self._cumulative, k=count)
        for offset, page in zip(offsets, pages, strict=True):
            path, route, kind, mimetype, seconds, size, varies, queries, error = page
            method, status_code = outcomes[kind][int(random() * table)]
            referrer = user = language = tenant = None
            chance = random()
            if chance < bot_share:
                number = int(_BOTS * random() ** 2)
                remote_address = _bot_address(number)
                if chance < bot_share * _SCANNER_SHARE:
                    path, route, kind, mimetype, seconds, size, varies, queries, error = _SCANNED
                    path = _SCANNED_PATHS[int(random() * len(_SCANNED_PATHS))]
                    method, status_code = "GET", 404
                elif method == "POST":
                    method, status_code = "GET", 200
                elif chance > bot_share * 0.97:
                    referrer = _ORIGIN + "/"
                user_agent, browser, platform, device, bot = bots[number * spread % table]
                country: str | None = "US" if number % 3 else "DE"
            else:
                draw = random()
                if draw < _LOYAL_SHARE:
                    number = int(loyal * (draw / _LOYAL_SHARE) ** 2)
                else:
                    number = min(int(newest - window * random() ** 2), last)
                remote_address = _address(number)
                draw = random()
                if draw < 0.58 or kind == "asset":
                    referrer = internal[int(random() * table)]
                elif draw < 0.8:
                    referrer = external[int(random() * table)]
                user_agent, browser, platform, device, bot = people[number * spread % table]
                country, language = places[number * spread // table % table]
                if number % 8 == 0:  # who has an account
                    user = f"user-{number}"
                tenant = _TENANTS[number % len(_TENANTS)]
                if tenant == _FAILING_TENANT and kind == "form" and draw < _FAILS:
                    status_code = 500
            seconds *= factors[int(random() * table)] * load * slowed(route, release)
            if incident:
                seconds *= _INCIDENT_SLOWDOWN
                if random() < _INCIDENT_ERRORS and kind != "asset":
                    status_code, error = 500, _INCIDENT_ERROR
            if status_code in _BODIES:
                size, other_mimetype, speed = _BODIES[status_code]
                mimetype = other_mimetype or mimetype
                seconds *= speed
            elif varies and size is not None:
                size += int(random() * varies)
            if release == _RELEASES[-1] and kind == "form":
                error = _NEW_ERROR
            exception, issue, traceback = error if status_code == 500 else (None, None, None)
            query = queries[int(random() * len(queries))] if queries else None
            if referrer is None and user_agent and bot is None and number % _MAILED == 0:
                query = _MAILINGS[number // _MAILED % len(_MAILINGS)]
            host = hosts[number * spread % table]
            yield {
                "date": since + timedelta(0, 0, offset),
                "response_time": seconds,
                "method": method,
                "size": size,
                "status_code": status_code,
                "path": path,
                "user_agent": user_agent,
                "remote_address": remote_address,
                "exception": exception,
                "issue": issue,
                "referrer": referrer,
                "browser": browser,
                "platform": platform,
                "mimetype": mimetype,
                "route": route,
                "device": device,
                "bot": bot,
                "query_string": query,
                "traceback": traceback,
                "country": country,
                "host": host,
                "language": language,
                "release": release,
                "user": user,
                "tenant": tenant,
                "channel": channel_of(referrer, host, query),
                "campaign": campaign_of(query),
                **waited(route, seconds, exception),
            }


def _address(number: int) -> str:
    """A visitor's address; different numbers below 2**24 have different ones."""
    spread = number * _SPREAD + 0xB0357 & 0xFFFFFF
    if number % 25 == 24:
        return f"2001:db8:{spread >> 16:x}:{spread & 0xFFFF:x}::1"
    return f"10.{spread >> 16}.{spread >> 8 & 255}.{spread & 255}"


def _bot_address(number: int) -> str:
    spread = number * _SPREAD + 0xB0357 & 0x1FFFF
    return f"198.{18 + (spread >> 16)}.{spread >> 8 & 255}.{spread & 255}"


def _table(rng: Random, weighted: Sequence[tuple[_Item, float]]) -> list[_Item]:
    """`_TABLE` entries in which each item stands as often as its weight says, every item at least once if they fit."""
    items = [item for item, _ in weighted]
    drawn = rng.choices(items, [weight for _, weight in weighted], k=_TABLE)
    places = rng.sample(range(_TABLE), min(len(items), _TABLE))
    for place, item in zip(places, items, strict=False):
        drawn[place] = item
    return drawn


# --- What there is to ask for ---

_SPREAD: Final = 10368889  # odd, so that multiplying by it is a permutation of the numbers below a power of two
_ORIGIN: Final = "https://shop.example"

_RELEASES: Final = ("v40", "v41", "v42", "v43")
_TENANTS: Final = ("north", "south", "west")
_FAILING_TENANT: Final = "north"
_FAILS: Final = 0.02
"""How often its forms fail, beside the others'."""
_HOSTS: Final = [("shop.example", 0.94), ("www.shop.example", 0.06)]
_PLACES: Final[list[tuple[tuple[str | None, str | None], float]]] = [
    (("DE", "de-DE"), 0.34),
    (("DE", "en-US"), 0.07),
    (("DE", "tr"), 0.02),
    (("AT", "de-AT"), 0.09),
    (("CH", "de-CH"), 0.06),
    (("CH", "fr-CH"), 0.02),
    (("FR", "fr-FR"), 0.08),
    (("NL", "nl"), 0.06),
    (("US", "en-US"), 0.1),
    (("GB", "en-GB"), 0.06),
    (("PL", "pl"), 0.04),
    (("ES", "es-ES"), 0.03),
    (("BR", "pt-BR"), 0.02),
    ((None, "en-US"), 0.01),
]
"""Countries and languages of people."""

_OUTCOMES: Final[dict[str, list[tuple[tuple[str, int], float]]]] = {
    "view": [
        (("GET", 200), 0.958),
        (("HEAD", 200), 0.01),
        (("GET", 304), 0.012),
        (("GET", 302), 0.008),
        (("GET", 404), 0.006),
        (("OPTIONS", 200), 0.003),
        (("GET", 500), 0.003),
    ],
    "asset": [(("GET", 200), 0.62), (("GET", 304), 0.373), (("HEAD", 200), 0.003), (("GET", 404), 0.004)],
    "form": [
        (("GET", 200), 0.6),
        (("POST", 302), 0.28),
        (("POST", 200), 0.08),
        (("POST", 400), 0.025),
        (("POST", 500), 0.015),
    ],
    "api": [
        (("GET", 200), 0.885),
        (("POST", 201), 0.05),
        (("OPTIONS", 204), 0.03),
        (("GET", 404), 0.012),
        (("GET", 401), 0.01),
        (("POST", 429), 0.005),
        (("GET", 500), 0.008),
    ],
    "feed": [(("GET", 200), 0.45), (("GET", 304), 0.53), (("HEAD", 200), 0.02)],
    "stream": [(("GET", 200), 0.98), (("GET", 500), 0.02)],
}
"""What comes of a request, by kind of page: method and status, and how often."""

_BODIES: Final[dict[int, tuple[int | None, str | None, float]]] = {
    204: (0, None, 0.1),
    302: (217, "text/html", 0.8),
    304: (None, None, 0.35),
    400: (1_042, "text/html", 0.3),
    401: (58, None, 0.1),
    404: (1_213, "text/html", 0.4),
    429: (64, None, 0.05),
    500: (265, "text/html", 1.6),
}
"""Answers without the page's own body: its size, its mimetype (`None`: the page's), factor of the response time."""


def _error(module: str, line: int, function: str, code: str, exception: str, message: str) -> _Error:
    return _Error(
        exception,
        str(issue_of(exception, f"shop/{module}.py in {function}")),
        "Traceback (most recent call last):\n"
        '  File "/srv/shop/venv/lib/python3.12/site-packages/flask/app.py", line 902, in dispatch_request\n'
        "    return self.ensure_sync(self.view_functions[rule.endpoint])(**view_args)\n"
        f'  File "/srv/shop/shop/{module}.py", line {line}, in {function}\n'
        f"    {code}\n"
        f"{message}\n",
    )


_ERRORS: Final = (
    _error("cart", 87, "cart", 'items = session["cart"]', "KeyError('cart')", "KeyError: 'cart'"),
    _error(
        *("catalogue", 142, "product", "price = offer.price * rate"),
        "TypeError(\"unsupported operand type(s) for *: 'NoneType' and 'float'\")",
        "TypeError: unsupported operand type(s) for *: 'NoneType' and 'float'",
    ),
    _error(
        *("payment", 61, "charge", "reply = gateway.charge(order)"),
        "TimeoutError('payment gateway did not answer within 10 s')",
        "TimeoutError: payment gateway did not answer within 10 s",
    ),
    _error(
        *("account", 33, "account", "name = user.address.name"),
        "AttributeError(\"'NoneType' object has no attribute 'name'\")",
        "AttributeError: 'NoneType' object has no attribute 'name'",
    ),
    _error(
        *("search", 24, "search", 'page = int(request.args["page"])'),
        "ValueError(\"invalid literal for int() with base 10: '1 AND 1=1'\")",
        "ValueError: invalid literal for int() with base 10: '1 AND 1=1'",
    ),
)
_NEW_ERROR: Final = _error(
    *("forms", 52, "address", 'country = form["country"].upper()'),
    "AttributeError(\"'list' object has no attribute 'upper'\")",
    "AttributeError: 'list' object has no attribute 'upper'",
)
_INCIDENT_ERROR: Final = _error(
    *("database", 19, "connect", "return pool.connect(timeout=30)"),
    "OperationalError('connection to server at \"db.internal\" failed: timeout expired')",
    'sqlalchemy.exc.OperationalError: connection to server at "db.internal" failed: timeout expired',
)

_SEARCHES: Final = tuple(
    f"q={words}" + (f"&page={page}" if page > 1 else "")
    for words in (
        "mug",
        "blue+mug",
        "tea",
        "teapot",
        "gift",
        "green+tea",
        "bowl",
        "linen",
        "candle",
        "caf%C3%A9",
        "sale",
    )
    for page in (1, 1, 2, 3)
)
_PAGED: Final = (*[None] * 12, "page=2", "page=2", "page=3", "sort=price", "sort=new", "utm_source=newsletter")

_HTML, _JSON, _XML, _CSV = "text/html", "application/json", "application/xml", "text/csv"

# path, kind, mimetype, median seconds, size, bytes by which it varies, weight, queries
_SINGLE_PAGES: Final[tuple[tuple[str, str, str, float, int | None, int, float, tuple[str | None, ...]], ...]] = (
    ("/", "view", _HTML, 0.031, 24_100, 900, 9.0, _PAGED),
    ("/search", "view", _HTML, 0.118, 18_300, 9_000, 3.2, _SEARCHES),
    ("/cart", "view", _HTML, 0.042, 9_400, 3_000, 2.2, ()),
    ("/cart/add", "form", _HTML, 0.038, 9_400, 2_000, 2.0, ()),
    ("/checkout", "form", _HTML, 0.096, 14_800, 1_200, 0.9, ()),
    ("/checkout/payment", "form", _HTML, 0.64, 7_900, 600, 0.5, ()),
    ("/login", "form", _HTML, 0.21, 5_200, 40, 1.1, ()),
    ("/account", "view", _HTML, 0.047, 11_600, 2_500, 0.8, ()),
    ("/account/orders", "view", _HTML, 0.083, 13_900, 8_000, 0.6, _PAGED),
    ("/account/orders.csv", "stream", _CSV, 0.27, None, 0, 0.06, ()),
    ("/events", "stream", "text/event-stream", 0.012, None, 0, 0.9, ()),
    ("/blog/", "view", _HTML, 0.026, 17_700, 400, 1.0, _PAGED),
    ("/feed.xml", "feed", _XML, 0.018, 48_200, 900, 1.3, ()),
    ("/sitemap.xml", "feed", _XML, 0.15, 210_400, 0, 0.12, ()),
    ("/robots.txt", "asset", "text/plain", 0.0011, 148, 0, 0.9, ()),
    ("/favicon.ico", "asset", "image/vnd.microsoft.icon", 0.0009, 15_086, 0, 1.2, ()),
    ("/healthz", "api", _JSON, 0.0013, 15, 0, 1.4, ()),
    ("/api/cart", "api", _JSON, 0.014, 380, 900, 2.4, ()),
    ("/about", "view", _HTML, 0.009, 8_100, 0, 0.25, ()),
    ("/contact", "form", _HTML, 0.011, 6_600, 0, 0.2, ()),
    ("/shipping", "view", _HTML, 0.009, 7_300, 0, 0.3, ()),
    ("/imprint", "view", _HTML, 0.008, 5_900, 0, 0.1, ()),
)

# route, kind, mimetype, median seconds, size, bytes by which it varies, weight of all its paths, paths among 100
_FAMILIES: Final = (
    ("/product/<int:id>", "view", _HTML, 0.052, 21_500, 6_000, 19.0, 40),
    ("/media/<int:id>.webp", "asset", "image/webp", 0.0022, 38_000, 0, 17.0, 18),
    ("/static/<path:filename>", "asset", "text/javascript", 0.0012, 21_000, 0, 15.0, 5),
    ("/category/<slug>", "view", _HTML, 0.074, 28_900, 4_000, 7.0, 4),
    ("/blog/<int:year>/<slug>", "view", _HTML, 0.022, 16_200, 3_000, 6.0, 13),
    ("/api/products/<int:id>", "api", _JSON, 0.017, 1_150, 700, 5.0, 10),
    ("/product/<int:id>/reviews", "view", _HTML, 0.089, 12_700, 9_000, 2.4, 6),
    ("/user/<name>", "view", _HTML, 0.036, 8_800, 1_500, 0.8, 4),
)

# fmt: off
_SCANNED_PATHS: Final = (
    "/.env", "/.git/config", "/.aws/credentials", "/.DS_Store", "/.vscode/sftp.json", "/actuator/env", "/admin.php",
    "/administrator/", "/api/v1/pods", "/backup.sql", "/backup.zip", "/boaform/admin/formLogin", "/cgi-bin/luci",
    "/config.json", "/config.php", "/console/", "/db.sql", "/debug/default/view", "/dump.sql", "/ecp/",
    "/HNAP1", "/info.php", "/manager/html", "/owa/auth/logon.aspx", "/phpinfo.php", "/phpmyadmin/", "/remote/login",
    "/server-status", "/setup.php", "/solr/admin/info/system", "/telescope/requests", "/test.php",
    "/wordpress/wp-login.php", "/wp-admin/install.php", "/wp-content/plugins/", "/wp-login.php", "/xmlrpc.php",
)
_WORDS: Final = (
    ("blue", "green", "little", "big", "quiet", "warm", "winter", "summer", "old", "new", "round", "honest", "bright"),
    ("mug", "teapot", "bowl", "candle", "linen", "kitchen", "garden", "table", "lamp", "basket", "clay", "glaze",
     "kiln", "shelf", "tray", "spoon", "plate"),
)
_NAMES: Final = ("ada", "ben", "cleo", "dan", "eva", "finn", "gia", "hugo", "ida", "jan", "kim", "leo", "mia", "noa")
_STATIC: Final = (("js/{}.js", "text/javascript"), ("css/{}.css", "text/css"), ("img/{}.svg", "image/svg+xml"),
                  ("fonts/{}.woff2", "font/woff2"))
# fmt: on

_MAILED: Final = 7
"""Of so many visitors who came without a referrer, one has read a mailing."""
_MAILINGS: Final = tuple(
    f"utm_source=newsletter&utm_medium=email&utm_campaign={name}" for name in ("spring-sale", "new-mugs", "we-miss-you")
)
_SCANNED: Final = _Page("", None, "scan", _HTML, 0.003, 1_213, 0, (), _ERRORS[0])


def _pages(rng: Random, count: int) -> list[tuple[_Page, float]]:
    """The first `count` paths of the shop with their weights; 22 single pages, then those with a number or name."""
    pages = [
        (_Page(path, path, kind, mimetype, median, size, varies, queries, rng.choice(_ERRORS)), weight)
        for path, kind, mimetype, median, size, varies, weight, queries in _SINGLE_PAGES
    ][:count]
    rest = count - len(pages)
    per_hundred = sum(family[-1] for family in _FAMILIES)
    taken = before = 0
    for route, kind, mimetype, median, size, varies, weight, share in _FAMILIES:
        before += share
        members = rest * before // per_hundred - taken
        taken += members
        zipf = [1 / rank**0.95 for rank in range(1, members + 1)]
        for rank in range(members):
            path, own_mimetype = _member(route, rank)
            page = _Page(
                path,
                route,
                kind,
                own_mimetype or mimetype,
                median * rng.lognormvariate(0.0, 0.35),
                int(size * rng.uniform(0.5, 1.6)),
                varies,
                _PAGED if route == "/category/<slug>" else (),
                rng.choice(_ERRORS),
            )
            pages.append((page, weight * zipf[rank] / sum(zipf)))
    return pages


def _member(route: str, rank: int) -> tuple[str, str | None]:
    """The path number `rank` of a route, and its mimetype if the route's pages differ in it."""
    first, second = _WORDS
    slug = f"{first[rank % len(first)]}-{second[rank % len(second)]}"  # 13 and 17 have no common divisor
    if rank >= len(first) * len(second):
        slug += f"-{rank // (len(first) * len(second)) + 1}"
    if route == "/static/<path:filename>":
        name, mimetype = _STATIC[rank % len(_STATIC)]
        return "/static/" + name.format(slug), mimetype
    name = _NAMES[rank % len(_NAMES)] + (str(rank) if rank >= len(_NAMES) else "")
    path = route.replace("<int:id>", str(1000 + rank * 7)).replace("<int:year>", str(2019 + rank % 7))
    return path.replace("<slug>", slug).replace("<name>", name), None


def _external_urls(rng: Random) -> list[tuple[str, float]]:
    """URLs elsewhere that lead to the shop: search engines, social networks, and a long tail of 150 hosts in all."""
    known = [
        ("https://www.google.com/", 40.0),
        ("https://www.bing.com/", 6.0),
        ("https://duckduckgo.com/", 5.0),
        ("https://www.ecosia.org/", 2.0),
        ("https://search.example/search?q=handmade+mug", 4.0),
        ("https://search.example/search?q=teapot", 2.0),
        ("https://t.co/Xa81kQz", 3.0),
        ("https://www.reddit.com/", 4.0),
        ("https://l.instagram.com/", 4.0),
        ("https://chatgpt.com/", 3.0),
        ("https://news.example/2024/gifts", 5.0),
        ("android-app://com.google.android.gm/", 1.0),
    ]
    kinds = ("blog", "forum", "news", "links", "shop", "magazine")
    hosts = [f"{kinds[number % len(kinds)]}{number}.example" for number in range(140)]
    tail = [
        (f"https://{host}/{rng.choice(_WORDS[0])}-{rng.choice(_WORDS[1])}{suffix}", 16.0 / (number + 4))
        for number, host in enumerate(hosts)
        for suffix in ("", "?page=2", "#comments", "/thread/17")[: 1 + number % 4]
    ]
    return known + tail


# --- User agents ---


def _agents(templates: Sequence[tuple[str, Sequence[object], float]]) -> list[tuple[_Agent, float]]:
    """The strings of all versions with what the parser says of them; later versions are far more common."""
    agents = []
    for template, versions, share in templates:
        weights = [0.8 ** (len(versions) - number) for number in range(len(versions))]
        for version, weight in zip(versions, weights, strict=True):
            text = template.format(version)
            parsed = user_agents.parse(text)
            agent = _Agent(text, parsed.browser, parsed.platform, parsed.device, parsed.bot)
            agents.append((agent, share * weight / sum(weights)))
    return agents


_KIT: Final = "AppleWebKit/537.36 (KHTML, like Gecko)"
_SAFARI_KIT: Final = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_WINDOWS: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64"
_MAC: Final = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10"
_IPHONE: Final = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) " + _SAFARI_KIT
_IPAD: Final = "Mozilla/5.0 (iPad; CPU OS 17_6 like Mac OS X) " + _SAFARI_KIT
_CHROMES: Final = range(110, 134)
_FIREFOXES: Final = range(110, 135)
_SAFARIS: Final = [f"{major}.{minor}" for major in (15, 16, 17, 18) for minor in range(1, 7)][:22]

_PEOPLE: Final[tuple[tuple[str, Sequence[object], float], ...]] = (
    (f"{_WINDOWS}) {_KIT} Chrome/{{}}.0.0.0 Safari/537.36", _CHROMES, 22),
    (f"{_MAC}_15_7) {_KIT} Chrome/{{}}.0.0.0 Safari/537.36", _CHROMES, 7),
    (f"Mozilla/5.0 (X11; Linux x86_64) {_KIT} Chrome/{{}}.0.0.0 Safari/537.36", _CHROMES, 2.5),
    (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {_KIT} Chrome/{{}}.0.0.0 Safari/537.36", _CHROMES, 0.8),
    (f"{_WINDOWS}) {_KIT} Chrome/{{0}}.0.0.0 Safari/537.36 Edg/{{0}}.0.0.0", _CHROMES, 7),
    (f"{_MAC}_15_7) {_KIT} Chrome/{{0}}.0.0.0 Safari/537.36 Edg/{{0}}.0.0.0", _CHROMES, 0.5),
    (f"{_WINDOWS}) {_KIT} Chrome/124.0.0.0 Safari/537.36 OPR/{{}}.0.0.0", range(96, 117), 1.4),
    (f"{_WINDOWS}; rv:{{0}}.0) Gecko/20100101 Firefox/{{0}}.0", _FIREFOXES, 5),
    (f"{_MAC}.15; rv:{{0}}.0) Gecko/20100101 Firefox/{{0}}.0", _FIREFOXES, 1.3),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0", _FIREFOXES, 1.2),
    ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0", _FIREFOXES, 0.9),
    (f"{_MAC}_15_7) {_SAFARI_KIT} Version/{{}} Safari/605.1.15", _SAFARIS, 6),
    (f"{_IPHONE} Version/{{}} Mobile/15E148 Safari/604.1", _SAFARIS, 17),
    (f"{_IPAD} Version/{{}} Mobile/15E148 Safari/604.1", _SAFARIS, 2.5),
    (f"{_IPHONE} CriOS/{{}}.0.6778.73 Mobile/15E148 Safari/604.1", _CHROMES, 2.5),
    (f"Mozilla/5.0 (Linux; Android 10; K) {_KIT} Chrome/{{}}.0.0.0 Mobile Safari/537.36", _CHROMES, 15),
    (f"Mozilla/5.0 (Linux; Android 10; K) {_KIT} Chrome/{{}}.0.0.0 Safari/537.36", _CHROMES, 1.4),
    (
        f"Mozilla/5.0 (Linux; Android 14; SM-S928B) {_KIT} SamsungBrowser/{{}}.0 Chrome/122.0.0.0 Mobile Safari/537.36",
        *(range(18, 28), 3),
    ),
    ("Mozilla/5.0 (Android 14; Mobile; rv:{0}.0) Gecko/{0}.0 Firefox/{0}.0", range(120, 135), 0.8),
    (
        f"Mozilla/5.0 (Linux; Android 13; SM-A536B; wv) {_KIT} Version/4.0 Chrome/131.0.6778.39 Mobile Safari/537.36 "
        "[FB_IAB/FB4A;FBAV/{}.0.0.66.82;]",
        *(range(478, 490), 1.2),
    ),
    (f"{_IPHONE} Mobile/21G93 Instagram {{}}.0.0.33.81 (iPhone14,5; iOS 17_6_1; de_DE)", range(344, 356), 1.2),
    ("Mozilla/5.0 (Windows NT {}; WOW64; Trident/7.0; rv:11.0) like Gecko", ("6.1", "6.3", "10.0"), 0.2),
    ("", ("",), 0.2),
)
"""Template, versions, share in percent."""

_GOOGLE: Final = "+http://www.google.com/bot.html"
_BOT_AGENTS: Final[tuple[tuple[str, Sequence[object], float], ...]] = (
    (f"Mozilla/5.0 (compatible; Googlebot/{{}}; {_GOOGLE})", ("2.1",), 16),
    (
        f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) {_KIT} Chrome/{{}}.0.6778.69 Mobile Safari/537.36 "
        f"(compatible; Googlebot/2.1; {_GOOGLE})",
        *(_CHROMES[-12:], 8),
    ),
    ("Mozilla/5.0 (compatible; bingbot/{}; +http://www.bing.com/bingbot.htm)", ("2.0",), 9),
    ("Mozilla/5.0 (compatible; YandexBot/{}; +http://yandex.com/bots)", ("3.0",), 4),
    ("Mozilla/5.0 (compatible; AhrefsBot/{}; +http://ahrefs.com/robot/)", ("6.1", "7.0"), 7),
    ("Mozilla/5.0 (compatible; SemrushBot/{}; +http://www.semrush.com/bot.html)", ("6~bl", "7~bl"), 6),
    ("Mozilla/5.0 (compatible; MJ12bot/v{}; http://mj12bot.com/)", ("1.4.8", "2.0.2"), 3),
    ("Mozilla/5.0 (compatible; DotBot/{}; +https://opensiteexplorer.org/dotbot)", ("1.2",), 2),
    (f"Mozilla/5.0 {_KIT}; compatible; GPTBot/{{}}; +https://openai.com/gptbot", ("1.0", "1.1", "1.2"), 8),
    (f"Mozilla/5.0 {_KIT}; compatible; ClaudeBot/{{}}; +claudebot@anthropic.com", ("1.0",), 5),
    ("Mozilla/5.0 (compatible; PetalBot;+https://webmaster.petalsearch.com/site/petalbot)", ("",), 3),
    ("DuckDuckBot/{}; (+http://duckduckgo.com/duckduckbot.html)", ("1.0", "1.1"), 2),
    ("facebookexternalhit/{} (+http://www.facebook.com/externalhit_uatext.php)", ("1.1",), 3),
    ("Twitterbot/{}", ("1.0",), 1),
    ("Slackbot-LinkExpanding {} (+https://api.slack.com/robots)", ("1.0",), 1),
    ("Mozilla/5.0 (compatible; UptimeRobot/{}; http://www.uptimerobot.com/)", ("2.0",), 5),
    (f"Mozilla/5.0 (X11; Linux x86_64) {_KIT} HeadlessChrome/{{}}.0.0.0 Safari/537.36", _CHROMES[-15:], 3),
    ("Feedly/{} (+http://www.feedly.com/fetcher.html; like FeedFetcher-Google)", ("1.0",), 2),
    ("FreshRSS/{} (Linux; https://freshrss.org)", [f"1.{minor}.0" for minor in range(20, 26)], 1),
    ("curl/{}", [f"8.{minor}.0" for minor in range(12)], 3),
    ("Wget/{}", [f"1.{minor}" for minor in range(19, 25)], 1),
    ("python-requests/{}", [f"2.{minor}.0" for minor in range(22, 33)], 5),
    ("Go-http-client/{}", ("1.1", "2.0"), 4),
    ("okhttp/{}", [f"4.{minor}.0" for minor in range(4, 13)], 2),
    ("Java/{}", ("1.8.0_392", "11.0.21", "17.0.9", "21.0.1"), 1),
    ("axios/{}", [f"1.{minor}.0" for minor in range(8)], 1),
)
