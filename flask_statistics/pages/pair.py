"""Two values side by side: two numbers a tile and how sure their difference is, and two columns of a table for each measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..changes import block_of, elapsed
from ..confidence import FAILURES, LEAST_CHANGE, TIMES, Finding, compare
from ..dimensions import Value
from ..filters import Condition
from ..formatting import compact, duration, number, share
from ..queries.answers import Measures, Profile, Row
from ..queries.interface import USUAL
from .against import Against
from .page import Page, of_longest
from .sides import MOST_CHOICES, Side, sides_of, two_of
from .summary import LABELS, MEANINGS, METRIC_OF, is_offered, value_of
from .tables import ask_table, code_and_label, grouping_of

TILES = ("visitors", "hits", "p50", "p95", "server_errors")
COLUMNS = ("visitors", "p95", "server_errors")
"""Of each row of the table, beside its label."""
EVERYTHING = "all"
ALIKE = "as much"


@dataclass(frozen=True, slots=True)
class PairTile:
    """One measure of both."""

    measure: str
    label: str
    meaning: str
    texts: tuple[str, str]
    difference: str
    tone: str
    """bad or good where it is no chance."""
    url: str
    current: bool


@dataclass(frozen=True, slots=True)
class PairRow:
    """One value of the table."""

    code: str
    label: str
    url: str
    fill: float
    cells: tuple[str, ...]
    """Two for each of the table's columns."""


@dataclass(frozen=True, slots=True)
class PairTiles:
    """The totals of two values side by side."""

    labels: tuple[str, str]
    tiles: tuple[PairTile, ...] | None
    """None: could not be computed."""


@dataclass(frozen=True, slots=True)
class PairTable:
    """The rows of two values side by side."""

    labels: tuple[str, str]
    heading: str
    label: str
    """Of the table's rows."""
    columns: tuple[str, ...]
    rows: tuple[PairRow, ...] | None
    """None: could not be computed."""
    one_url: str
    """Shows both as one."""


# ---- tiles -----------------------------------------------------------------------------------------------------------


def tiles(page: Page) -> PairTiles | None:
    """The totals of both; None: there are not two."""
    both = _both(page)
    return None if both is None else PairTiles((both[0].label, both[1].label), _tiles(page, both))


def _both(page: Page) -> tuple[Side, Side] | None:
    sides = sides_of(page)
    return (sides[0], sides[1]) if len(sides) == 2 else None


def _tiles(page: Page, sides: tuple[Side, Side]) -> tuple[PairTile, ...] | None:
    found = [page.ask(page.queries.summary, page.state.span, side.filters, want=USUAL) for side in sides]
    if found[0] is None or found[1] is None:
        return None
    findings = _findings(page)
    both = (found[0], found[1])
    names = [name for name in TILES if is_offered(page, name)]
    return tuple(_tile(page, name, both, findings, sides if name == names[0] else None) for name in names)


def _tile(
    page: Page,
    name: str,
    both: tuple[Measures, Measures],
    findings: dict[str, Finding] | None,
    named: tuple[Side, Side] | None,
) -> PairTile:
    before, after = (_amount(name, one) for one in both)
    said, tone = _difference(name, before, after, findings)
    if named is not None and said not in ("", ALIKE):
        said = f"{said} {named[1].label} to {named[0].label}"
    return PairTile(
        measure=name,
        label=LABELS[name],
        meaning=MEANINGS[name],
        texts=(_text(name, both[0]), _text(name, both[1])),
        difference=said,
        tone=tone,
        url=page.state.url(metric=METRIC_OF[name]),
        current=page.state.metric == METRIC_OF[name],
    )


def _amount(name: str, measures: Measures) -> float | None:
    """What is compared: of failures their share, as one of both may just be rarer."""
    value = value_of(name, measures)
    if name != "server_errors" or value is None:
        return value
    return value / measures.hits if measures.hits else None


def _text(name: str, measures: Measures) -> str:
    value = value_of(name, measures)
    if name == "server_errors":
        return share(measures.server_errors, measures.hits) or "0"
    return duration(value) if name.startswith("p") else compact(value)


