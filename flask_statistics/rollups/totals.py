"""What questions add up: the sums of one bucket or value, and the measures that these make. Reads contents."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ..latency import Spread
from ..queries.answers import Measures, Tally
from ..queries.interface import SUMS, VISITORS
from ..waits import WAITS
from .contents import Contents, Detail
from .source import Source
from .sums import Sums


@dataclass(slots=True)
class Total:
    """Sums of one value, and where its latest request is."""

    sums: Sums = field(default_factory=Sums)
    last: dict[int, tuple[Detail, int]] = field(default_factory=dict)
    """For each audience, the latest detailed segment and the ordinal in it."""

    def add_last(self, detail: Detail, ordinal: int) -> None:
        """Remember that request if it is later than what is known."""
        before = self.last.get(detail.audience)
        if before is None or before[0].start <= detail.start:
            self.last[detail.audience] = (detail, ordinal)

    def add(self, other: Total) -> None:
        """Take in `other`, whose requests are all different ones."""
        self.sums.add(other.sums)
        for detail, ordinal in other.last.values():
            before = self.last.get(detail.audience)
            if before is None or (before[0].start, before[1]) < (detail.start, ordinal):
                self.last[detail.audience] = (detail, ordinal)


class Totals:
    """Makes measures of totals."""

    def __init__(self, source: Source, contents: Contents) -> None:
        self._source = source
        self._contents = contents

    def measures(self, total: Total, want: frozenset[str], *, dated: bool = True) -> Measures:
        """The measures as every answer has them: None for what the model lacks or was not asked for.

        `dated`: with the latest request, which is looked up in the segment that it is in.
        """
        return self.tally(total, want, dated=dated).measures()

    def tally(self, total: Total, want: frozenset[str], *, dated: bool = True) -> Tally:
        """What the measures are made of."""
        sums, has = total.sums, self._source.raw.has
        summed = SUMS in want
        return Tally(
            hits=sums.hits,
            visitors=len(sums.visitors) if VISITORS in want and has("remote_address") else None,
            client_errors=sums.client_errors if summed and has("status_code") else None,
            server_errors=sums.server_errors if summed and has("status_code") else None,
            size=sums.size if summed and has("size") else None,
            last=self._last(total) if want and dated else None,
            time=_in_seconds(Spread(sums.time_us, sums.timed, sums.longest_us if sums.timed else None, sums.latency)),
            waits={name: self._wait(name, sums) for name in self._source.waits if name in want},
        )

    def _wait(self, name: str, sums: Sums) -> Spread:
        spread = sums.waits.get(name, Spread())
        return spread if WAITS[name].counts else _in_seconds(spread)

    def _last(self, total: Total) -> datetime | None:
        last = total.sums.last
        for detail, ordinal in total.last.values():
            self._contents.need([detail], (":hours", ":offsets"))
            moment = detail.segment.moment(ordinal)
            last = moment if last is None or moment > last else last
        return last


def _in_seconds(spread: Spread) -> Spread:
    """What is in microseconds."""
    highest = None if spread.highest is None else spread.highest / 1_000_000
    return Spread(spread.total / 1_000_000, spread.known, highest, spread.bins)
