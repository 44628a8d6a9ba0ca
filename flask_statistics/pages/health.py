"""The health view: what was recorded and lost, what it costs, how the tables grow, how the rollups stand, what is set."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ..formatting import clipped, clock, duration, number, size
from ..health import Health, Recording, Storage
from .page import Page, how_long, plural

if TYPE_CHECKING:
    from ..rollups.rollups import Status

NONE = "–"


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence on how the statistics do."""

    tone: str
    """bad, warn or good."""
    text: str
    more: str = ""
    """What follows from it, or what it is said by."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a card."""

    label: str
    text: str
    default: bool = False
    """Whether it is a setting that nobody made."""


@dataclass(frozen=True, slots=True)
class Card:
    """Facts under a heading."""

    id: str
    heading: str
    facts: tuple[Fact, ...]
    monospace: bool = False


@dataclass(frozen=True, slots=True)
class HealthView:
    """The health view."""

    lines: tuple[Line, ...]
    """The worst first."""
    cards: tuple[Card, ...]
    settings: Card
    changed: str
    """How many settings somebody made, and which."""


def view(page: Page, health: Health) -> HealthView:
    """What the health view shows of `health`."""
    cards = [
        Card("recording", "Recording, on this host", _recording(page, health.recording)),
        Card("rollups", "Rollups", _rollups(page, health)),
        Card("storage", "Storage", _storage(page, health.storage)),
        Card("tables", "Tables", _tables(health.storage)),
        Card("readers", "Who may see it", _readers(page, health)),
    ]
    settings = tuple(
        Fact(setting.key, clipped(_name_alone(setting.value)), setting.default) for setting in health.settings
    )
    return HealthView(
        lines=tuple(_lines(page, health)),
        cards=tuple(cards),
        settings=Card("settings", "Settings in force", settings, monospace=True),
        changed=_changed(settings),
    )


def _lines(page: Page, health: Health) -> Iterator[Line]:
    """What is wrong, then what would help, then what is well."""
    if not health.guarded:
        yield Line("bad", "This page is public.", "Everybody who can reach the app can open it: guard it by before_f.")
    for problem in health.problems:
        yield Line("bad", clipped(problem, 400))
    for advice in health.advice:
        if health.guarded or not advice.startswith("Everybody who can reach"):
            yield Line("warn", advice)
    recording = health.recording
    if recording is None:
        yield Line("warn", "Recording is off.", "STATISTICS_ENABLED turns it on.")
        return
    since = f"Since this process started, {_at(page, recording.started_at)}."
    if not recording.trouble and not recording.refused:
        count = plural(recording.recorded, "request") if recording.recorded else "no request yet"
        yield Line("good", "Recording works.", f"{count[:1].upper()}{count[1:]}. {since}")
    if not recording.lost:
        yield Line(
            "good", "Nothing was lost.", f"{recording.waiting:,} wait to be written." if recording.waiting else ""
        )
    if recording.overhead_p95 is not None:
        yield Line(
            "good",
            f"Requests take {_micro(recording.overhead_p50)} longer.",
            f"95 of 100 less than {_micro(recording.overhead_p95)}.",
        )


def _name_alone(value: str) -> str:
    """A setting without the folder of a database's file: this page may be public."""
    return re.sub(r"^sqlite:///.*/", "sqlite:///…/", value)


def _changed(settings: tuple[Fact, ...]) -> str:
    made = [fact.label.removeprefix("STATISTICS_") for fact in settings if not fact.default]
    return f"{len(made)} of {len(settings)} are changed{': ' + ', '.join(made) if made else ''}"


def _recording(page: Page, recording: Recording | None) -> tuple[Fact, ...]:
    if recording is None:
        return (Fact("Recording", "off (STATISTICS_ENABLED)"),)
    reasons = ", ".join(f"{kind} {count:,}" for kind, count in recording.lost_because.items())
    last = recording.last_error_at
    return (
        Fact("Since", _at(page, recording.started_at)),
        Fact("Processes", _processes(recording)),
        Fact("Recorded", number(recording.recorded)),
        Fact("Waiting", number(recording.waiting)),
        Fact("Refused", number(recording.refused)),
        Fact("Lost", f"{recording.lost:,}: {clipped(reasons)}" if recording.lost else "0"),
        Fact("Last error", NONE if last is None else f"{_at(page, last)}: {clipped(recording.last_error)}"),
        Fact("Overhead p50", _micro(recording.overhead_p50)),
        Fact(
            "Overhead p95",
            f"{_micro(recording.overhead_p95)} of {recording.overhead_requests:,} requests"
            if recording.overhead_requests
            else "no request yet",
        ),
    )


