"""What surrounds every page: tabs, the span and its neighbours, filters, notices and the foot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from ..changes import dimension_of as compared_by
from ..dimensions import ADDRESS
from ..formatting import clipped, day, duration, just_before, number
from ..formatting import clock as clock_text
from ..page_state import PageState, preset_names
from ..parameters import CONTAINS
from ..queries.answers import Freshness, is_late
from ..saved_views import is_page
from ..spans import FIRST_YEAR, Span, calendar
from .chips import Chip, chips, outside_of, scope, switch, without_chips
from .marks import around_url, called, latest, since
from .page import Link, Page, compared_dates, covered, versus

TABS = (
    ("index", "Overview"),
    ("changes", "Changes"),
    ("errors", "Errors"),
    ("requests", "Requests"),
    ("clients", "Clients"),
    ("database", "Database"),
    ("live", "Live"),
    ("health", "Health"),
)
TIMELESS = ("live", "one_request", "health")
"""Views that show no span."""
UNFILTERED = ("one_request", "health")
"""Views that the filters change nothing of; they keep them for those that they lead to."""
COMPARED = ("index", "changes", "errors", "list")
"""Views that show the period before as well."""
SPAN_LABELS = {"today": "Today", "12mo": "12 months", "all": "All"}
UNITS_OF_SPANS = {"h": "hours", "d": "days"}
SPAN_KEYS = {"today": "d", "7d": "w", "28d": "m", "91d": "q", "12mo": "y", "all": "a"}
COMPARISON_LABELS = {"prev": "Previous period", "year": "Same period last year", "off": "Off"}
LONGEST_NAME = 23
"""Characters of the app's name at most, the ellipsis included."""
LONGEST_LABEL = 27
"""Characters of the span for which its button has room."""


@dataclass(frozen=True, slots=True)
class Updates:
    """How new the numbers are."""

    clock: str
    """Time of day."""
    iso: str
    zone: str
    every: str | None
    """`updated every minute`; None: the numbers are of the moment."""
    late: str | None
    """A warning that they are older than they should be."""
    url: str
    """Asks again."""


@dataclass(frozen=True, slots=True)
class Toolbar:
    """What chooses the span."""

    spans: tuple[Link, ...]
    """Those until now."""
    calendar: tuple[Link, ...]
    label: str
    """What the span covers, as wide as the button."""
    covers: str
    """The same in full."""
    earlier_url: str | None
    later_url: str | None
    """None: that is the future."""
    first_day: str
    first_time: str
    """Empty: all of the day."""
    last_day: str
    last_time: str
    hidden: tuple[tuple[str, str], ...]
    """What the form of dates repeats."""
    comparison: str
    """What is compared with, in few characters; empty: nothing."""
    compared: str
    """The same in full."""
    comparisons: tuple[Link, ...]
    """Empty: nothing to compare with."""
    kinds: tuple[Link, ...]
    """Empty: the model does not tell pages from data and what pages are made of."""
    audiences: tuple[Link, ...]
    """Empty: the model does not tell bots from people."""
    fields: tuple[tuple[str, str], ...]
    """What can be filtered by: name and label."""
    filter_hidden: tuple[tuple[str, str], ...]
    """What the form of filters repeats."""


@dataclass(frozen=True, slots=True)
class Saving:
    """The form that saves a view."""

    url: str
    back: str
    """The page to save."""
    key: str | None
    """Of the saved view that is shown, to be deleted; None: it shows none that was saved here."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds a page."""

    view: str
    """Endpoint of the tab that is current, or the name of the host's page; other pages have names that no tab has."""
    heading: str
    title: str
    """Of the document."""
    name: str
    """Of the app."""
    short_name: str
    base: str
    home_url: str
    overview_url: str
    """The overview of the same requests."""
    tabs: tuple[Link, ...]
    saved: tuple[Link, ...]
    """Tabs of saved views."""
    saving: Saving | None
    """How this view is saved, or no more; None: it cannot be."""
    updates: Updates
    toolbar: Toolbar
    chips: tuple[Chip, ...]
    scope: str
    """What is counted, in words; empty: the view counts nothing by filters."""
    is_split: bool
    """Whether something stands side by side."""
    outside: Link | None
    """Leads to all that is not counted because of a switch; None: no switch is on."""
    clear_url: str | None
    """None: there is one filter at most, which has its own way out."""
    notices: tuple[str, ...]
    permalink: str | None
    """None: the view has no span."""
    json_url: str | None
    csv_url: str | None
    theme: str
    theme_url: str
    log_out_url: str | None
    """None: there is nothing to log out of."""
    self_url: str
    is_raw: bool
    """Whether raw rows are counted, which takes time."""


