"""What is really sent of a response: its status and headers as the server gets them, and the bytes of its body. Pure WSGI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

StartResponse = Callable[..., Any]
Done = Callable[[int | None, BaseException | None], None]
"""Told once, at the end: bytes sent of the body (None: unknown) and what ended it early."""

_BY_THE_SERVER = ("x-accel-redirect", "x-sendfile", "x-lighttpd-send-file")
"""Headers that tell the server in front to send a file in place of the body."""


class Head:
    """Status and headers of one response, noted when the app hands them to the server."""

    __slots__ = ("_start_response", "headers", "status")

    def __init__(self, start_response: StartResponse) -> None:
        self._start_response = start_response
        self.status: str | None = None
        """None: nothing was handed over."""
        self.headers: list[tuple[str, str]] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
        self.status, self.headers = status, headers
        return self._start_response(status, headers, *error)

    @property
    def status_code(self) -> int | None:
        """None: nothing was handed over."""
        return None if self.status is None else int(self.status[:3])

    def mimetype(self, otherwise: str | None) -> str | None:
        """The media type that was sent, without parameters; `otherwise`, as a 304 need not repeat it; None without one."""
        sent = self.value_of("content-type")
        return otherwise if sent is None else sent.partition(";")[0].strip().lower() or None

    def value_of(self, name: str) -> str | None:
        """The value of the header `name`, in lower case; None without one."""
        for header, value in self.headers:
            if header.lower() == name:
                return value
        return None

    def declared_size(self) -> int | None:
        """Bytes of the body by its headers; None: they do not say."""
        text = self.value_of("content-length")
        size = int(text) if text is not None and text.isdecimal() and text.isascii() else None
        # the app's own body is empty where the server sends a file, and says nothing of one that the app did not measure
        return None if size == 0 and self.is_sent_by_the_server() else size

    def is_sent_by_the_server(self) -> bool:
        """Whether the server in front sends a file in place of the app's body."""
        return any(self.value_of(name) for name in _BY_THE_SERVER)

    def has_no_body(self, method: str) -> bool:
        """Whether nothing follows the headers, whatever they declare (RFC 9110, 6.4.1)."""
        return method == "HEAD" or self.status is None or self.status[:3] in ("204", "304") or self.status[0] == "1"


def watched(body: Iterable[bytes], environ: dict[str, Any], done: Done, declared: int | None) -> Iterable[bytes] | None:
    """`body` as the server shall get it, with `done` told at its end; None: nobody can see its end.

    A file that the server sends by itself, without reading it here, stays what the server knows.
    """
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is not None and not isinstance(wrapper, type) and hasattr(body, "read"):
        return None  # uWSGI's gives the file back as it is, and sends by itself just that object
    if not isinstance(wrapper, type) or not isinstance(body, wrapper):
        return CountedBody(body, done, declared)
    file = getattr(body, "filelike", None)  # the name in PEP 3333's example, and in gunicorn, wsgiref and mod_wsgi
    # waitress closes it in the thread that serves all, which must not wait for a database
    return body if file is not None and _watch(body, file, done) else None


def _watch(body: Any, file: Any, done: Done) -> bool:
    """Have `done` told when the server closes `body`, which reads `file`; whether that is possible."""
    close = getattr(body, "close", None)

    def close_and_tell() -> None:
        try:
            sent = file.tell() - start
        except (OSError, ValueError):  # closed already
            sent = None
        try:
            if close is not None:
                close()
        finally:
            if not told:
                told.append(True)
                done(sent, None)

    told: list[bool] = []
    try:
        start = file.tell()
        body.close = close_and_tell
    except (AttributeError, OSError, TypeError, ValueError):  # it has no position, or is one of C's
        return False
    return True


class CountedBody:
    """A body that counts the bytes it sends; `done` is told with the last of the `declared` bytes, at its end, or when the
    server closes it."""

    def __init__(self, body: Iterable[bytes], done: Done, declared: int | None) -> None:
        self._body = body
        self._chunks = iter(body)
        self._done: Done | None = done
        self._declared = declared
        self._sent = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._end()
            raise
        except BaseException as error:
            self._end(error)
            raise
        self._sent += len(chunk)
        if self._sent == self._declared:
            self._end()  # as a test's client that has read it need not ask for more, and Flask makes 404s of such bodies
        return chunk

    def close(self) -> None:
        """Close the body; the server does so in any case, also where the client is gone."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._end()

    def __del__(self) -> None:
        # every server closes it (PEP 3333); a test's client that looked at the headers alone drops it
        self._sent = self._sent if self._declared is None else self._declared
        self._end()

    def _end(self, error: BaseException | None = None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(self._sent, error)