def _processes(recording: Recording) -> str:
    if recording.unknown_because is None:
        return number(recording.processes)
    return clipped(f"this one alone, as those of others cannot be read: {recording.unknown_because}")


def _micro(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds * 1e6:,.0f} µs" if seconds < 0.001 else duration(seconds)


def _storage(page: Page, storage: Storage | None) -> tuple[Fact, ...]:
    if storage is None:
        return (Fact("Raw rows", "could not be read"),)
    return (
        Fact("Raw rows", NONE if storage.rows is None else f"about {storage.rows:,}"),
        Fact("From", _at(page, storage.oldest)),
        Fact("To", _at(page, storage.newest)),
        Fact("Kept", "for ever" if page.site.retention is None else f"for {how_long(page.site.retention)}"),
        *(() if page.site.most_rows is None else (Fact("Kept at most", number(page.site.most_rows)),)),
        Fact("Growth a day", _growth(storage)),
        Fact("Forecast, 30 days", size(storage.in_30_days)),
        Fact("Forecast, a year", size(storage.in_a_year)),
        Fact("Free", size(storage.free)),
    )


def _tables(storage: Storage | None) -> tuple[Fact, ...]:
    if storage is None:
        return (Fact("Tables", "could not be read"),)
    facts = [Fact(table.name, size(table.size)) for table in storage.tables]
    if storage.database is not None:
        facts.append(Fact("Whole file", size(storage.database)))
    return tuple(facts)


def _growth(storage: Storage) -> str:
    if storage.rows_a_day is None:
        return NONE
    rows = f"{storage.rows_a_day:,.0f} requests"
    return rows if storage.bytes_a_day is None else f"{rows}, {size(storage.bytes_a_day)}"


def _readers(page: Page, health: Health) -> tuple[Fact, ...]:
    facts = [Fact("Guard", clipped(health.guard))]
    if health.wrong_passwords is not None:
        facts.append(Fact("Wrong passwords", number(health.wrong_passwords)))
    for token in health.tokens:
        used = "not used yet" if token.used_at is None else f"last used {_at(page, token.used_at)}"
        facts.append(Fact(f"Token {clipped(token.label, 60)}", used))
    return tuple(facts)


def _rollups(page: Page, health: Health) -> tuple[Fact, ...]:
    if health.rollups_error is not None:
        return (Fact("Rollups", clipped(health.rollups_error)),)
    found = health.rollups
    if found is None:
        return (Fact("Rollups", "off (STATISTICS_ROLLUPS)"),)
    lag = None if health.rollup_lag is None else health.rollup_lag.total_seconds()
    return (
        Fact("From", _at(page, found.covered_from)),
        Fact("To", _at(page, found.covered_until)),
        Fact("Behind", duration(None if lag is None else max(round(lag), 0))),
        Fact("Last job took", duration(found.last_run_seconds)),
        Fact("Still to roll up", f"from {_at(page, found.oldest_raw)}" if found.preparing else "nothing"),
        Fact("Verified again", _verified(page, found)),
        Fact(
            "Stored periods", ", ".join(f"{count:,} {unit}" for unit, count in sorted(found.segments.items())) or NONE
        ),
        Fact("Numbered for rollups", f"{found.values:,} values, {found.visitors:,} visitors"),
        Fact("Rare values counted together", _folded(found)),
        Fact("Left out", _left_out(found)),
        Fact("Not complete", _incomplete(page, found)),
    )


def _verified(page: Page, status: Status) -> str:
    found = status.scrubbed
    if found.until is None and not found.rounds:
        return NONE
    whole = f"all at {_at(page, found.completed_at)}" if found.rounds else ""
    parts = [part for part in (f"up to {_at(page, found.until)}" if found.until else "", whole) if part]
    return f"{', '.join(parts)}: {len(found.differences):,} differ" if found.differences else ", ".join(parts)


def _folded(status: Status) -> str:
    return ", ".join(f"{name} {hits:,}" for name, hits in sorted(status.folded.items())) or "nothing"


def _incomplete(page: Page, status: Status) -> str:
    found = [
        f"{name}, not recorded {'yet' if since is None else 'before ' + _at(page, since)}"
        for name, since in sorted(status.incomplete.items())
    ]
    return "; ".join(found) or "nothing"


def _left_out(status: Status) -> str:
    odd = status.unfit
    return "nothing" if odd is None else clipped(f"{', '.join(odd.names)} in {odd.rows:,} requests")


def _at(page: Page, moment: datetime | None) -> str:
    return NONE if moment is None else clock(page.local(moment), now=page.local_now)