def frame(
    page: Page,
    view: str,
    *,
    title: str,
    default: timedelta,
    json_url: str | None,
    csv_url: str | None = None,
    outside: int | None = None,
    about: str | None = None,
) -> Frame:
    """The frame around the page `view`, with the URLs of its numbers as JSON and CSV.

    `outside` are the requests that the switches leave out; None: that was not counted. `about` is the dimension whose filter
    says what the page is about, which is no filter to its reader.
    """
    state, site = page.state, page.site
    shown = () if view in UNFILTERED else chips(page, about)
    saved = _saved(page)
    at_tab = not any(link.current for link in saved)
    return Frame(
        view=view,
        heading=title,
        title=f"{title} · {site.title}",
        name=site.title,
        short_name=clipped(site.title, LONGEST_NAME),
        base=state.base,
        home_url=site.url("index"),
        overview_url=page.other("index"),
        tabs=(
            *(
                Link(text, page.other(name), at_tab and name == view)
                for name, text in TABS
                if (name != "clients" or ADDRESS in site.dimensions)
                and (name != "database" or site.statements is not None)
                and (name != "changes" or compared_by(site.dimensions) is not None)
            ),
            *(Link(text, page.other("page", name=name), at_tab and name == view) for name, text in site.own_tabs),
        ),
        saved=saved,
        saving=_saving(page),
        updates=updates(page, page.queries.freshness),
        toolbar=_toolbar(page, default, compared=view in COMPARED),
        chips=shown,
        scope="" if view in UNFILTERED else scope(state.filters, of_statements=view == "database"),
        is_split=bool(state.table.split),
        outside=None if view in UNFILTERED or view == "database" else outside_of(page, outside),
        clear_url=state.url(filters=without_chips(state.filters))
        if sum(len(chip.values) for chip in shown) > 1
        else None,
        notices=(*state.notices, *_out_of_time(page), *_preparing(page), *_unknown(page)),
        permalink=None if view in TIMELESS else state.permalink(),
        json_url=json_url,
        csv_url=csv_url,
        theme=site.theme,
        theme_url=site.url("theme"),
        log_out_url=site.url("log_out") if site.can_log_out else None,
        self_url=state.table_url_at(state.base),
        is_raw=page.queries.freshness is None,
    )


def _saved(page: Page) -> tuple[Link, ...]:
    """Tabs of saved views, those of the settings first; current is what the page shows to the letter."""
    home, shown = page.site.url("index"), _first_page(page)
    views = (*page.site.views, *page.site.kept().views)
    return tuple(Link(clipped(view.name), home + view.url, home + view.url == shown) for view in views)


def _saving(page: Page) -> Saving | None:
    home, shown = page.site.url("index"), _first_page(page)
    if not page.site.may_change or not is_page(page.state.base.removeprefix(home), page.site.dimensions):
        return None
    key = next((view.id for view in page.site.kept().views if home + view.url == shown), None)
    return Saving(page.site.url("save_view"), shown, key)


def _first_page(page: Page) -> str:
    state = page.state
    return replace(state, table=state.table.first_page()).table_url_at(state.base)


def updates(page: Page, freshness: Freshness | None) -> Updates:
    """How new the numbers are; without `freshness` they are of this instant."""
    at = page.local(freshness.as_of) if freshness else page.local_now
    return Updates(
        clock=clock_text(at, now=page.local_now),
        iso=at.isoformat(timespec="seconds"),
        zone=page.state.span.zone.key,
        every=None if freshness is None else f"updated every {_interval(freshness.interval)}",
        late=None if freshness is None else _late(freshness, page.now),
        url=page.state.table_url_at(page.state.base),
    )


def _interval(interval: timedelta) -> str:
    text = duration(interval.total_seconds())
    return {"1 min": "minute", "1 h": "hour"}.get(text, text)


def _late(freshness: Freshness, now: datetime) -> str | None:
    behind = now - freshness.as_of
    if not is_late(behind, freshness.interval):
        return None
    return f"Numbers are {duration(round(behind.total_seconds()))} behind."


def _out_of_time(page: Page) -> list[str]:
    if not page.asker.out_of_time:
        return []
    limit = duration(page.site.query_timeout.total_seconds())
    return [f"Some numbers took longer than {limit} and are not shown. Choose a shorter span or fewer filters."]


def _preparing(page: Page) -> list[str]:
    freshness = page.queries.freshness
    if freshness is None or freshness.preparing_before is None or page.state.span.start >= freshness.preparing_before:
        return []
    since = clock_text(page.local(freshness.preparing_before), now=page.local_now)
    return [f"Requests before {since} are still being prepared and not counted here yet."]


