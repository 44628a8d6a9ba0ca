"""The filters that are on: chips with their ways out, the switches of the toolbar, and what is counted in words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..dimensions import Dimension
from ..filters import Condition, Filters
from ..formatting import clipped, lower_first
from ..week import label_of
from .page import Link, Page, plural

SWITCHES = {
    "device": (("People", "bot", True), ("Bots", "bot", False)),
    "content": (("Pages", "page", False), ("API", "api", False), ("Assets", "asset", False)),
}
"""Of a dimension, the choices that have a place of their own: name, value, and whether it is left out."""
OUTSIDE = {
    "People": "bots",
    "Bots": "people",
    "Pages": "API and assets",
    "API": "pages and assets",
    "Assets": "pages and API",
}
"""What each of these choices leaves out."""


@dataclass(frozen=True, slots=True)
class ChipValue:
    """One value of a filter."""

    text: str
    remove_url: str


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on."""

    label: str
    """Of the dimension."""
    operator: str
    """is, is not, contains."""
    flip_url: str | None
    """Says the opposite; None where there is none."""
    values: tuple[ChipValue, ...]
    """Any of them."""
    compare_url: str | None
    """Shows its two values side by side; None: there are not two, or they are."""
    is_split: bool
    """Whether they are."""
    without: Filters
    """The filters but for this one."""

    @property
    def text(self) -> str:
        """The filter in words."""
        return f"{self.label} {self.operator} {' or '.join(value.text for value in self.values)}"


def switch(page: Page, dimension: str) -> list[Link]:
    """The choices that nearly everybody wants of one dimension's filter; empty: the model does not tell."""
    if dimension not in page.site.dimensions:
        return []
    filters = page.state.filters
    everything = filters.without(dimension)
    links = [
        Link(text, page.state.url(filters=chosen), _texts(filters, dimension) == _texts(chosen, dimension))
        for text, value, negated in SWITCHES[dimension]
        for chosen in [everything.and_(dimension, value, negated=negated)]
    ]
    return [*links, Link("All", page.state.url(filters=everything), not _texts(filters, dimension))]


def _texts(filters: Filters, dimension: str) -> dict[str, tuple[str, ...]]:
    return {each.parameter: each.texts for each in filters.conditions if each.dimension == dimension}


def chips(page: Page, about: str | None = None) -> tuple[Chip, ...]:
    """The filters that are on, but for those on the dimension that the page is `about`."""
    state = page.state
    switched = without_chips(state.filters).conditions
    found = [_chip(page, each) for each in state.filters.conditions if each not in switched and each.dimension != about]
    if state.filters.contains:
        rest = replace(state.filters, contains="")
        value = ChipValue(clipped(state.filters.contains), state.url(filters=rest))
        found.append(Chip("Path", "contains", None, (value,), None, False, rest))
    if state.filters.at:
        found.append(_chip_of_hours(page))
    return tuple(found)


def _chip_of_hours(page: Page) -> Chip:
    state, filters = page.state, page.state.filters
    values = (
        ChipValue(
            label_of(text), state.url(filters=replace(filters, at=tuple(one for one in filters.at if one != text)))
        )
        for text in filters.at
    )
    return Chip("Time", "is", None, tuple(values), None, False, replace(filters, at=()))


def scope(filters: Filters, *, of_statements: bool = False) -> str:
    if of_statements:
        return f"Statements of {'these' if filters.without('route') != filters else 'all'} routes are counted."
    first, *others = switched_on(filters) or [""]
    if first:
        return f"{' and '.join((first, *map(lower_first, others)))} only."
    return "Only these requests are counted." if filters else "All requests are counted."


def _chip(page: Page, condition: Condition) -> Chip:
    state, filters = page.state, page.state.filters
    dimension = page.site.dimensions[condition.dimension]
    flipped = filters
    for text in condition.texts:
        flipped = flipped.minus(condition.dimension, text, negated=condition.negated)
        flipped = flipped.and_(condition.dimension, text, negated=not condition.negated)
    is_split = state.table.split == condition.dimension and len(condition.texts) == 2 and not condition.negated
    return Chip(
        label=dimension.label,
        operator="is not" if condition.negated else "is",
        flip_url=state.url(filters=flipped),
        values=tuple(
            ChipValue(
                chip_text(dimension, text),
                state.url(filters=filters.minus(condition.dimension, text, negated=condition.negated)),
            )
            for text in condition.texts
        ),
        compare_url=None
        if is_split or condition.negated or len(condition.texts) != 2
        else state.listed_at(page.site.url("index"), split=condition.dimension),
        is_split=is_split,
        without=replace(filters, conditions=tuple(each for each in filters.conditions if each != condition)),
    )


def without_chips(filters: Filters) -> Filters:
    """What of the filters is a switch and no chip: people alone, or bots alone; pages, API or assets alone."""
    return Filters(
        tuple(
            each
            for each in filters.conditions
            if any(_texts(filters, each.dimension) == _texts(chosen, each.dimension) for _, chosen in _switched(each))
        )
    )


def unswitched(filters: Filters) -> Filters:
    """The filters without the switches that are on."""
    switched = without_chips(filters).conditions
    return replace(filters, conditions=tuple(each for each in filters.conditions if each not in switched))


def outside_of(page: Page, count: int | None) -> Link | None:
    """What the switches leave out, in words."""
    filters = page.state.filters
    names = [OUTSIDE[name] for name in switched_on(filters)]
    if not names or count == 0:
        return None
    what = ", ".join(names)
    hits = "" if count is None else f"{plural(count, 'hit')} of "
    text = f"{hits}{what} {'is' if count == 1 else 'are'} outside."
    return Link(f"{text[0].upper()}{text[1:]}", page.state.url(filters=unswitched(filters)))


def switched_on(filters: Filters) -> list[str]:
    """The names of the switches that are on, in the order of the toolbar."""
    conditions = {each.dimension: each for each in without_chips(filters).conditions}
    return [
        text
        for dimension in SWITCHES
        if dimension in conditions
        for text, chosen in _switched(conditions[dimension])
        if _texts(chosen, dimension) == _texts(filters, dimension)
    ]


def _switched(condition: Condition) -> list[tuple[str, Filters]]:
    """The choices of a condition's dimension, with what each makes of no filters."""
    choices = SWITCHES.get(condition.dimension, ())
    return [(text, Filters().and_(condition.dimension, value, negated=negated)) for text, value, negated in choices]


def chip_text(dimension: Dimension, text: str) -> str:
    """What a reader sees for a value in a URL; a class of values, such as 5xx, is named as it is."""
    values = dimension.values_of(text)
    return clipped(dimension.label_of(values[0]) if len(values) == 1 else text)
