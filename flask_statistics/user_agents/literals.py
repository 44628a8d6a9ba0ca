"""Texts that a regular expression cannot match without, so that most of thousands need not be tried. Pure.

What lists of user agents bring are expressions such as `Googlebot[-/]([0-9.]+)`: only where "googlebot" stands need they be
tried, and to look that up for all of them at once takes as long as to try two.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

GRAM = 3
"""Characters by which a text is looked up; shorter ones are no help."""

T = TypeVar("T")

_SYMBOL = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{[^}]*\}|\(\?[^:)!=<][a-z-]*\)|\(\?[a-z-]*:|\(\?[=!]|\(\?<[=!]|\(\?P<\w+>|.",
    re.DOTALL,
)
_ZERO_WIDTH = ("\\b", "\\B", "\\A", "\\Z", "^", "$")


def required(pattern: str) -> frozenset[str] | None:
    """Texts in lower case of which one is in everything that `pattern` matches; None: none of `GRAM` characters is known."""
    found, _ = _alternatives(_SYMBOL.findall(pattern), 0)
    return found


def _alternatives(symbols: Sequence[str], place: int) -> tuple[frozenset[str] | None, int]:
    """What the branches up to the closing bracket need, and the place of that bracket."""
    branches = []
    while True:
        branch, place = _sequence(symbols, place)
        branches.append(branch)
        if place >= len(symbols) or symbols[place] == ")":
            break
        place += 1
    if any(branch is None for branch in branches):
        return None, place
    return frozenset[str]().union(*(branch for branch in branches if branch)), place


def _sequence(symbols: Sequence[str], place: int) -> tuple[frozenset[str] | None, int]:
    needs: list[frozenset[str]] = []
    run = ""
    while place < len(symbols) and symbols[place] not in (")", "|"):
        symbol = symbols[place]
        place += 1
        if symbol.startswith("(") and not (symbol.startswith("(?") and symbol.endswith(")")):
            inner, place = _alternatives(symbols, place)
            place += 1
            looks = symbol in ("(?=", "(?!", "(?<=", "(?<!")
            needs.append(frozenset({run}))
            run = ""
            if inner is not None and not looks and not _may_be_missing(symbols, place):
                needs.append(inner)
            continue
        if symbol in _ZERO_WIDTH or symbol.startswith("(?"):
            continue
        text = _literal(symbol)
        missing = _may_be_missing(symbols, place)
        if text is not None and not missing:
            run += text
            if place < len(symbols) and symbols[place] == "+":
                needs.append(frozenset({run}))
                run = ""
            continue
        needs.append(frozenset({run}))
        run = ""
    needs.append(frozenset({run}))
    usable = [need for need in needs if min(map(len, need)) >= GRAM]
    return max(usable, key=lambda need: min(map(len, need)), default=None), place


def _may_be_missing(symbols: Sequence[str], place: int) -> bool:
    return place < len(symbols) and (symbols[place] in ("?", "*") or symbols[place].startswith("{"))


def _literal(symbol: str) -> str | None:
    """The text that a symbol stands for, in lower case; None: several, or a repetition."""
    if len(symbol) == 2 and symbol[0] == "\\":
        return None if symbol[1].isalnum() else symbol[1]
    if len(symbol) == 4 and symbol[0] == "[" and symbol[1].lower() == symbol[2].lower():
        return symbol[1].lower()  # [Bb]
    if len(symbol) > 1 or symbol in ".?*+":
        return None
    return symbol.lower()


class Sieve(Generic[T]):
    """Of many expressions, those that can match a text, in the order in which they were given."""

    def __init__(self, expressions: Iterable[tuple[str, T]]) -> None:
        self._always: list[tuple[int, T]] = []
        self._by_gram: dict[str, list[tuple[str, int, T]]] = {}
        wanted = [(number, required(pattern), item) for number, (pattern, item) in enumerate(expressions)]
        texts = [text for _, needed, _ in wanted for text in needed or ()]
        common = Counter(gram for text in texts for gram in grams(text))
        for number, needed, item in wanted:
            if needed is None:
                self._always.append((number, item))
            for text in needed or ():
                rarest = min(grams(text), key=common.__getitem__)
                self._by_gram.setdefault(rarest, []).append((text, number, item))

    def candidates(self, text: Text) -> Iterator[T]:
        """The expressions that may match `text`, in their order; none of the others can."""
        found = dict(self._always)
        found |= {
            number: item
            for gram in text.grams & self._by_gram.keys()
            for needed, number, item in self._by_gram[gram]
            if needed in text.lower
        }
        return (found[number] for number in sorted(found))


class AnyOf:
    """One expression of many alternatives, of which few need to be tried. Case does not matter."""

    def __init__(self, expression: str) -> None:
        self._sieve = Sieve((part, re.compile(part, re.IGNORECASE)) for part in alternatives(expression))

    def matches(self, text: str, looked_up: Text) -> bool:
        """Whether one is found in `text`, of which `looked_up` is made."""
        return any(part.search(text) for part in self._sieve.candidates(looked_up))


def alternatives(expression: str) -> Iterator[str]:
    """Those of an expression that has no brackets around them."""
    depth, part = 0, ""
    for symbol in _SYMBOL.findall(expression):
        opens = symbol.startswith("(") and not (symbol.startswith("(?") and symbol.endswith(")"))
        depth += opens - (symbol == ")")
        if symbol == "|" and not depth:
            yield part
            part = ""
        else:
            part += symbol
    yield part


class Text(NamedTuple):
    """A text as sieves look at it."""

    lower: str
    grams: set[str]


def text_of(text: str) -> Text:
    """What a sieve needs of `text`."""
    lower = text.lower()
    return Text(lower, grams(lower))


def grams(text: str) -> set[str]:
    """All pieces of `GRAM` characters."""
    return {text[place : place + GRAM] for place in range(len(text) - GRAM + 1)}
