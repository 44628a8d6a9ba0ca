"""Filters: what a URL's query string says about dimensions, and back. Pure.

Dimensions combine with AND, several values of one dimension with OR, `!` negates (`browser!=firefox`), an empty value
selects requests that have none, `q` keeps paths that contain a text, and `at` hours of the week.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from . import week
from .dimensions import Dimension, Value
from .parameters import AT, CONTAINS, cut

MOST_VALUES = 100
"""More values of one dimension than this in a URL are refused."""


class FilterError(ValueError):
    """A filter in a URL that cannot be read; the message names the parameter and says what it must be."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What one dimension's value must be, or must not be."""

    dimension: str
    texts: tuple[str, ...]
    """As in the URL; any of them matches."""
    negated: bool = False

    @property
    def parameter(self) -> str:
        """Its name in a query string."""
        return f"{self.dimension}!" if self.negated else self.dimension

    def values(self, dimension: Dimension) -> frozenset[Value]:
        """The dimension's values that the texts name (before negation)."""
        return frozenset(value for text in self.texts for value in dimension.values_of(text))


@dataclass(frozen=True, slots=True)
class Filters:
    """Which requests count; without conditions, all do."""

    conditions: tuple[Condition, ...] = ()
    """At most one for each dimension and sense, in the order of the URL."""
    contains: str = ""
    """Text that the path must contain, in any case; empty: any path."""
    at: tuple[str, ...] = ()
    """Hours of the week, as `week` reads them; in any of them a request must have come. Empty: at any time."""

    def __bool__(self) -> bool:
        return bool(self.conditions or self.contains or self.at)

    def query(self) -> list[tuple[str, str]]:
        """The query string's pairs that `read_filters` reads back."""
        pairs = [(condition.parameter, text) for condition in self.conditions for text in condition.texts]
        contains = [(CONTAINS, self.contains)] if self.contains else []
        return [*pairs, *contains, *((AT, text) for text in self.at)]

    def texts(self, dimension: str, *, negated: bool = False) -> tuple[str, ...]:
        """The texts of the condition on `dimension`; empty if there is none."""
        return next((c.texts for c in self.conditions if (c.dimension, c.negated) == (dimension, negated)), ())

    def on(self, dimension: str) -> tuple[Condition, ...]:
        """The conditions on `dimension`, of either sense."""
        return tuple(c for c in self.conditions if c.dimension == dimension)

    def dimensions(self) -> tuple[str, ...]:
        """The dimensions that there are conditions on, each once."""
        return tuple(dict.fromkeys(c.dimension for c in self.conditions))

    def without(self, dimension: str) -> Filters:
        """These filters but for those on `dimension`."""
        return replace(self, conditions=tuple(c for c in self.conditions if c.dimension != dimension))

    def only(self, dimension: str, text: str) -> Filters:
        """These filters with `dimension` narrowed to one value."""
        return self.without(dimension).and_(dimension, text)

    def and_(self, dimension: str, text: str, *, negated: bool = False) -> Filters:
        """These filters with one more value of `dimension` (OR with those of the same sense that are there)."""
        present = self.texts(dimension, negated=negated)
        condition = Condition(dimension, present if text in present else (*present, text), negated)
        return self._with(condition) if present else replace(self, conditions=(*self.conditions, condition))

    def minus(self, dimension: str, text: str, *, negated: bool = False) -> Filters:
        """These filters without that value of `dimension`."""
        rest = tuple(other for other in self.texts(dimension, negated=negated) if other != text)
        return self._with(Condition(dimension, rest, negated))

    def _with(self, condition: Condition) -> Filters:
        same = [condition if c.parameter == condition.parameter else c for c in self.conditions]
        return replace(self, conditions=tuple(c for c in same if c.texts))


ALL = Filters()
"""Every request."""


def read_filters(
    pairs: Iterable[tuple[str, str]], dimensions: Mapping[str, Dimension]
) -> tuple[Filters, list[FilterError]]:
    """The filters that a query string's pairs ask for, and an error for each one that cannot be read.

    Parameters that name no dimension are somebody else's and ignored.
    """
    filters, errors = Filters(), []
    for parameter, text in pairs:
        name, negated = parameter.removesuffix("!"), parameter.endswith("!")
        if parameter == CONTAINS:
            filters = replace(filters, contains=cut(CONTAINS, text.strip()))
        elif parameter == AT:
            try:
                week.hours_of(text)
            except ValueError as error:
                errors.append(FilterError(f"{parameter} is {text[:100]!r}, but must be {error}"))
            else:
                filters = replace(filters, at=tuple(dict.fromkeys((*filters.at, text))))
        elif name in dimensions:
            try:
                dimensions[name].values_of(text)
                if len(filters.texts(name, negated=negated)) >= MOST_VALUES:
                    raise ValueError(f"given at most {MOST_VALUES} times")
            except ValueError as error:
                errors.append(FilterError(f"{parameter} is {text[:100]!r}, but must be {error}"))
            else:
                filters = filters.and_(name, text, negated=negated)
    return filters, errors
