"""Geometry of the dashboard's one chart: from buckets and values to paths, ticks, table rows and hit areas.

Pure functions; nothing here is HTML. The template draws an outer SVG of full width and 224 px without a viewBox, where
x is in percent and y in pixels, and in it a nested `<svg y="20" height="180" viewBox="0 0 1000 180"
preserveAspectRatio="none">` for the paths. Buckets are drawn equally wide, each with its point, or its bar, in the middle.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from typing import Literal

from .formatting import MISSING, MONTHS, WEEKDAYS, Unit, bucket_label, just_before, starts_day

WIDTH = 1000
"""Width of the nested viewBox."""
HEIGHT = 180
"""Height of the nested viewBox, and of the plot in pixels."""
TOP = 20
"""Pixels of the outer SVG above the plot."""
MAX_HIT_AREAS = 92
"""With more buckets than this a hit area covers a day: 168 areas weigh more than the rest of the chart."""
MAX_X_TICKS = 8
BAR = 0.76
"""Part of a bucket's width that its bar has."""
LEAST_APART = 14
"""Pixels between the names of two lines."""
FLAGS_APART = 6.0
"""Percent between two flags; those that were nearer are one."""
FLAGS_LEFT = 92.0
"""From this percent on the name of a flag stands at the left of its line."""
LONGEST_FLAG = 24
"""Characters of a flag's name."""
CHARACTERS = 1.2
"""Of a flag's name, in a percent of the width; on phones half of it."""

Bucket = tuple[datetime, datetime]
Values = Sequence[float | None]


@dataclass(frozen=True)
class Line:
    """A series to draw."""

    key: str
    """Name of the measure, as in the URL."""
    label: str
    """Name of the measure, as in the legend."""
    values: Values
    """One value a bucket; None is no data, and a gap in the path."""


@dataclass(frozen=True)
class Dot:
    """A single value."""

    x: float
    """Position in percent."""
    y: float
    """Position in the outer SVG, in pixels."""
    hollow: bool
    """Whether the value is not final."""


@dataclass(frozen=True)
class End:
    """The name of a line, beside its end."""

    label: str
    line: int | None
    """Which of the lines it is; None: the previous period."""
    y: float
    """Middle of the text in the outer SVG, in pixels."""


@dataclass(frozen=True)
class DrawnLine:
    """The paths of one series, in viewBox units; each is empty where there is nothing to draw."""

    key: str
    label: str
    path: str
    """The finished buckets: a line, or bars."""
    area: str
    """What is filled below the path; only where the chart has a single line."""
    partial: str
    """The unfinished bucket: from the finished one before it, to be dashed; or its bar, to be pale."""
    dots: tuple[Dot, ...] = ()
    """Values that no line leads to, and the unfinished one."""


@dataclass(frozen=True)
class YTick:
    """A grid line and its label."""

    y: float
    """Position of the grid line in the outer SVG, in pixels."""
    label: str


@dataclass(frozen=True)
class XTick:
    """A label below the plot."""

    x: float
    """Position in percent."""
    label: str
    anchor: Literal["start", "middle", "end"]
    """The `text-anchor`: labels near an edge stay inside the chart."""
    minor: bool
    """Whether the label is hidden on phones."""


@dataclass(frozen=True)
class Row:
    """One bucket, as the table and the tooltip show it."""

    label: str
    start: datetime
    end: datetime
    x: float
    """Left edge in percent."""
    width: float
    """Width in percent."""
    values: tuple[tuple[str, str], ...]
    """Label and formatted value of each line, in the order of the lines."""
    previous: str | None
    """Formatted value of the previous period; None where the chart has none."""
    partial: bool
    """Whether `now` is inside the bucket."""
    future: bool
    """Whether the bucket has not begun."""


