"""A panel is one part of a page: it is composed with the others, asked for alone, and has its rows as CSV.

All of it is said by one object, which stands with what it composes; `panels` has the list of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from .nothing import Nothing
from .page import Page

Cells = Iterable[Any]
Width = Literal["full", "half", "third"]
EVERY_ROW = 2**31 - 1


def always(_page: Page) -> bool:
    """Shown whatever there is."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One part of a page."""

    name: str
    """In URLs, and of the file."""
    page: str
    """The endpoint of the page that it is part of."""
    title: str
    compose: Callable[[Page], Any]
    """What its template prints as `panel`; None: it could not be computed."""
    template: str
    """Its file under `flask_statistics/panels/`; of the host's own ones the whole name."""
    rows: Callable[[Page], Iterator[Cells]] | None = None
    """The heading and the rows of its file; raises what its questions raise. None: it has no file."""
    offered: Callable[[Page], bool] = always
    """Whether its page shows it. Asked for alone, it is there in any case."""
    width: Width = "full"
    cost: tuple[str, ...] = ()
    """The questions that it asks of many rows, as `Queries` calls them. What another panel of the page asks too is asked once."""
    made_by: str | None = None
    """The name of the host's function that makes it; None: it is one of ours."""

    @property
    def is_own(self) -> bool:
        """Whether it is the host's: then all of its file is made before any of it is sent, as its function needs a context."""
        return self.made_by is not None


@dataclass(frozen=True, slots=True)
class Shown:
    """A panel as a page shows it."""

    panel: Panel
    content: Any
    """What it composed."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Panels that follow each other and are equally wide."""

    width: Width
    panels: tuple[Shown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A page that is made of panels."""

    name: str
    """Its endpoint, or what a page of the host's own has in its stead."""
    title: str
    template: str = "panels"
    instead: Callable[[Page], Nothing | None]
    """What stands there instead of all panels; None: they do."""
    file: Callable[[Page], str | None]
    """The panel or dimension whose file the foot of the page offers; None: none."""
    outside: Callable[[Page], int | None] = lambda _: None
    """How many requests the switches of the toolbar leave out; None: that is not counted."""
    json: str | None = None
    """The endpoint of the API that its foot leads to."""


def compose(page: Page, panels: Iterable[Panel]) -> tuple[Grid, ...]:
    """Those of `panels` that the page offers, in grids of the same width."""
    shown = (Shown(panel, panel.compose(page)) for panel in panels if panel.offered(page))
    return tuple(Grid(width, tuple(each)) for width, each in groupby(shown, lambda one: one.panel.width))