def _difference(
    name: str, before: float | None, after: float | None, findings: dict[str, Finding] | None
) -> tuple[str, str]:
    """The second against the first, in words, and its tone."""
    if not before or after is None:
        return "", ""
    ratio = after / before
    text = _ratio(ratio)
    what = {"p95": TIMES, "server_errors": FAILURES}.get(name)
    if what is None or findings is None:
        return text, ""
    finding = findings.get(what)
    if finding is None:
        return text if abs(ratio - 1) < LEAST_CHANGE - 1 else f"{text} may be chance", ""
    words = ("slower", "faster") if what == TIMES else ("more", "less")
    said = f"{text} {words[0 if ratio > 1 else 1]}, {'sure' if finding.is_sure else 'likely'}"
    return said, "bad" if ratio > 1 else "good"


def _ratio(ratio: float) -> str:
    """Percent below the double, times from there on."""
    if ratio >= 2:
        return f"×{ratio:.1f}" if ratio < 10 else f"×{ratio:,.0f}"
    if 0 < ratio <= 0.5:
        return f"÷{1 / ratio:.1f}" if ratio > 0.1 else f"÷{1 / ratio:,.0f}"
    percent = round(100 * (ratio - 1))
    return ALIKE if not percent else f"+{percent}%" if percent > 0 else f"−{-percent}%"


def _findings(page: Page) -> dict[str, Finding] | None:
    """What is no chance between both; None: it cannot be told, as where one is a class of values."""
    name = page.state.table.split
    dimension, two = page.site.dimensions[name], two_of(page, name)
    values = [] if two is None else [dimension.values_of(text) for text in two]
    if any(len(some) != 1 for some in values) or two is None:
        return None
    filters = page.state.filters.without(name)
    filters = replace(filters, conditions=(*filters.conditions, Condition(name, two)))
    span = elapsed(page.state.span, page.now)
    found = page.ask(page.queries.profiles, name, span, block_of(span), filters, limit=MOST_CHOICES)
    known: dict[Value, Profile] = {} if found is None else {row.value: row for row in found.rows}
    one, other = (known.get(some[0]) for some in values)
    if one is None or other is None:
        return None
    part = other.hits / (one.hits + other.hits)
    made = compare({EVERYTHING: one}, {EVERYTHING: other}, same_hours=False, part=part)
    return {finding.what: finding for finding in made.findings}


# ---- table -----------------------------------------------------------------------------------------------------------


def table(page: Page) -> PairTable | None:
    """The rows of both; None: there are not two, or the model has neither paths nor routes."""
    both, by = _both(page), grouping_of(page)
    if both is None or by is None:
        return None
    names = tuple(name for name in COLUMNS if is_offered(page, name)) or ("hits",)
    return PairTable(
        labels=(both[0].label, both[1].label),
        heading=page.site.dimensions[by].plural,
        label=page.site.dimensions[by].label,
        columns=tuple("5xx" if name == "server_errors" else LABELS[name] for name in names),
        rows=_rows(page, by, both, names),
        one_url=page.state.table_url(split=""),
    )


def _rows(page: Page, by: str, sides: tuple[Side, Side], names: Sequence[str]) -> tuple[PairRow, ...] | None:
    """The values of both together, with the measures of each."""
    found = ask_table(page, by, Against(None), limit=page.state.table.rows, offset=0)
    if found is None:
        return None
    texts = tuple(page.site.dimensions[by].text_of(row.value) for row in found.rows)
    if not texts:
        return ()
    measured = []
    for side in sides:
        filters = side.filters.without(by)
        narrowed = replace(filters, conditions=(*filters.conditions, Condition(by, texts)))
        answer = page.ask(page.queries.breakdown, by, page.state.span, narrowed, limit=len(texts), want=USUAL)
        if answer is None:
            return None
        measured.append({row.value: row.measures for row in answer.rows})
    fills = of_longest(row.measures.hits for row in found.rows)
    return tuple(_row(page, by, row, fill, measured, names) for row, fill in zip(found.rows, fills, strict=True))


def _row(
    page: Page,
    by: str,
    row: Row,
    fill: float,
    measured: Sequence[dict[Value, Measures]],
    names: Sequence[str],
) -> PairRow:
    code, label = code_and_label(page, by, row)
    both = [known.get(row.value) for known in measured]
    return PairRow(
        code=code,
        label=label,
        url=page.other_filtered(by, page.site.dimensions[by].text_of(row.value)),
        fill=fill,
        cells=tuple("–" if one is None else _cell(name, one) for name in names for one in both),
    )


def _cell(name: str, measures: Measures) -> str:
    return number(value_of(name, measures)) if name in ("visitors", "hits") else _text(name, measures)
