"""Exceptions and tracebacks without what was sent, and without what a database quotes. Pure."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from .names import SECRET, WEAK, is_ordinary, kind_of
from .texts import MASK, is_secret_argument, masked_text, speaks_of_secrets

LONGEST_TRACEBACK = 20_000
"""Characters kept of a traceback, from its end, where the error is."""


_DETAIL = re.compile(
    r"((?:DETAIL|CONTEXT):\s+).*?(?=\n\s*(?:HINT|QUERY|LINE|\[SQL|\(Background|The above|During|Traceback|\| )|"
    r"\\n(?:HINT|QUERY|\[SQL)|\n\n|\\n?['\"]\)|['\"]\)|\Z)",
    re.DOTALL,
)
"""PostgreSQL's `DETAIL: Key (email)=(...) already exists.` and `Failing row contains (...)`."""
_PARAMETERS = re.compile(r"\[parameters: .*?(?:\](?=\s*(?:\\n|\n)?\s*\(Background)|\](?=\s*$)|\Z)", re.DOTALL)
_QUOTED = re.compile(
    r"(?:(Duplicate entry )(\\*['\"]).*?\2(?= for key)|"
    r"([Ii]ncorrect [\w ]+value: |[Ii]nvalid input [^:\n]*: |value: )(\\*['\"]).*?\4)",
    re.DOTALL,
)
"""What databases quote of a row: `Duplicate entry '...' for key`, `invalid input syntax for type integer: "..."`."""


def sent_secrets(pairs: Iterable[tuple[str, str]], arguments: Mapping[str, Any], rule: str) -> list[str]:
    """The values of a request's `pairs` and of its route's `arguments` whose names are those of secrets."""
    context = speaks_of_secrets(rule)
    found = [str(value) for name, value in arguments.items() if is_secret_argument(name, context=context)]
    for name, value in pairs:
        kind = kind_of(name)
        if kind == SECRET or (kind == WEAK and not is_ordinary(value)):
            found.append(value)
    return found


def exception(error: BaseException, sent: Iterable[str] = ()) -> str:
    """`repr` of an exception without secrets, without those that were `sent`, and without what was bound to SQL."""
    return _masked_error(_repr(error), error, sent)


def formatted(error: BaseException, sent: Iterable[str] = ()) -> str:
    """Its traceback, the same; of a long one the end, where the error is."""
    try:
        with _without_parameters(error):
            text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:  # formatting calls the error's own code
        text = "".join(traceback.format_tb(error.__traceback__))
    return _masked_error(text, error, sent)[-LONGEST_TRACEBACK:]


def line(text: str, sent: Iterable[str] = (), *, is_cut: bool = False) -> str:
    """A line of the log, the same; of one that `is_cut`, its end may be the beginning of a secret."""
    sent = list(sent)
    text = _without(text, sent)
    for secret in sent if is_cut else ():
        text = _without_beginning(text, secret)
    return _without_quotes(text)


def _masked_error(text: str, error: BaseException, sent: Iterable[str]) -> str:
    text = _without(text, sent)
    for each in _chain(error):
        if _is_of_a_database(each):
            text = _without_message(text, each)
    return _without_quotes(text)


def _without(text: str, sent: Iterable[str]) -> str:
    """`text` without what was `sent` as secrets."""
    for secret in sorted({one for one in sent if len(one) >= SHORTEST_BOUND}, key=len, reverse=True):
        text = text.replace(secret, MASK).replace(repr(secret)[1:-1], MASK)
    return text


def _without_beginning(text: str, secret: str) -> str:
    """`text` without the beginning of `secret` that it ends with."""
    if len(secret) < SHORTEST_BOUND:
        return text
    at = text.find(secret[:SHORTEST_BOUND], max(len(text) - len(secret), 0))
    while at >= 0:
        if secret.startswith(text[at:]):
            return text[:at] + MASK
        at = text.find(secret[:SHORTEST_BOUND], at + 1)
    return text


def _without_quotes(text: str) -> str:
    """`text` without what a database quotes, and what looks like a secret."""
    text = _QUOTED.sub(_masked_quote, text)
    text = _PARAMETERS.sub(f"[parameters: {MASK}]", text)
    text = _DETAIL.sub(rf"\1{MASK}", text)
    return masked_text(text)


def _masked_quote(found: re.Match[str]) -> str:
    around = found[2] or found[4]
    return f"{found[1] or found[3]}{around}{MASK}{around}"


def _without_message(text: str, error: BaseException) -> str:
    """`text` without the lines of a database's message behind its first, and without the values that it was given."""
    for value in _bound(error):
        text = text.replace(value, MASK)
    lines = _str(error).splitlines()[1:]
    for line in lines:
        if len(line.strip()) > 3 and not line.startswith(("[SQL: ", "(Background on this error", "HINT:")):
            kept = line[: line.find(":") + 1] + f" {MASK}" if line.startswith(("DETAIL:", "CONTEXT:")) else MASK
            text = text.replace(line, kept).replace(repr(line)[1:-1], kept)
    return text


SHORTEST_BOUND = 4
"""Characters of a bound value that is looked for in a text: shorter ones are part of anything."""


def _bound(error: BaseException) -> list[str]:
    """Texts that were bound to the statement that failed, longest first."""
    found: set[str] = set()
    waiting: list[Any] = [getattr(error, "params", None)]
    while waiting and len(found) < 1_000:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif isinstance(value, str) and len(value) >= SHORTEST_BOUND:
            found |= {value, repr(value)[1:-1]}
    return sorted(found, key=len, reverse=True)


def _is_of_a_database(error: BaseException) -> bool:
    """Whether it is SQLAlchemy's of a statement, or a driver's own: PEP 249 says how these are called."""
    return isinstance(error, sa.exc.StatementError) or any(
        base.__name__ == "DatabaseError" for base in type(error).__mro__
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, what it was raised in the handling of, and what it groups; each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__, getattr(each, "orig", None), *getattr(each, "exceptions", ())]


@contextmanager
def _without_parameters(error: BaseException) -> Iterator[None]:
    """Have SQLAlchemy leave the parameters out of its messages: they may have what ends them in themselves."""
    shown = [each for each in _chain(error) if isinstance(each, sa.exc.StatementError) and not each.hide_parameters]
    for each in shown:
        each.hide_parameters = True
    try:
        yield
    finally:
        for each in shown:
            each.hide_parameters = False


def _str(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # somebody's __str__ is broken
        return ""


def _repr(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:  # somebody's __repr__ is broken; the type is still worth knowing
        return f"{type(error).__name__}(...)"
