"""Clients: who asks, by address or by network, how much at once, and how to keep one out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ..addresses import parsed
from ..dimensions import ADDRESS, NETWORK, Value
from ..formatting import clipped, clock, compact, number, share
from ..queries.answers import Breakdown, Client, Measures, Row
from ..queries.interface import CHEAP, VISITORS
from ..user_agents import browser_label, parse
from . import request_log
from .breakdowns import PANEL_ROWS
from .nothing import without_hits
from .page import Link, Page
from .panel import EVERY_ROW, Cells, Panel, View, always
from .tables import BAD_SHARE, LIST_ROWS, Head, bars, head, shown

LATEST = 20
"""Requests of a client that are shown."""
MOST_IN_A_FILE = 20_000
"""Clients in a file, those that come first."""


@dataclass(frozen=True, slots=True)
class ClientRow:
    """One client, or one network."""

    label: str
    url: str
    """The same page with its requests alone, or with all again."""
    current: bool
    """Whether it is among the filters."""
    fill: float
    """Length of its bar in percent: its hits against the most hits of a row."""
    network: str
    """Empty: it is in none, or is one itself."""
    network_url: str
    agent: str
    """Of its latest request; empty: unknown."""
    agent_exact: str
    hits: str
    exact: str
    clients: str
    """Of a network."""
    peak: str
    """The most requests in a minute."""
    errors: str
    """Share of its requests that were answered by 400 to 599."""
    tone: str
    last: str
    last_iso: str


@dataclass(frozen=True, slots=True)
class Later:
    """A panel that a page leaves for later, as it costs more than all else: a script asks for it then."""

    heading: str
    url: str
    """Of the panel."""
    all_url: str
    """Of the page that has all of it, for whoever runs no scripts."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What keeps clients out of one server."""

    server: str
    text: str


@dataclass(frozen=True, slots=True)
class Clients:
    """Clients or networks, those with the most hits first unless another order is asked for."""

    heading: str
    label: str
    of_networks: bool
    rows: tuple[ClientRow, ...] | None
    """None: could not be computed."""
    empty: str
    shown: str
    all_url: str
    csv_url: str
    value_head: Head
    heads: tuple[Head, ...] = ()
    groupings: tuple[Link, ...] = ()
    search: str = ""
    search_hidden: tuple[tuple[str, str], ...] = ()
    base: str = ""
    newer_url: str | None = None
    older_url: str | None = None
    has_errors: bool = True
    """Whether the model has what tells them."""


# ---- panels ----------------------------------------------------------------------------------------------------------


def top(page: Page) -> Clients | Later:
    """The clients with the most hits, as a panel of the overview."""
    state = page.state
    if page.is_whole:
        return Later("Clients", state.table_url_at(page.site.url("panel", name=ADDRESS)), page.other("clients"))
    found = page.ask(
        page.queries.breakdown, ADDRESS, state.span, state.filters.without(ADDRESS), limit=PANEL_ROWS, want=CHEAP
    )
    return _clients(page, ADDRESS, found)


def table(page: Page) -> Clients:
    """All clients, or networks, a page of them at a time."""
    by, state = grouping_of(page), page.state
    found = page.ask(
        page.queries.breakdown,
        by,
        state.span,
        state.filters,
        sort=state.table.sort_by_measure,
        limit=LIST_ROWS,
        offset=state.table.offset,
        search=state.table.search,
        want=CHEAP if by == ADDRESS else CHEAP | {VISITORS},
    )
    return _clients(page, by, found)


def grouping_of(page: Page) -> str:
    """Whether clients or networks are listed."""
    return NETWORK if page.state.table.by == NETWORK else ADDRESS


def _clients(page: Page, by: str, found: Breakdown | None) -> Clients:
    state, dimension = page.state, page.site.dimensions[by]
    offset, total = state.table.offset, 0 if found is None else found.total
    return Clients(
        heading="Networks" if by == NETWORK else "Clients",
        label=dimension.label,
        of_networks=by == NETWORK,
        rows=None if found is None else _rows(page, by, found),
        empty="No client matches this search." if state.table.search else "No clients in this span.",
        shown="" if found is None else shown(page, found),
        all_url=page.other("clients"),
        csv_url=page.csv(by),
        value_head=head(page, "value", dimension.label),
        heads=tuple(head(page, *column) for column in _heads(page, by)),
        groupings=tuple(
            Link(text, state.table_url(by=name, search=""), name == by)
            for name, text in ((ADDRESS, "Addresses"), (NETWORK, "Networks"))
        ),
        search=state.table.search,
        search_hidden=tuple(state.hidden("search")),
        base=state.base,
        newer_url=state.table_url(offset=max(offset - LIST_ROWS, 0)) if offset else None,
        older_url=state.table_url(offset=offset + LIST_ROWS) if offset + LIST_ROWS < total else None,
        has_errors=page.has("status_code"),
    )


def _heads(page: Page, by: str) -> list[tuple[str, str, str]]:
    clients = [("visitors", "Clients", "")] if by == NETWORK else []
    errors = [("error_share", "Errors", "")] if page.has("status_code") else []
    return [("hits", "Hits", ""), *clients, *errors, ("last_requested", "Last seen", "opt")]


def _rows(page: Page, by: str, found: Breakdown) -> tuple[ClientRow, ...]:
    known = _about(page, by, [row.value for row in found.rows])
    columns = {sort for sort, _, _ in _heads(page, by)}
    filled = zip(found.rows, bars(found.rows, page.state.table.sort, columns), strict=True)
    return tuple(_row(page, by, row, known.get(row.value), fill) for row, fill in filled)


