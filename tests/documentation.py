"""The pages of the documentation, README among them, and the examples that are in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- (\w+): (.*?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """What stands between two lines of three backticks."""

    page: str
    line: int
    kind: str
    """What a comment right above it says of it, as `example` or `output`; empty: there is none."""
    name: str
    """What that comment says after the colon."""
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*, language: str | None = None, kind: str | None = None) -> list[Block]:
    """The blocks of all pages that are in that language, and of that kind; None: in any."""
    found = [
        Block(page.name, text.count("\n", 0, match.start(3)) + 1, match[1] or "", match[2] or "", match[3], match[4])
        for page in PAGES
        for text in [page.read_text("utf-8")]
        for match in BLOCK.finditer(text)
    ]
    return [block for block in found if language in (None, block.language) and kind in (None, block.kind)]


def example(name: str) -> str:
    """The text of the block that a comment gives that name."""
    (block,) = (block for block in blocks(kind="example") if block.name == name)
    return block.text