@dataclass(frozen=True)
class HitArea:
    """A part of the plot that answers to the pointer and links to its time."""

    label: str
    start: datetime
    end: datetime
    x: float
    """Left edge in percent."""
    width: float
    """Width in percent."""
    rows: tuple[Row, ...]
    """The buckets covered, those of the future included: one, or those of a day (where they are minutes, an hour)."""


@dataclass(frozen=True)
class Flag:
    """A line through the plot, with a name at its top: what happened then."""

    x: float
    """Position in percent."""
    label: str
    anchor: Literal["start", "end"]
    """The `text-anchor`: the name is at the right of the line, or at its left."""
    minor: bool
    """Whether the name is hidden on phones."""
    marks: tuple[int, ...]
    """Which of the marks it stands for, the oldest first."""


@dataclass(frozen=True)
class Chart:
    """Everything the template draws."""

    unit: Unit
    is_bars: bool
    lines: tuple[DrawnLine, ...]
    previous: str | None
    """Path of the previous period, to be dotted; None where there is none."""
    y_ticks: tuple[YTick, ...]
    """From 0 up: 0, half and top, or 0 and top where half has no label of its own."""
    x_ticks: tuple[XTick, ...]
    """From left to right, 8 at most."""
    rows: tuple[Row, ...]
    """One a bucket, the future included."""
    hits: tuple[HitArea, ...]
    """From left to right, without those of the future."""
    ends: tuple[End, ...]
    """Names beside the ends of lines, from top to bottom; bars have none."""


def line_chart(
    buckets: Sequence[Bucket],
    lines: Sequence[Line],
    *,
    previous: Values | None = None,
    previous_label: str = "",
    unit: Unit,
    now: datetime,
    format_value: Callable[[float], str],
    format_axis: Callable[[float], str] | None = None,
    bars: bool = False,
) -> Chart:
    """The chart of `lines` over `buckets` (aware local start and end, half-open, in order, at least one).

    `previous` belongs to the first line and has a value for each bucket. The bucket that `now` is in is drawn as a
    segment of its own; those after it are not drawn. `format_value` writes the values of the table, and those of the
    axis unless `format_axis` does. `bars` stand on each other, those of the first line at the bottom. Raises ValueError
    without buckets, and where a series does not have one value a bucket.
    """
    if not buckets:
        raise ValueError("A chart needs at least one bucket.")
    for values in (*(line.values for line in lines), *([previous] if previous is not None else [])):
        if len(values) != len(buckets):
            raise ValueError(f"{len(values)} values do not fit {len(buckets)} buckets; None stands for no data.")
    # Timestamps: two datetimes of one zone compare by their clocks, and an hour that is repeated comes out wrong.
    finished = sum(end.timestamp() <= now.timestamp() for _, end in buckets)
    begun = sum(start.timestamp() <= now.timestamp() for start, _ in buckets)
    highest = [_stacked(lines)] if bars else [line.values for line in lines]
    drawn = [v for values in highest for v in values[:begun]] + list(previous or ())
    known = [v for v in drawn if v is not None]
    top = _nice_top(known)
    draw = _Drawing(top, finished, begun, len(buckets))
    drawings = tuple(draw.bars(lines) if bars else (draw.line(line, fill=len(lines) == 1) for line in lines))
    rows = _rows(
        buckets, lines, previous=previous, unit=unit, finished=finished, begun=begun, format_value=format_value
    )
    return Chart(
        unit=unit,
        is_bars=bars,
        lines=drawings,
        previous=None if previous is None else _path(_points(previous, top), len(buckets)),
        y_ticks=_y_ticks(top, format_axis or format_value, whole=_whole(known)),
        x_ticks=_x_ticks([start for start, _ in buckets], unit),
        rows=rows,
        hits=_hits(rows, unit),
        ends=() if bars else tuple(_ends(lines, previous, previous_label, top, begun)),
    )


