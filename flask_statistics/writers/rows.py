"""Record to row: user agent parsed, values made to fit the user's columns. Shared by all writers."""

from __future__ import annotations

from typing import Any

from .. import user_agents
from ..models import RawTable
from ..recorder import Record


def row_of(record: Record, raw: RawTable) -> dict[str, Any]:
    """`record` as parameters of an insert into the raw table."""
    agent = user_agents.parse(record.user_agent)
    values = {name: getattr(record, name) for name in record.__slots__}
    values.update(browser=agent.browser, platform=agent.platform, device=agent.device)
    return raw.row(values)
