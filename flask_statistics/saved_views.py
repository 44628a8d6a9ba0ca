"""Saved views: what a page's URL says, under a name. Reads such a URL, and writes it in the one way that pages do. Pure.

It is kept from the dashboard's own URL on, `errors?span=28d`, so that it holds under another prefix as well, and with the name of
its span, so that it moves on with the days. What cannot be read is refused, and nothing is kept but what was read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from .dimensions import ADDRESS, NETWORK, Dimension
from .filters import ALL, Filters
from .kept import LONGEST_URL
from .page_state import read_state

TABS = ("", "changes", "errors", "requests", "clients", "database", "live", "health")
PAGES = (*TABS, "issue", "unused", "week")
"""What has a state to save, from the dashboard's own URL on; lists of dimensions and pages of the host's own do as well."""
LISTS = re.compile(r"list/(\w+)")
OWN = re.compile(r"page/[\w-]+")
OF_CLIENTS = (ADDRESS, NETWORK)
"""What a view that is kept in the database cannot be filtered by: whoever is forgotten would be named there for ever."""


class ViewError(ValueError):
    """What cannot be a saved view; the message completes "must be ..."."""


def canonical(
    url: str,
    *,
    dimensions: Mapping[str, Dimension],
    now: datetime,
    zone: ZoneInfo,
    default: timedelta,
    usual: Filters = ALL,
    of_clients: bool = True,
) -> str:
    """`url`, from the dashboard's own on, as pages write it, with its table at the first row; raises `ViewError`.

    `of_clients`: whether it may be filtered by an address or a network.
    """
    path, _, query = url.partition("?")
    if not is_page(path, dimensions):
        raise ViewError(
            f"a page of the dashboard with its parameters, such as errors?span=28d, and {path[:100]!r} is none"
        )
    state = read_state(
        MultiDict(parse_qsl(query, keep_blank_values=True)),
        base=path,
        now=now,
        zone=zone,
        default=default,
        dimensions=dict(dimensions),
        usual=usual,
        earliest=lambda: None,
    )
    if state.notices:
        raise ViewError(
            f"a page of the dashboard with its parameters, and {state.notices[0].removesuffix('; it was left out.')}"
        )
    found = replace(state, table=state.table.first_page()).table_url_at(path)
    if found in TABS:
        raise ViewError("a page with parameters of its own: without any it is a tab already")
    if len(found) > LONGEST_URL:
        raise ViewError(f"of {LONGEST_URL:,} characters at most")
    named = [each.dimension for each in state.filters.conditions if each.dimension in OF_CLIENTS]
    if named and not of_clients:
        raise ViewError(
            f"one that names no visitor, and it is filtered by {named[0]}: say it in STATISTICS_VIEWS instead"
        )
    return found


def is_page(path: str, dimensions: Mapping[str, Dimension]) -> bool:
    """Whether a page can be at `path`, from the dashboard's own URL on."""
    of_list = LISTS.fullmatch(path)
    return path in PAGES or (of_list is not None and of_list[1] in dimensions) or OWN.fullmatch(path) is not None