def flags(buckets: Sequence[Bucket], marks: Sequence[tuple[datetime, str]]) -> tuple[Flag, ...]:
    """Flags of `marks` (aware instant and name, in order) that are within `buckets`, from left to right.

    Those nearer than `FLAGS_APART` are one, where the latest of them is: `v41, v42`.
    """
    placed = [(x, number) for number, (at, _) in enumerate(marks) if (x := _position(buckets, at)) is not None]
    groups: list[list[tuple[float, int]]] = []
    for x, number in reversed(placed):
        if groups and groups[-1][0][0] - x < FLAGS_APART:
            groups[-1].append((x, number))
        else:
            groups.append([(x, number)])
    groups.reverse()
    found = [(group[0][0], tuple(number for _, number in reversed(group))) for group in groups]
    return tuple(
        _flag(x, numbers, [marks[number][1] for number in numbers], _room(found, place))
        for place, (x, numbers) in enumerate(found)
    )


def _flag(x: float, numbers: tuple[int, ...], names: Sequence[str], room: float) -> Flag:
    label = _flag_name(names, max(min(int(room * CHARACTERS), LONGEST_FLAG), 3))
    return Flag(
        x=round(x, 2),
        label=label,
        anchor="end" if x >= FLAGS_LEFT else "start",
        minor=len(label) > room * CHARACTERS / 2,
        marks=numbers,
    )


def place_of(buckets: Sequence[Bucket], at: datetime) -> int | None:
    """Which of `buckets` an instant is in; None: in none. Timestamps, as an hour may come twice."""
    moment = at.timestamp()
    place = bisect_right(buckets, moment, key=lambda bucket: bucket[0].timestamp()) - 1
    return place if place >= 0 and moment < buckets[place][1].timestamp() else None


def _position(buckets: Sequence[Bucket], at: datetime) -> float | None:
    """Where an instant is, in percent."""
    place = place_of(buckets, at)
    if place is None:
        return None
    start, end = (edge.timestamp() for edge in buckets[place])
    return 100 * (place + (at.timestamp() - start) / (end - start)) / len(buckets)


def _room(found: Sequence[tuple[float, tuple[int, ...]]], place: int) -> float:
    """Percent that the name of a flag has: to its neighbour, or half of that where both names are between them."""
    x = found[place][0]
    if x >= FLAGS_LEFT:
        before = found[place - 1][0] if place else 0.0
        return x - before if before >= FLAGS_LEFT else (x - before) / 2
    if place + 1 == len(found):
        return 100 - x
    after = found[place + 1][0]
    return (after - x) / 2 if after >= FLAGS_LEFT else after - x


def _flag_name(names: Sequence[str], longest: int) -> str:
    """All names, the latest one and how many more, or as much of it as there is room for."""
    newest = names[-1]
    choices = [", ".join(names)] if len(names) <= 2 else []
    if len(names) > 1:
        choices.append(f"{newest} +{len(names) - 1}")
    fitting = next((choice for choice in choices if len(choice) <= longest), newest)
    return fitting if len(fitting) <= longest else f"{fitting[: longest - 1]}…"


# Paths. Points are in tenths of a viewBox unit: whole numbers, so that relative steps add up without drift. Upwards they are
# whole pixels, which makes the paths shorter.

Point = tuple[int, int]


def _points(values: Values, top: float) -> list[Point | None]:
    """A point a bucket, None where there is no value."""
    step = 10 * WIDTH / len(values)
    return [
        None if value is None else (round((i + 0.5) * step), 10 * round(HEIGHT * (1 - max(value, 0) / top)))
        for i, value in enumerate(values)
    ]


