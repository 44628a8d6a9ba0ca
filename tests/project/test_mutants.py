"""The mutants that are put where a mistake costs most still find their places in the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.mutants import CHOSEN, PACKAGE, chosen_mutants, mutants_of


@pytest.mark.parametrize("folder", CHOSEN)
def test_chosen_mutants_are_found(folder: str) -> None:
    mutants = chosen_mutants(folder)
    assert len(mutants) >= 20
    for mutant in mutants:
        compile(mutant.applied((PACKAGE / mutant.path).read_text("utf-8")), str(mutant.path), "exec")


def test_random_mutants_are_python() -> None:
    path = PACKAGE / "rollups" / "keeping.py"
    source = path.read_text("utf-8")
    mutants = list(mutants_of(path))
    assert len(mutants) > 50
    for mutant in mutants:
        assert mutant.path == Path("rollups/keeping.py")
        assert mutant.applied(source) != source
        compile(mutant.applied(source), "keeping.py", "exec")
