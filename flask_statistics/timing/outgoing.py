"""Times each call that the app makes to other servers by urllib3 (so by requests as well) or httpx, for its request.

Stands around one method of theirs, in all of the process, once an app asks for it and one of them is imported; importing them is
left to the app. Of a call it counts the time until the response's headers are there, and for urllib3 the body where it is
read at once. A redirect is a call of its own; what urllib3 tries again is one call, with its pauses. Kept are method and host.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import wraps
from time import perf_counter_ns
from typing import Any

from .collector import CURRENT, Times

LONGEST_HOST = 255
USUAL_PORTS = {"http": 80, "https": 443}
METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"])
OTHER_METHOD = "other"
METHODS_OF = {
    "urllib3": (("connectionpool", "HTTPConnectionPool", "urlopen"),),
    "httpx": (("", "HTTPTransport", "handle_request"), ("", "AsyncHTTPTransport", "handle_async_request")),
}
"""What is stood around: by library the module in it, the class and the method, all of them documented."""

_inside: ContextVar[bool] = ContextVar("flask_statistics_calling", default=False)
"""Whether a call is under way, of which all that it calls is a part."""
_watched: dict[str, list[tuple[type[Any], str, Callable[..., Any]]]] = {}
"""By library, what was there before."""
_lock = threading.Lock()


def watch() -> None:
    """Stand around the calls of libraries that are imported by now, unless that is done."""
    if len(_watched) < len(METHODS_OF):
        for library in METHODS_OF:
            if library not in _watched and library in sys.modules:
                _watch(library)


def unwatch() -> None:
    """Let all libraries be as they were."""
    with _lock:
        for replaced in _watched.values():
            for owner, name, before in replaced:
                setattr(owner, name, before)
        _watched.clear()


def _watch(library: str) -> None:
    with _lock:
        if library in _watched:
            return
        found = []
        for module, owner_name, name in METHODS_OF[library]:
            owner = getattr(sys.modules.get(f"{library}.{module}" if module else library), owner_name, None)
            before = getattr(owner, name, None)
            if owner is not None and before is not None:
                found.append((owner, name, before))
        if len(found) < len(METHODS_OF[library]):
            return  # it is being imported right now, or is none that we know
        for owner, name, before in found:
            setattr(owner, name, _AROUND[name](before))
        _watched[library] = found


def _times(method: object, scheme: object, host: object, port: object) -> Times | None:
    """Where a call is counted; None: it is of no request, or a part of a call that is."""
    collector = CURRENT.get()
    if collector is None or collector.owner is None or not collector.counts_calls or _inside.get():
        return None
    named = str(method).upper()
    shown = str(host) if port in (None, USUAL_PORTS.get(str(scheme))) else f"{host}:{port}"
    return collector.called(named if named in METHODS else OTHER_METHOD, shown[:LONGEST_HOST])


def _around_urlopen(before: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(before)
    def urlopen(self: Any, method: Any, *arguments: Any, **options: Any) -> Any:
        times = _times(method, self.scheme, self.host, self.port)
        if times is None:
            return before(self, method, *arguments, **options)
        token, began = _inside.set(True), perf_counter_ns()  # a further try calls this method again
        try:
            return before(self, method, *arguments, **options)
        finally:
            times.add((perf_counter_ns() - began) // 1000)
            _inside.reset(token)

    return urlopen


def _around_request(before: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(before)
    def handle_request(self: Any, request: Any) -> Any:
        times = _times(request.method, request.url.scheme, request.url.host, request.url.port)
        if times is None:
            return before(self, request)
        began = perf_counter_ns()
        try:
            return before(self, request)
        finally:
            times.add((perf_counter_ns() - began) // 1000)

    return handle_request


def _around_async_request(
    before: Callable[..., Coroutine[Any, Any, Any]],
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(before)
    async def handle_async_request(self: Any, request: Any) -> Any:
        times = _times(request.method, request.url.scheme, request.url.host, request.url.port)
        if times is None:
            return await before(self, request)
        began = perf_counter_ns()
        try:
            return await before(self, request)
        finally:
            times.add((perf_counter_ns() - began) // 1000)

    return handle_async_request


_AROUND = {
    "urlopen": _around_urlopen,
    "handle_request": _around_request,
    "handle_async_request": _around_async_request,
}
