"""SQL without its literals: the same for all statements of a kind, and nothing in it that somebody entered. Pure.

Numbers, texts and parameters become `?`, lists of them `(?)`, comments go, and spaces become one. Where a text ends differs by
database, and by its settings: a backslash escapes a quote for MySQL, and is a character for others. What reads differently by
both is not understood, as is all that no rule here is for; of that only the first word is kept, since what was written into
SQL by hand is often a secret. The same holds for commands that take values without quotes, such as SET.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Literal

LONGEST = 2_000
"""Characters of a statement without literals that are kept."""
LONGEST_READ = 20_000
"""Characters of a statement up to which it is read, lists of parameters counted as one; a longer one is not understood."""
PLACEHOLDER = "?"
UNKNOWN = "(not understood)"
"""What stands for the rest of a statement."""
_SHOWN = "SELECT|INSERT|UPDATE|DELETE|WITH|REPLACE|MERGE|VALUES|CREATE|ALTER|DROP|TRUNCATE|EXPLAIN|TABLE"
SHOWN_WHOLE = frozenset(_SHOWN.split("|"))
"""Commands whose values are parameters, numbers or texts in quotes."""
_OTHERS = (
    "SET|PRAGMA|SHOW|USE|CALL|DO|EXEC|EXECUTE|PREPARE|DEALLOCATE|DECLARE|FETCH|CLOSE|COPY|LOAD|BEGIN|START|COMMIT|ROLLBACK|"
    "SAVEPOINT|RELEASE|LOCK|UNLOCK|ANALYZE|ANALYSE|VACUUM|REINDEX|OPTIMIZE|REFRESH|CLUSTER|COMMENT|GRANT|REVOKE|LISTEN|"
    "UNLISTEN|NOTIFY|KILL|ATTACH|DETACH|DESCRIBE|DESC|RESET|DISCARD|RENAME|CHECKPOINT|HANDLER|FLUSH"
)
COMMANDS = SHOWN_WHOLE | frozenset(_OTHERS.split("|"))
"""First words that say nothing but what is done."""

Double = Literal["name", "text", "either"]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of a statement."""

    digest: str
    """128 bits of the SHA-256 of the statement without literals, in hex: all of it, also where `text` is its beginning."""
    text: str
    """The statement without literals."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a database reads SQL."""

    double: Double = "either"
    """What stands in double quotes: SQLite takes them for a text where there is no such name."""
    dollars: bool = False
    """Whether `$tag$ ... $tag$` is a text, and E'...' one with backslashes."""
    hashes: bool = False
    """Whether `#` begins a comment, and `--` only one if a space follows."""


_RULES = {
    "postgresql": Rules(double="name", dollars=True),
    "cockroachdb": Rules(double="name", dollars=True),
    "mysql": Rules(double="text", hashes=True),
    "mariadb": Rules(double="text", hashes=True),
}


def rules_of(dialect: str) -> Rules:
    """How the database of a dialect of SQLAlchemy's reads SQL; of an unknown one, with all care."""
    return _RULES.get(dialect, Rules())


def fingerprint(statement: str, rules: Rules) -> Fingerprint:
    """The fingerprint of `statement`."""
    return _made(without_literals(statement, rules))


def not_understood(statement: str) -> Fingerprint:
    """What is kept of a statement that may be no SQL: its command, if it begins with one."""
    return _made(_command(statement))


def _made(text: str) -> Fingerprint:
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Fingerprint(digest[:32], text[:LONGEST])


def without_literals(statement: str, rules: Rules) -> str:
    """`statement` without its literals, or its command and `UNKNOWN`."""
    command = _command(statement)
    if command.partition(" ")[0] not in SHOWN_WHOLE:
        return command
    if len(statement) > LONGEST:  # of thousands of parameters, most are gone in a moment
        statement = _MANY_ROWS.sub(r"\1", _MANY.sub(r"\1\2)", statement))
    if len(statement) > LONGEST_READ:
        return command
    read = _read(statement, rules, backslashes=rules.hashes)
    if read is None or ("\\" in statement and read != _read(statement, rules, backslashes=not rules.hashes)):
        return command
    return _collapsed(read)


def _command(statement: str) -> str:
    """Its first word if that is a command of SQL, and that there is more."""
    first = _FIRST.match(statement)
    word = first["word"].upper() if first else ""
    return f"{word if word in COMMANDS else 'SQL'} {UNKNOWN}"