@dataclass(frozen=True, slots=True)
class _Drawing:
    """How values become paths in one chart."""

    top: float
    """The value at the top of the plot."""
    finished: int
    """Buckets that are over."""
    begun: int
    count: int

    def line(self, line: Line, *, fill: bool) -> DrawnLine:
        """A line between gaps, with a dot for what stands alone."""
        points = _points(line.values, self.top)
        runs = list(_runs(points[: self.finished]))
        unfinished = points[self.finished] if self.begun > self.finished else None
        before = points[self.finished - 1] if self.finished else None
        hollow = () if unfinished is None else (_dot(unfinished, hollow=True),)
        return DrawnLine(
            key=line.key,
            label=line.label,
            path="".join(_polyline(run) for run in runs if len(run) > 1),
            area="".join(_area(run) for run in runs if len(run) > 1) if fill else "",
            partial=_polyline([before, unfinished]) if before and unfinished else "",
            dots=(*(_dot(run[0]) for run in runs if len(run) == 1), *hollow),
        )

    def bars(self, lines: Sequence[Line]) -> Iterable[DrawnLine]:
        """Bars of all lines, each on those of the lines before it."""
        floor = [0.0] * self.count
        for line in lines:
            tops = [below + (value or 0) for below, value in zip(floor, line.values, strict=True)]
            drawn = [
                self._bar(i, below, top) if top > below else ""
                for i, (below, top) in enumerate(zip(floor, tops, strict=True))
            ]
            yield DrawnLine(
                key=line.key,
                label=line.label,
                path="".join(drawn[: self.finished]),
                area="",
                partial="".join(drawn[self.finished : self.begun]),
            )
            floor = tops

    def _bar(self, i: int, below: float, above: float) -> str:
        step = 10 * WIDTH / self.count
        left, width = round((i + (1 - BAR) / 2) * step), max(round(BAR * step), 1)
        bottom, top = (10 * round(HEIGHT * (1 - value / self.top)) for value in (below, above))
        return f"M{_pair(left, bottom)}V{_tenths(top)}h{_tenths(width)}V{_tenths(bottom)}z"


def _stacked(lines: Sequence[Line]) -> Values:
    """The sum of all lines for each bucket."""
    return [sum(value or 0 for value in values) for values in zip(*(line.values for line in lines), strict=True)]


def _dot(point: Point, *, hollow: bool = False) -> Dot:
    x, y = point
    return Dot(round(x / WIDTH * 10, 2), round(TOP + y / 10, 1), hollow)


def _path(points: Sequence[Point | None], count: int) -> str:
    """A line between gaps; a point that stands alone becomes a short line, as a path of one point is invisible."""
    return "".join(_polyline(run if len(run) > 1 else _dash(run[0], count)) for run in _runs(points))


def _runs(points: Sequence[Point | None]) -> Iterable[list[Point]]:
    """The points between gaps."""
    for there, group in groupby(points, key=lambda point: point is not None):
        if there:
            yield [point for point in group if point is not None]