def _about(page: Page, by: str, values: list[Value]) -> dict[Value, Client]:
    """What else is known of clients; nothing is of networks."""
    if by == NETWORK or not values:
        return {}
    state = page.state
    return page.ask(page.queries.clients, tuple(values), state.span, state.filters.without(ADDRESS)) or {}


def _row(page: Page, by: str, row: Row, known: Client | None, fill: float) -> ClientRow:
    text, measures = page.site.dimensions[by].text_of(row.value), row.measures
    network = page.site.dimensions[NETWORK].value_of(row.value) if by == ADDRESS else None
    agent = "" if known is None or known.user_agent is None else known.user_agent
    at = None if measures.last_requested is None else page.local(measures.last_requested)
    failed = _failed(measures)
    return ClientRow(
        label=page.label(by, row.value),
        url=page.toggled(by, row.value),
        current=text in page.state.filters.texts(by),
        fill=fill,
        network="" if network is None else str(network),
        network_url="" if network is None else page.other_filtered(NETWORK, str(network)),
        agent=_agent(agent),
        agent_exact=clipped(agent) if agent else "",
        hits=compact(measures.hits),
        exact=number(measures.hits),
        clients=number(measures.visitors),
        peak="–" if known is None else number(known.peak),
        errors=(share(failed, measures.hits) or "0%") if failed else "0",
        tone="bad" if (measures.server_errors or 0) > BAD_SHARE * measures.hits else "mut",
        last=clock(at, now=page.local_now),
        last_iso="" if at is None else at.isoformat(timespec="seconds"),
    )


def _failed(measures: Measures) -> int:
    return (measures.client_errors or 0) + (measures.server_errors or 0)


def _agent(user_agent: str) -> str:
    """What sent it, in few words."""
    if not user_agent:
        return ""
    parsed = parse(user_agent)
    family = parsed.browser.rpartition(" ")[0] if parsed.browser else ""
    named = browser_label(family) if family else user_agent
    return clipped(f"{named} on {parsed.platform}" if family and parsed.platform else named, 60)


# ---- keeping out -----------------------------------------------------------------------------------------------------


def chosen(page: Page) -> list[str]:
    """The addresses and networks that are filtered by, as firewalls take them: what is none is left out.

    A link may have written anything there, which must not get into a configuration or a shell.
    """
    dimensions, texts = page.site.dimensions, page.state.filters.texts
    networks = [value for text in texts(NETWORK) for value in dimensions[NETWORK].values_of(text) if value]
    addresses = [parsed(text) for text in texts(ADDRESS)]
    return [str(one) for one in (*addresses, *networks) if one is not None]


def rules(page: Page) -> tuple[Rule, ...]:
    """What keeps the chosen clients out."""
    some = chosen(page)
    apache = "\n".join(f"  Require not ip {one}" for one in some)
    return (
        Rule("nginx", "\n".join(f"deny {one};" for one in some)),
        Rule("Apache", f"<RequireAll>\n  Require all granted\n{apache}\n</RequireAll>"),
        Rule(
            "iptables",
            "\n".join(f"{'ip6tables' if ':' in one else 'iptables'} -I INPUT -s {one} -j DROP" for one in some),
        ),
    )


# ---- the file --------------------------------------------------------------------------------------------------------


def rows(page: Page, by: str) -> Iterator[Cells]:
    """Clients or networks, sorted and searched as the page's state says."""
    state, dimension = page.state, page.site.dimensions[by]
    errors = ["4xx", "5xx"] if page.has("status_code") else []
    beside = ["Clients"] if by == NETWORK else ["Most in a minute", "User agent"]
    yield [dimension.label, "Hits", *beside, *errors, "Last seen"]
    found = page.queries.breakdown(
        by,
        state.span,
        state.filters,
        sort=state.table.sort_by_measure,
        search=state.table.search,
        limit=MOST_IN_A_FILE if by == ADDRESS else EVERY_ROW,
        want=CHEAP if by == ADDRESS else CHEAP | {VISITORS},
    )
    addresses = tuple(row.value for row in found.rows) if by == ADDRESS else ()
    known = page.queries.clients(addresses, state.span, state.filters) if addresses else {}
    for row in found.rows:
        measures, client = row.measures, known.get(row.value)
        told = [measures.visitors] if by == NETWORK else [client and client.peak, client and client.user_agent]
        failed = [measures.client_errors, measures.server_errors] if errors else []
        yield [dimension.label_of(row.value), measures.hits, *told, *failed, measures.last_requested]


# ---- the view --------------------------------------------------------------------------------------------------------


def _is_chosen(page: Page) -> bool:
    return bool(page.state.filters.texts(ADDRESS) or page.state.filters.texts(NETWORK))


VIEW = View(
    name="clients", title="Clients", instead=lambda page: without_hits(page, CHEAP), file=grouping_of, json=None
)
PANELS = (
    Panel(
        name="clients",
        page="clients",
        title="Clients",
        compose=table,
        template="_clients",
        cost=("breakdown", "clients"),
    ),
    Panel(
        name="deny",
        page="clients",
        title="Keep out",
        compose=rules,
        template="_deny",
        offered=lambda page: bool(chosen(page)),
    ),
    Panel(
        name="latest",
        page="clients",
        title="Latest requests",
        compose=lambda page: request_log.recent(page, limit=LATEST),
        template="_requests",
        offered=_is_chosen,
        cost=("requests",),
    ),
)


OF_DIMENSIONS = tuple(
    Panel(
        name=name,
        page="index",
        title=title,
        compose=top,
        template="_top_clients",
        rows=partial(rows, by=name),
        offered=offered,
        width="third",
        cost=("breakdown", "clients"),
    )
    for name, title, offered in ((ADDRESS, "Clients", always), (NETWORK, "Networks", lambda _: False))
)
"""What the overview has of the dimensions that tell clients, and their files."""