def _unknown(page: Page) -> list[str]:
    """What the filters cannot know."""
    state, freshness = page.state, page.queries.freshness
    if not state.filters or freshness is None:
        return []
    notices = []
    since = page.ask(page.queries.complete_from, state.span, state.filters)
    if since is not None and since != freshness.preparing_before:
        at = clock_text(page.local(since), now=page.local_now)
        notices.append(f"What is filtered by was not recorded before {at}: earlier requests are not counted here.")
    undecided = page.ask(page.queries.undecided, state.span, state.filters)
    if undecided:
        notices.append(
            f"{number(undecided)} requests have rare values that were counted together as (other): whether the filters let "
            "them through is not known, and they are not counted here."
        )
    return notices


# ---- toolbar ---------------------------------------------------------------------------------------------------------


def _toolbar(page: Page, default: timedelta, *, compared: bool) -> Toolbar:
    state, span = page.state, page.state.span
    earlier, later = span.moved(-1), span.moved(1)
    everything, whole_days = span.name == "all", span.whole_days is not None
    return Toolbar(
        spans=tuple(_span_link(state, name) for name in preset_names(default)),
        calendar=tuple(_calendar_link(state, name, of) for name, of in _calendar(page).items()),
        label=_label(page),
        covers=covered(page),
        earlier_url=None if everything or earlier.start.year < FIRST_YEAR else state.url(span=earlier),
        later_url=None if span.end > page.now else state.url(span=later),
        first_day=f"{span.local_start:%Y-%m-%d}",
        first_time="" if whole_days else f"{span.local_start:%H:%M}",
        last_day=f"{just_before(span.local_end) if whole_days else span.local_end:%Y-%m-%d}",
        last_time="" if whole_days else f"{span.local_end:%H:%M}",
        hidden=tuple(state.hidden("span", "start", "end", "unit")),
        comparison=_against(page) or versus(page),
        compared=_against(page) or compared_dates(page),
        comparisons=tuple(_comparisons(page)) if compared and not everything else (),
        audiences=tuple(switch(page, "device")),
        kinds=tuple(switch(page, "content")),
        fields=tuple(_fields(page)),
        filter_hidden=tuple(state.hidden()),
    )


def _label(page: Page) -> str:
    """What the span covers; where it names years, without the times of day, for which there is no room."""
    span, label = page.state.span, covered(page)
    if span.whole_days is not None or len(label) <= LONGEST_LABEL:
        return label
    first, last = span.local_start, just_before(span.local_end)
    return f"{day(first, year=True)} – {day(last, year=True)}"


def _span_link(state: PageState, name: str) -> Link:
    url = state.url(span=replace(state.span, name=name))
    label = SPAN_LABELS.get(name) or f"{name[:-1]} {UNITS_OF_SPANS[name[-1]]}"
    return Link(label, url, name == state.span.name, SPAN_KEYS.get(name))


def _calendar_link(state: PageState, name: str, span: Span) -> Link:
    current = state.span.name is None and (state.span.start, state.span.end) == (span.start, span.end)
    return Link(name, state.url(span=span), current)


def _calendar(page: Page) -> dict[str, Span]:
    """Spans by the calendar, and since the latest mark."""
    mark = latest(page)
    named = {} if mark is None else {f"Since {called(mark)}": since(page, mark)}
    return calendar(page.now, page.state.span.zone) | named


def _fields(page: Page) -> Iterator[tuple[str, str]]:
    """What can be filtered by, a text in the path first."""
    if "path" in page.site.dimensions:
        yield CONTAINS, "Path contains"
    for name, dimension in page.site.dimensions.items():
        yield name, dimension.label


def _against(page: Page) -> str:
    """The day with which the time begins that changes are against; empty: the URL names none."""
    against = page.state.table.against
    if not against or page.state.base != page.site.url("changes"):
        return ""
    began = date.fromisoformat(against)
    return f"{day(datetime(began.year, began.month, began.day), year=began.year != page.local_now.year)} on"


def _comparisons(page: Page) -> Iterator[Link]:
    """What can be compared with; before and after the latest mark is a comparison of its own, of what changed."""
    state = page.state
    table = replace(state.table.first_page(), against="")
    for vs, text in COMPARISON_LABELS.items():
        switches = vs == ("prev" if state.vs == "off" else "off")
        current = vs == state.vs and not state.table.against
        yield Link(text, state.url(vs=vs, table=table), current, "c" if switches else None)
    mark = latest(page)
    url = None if mark is None else around_url(page, mark)
    if mark is not None and url is not None:
        yield Link(f"Before / after {called(mark)}", url, url == state.table_url_at(state.base))