def _dash(point: Point, count: int) -> list[Point]:
    reach = max(10 * WIDTH // (4 * count), 20)
    x, y = point
    return [(max(x - reach, 0), y), (min(x + reach, 10 * WIDTH), y)]


def _ends(lines: Sequence[Line], previous: Values | None, previous_label: str, top: float, begun: int) -> Iterable[End]:
    """The names of lines where these end, moved apart; what ends lower has the lower name."""
    last = [(_last(line.values[:begun], top), line.label, i) for i, line in enumerate(lines)]
    last += [] if previous is None else [(_last(previous, top), previous_label, len(lines))]
    known = sorted((y, i, label) for y, label, i in last if y is not None)
    lowest = TOP + HEIGHT - LEAST_APART * (len(known) - 1)
    place = 0.0
    for y, i, label in known:
        place = max(min(y, lowest), place)
        yield End(label, i if i < len(lines) else None, round(place, 1))
        place, lowest = place + LEAST_APART, lowest + LEAST_APART


def _last(values: Values, top: float) -> float | None:
    value = next((value for value in reversed(values) if value is not None), None)
    return None if value is None else TOP + HEIGHT * (1 - max(value, 0) / top)


def _polyline(run: Sequence[Point]) -> str:
    return f"M{_pair(*run[0])}l{_steps(run)}"


def _area(run: Sequence[Point]) -> str:
    x, y = run[0]
    bottom = 10 * HEIGHT
    return f"M{_pair(x, bottom)}V{_tenths(y)}l{_steps(run)}V{_tenths(bottom)}z"


def _steps(run: Sequence[Point]) -> str:
    return " ".join(_pair(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(run))


def _pair(x: int, y: int) -> str:
    second = _tenths(y)
    return f"{_tenths(x)}{second}" if second.startswith("-") else f"{_tenths(x)} {second}"


def _tenths(value: int) -> str:
    """A number as short as SVG allows: 0, 12, .5, -3.2."""
    whole, tenth = divmod(abs(value), 10)
    text = f"{whole or ''}.{tenth}" if tenth else f"{whole}"
    return f"-{text}" if value < 0 else text


# Axes


def _whole(values: Iterable[float]) -> bool:
    return all(float(value).is_integer() for value in values)


def _nice_top(values: Sequence[float]) -> float:
    """The least round number not below any value whose half is round too, and whole where all values are."""
    highest = max(values, default=0)
    whole = _whole(values)
    if highest <= 0 or (whole and highest <= 1):
        return 1
    exponent = math.floor(math.log10(highest))
    steps = (1, 2, 3, 4, 6, 8, 10, 20)
    tops = (round(step * 10.0**exponent, 12 - exponent) for step in steps)
    return next(top for top in tops if top >= highest and not (whole and top % 2))


def _y_ticks(top: float, format_value: Callable[[float], str], *, whole: bool) -> tuple[YTick, ...]:
    labels = {0.0: format_value(0), top: format_value(top)}
    half = format_value(top / 2)
    if not (whole and top % 2) and half not in labels.values():
        labels[top / 2] = half
    return tuple(YTick(round(TOP + HEIGHT * (1 - value / top), 1), label) for value, label in sorted(labels.items()))


Key = Callable[[datetime], Hashable]
Name = Callable[[datetime], str]


def _x_ticks(starts: Sequence[datetime], unit: Unit) -> tuple[XTick, ...]:
    """The finest of the densities that suit the unit with 8 labels at most, each in the middle of its bucket, or of its day."""
    densities = ((_turns(starts, key), name) for key, name in _densities(starts, unit))
    every = range(0, len(starts), math.ceil(len(starts) / MAX_X_TICKS))
    ticks, name = next((d for d in densities if 0 < len(d[0]) <= MAX_X_TICKS), (list(every), _date_name))
    lengths = Counter(start.date() for start in starts)
    return tuple(
        _x_tick(
            100 * (i + (lengths[starts[i].date()] if name is _weekday_name else 1) / 2) / len(starts),
            name(starts[i]),
            minor=place % 2 == 1,
        )
        for place, i in enumerate(ticks)
    )


def _x_tick(x: float, label: str, *, minor: bool) -> XTick:
    anchor: Literal["start", "middle", "end"] = "start" if x < 4 else "end" if x > 96 else "middle"
    return XTick(x=round(x, 2), label=label, anchor=anchor, minor=minor)


def _turns(starts: Sequence[datetime], key: Key) -> list[int]:
    """The buckets with which a new key begins; the first one only if its key begins with it."""
    return [
        i for i, (before, start) in enumerate(pairwise((just_before(starts[0]), *starts))) if key(before) != key(start)
    ]


def _densities(starts: Sequence[datetime], unit: Unit) -> Iterable[tuple[Key, Name]]:
    """From a label at every bucket to one in fifty years: what a label stands for, and its text."""
    time, month = _time_name(starts), _month_name(starts)
    own: dict[Unit, Name] = {"minute": time, "hour": time, "day": _weekday_name, "week": _date_name, "month": month}
    yield datetime.timestamp, own[unit]
    if unit == "minute":
        yield from ((_minutes(n), time) for n in (2, 5, 10, 15, 30))
    if unit in ("minute", "hour"):
        yield from ((_minutes(60 * n), time) for n in (1, 2, 3, 6, 12))
        yield from ((_days(n), _weekday_name) for n in (1, 2))
    if unit == "day":
        yield from ((_days(n), _date_name) for n in (2, 3))
    if unit != "month":
        yield from ((_weeks(n), _date_name) for n in (1, 2))
    yield from ((_months(n), month) for n in (1, 2, 3, 6))
    yield from ((_months(12 * n), _year_name) for n in (1, 2, 5, 10, 20, 50))


def _minutes(n: int) -> Key:
    return lambda moment: (moment.date(), (60 * moment.hour + moment.minute) // n)


def _days(n: int) -> Key:
    return lambda moment: moment.toordinal() // n


def _weeks(n: int) -> Key:
    # Day 1 of the proleptic calendar is a Monday.
    return lambda moment: (moment.toordinal() - 1) // 7 // n


def _months(n: int) -> Key:
    return lambda moment: (12 * moment.year + moment.month - 1) // n


def _time_name(starts: Sequence[datetime]) -> Name:
    """The time of day; where the chart has several days, the start of one is named after it."""
    one_day = starts[0].date() == starts[-1].date()
    return lambda moment: (
        f"{moment.hour:02}:{moment.minute:02}" if one_day or not starts_day(moment) else _weekday_name(moment)
    )


def _weekday_name(moment: datetime) -> str:
    return f"{WEEKDAYS[moment.weekday()]} {moment.day}"


def _date_name(moment: datetime) -> str:
    return f"{moment.day} {MONTHS[moment.month - 1]}"


def _month_name(starts: Sequence[datetime]) -> Name:
    one_year = starts[0].year == starts[-1].year
    return lambda moment: MONTHS[moment.month - 1] if one_year else f"{MONTHS[moment.month - 1]} {moment.year}"


def _year_name(moment: datetime) -> str:
    return str(moment.year)


# Rows and hit areas


def _rows(
    buckets: Sequence[Bucket],
    lines: Sequence[Line],
    *,
    previous: Values | None,
    unit: Unit,
    finished: int,
    begun: int,
    format_value: Callable[[float], str],
) -> tuple[Row, ...]:
    def text(value: float | None) -> str:
        return MISSING if value is None else format_value(value)

    return tuple(
        Row(
            label=bucket_label(start, end, unit),
            start=start,
            end=end,
            x=round(100 * i / len(buckets), 2),
            width=round(100 / len(buckets), 2),
            values=tuple((line.label, text(line.values[i]) if i < begun else MISSING) for line in lines),
            previous=None if previous is None else text(previous[i]),
            partial=finished <= i < begun,
            future=i >= begun,
        )
        for i, (start, end) in enumerate(buckets)
    )


def _hits(rows: Sequence[Row], unit: Unit) -> tuple[HitArea, ...]:
    groups: Iterable[tuple[Row, ...]]
    if len(rows) <= MAX_HIT_AREAS:
        groups = ((row,) for row in rows)
    else:
        groups = (tuple(group) for _, group in groupby(rows, key=lambda row: _hit_key(row, unit)))
    return tuple(_hit(group, unit) for group in groups if not group[0].future)


def _hit_key(row: Row, unit: Unit) -> Hashable:
    if unit == "minute":
        return row.start.date(), row.start.hour, row.start.utcoffset()
    return row.start.date()


def _hit(rows: tuple[Row, ...], unit: Unit) -> HitArea:
    first, last = rows[0], rows[-1]
    covering: dict[Unit, Unit] = {"minute": "hour", "hour": "day"}
    return HitArea(
        label=first.label if len(rows) == 1 else bucket_label(first.start, last.end, covering.get(unit, unit)),
        start=first.start,
        end=last.end,
        x=first.x,
        width=round(last.x + last.width - first.x, 2),
        rows=rows,
    )
