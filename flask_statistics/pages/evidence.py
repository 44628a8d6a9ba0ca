"""How a finding is shown: its change in words, the bet on chance, the line where it may be, both distributions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isinf, log

from ..confidence import FAILURES, GONE, NEW, Finding

LEAST_CHANCE = 1e-5
"""A smaller one is not told more exactly."""
SCALE, REACH = 144, 4.0
"""The line of an interval: so many pixels from a quarter to four times as much."""
COLUMNS, TALL, WIDE = 32, 22, 96
"""A distribution: so many steps, in so many pixels."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a change really may be, in pixels of its scale."""

    low: float
    high: float
    at: float | None
    """Of the change itself; None: it is beyond the scale."""
    arrow: str
    """`left` or `right` where it goes on beyond the scale; empty: it does not."""
    text: str
    """In words."""


def chance_text(chance: float) -> str:
    """The bet on it."""
    return f"{'less than ' if chance < LEAST_CHANCE else ''}1 in {odds(chance)} by chance"


def change_text(one: Finding) -> str:
    """Percent below the double, times from there on."""
    if one.what in (NEW, GONE):
        return ""
    if one.what == FAILURES and not one.before:
        return "from none"
    if one.what == FAILURES and not one.after:
        return "to none"
    if one.ratio >= 2:
        return f"×{one.ratio:.1f}" if one.ratio < 10 else f"×{one.ratio:,.0f}"
    percent = round(100 * (one.ratio - 1))
    return f"+{percent}%" if percent >= 0 else f"−{-percent}%"


def odds(chance: float) -> str:
    """One in how many, with two digits at most."""
    one_in = 1 / max(chance, LEAST_CHANCE)
    step = 10 ** max(0, len(str(int(one_in))) - 2)
    return f"{round(one_in / step) * step:,}"


def interval(one: Finding) -> Interval:
    """Where a change really may be, as a line on the scale."""
    low, at, high = (_place(ratio) for ratio in (one.low, one.ratio, one.high))
    beyond = at < 0 or at > SCALE
    return Interval(
        low=_within(low),
        high=_within(high),
        at=None if beyond else round(at, 1),
        arrow="right" if high > SCALE else "left" if low < 0 else "",
        text=f"between ×{_ratio(one.low)} and ×{_ratio(one.high)}",
    )


def _place(ratio: float) -> float:
    if isinf(ratio):
        return 2.0 * SCALE
    return SCALE / 2 * (1 + log(max(ratio, 1e-9)) / log(REACH))


def _within(place: float) -> float:
    return round(min(max(place, 0.0), float(SCALE)), 1)


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{min(ratio, 1e6):,.0f}"


def distributions(before: Mapping[int, int], after: Mapping[int, int]) -> tuple[str, str]:
    """Two histograms on one scale as paths: the first a line, the second an area. The last hundredth of both is left out."""
    together = {place: before.get(place, 0) + after.get(place, 0) for place in before.keys() | after.keys()}
    least, most = _middle(together)
    step = max(1.0, (most - least + 1) / COLUMNS)
    heights = [_heights(bins, least, step) for bins in (before, after)]
    top = max((height for each in heights for height in each), default=0) or 1
    one, other = (
        " ".join(
            f"{'M' if not column else 'L'}{WIDE * (column + 0.5) / COLUMNS:.0f} {1 + TALL * (1 - height / top):.1f}"
            for column, height in enumerate(each)
        )
        for each in heights
    )
    bottom = TALL + 1
    return one, f"{other} L{WIDE} {bottom} L0 {bottom}z"


def _middle(bins: Mapping[int, int]) -> tuple[int, int]:
    """The bins between which all but the outermost hundredths are."""
    whole, seen, least = sum(bins.values()), 0, None
    most = 0
    for place in sorted(bins):
        seen += bins[place]
        if least is None and seen > 0.01 * whole:
            least = place
        if seen - bins[place] < 0.99 * whole:
            most = place
    return least or 0, most


def _heights(bins: Mapping[int, int], least: int, step: float) -> list[float]:
    heights, whole = [0.0] * COLUMNS, sum(bins.values()) or 1
    for place, count in bins.items():
        column = int((place - least) / step)
        if place >= least and column < COLUMNS:
            heights[column] += count / whole
    return heights
