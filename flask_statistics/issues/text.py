"""The issue of an exception: its type, its message without what changes, and where in the app's code it was raised. Pure.

An issue is one text, such as `ValueError: invalid literal for int() with base …: “…” · shop/cart.py in quantity`. All that is
quoted, every word with a digit in it and every path and address is masked: what is left is what the code says. Lines are left
out, as each change of a file moves them. A message that has words of a stranger's without quotes makes several issues of one;
rollups fold them where they are too many.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from ..dimensions import exception_type

LONGEST = 512
"""Characters of an issue at most; the column takes as many."""
LONGEST_TYPE, LONGEST_MESSAGE, LONGEST_PLACE = 100, 200, 200
LONGEST_READ = 2_000
"""Characters of a stored exception that are looked at, less than the column takes: whether it was cut makes no difference."""
MASK = "…"
QUOTED = f"“{MASK}”"
_BETWEEN = " · "

_QUOTES = re.compile(
    # an apostrophe within a word is none, and what is cut off has no end
    r"(?<!\w)'(?:[^'\\]|\\.|'(?=\w))*(?:'(?!\w)|\\?$)"
    r'|(?<!\w)"(?:[^"\\]|\\.|"(?=\w))*(?:"(?!\w)|\\?$)'
    r"|(?<!\w)`[^`]*(?:`|$)|“[^”]*(?:”|$)|«[^»]*(?:»|$)"
)
_CHANGING = re.compile(
    r"\b\w+://\S+"  # addresses of pages, of mail, and files
    r"|(?<![\w.+-])[\w.+-]+@[\w.-]+"
    r"|(?<![\w.…”])(?:~|\.{1,2}|[A-Za-z]:)?[/\\][^\s,;:()<>\[\]]+"
    r"|(?<![\w:])(?:[0-9A-Fa-f:]{0,40}::[0-9A-Fa-f:]{0,40}|(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4})(?![\w:])"  # of IPv6
    r"|\*{3,}"  # a secret that was masked
    r"|(?<![\w.+:%-])[\w.+:%-]*\d(?:[\w.+:%-]*[\w%])?"  # numbers, dates, versions, ids
    r"|\b[0-9A-Fa-f]{8,}\b|\w{32,}"
)
_LITERAL = r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|-?\d{1,20}|None)"
_LITERALS = re.compile(f"{_LITERAL}(?:, {_LITERAL})*,?")
"""What Python shall read: it warns of much else that nearly is something."""
_CLASS = re.compile(r"\((?:[A-Za-z_]\w*\.)*[A-Z]\w*\) ")
"""What SQLAlchemy puts before the words of a database: `(sqlite3.OperationalError) no such table`."""
_REPEATED = re.compile(f"({MASK}|{QUOTED})(?:[,;/|]? ?(?:{MASK}|{QUOTED}))+")


@dataclass(frozen=True, slots=True)
class Issue:
    """What an issue's text consists of."""

    type: str
    message: str
    """Empty: the exception said nothing."""
    place: str
    """`shop/cart.py in quantity`; empty: not known."""

    def __str__(self) -> str:
        said = f"{self.type}: {self.message}" if self.message else self.type
        return f"{said}{_BETWEEN}{self.place}" if self.place else said


def issue_of(exception: str, place: str | None) -> Issue:
    """The issue of an exception, given as its `repr` is stored, that was raised in `place` of the app's code."""
    kind, message = split(exception[:LONGEST_READ])
    return Issue(
        _plain(kind)[:LONGEST_TYPE].replace(" ", "_") or "Exception",
        masked(message if kind.endswith("KeyError") else unquoted(message)),  # of which the message is the key
        _plain(place or "")[-LONGEST_PLACE:].strip(),
    )


def issue_from(text: str) -> Issue:
    """What the text of an issue consists of; the inverse of `str`."""
    said, _, place = text.partition(_BETWEEN)
    kind, _, message = said.partition(": ")
    return Issue(kind, message, place)


def split(stored: str) -> tuple[str, str]:
    """Type and message of a stored `repr` of an exception; of other writers' as well, who store `Type: message`."""
    if stored.startswith("<"):
        stored = stored.removesuffix(">").lstrip("<")
    kind = exception_type(stored)
    message = stored.removeprefix(kind).strip()
    if message.startswith("("):
        return kind, message.removeprefix("(").removesuffix(")")
    return kind, message.removeprefix(":").strip()


def unquoted(message: str) -> str:
    """A message without the quotes of its `repr`, where it is one text, or several values of which some are sentences."""
    if not _LITERALS.fullmatch(message):
        return message[1:].partition("\\n")[0] if message[:1] in ("'", '"') else message  # what is cut has no end
    try:
        found = ast.literal_eval(message)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return message
    if isinstance(found, tuple):  # FileNotFoundError(2, 'No such file or directory')
        return ", ".join(one if isinstance(one, str) and " " in one else repr(one) for one in found)
    return found if isinstance(found, str) else message


def masked(message: str) -> str:
    """The first line of a message without what may be another one next time."""
    line = next((line for line in message.splitlines() if line.strip()), "")
    line = _plain(line)
    named = _CLASS.match(line)
    kept = "" if named is None else named[0]
    text = _REPEATED.sub(r"\1", _CHANGING.sub(MASK, _QUOTES.sub(QUOTED, line.removeprefix(kept))))
    return f"{kept}{text}"[:LONGEST_MESSAGE].strip()


def _plain(text: str) -> str:
    """`text` in one line that can be printed, without what stands between the parts of an issue."""
    return " ".join("".join(c if c.isprintable() else " " for c in text.replace("·", "-")).split())
