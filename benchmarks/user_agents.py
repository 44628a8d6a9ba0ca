"""How many bots, people and devices of others' lists are told rightly: paths of Crawler-Detect and of device-detector."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flask_statistics.user_agents import parse
from flask_statistics.user_agents.parsing import _parse

DEVICES = {
    "smartphone": "mobile",
    "phablet": "mobile",
    "feature phone": "mobile",
    "tablet": "tablet",
    "desktop": "desktop",
}
"""device-detector's kinds; all others (televisions, consoles, watches, cars) are "other" here."""
PROGRAMS = {"library", "feed reader"}
"""Kinds of clients that are no people."""
MOST_OF_A_KIND = 600


def fixtures(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """File name and fixture of all that device-detector has."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in sorted([*folder.glob("Tests/fixtures/*.yml"), *folder.glob("Tests/Parser/Client/fixtures/*.yml")]):
        for fixture in yaml.load(path.read_text("utf-8"), loader):
            yield path.stem, fixture


def share(name: str, found: list[bool]) -> None:
    print(f"{name:<40}{sum(found):>7,} of {len(found):>7,} {sum(found) / len(found):>8.2%}")


def time_of(user_agents: list[str], quantile: float) -> float:
    """Microseconds of a parse that is not in the cache."""
    parse_anew: Callable[[str], object] = _parse.__wrapped__
    times = []
    for user_agent in user_agents:
        started = time.perf_counter()
        parse_anew(user_agent)
        times.append(time.perf_counter() - started)
    return sorted(times)[int(len(times) * quantile)] * 1e6


def main() -> None:
    crawlers, detector = (Path(path) for path in sys.argv[1:3])
    lines = (crawlers / "tests" / "data" / "user_agent" / "crawlers.txt").read_text("utf-8").splitlines()
    share("bots of Crawler-Detect", [parse(line).bot is not None for line in lines if line])
    bots: list[bool] = []
    people: list[str] = []
    devices: dict[str, list[bool]] = defaultdict(list)
    for name, fixture in fixtures(detector):
        user_agent = fixture["user_agent"]
        if "bot" in fixture:
            bots.append(parse(user_agent).bot is not None)
            continue
        kind = (fixture.get("device") or {}).get("type")
        if kind:
            found = parse(user_agent)
            devices[kind].append(found.device == DEVICES.get(kind, "other"))
        client = (fixture.get("client") or {}).get("type")
        if client not in PROGRAMS and name not in ("podcasting", "unknown", "library", "feed_reader"):
            people.append(user_agent)
    share("bots of device-detector", bots)
    share("its people taken for bots", [parse(user_agent).bot is not None for user_agent in people])
    share("its devices", [right for kind in devices.values() for right in kind])
    evenly = [right for kind in devices.values() for right in kind[:: max(1, len(kind) // MOST_OF_A_KIND)]]
    share("its devices, kinds evenly", evenly)
    sample = people[::20]
    print(f"a parse: {time_of(sample, 0.5):.0f} us (median), {time_of(sample, 0.99):.0f} us (99 %)")


if __name__ == "__main__":
    main()
