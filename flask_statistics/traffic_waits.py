"""What made-up requests of the shop waited for: the statements and calls of each route, what they took, and what was logged.

Pure. One route sends a statement in a loop; what slow requests wait for is in their story.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

from .timing.story import LEAST_US, MANY, Call, Line, Statement, Story, dump

STORY_FROM_S: Final = 0.25
"""Response times from which on a request has a story, beside those that failed: it takes a while to write."""


class _Sent(NamedTuple):
    """A statement that a route sends."""

    text: str
    place: str
    times: int
    share: float
    """Of the response time, all times together."""


class _Called(NamedTuple):
    """A call that a route makes."""

    method: str
    host: str
    share: float


_PRODUCTS: Final = "SELECT product.id, product.name, product.price FROM product"
_SENT: Final[dict[str, tuple[_Sent, ...]]] = {
    "/": (
        _Sent(f"{_PRODUCTS} ORDER BY product.sold DESC LIMIT ?", "shop/catalogue.py:31", 1, 0.31),
        _Sent("SELECT banner.text FROM banner WHERE banner.until > ?", "shop/pages.py:12", 1, 0.08),
    ),
    "/search": (
        _Sent(f"{_PRODUCTS} WHERE product.name LIKE ? ORDER BY rank LIMIT ?", "shop/search.py:41", 1, 0.48),
        _Sent("INSERT INTO search (words, found) VALUES (?, ?)", "shop/search.py:58", 1, 0.04),
    ),
    "/category/<slug>": (
        _Sent(f"{_PRODUCTS} WHERE product.category_id = ?", "shop/catalogue.py:77", 1, 0.12),
        _Sent("SELECT offer.price FROM offer WHERE offer.product_id = ?", "shop/catalogue.py:88", 24, 0.51),
    ),
    "/product/<int:id>": (
        _Sent(
            "SELECT product.id, product.name, product.text FROM product WHERE product.id = ?",
            "shop/catalogue.py:132",
            1,
            0.14,
        ),
        _Sent("SELECT offer.price FROM offer WHERE offer.product_id = ?", "shop/catalogue.py:139", 1, 0.06),
    ),
    "/product/<int:id>/reviews": (
        _Sent(
            "SELECT review.text, review.stars FROM review WHERE review.product_id = ?", "shop/reviews.py:19", 1, 0.55
        ),
    ),
    "/api/products/<int:id>": (
        _Sent(
            "SELECT product.id, product.name, product.text FROM product WHERE product.id = ?", "shop/api.py:22", 1, 0.3
        ),
    ),
    "/api/cart": (
        _Sent("SELECT item.product_id, item.count FROM item WHERE item.cart_id = ?", "shop/cart.py:28", 1, 0.4),
    ),
    "/cart": (
        _Sent("SELECT item.product_id, item.count FROM item WHERE item.cart_id = ?", "shop/cart.py:28", 1, 0.35),
    ),
    "/cart/add": (_Sent("INSERT INTO item (cart_id, product_id, count) VALUES (?, ?, ?)", "shop/cart.py:64", 1, 0.3),),
    "/checkout/payment": (_Sent("UPDATE cart SET state = ? WHERE cart.id = ?", "shop/payment.py:70", 1, 0.06),),
    "/account/orders": (
        _Sent("SELECT orders.id, orders.total FROM orders WHERE orders.user_id = ?", "shop/account.py:51", 1, 0.45),
    ),
    "/login": (
        _Sent("SELECT account.id, account.hash FROM account WHERE account.email = ?", "shop/login.py:17", 1, 0.05),
    ),
}
_CALLED: Final[dict[str, _Called]] = {
    "/search": _Called("POST", "suggest.example", 0.11),
    "/checkout/payment": _Called("POST", "payments.example", 0.71),
    "/checkout": _Called("GET", "shipping.example", 0.38),
}
_OLD_INDEX: Final = Line("WARNING", "shop.search", "the index is 40 min old, asking the database")
SLOWER_ROUTE: Final = "/search"
SLOWER_SINCE: Final = "v42"
"""The release from which on that route is slower."""
SLOWER_BY: Final = 2.3


def slowed(route: str | None, release: str) -> float:
    """By how much a request is slower for its release."""
    return SLOWER_BY if route == SLOWER_ROUTE and release >= SLOWER_SINCE else 1.0


def waited(route: str | None, seconds: float, error: str | None) -> dict[str, Any]:
    """The columns of what a request waited for, and its story; `error` is what it failed with, None without."""
    share, times = _sums_of(route)
    call = _CALLED.get(route or "")
    told = seconds >= STORY_FROM_S or error is not None
    return {
        "db_time": round(seconds * share, 6),
        "db_queries": times,
        "http_time": 0.0 if call is None else round(seconds * call.share, 6),
        "http_calls": 0 if call is None else 1,
        "story": dump(_story(route or "", seconds, error)) if told else None,
    }


@cache
def _sums_of(route: str | None) -> tuple[float, int]:
    sent = _SENT.get(route or "", ())
    return sum(one.share for one in sent), sum(one.times for one in sent)


def statements(route: str | None, seconds: float) -> Iterator[Statement]:
    """What a request sent."""
    for one in _SENT.get(route or "", ()):
        total_us = round(seconds * one.share * 1_000_000)
        yield Statement(_digest(one.text), one.text, one.place, one.times, total_us, round(total_us / one.times * 1.4))


@cache
def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


def _story(route: str, seconds: float, error: str | None) -> Story:
    sent = tuple(one for one in statements(route, seconds) if one.total_us >= LEAST_US or one.times >= MANY)
    call = _CALLED.get(route)
    call_us = 0 if call is None else round(seconds * call.share * 1_000_000)
    lines = [_OLD_INDEX] if route == SLOWER_ROUTE and seconds > 2 * STORY_FROM_S else []
    if error is not None:
        lines.append(Line("ERROR", "shop", f"Exception on {route}: {error}"))
    return Story(
        statements=tuple(sorted(sent, key=lambda one: -one.total_us)),
        calls=() if call is None or call_us < LEAST_US else (Call(call.method, call.host, 1, call_us, call_us),),
        lines=tuple(lines),
    )