_FIRST = re.compile(r"[\s(]*(?P<word>[A-Za-z]{2,12})(?!\w)")
_PARAMETER = r"(?:\?|%s|%\(\w+\)s|:\w+|\$\d+|\d+)(?:::\w+)?"
_MANY = re.compile(rf"\b(IN ?\()({_PARAMETER})(?:, ?{_PARAMETER})+\)", re.IGNORECASE)
_MANY_ROWS = re.compile(rf"(\({_PARAMETER}(?:, ?{_PARAMETER})*\))(?:, ?\({_PARAMETER}(?:, ?{_PARAMETER})*\))+")
"""Within a text they are a part of it, and may be left out there as well: they have no quotes."""
_LIST = re.compile(r"\b(IN ?)\((\?[^(),]*)(?:, ?\?[^(),]*)+\)", re.IGNORECASE)
_ROWS = re.compile(r"(\([^()]*\))(?:, ?\1)+")


def _collapsed(text: str) -> str:
    """Lists of values as one value, and rows of values as one row: how many there are is another one each time."""
    return _ROWS.sub(r"\1", _LIST.sub(r"\1(\2)", text))


def _read(statement: str, rules: Rules, *, backslashes: bool) -> str | None:
    """The statement without literals, where backslashes escape quotes or do not; None: it is not understood."""
    pattern = _pattern(rules, backslashes)
    found: list[str] = []
    at, word = 0, ""
    while at < len(statement):
        part = pattern.match(statement, at)
        if part is None:
            return None
        kind, text, at = part.lastgroup, part[0], part.end()
        if kind in ("space", "comment"):
            if _is_ambiguous(text):
                return None
            text = " " if found and found[-1] != " " else ""
        elif kind in _VALUES or (kind == "double" and not _is_name(text, rules, statement[at : at + 1], found, word)):
            text = PLACEHOLDER
        if kind not in ("space", "comment"):
            word = text.upper() if kind == "word" else ""
        if text:
            found.append(text)
    return "".join(found).strip()


def _is_ambiguous(comment: str) -> bool:
    """Whether databases differ on where a comment ends: PostgreSQL nests them, MySQL executes some, a line may end by `\\r`."""
    inner = comment[2:-1]
    return comment[:1] in "-#/" and ("/*" in inner or inner[:1] == "!" or inner[:2] == "M!" or "\r" in inner)


def _is_name(quoted: str, rules: Rules, following: str, before: list[str], word: str) -> bool:
    """Whether double quotes hold a name: where they may hold a text, only in places in which no text can be."""
    if rules.double == "text" or not quoted[1:-1].replace(" ", "").replace("-", "").isidentifier():
        return False
    in_place = following == "." or (before and before[-1] == ".") or word in _BEFORE_NAMES
    return rules.double == "name" or in_place


_VALUES = ("text", "dollars", "number", "parameter")
_BEFORE_NAMES = ("FROM", "JOIN", "INTO", "UPDATE", "TABLE", "AS")


@cache
def _pattern(rules: Rules, backslashes: bool) -> re.Pattern[str]:
    """What matches one part of a statement, by the name of its kind; it matches nothing that is not for sure one of them."""
    text = _quoted("'", escapes=backslashes)
    prefix = r"(?<![\w$])(?:[nNbBxX]|_[a-z0-9]+|DATE|TIMESTAMP|INTERVAL)"
    kinds = {
        "comment": r"--(?=\s|$)[^\n]*|\#[^\n]*|/\*.*?\*/" if rules.hashes else r"--[^\n]*|/\*.*?\*/",
        "space": r"\s+",
        "text": f"(?:{prefix})?{text}",
        "double": _quoted('"', escapes=backslashes),
        "parameter": r"%\(\w+\)s|%s|(?<!:):\w+|@\w+|\?\d*",
        # digits can be read in one way only: in two ways, thousands of them before a letter took seconds
        "number": r"(?<![\w$])(?:0[xX][0-9a-fA-F]+|(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w$])",
        # before a quote it may be a prefix, such as Oracle's q'[it's a text]'
        "word": r"[^\W\d][\w$]*(?!['\w$])",
        "sign": r"(?!/\*)[^\s\w'\"`$\\\#?\[\]\x00]",
    }
    if rules.dollars:
        kinds["text"] += r"|(?<![\w$])[eE]" + _quoted("'", escapes=True)
        kinds["dollars"] = r"\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$"
        kinds["parameter"] += r"|\$\d+"
        kinds["sign"] += r"|[\[\]\#]"
    else:
        kinds["name"] = r"`\w+`"
    if not rules.hashes:
        kinds["sign"] = f"(?!--)(?:{kinds['sign']})"
    return re.compile("|".join(f"(?P<{kind}>{part})" for kind, part in kinds.items()), re.DOTALL)


def _quoted(mark: str, *, escapes: bool) -> str:
    """What matches all that is between two quotes, twice the quote being one within it."""
    inner = rf"[^{mark}\\]|\\.|{mark}{mark}" if escapes else f"[^{mark}]|{mark}{mark}"
    return f"{mark}(?:{inner})*{mark}(?!{mark})"
