"""The registry of panels, in the order of their pages: page, partial, file and API know of them from here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ..changes import dimension_of as compared_by
from ..config import SettingError
from ..dimensions import ADDRESS, Dimension
from . import breakdowns, changes, clients, database, errors, issues, one_issue, overview, request_log, unused, week
from .own import Own
from .panel import Panel, View

BUILT_IN = (
    *overview.PANELS,
    *database.OF_A_ROUTE_PANELS,
    *changes.PANELS,
    *errors.PANELS,
    *one_issue.PANELS,
    *request_log.PANELS,
    *clients.PANELS,
    *database.PANELS,
    *unused.PANELS,
    *week.PANELS,
)
"""Beside one for each dimension."""
VIEWS = {
    view.name: view
    for view in (
        overview.VIEW,
        changes.VIEW,
        errors.VIEW,
        one_issue.VIEW,
        request_log.VIEW,
        clients.VIEW,
        database.VIEW,
        unused.VIEW,
        week.VIEW,
    )
}
NAMES = frozenset(panel.name for panel in BUILT_IN)
"""What no dimension can be called: both have their place under `panel/` and `export/`."""


class Panels:
    """The panels of one app, and its pages that are made of them."""

    def __init__(self, dimensions: Mapping[str, Dimension], own: Own, *, statements: bool = False) -> None:
        """`statements`: whether they are measured."""
        of_clients = {panel.name: panel for panel in clients.OF_DIMENSIONS}
        self._of_dimensions = tuple(
            of_clients[name] if dimension.of_clients else breakdowns.panel_of(dimension)
            for name, dimension in dimensions.items()
        )
        self._changes = changes.PANELS if compared_by(dimensions) is not None else ()
        self._clients = clients.PANELS if ADDRESS in dimensions else ()
        self._of_a_route = database.OF_A_ROUTE_PANELS if statements else ()
        self._statements = database.PANELS if statements else ()
        self._one_issue = (*one_issue.PANELS, *one_issue.OF_DIMENSIONS) if "issue" in dimensions else ()
        self._unused = unused.PANELS if "route" in dimensions else ()
        self._own = own

    def __iter__(self) -> Iterator[Panel]:
        yield from overview.PANELS
        yield from self._of_a_route
        yield from self._of_dimensions
        yield from self._changes
        yield from (panel for panel in errors.PANELS if panel is not issues.PANEL or self._one_issue)
        yield from self._one_issue
        yield from request_log.PANELS
        yield from self._clients
        yield from self._statements
        yield from self._unused
        yield from week.PANELS
        yield from self._own.panels

    @property
    def own_views(self) -> list[View]:
        """Pages of the host's own."""
        return self._own.views

    def on(self, page: str) -> list[Panel]:
        """Those of one page, in its order."""
        return [panel for panel in self if panel.page == page]

    def get(self, name: str, page: str | None = None) -> Panel | None:
        """The panel called `name` of a page, or of the first that has one (None); None: there is none."""
        return next((panel for panel in self if panel.name == name and page in (None, panel.page)), None)


def check_dimensions(names: Collection[str]) -> None:
    """Raise `SettingError` for a dimension that is called like a panel."""
    for name in names:
        if name in NAMES:
            raise SettingError(
                f"The dimension's name is {name!r}, which a panel has: {', '.join(sorted(NAMES))} are taken. "
                "Give yours another name."
            )
