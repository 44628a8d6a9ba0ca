"""Mutants: small faults put into a folder of the package, one at a time, to learn whether its tests notice them.

python -m benchmarks.mutants FOLDER [--random 60] [--seed 1] [--only TEXT] [--processes 2]

FOLDER is one of the package, as `rollups`. Takes mutants drawn at random, and those of `CHOSEN`, which stand where a mistake
would lose, double or reveal something. Each is put into a copy of the tree, and meets those tests of its folder that run its
line, with SQLite alone. Prints what became of each, and ends with 1 if more than a tenth survive.

Random mutants are comparisons, `and` and `or`, `not`, plus and minus, numbers, True and False. Left out are numbers that a
module names in capitals, as the speed of something depends on these and no answer, and what a type checker alone reads.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue

from coverage import CoverageData

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "flask_statistics"
MOST_SURVIVE = 0.1
PATIENCE = 5
"""So many times as long as without it a mutant's tests may take, and a minute; it is taken for caught if they take longer."""
FIRST = 30
"""So many of a mutant's tests are run before the others."""
MEMORY_BYTES = 6 << 30
"""Of the address space of one run: a mutant may try to take all there is."""
WITHOUT = "not postgresql and not mariadb and not chromium"

COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
CHOSEN: dict[str, tuple[tuple[str, str], ...]] = {
    "rollups": (
        ("if found < before and (pruned or not fewer):", "if found < before and pruned and not fewer:"),
        ("if less and (not fewer or not found or", "if less and (not fewer or"),
        ("if answering != {header.id for header in headers} or found != noted:", "if found != noted:"),
        (" and max(hits) <= MOST_JOINED", ""),
        ("if found < noted and not recent:", "if found < noted and recent:"),
        (
            "segment.start <= header.start, segment.end >= header.end",
            "segment.start < header.start, segment.end > header.end",
        ),
        ("if left.hits != one.hits:", "if left.hits == one.hits:"),
        ("return segment if last - first == segment.hits else", "return segment if last - first >= 0 else"),
        ("if not forgotten.left:", "if forgotten.left:"),
        (" or since <= -pause", ""),
        ("if first is not None and first < frozen_before:", "if first is not None and first > frozen_before:"),
        (
            "return first is not None and first < keeping.frozen_before",
            "return first is not None and first > keeping.frozen_before",
        ),
        ("if stored is not None and not stored.free:", "if stored is not None and stored.free:"),
        (" or newest >= covered.end:", ":"),
        ("if since < limit and (differing := keeping.differences(holder, since, limit)):", "if differing := []:"),
        ("if partition.end <= limit:", "if partition.start <= limit:"),
        ("if hour >= frozen and counted.get", "if counted.get"),
        ("if found >= rows or (start >= self._recent and", "if found >= rows or (start < self._recent and"),
        ("if since is not None and since > span.start:", "if since is not None and since < span.start:"),
        ('if highest >= int(meta.get(f"next_{kind}", 2)):', 'if highest > int(meta.get(f"next_{kind}", 2)):'),
    ),
    "writers": (
        ("if moved and batch.rows[0][0] <= moved:", "if moved and batch.rows[0][0] < moved:"),
        (
            "return Moved(sum(number <= moved for number, _ in batch.rows), 0, more=True)",
            "return Moved(len(batch.rows), 0, more=True)",
        ),
        (
            "if batch.unmet and not spool.abandoned and spool.meet(batch.first, moved):",
            "if batch.unmet and spool.meet(batch.first, moved):",
        ),
        ("if not moved and batch.rest_of:", "if moved and batch.rest_of:"),
        ("ours = sa.and_(columns.spool == spool, columns.moved == moved)", "ours = columns.spool == spool"),
        ("if rows[-1][0] - self._last != len(rows):", "if rows[-1][0] - self._last > len(rows) + 1:"),
        ("moved >> RANGE_BITS == batch.rows[0][0] >> RANGE_BITS", "moved is not None"),
        ("if written != len(line):", "if written == 0:"),
        ("if line.endswith(CANCELLED) or line.startswith(HEADER):", "if line.startswith(HEADER):"),
        ("if self._file is not None and not os.fstat(self._file.fileno()).st_nlink:", "if self._file is None:"),
        ("end = min(following, ((first >> RANGE_BITS) + 1) << RANGE_BITS)", "end = following"),
        ("if last == self._next_id - 1 and not self._left:", "if not self._left:"),
        (
            'if meta.get("first_id") != str(first) or meta.get("met") == str(first):',
            'if meta.get("first_id") != str(first):',
        ),
        (
            "first = max(used + 1, int(time.time() if now is None else now) - EPOCH_S) << RANGE_BITS",
            "first = max(used, int(time.time() if now is None else now) - EPOCH_S) << RANGE_BITS",
        ),
        ("if waits and (fresh or another or", "if waits and (fresh or"),
        ("if version not in (0, SCHEMA_VERSION):", "if version not in (0, SCHEMA_VERSION, SCHEMA_VERSION + 1):"),
        ("if not self._folder.is_ours(other, self._database):", "if False:"),
        (
            "if not spool.is_held() and spool.claim(fields, self.hints(), fresh=fresh):",
            "if spool.claim(fields, self.hints(), fresh=fresh):",
        ),
        ("if len(rows) > 1 and blames_row(error):", "if blames_row(error):"),
        ('if before not in ("", self._database):', "if before == self._database:"),
    ),
    "queries": (
        (
            "return date >= self._raw.instant(start), date < self._raw.instant(end)",
            "return date >= self._raw.instant(start), date <= self._raw.instant(end)",
        ),
        (
            "return date >= self._raw.instant(start), date < self._raw.instant(end)",
            "return date > self._raw.instant(start), date < self._raw.instant(end)",
        ),
        ("newest = [] if self.newest is None else [self._raw.key + 0 <= self.newest]", "newest = []"),
        ("if not condition.negated:", "if condition.negated:"),
        ("return sa.or_(is_one, column.is_(None)) if None in values else is_one", "return is_one"),
        ("return sa.or_(column.is_(None), sa.not_(is_one))", "return sa.not_(is_one)"),
        ('return [*raws, ""] if None in wanted and', 'return [*raws, ""] if None not in wanted and'),
        ("if len(self._seen[key]) <= interface.MOST_GROUPS:", "if True:"),
        ("filters.without(names[0]) if len(names) == 1 else filters", "filters"),
        ("if not all_there and len(names) > 1:", "if False:"),
        ("more, rows = len(rows) > limit, rows[:limit][::-1]", "more, rows = len(rows) > limit, rows[:limit]"),
        (
            "has_newer, has_older, rows = before is not None, len(rows) > limit,",
            "has_newer, has_older, rows = before is not None, len(rows) >= limit,",
        ),
        ("_later(by, key, *self._place(after, slowest))", "by > self._place(after, slowest)[0]"),
        (
            "where.append(_earlier(by, key, *self._place(before, slowest)))",
            "where.append(by < self._place(before, slowest)[0])",
        ),
        ("tallies = {row.value: tallies[row.value] for row in _commonest(tallies, MOST_MEASURED)}", "pass"),
        (
            "return rows[: interface.MOST_GROUPS], len(rows) <= interface.MOST_GROUPS",
            "return rows[: interface.MOST_GROUPS], True",
        ),
        ("self._copy.cover(span.start, span.end)", "self._copy.cover(span.start, span.start)"),
        ("copied, self._copy = self._copy, None", "copied = self._copy"),
        ("for part in ((low, min(high, since)), (max(low, until), high))", "for part in ((low, min(high, since)),)"),
        ("found = at if found is None or (at is not None and at < found) else found", "found = at"),
    ),
}
"""By folder: a text that stands once in the files of that folder, and what is put in its place."""


@dataclass(frozen=True)
class Mutant:
    path: Path
    """Below the package."""
    start: int
    end: int
    """From which character to which."""
    text: str
    """What is put there."""

    def applied(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]

    def __str__(self) -> str:
        source = (PACKAGE / self.path).read_text("utf-8")
        number = source.count("\n", 0, self.start) + 1
        line_start = source.rfind("\n", 0, self.start) + 1
        line_end = source.find("\n", max(self.end, self.start + 1) - 1)
        old = source[line_start:line_end].strip()
        new = self.applied(source)[line_start : line_end + len(self.text) - (self.end - self.start)].strip()
        return f"{self.path}:{number}: {old}  ->  {new}"


def random_mutants(folder: str, count: int, seed: int) -> list[Mutant]:
    """`count` different ones of all that the folder's files can have, the same for the same seed."""
    found = [mutant for path in sorted((PACKAGE / folder).rglob("*.py")) for mutant in mutants_of(path)]
    return random.Random(seed).sample(found, min(count, len(found)))


def chosen_mutants(folder: str) -> list[Mutant]:
    """Those of `CHOSEN`. Raises `ValueError` if a text is not there once."""
    sources = {path: path.read_text("utf-8") for path in sorted((PACKAGE / folder).rglob("*.py"))}
    mutants = []
    for old, new in CHOSEN.get(folder, ()):
        places = [
            (path, found.start()) for path, source in sources.items() for found in re.finditer(re.escape(old), source)
        ]
        if len(places) != 1:
            raise ValueError(f"{old!r} stands {len(places)} times in {folder}, and must stand there once")
        path, start = places[0]
        mutants.append(Mutant(path.relative_to(PACKAGE), start, start + len(old), new))
    return mutants


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every random mutant that a file can have."""
    source = path.read_text("utf-8")
    lines = source.splitlines(keepends=True)
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line))

    def at(line: int, byte: int) -> int:
        return begins[line - 1] + len(lines[line - 1].encode()[:byte].decode())

    def span(node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)

    def between(left: ast.expr, right: ast.expr, old: str, new: str) -> Iterator[Mutant]:
        start, end = span(left)[1], span(right)[0]
        found = re.search(rf"(?<!\w){re.escape(old)}(?!\w)", source[start:end])
        if found:
            yield Mutant(path.relative_to(PACKAGE), start + found.start(), start + found.end(), new)

    for node in _read_at_run_time(ast.parse(source)):
        match node:
            case ast.Compare(left=left, ops=ops, comparators=rights):
                for before, operator, after in zip([left, *rights], ops, rights, strict=False):
                    yield from between(before, after, *COMPARISONS[type(operator)])
            case ast.BoolOp(op=connective, values=values):
                old, new = ("and", "or") if isinstance(connective, ast.And) else ("or", "and")
                for before, after in pairwise(values):
                    yield from between(before, after, old, new)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield Mutant(path.relative_to(PACKAGE), span(node)[0], span(operand)[0], "")
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as sign, right=right):
                yield from between(left, right, *(("+", "-") if isinstance(sign, ast.Add) else ("-", "+")))
            case ast.Constant(value=bool(flag)):
                yield Mutant(path.relative_to(PACKAGE), *span(node), str(not flag))
            case ast.Constant(value=int(number)):
                yield Mutant(path.relative_to(PACKAGE), *span(node), str(number + 1))


def _read_at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations, decorators, and the numbers that a module names in capitals."""
    for node in ast.iter_child_nodes(tree):
        named = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = [name for target in named for name in ast.walk(target) if isinstance(name, ast.Name)]
        if isinstance(tree, ast.Module) and names and all(name.id.isupper() for name in names):
            continue
        if (isinstance(tree, ast.AnnAssign) and node is tree.annotation) or isinstance(tree, ast.arg):
            continue
        if isinstance(tree, ast.FunctionDef) and node is tree.returns:
            continue
        if isinstance(tree, ast.ClassDef | ast.FunctionDef) and node in tree.decorator_list:  # slots, frozen, caches
            continue
        if isinstance(node, ast.JoinedStr):  # before Python 3.12 it is not told where its expressions stand
            continue
        yield node
        yield from _read_at_run_time(node)


def tests_of(folder: str) -> list[str]:
    """The test files of a folder of the package: its own, and those that `tests/README.md` names for its modules."""
    table = (ROOT / "tests" / "README.md").read_text("utf-8")
    rows = re.findall(rf"^\| `{re.escape(folder)}/[\w/]+\.py` \|(.*)\|$", table, re.MULTILINE)
    own = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "tests" / folder).rglob("test_*.py"))]
    return list(
        dict.fromkeys([*own, *(f"tests/{name}" for row in rows for name in re.findall(r"`([\w/]+\.py)`", row))])
    )


@dataclass(frozen=True)
class Known:
    """What the tests of a folder do without a mutant."""

    met: Mapping[Path, Mapping[int, set[str]]]
    """By file below the package and line, the tests that run it."""
    seconds: Mapping[str, float]
    """How long each test takes."""

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests that run the statement of a mutant, the quickest first."""
        source = (PACKAGE / mutant.path).read_text("utf-8")
        line = source.count("\n", 0, mutant.start) + 1
        around = [
            node.lineno
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0)
        ]
        met = self.met.get(mutant.path, {})
        tests = {test for number in range(max(around, default=line), line + 1) for test in met.get(number, ())}
        return sorted(tests & self.seconds.keys(), key=lambda test: (self.seconds[test], test))


TIMING = """
import json, os

took, failed = {}, set()

def pytest_runtest_logreport(report):
    took[report.nodeid] = took.get(report.nodeid, 0.0) + report.duration
    if report.failed:
        failed.add(report.nodeid)

def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        with open("took.json", "w") as file:
            json.dump({test: seconds for test, seconds in took.items() if test not in failed}, file)
        if failed:
            with open("failed.txt", "w") as file:
                print("Left out, as they fail without a mutant:", *sorted(failed), file=file)
"""
"""A plugin of pytest: notes how many seconds each test took that passed."""


class Trial:
    """A copy of the tree in which mutants are tried, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        for name in (
            "flask_statistics",
            "tests",
            "benchmarks",
            "docs",
            "pyproject.toml",
            "README.md",
            "CONTRIBUTING.md",
        ):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        (folder / "timing.py").write_text(TIMING, "utf-8")

    def run(self, *arguments: str, timeout_s: float | None = None) -> int:
        """The exit code of pytest with these arguments; 1 if it took longer than that."""
        environment = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        limit = (MEMORY_BYTES, MEMORY_BYTES)
        with subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
            cwd=self.root,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
        ) as run:
            try:
                return run.wait(timeout_s)
            except subprocess.TimeoutExpired:
                return 1
            finally:
                if run.poll() is None:
                    os.killpg(run.pid, signal.SIGKILL)

    def learn(self, folder: str) -> Known:
        """Run all tests of a folder without a mutant."""
        tests = tests_of(folder)
        code = self.run(
            *("-n", "2", "-k", WITHOUT, "-p", "timing", f"--cov=flask_statistics/{folder}", "--cov-context=test"),
            *("--cov-report=", *tests),
        )
        if code not in (0, 1):
            raise SystemExit(f"Without a mutant pytest ends with {code}: {' '.join(tests)}")
        if code:
            print((self.root / "failed.txt").read_text("utf-8"))
        data = CoverageData(str(self.root / ".coverage"))
        data.read()
        met: dict[Path, dict[int, set[str]]] = {}
        for name in data.measured_files():
            lines = data.contexts_by_lineno(name)
            met[Path(name).relative_to(self.root / "flask_statistics")] = {
                line: {context.partition("|")[0] for context in contexts if context} for line, contexts in lines.items()
            }
        return Known(met, json.loads((self.root / "took.json").read_text("utf-8")))

    def survives(self, mutant: Mutant, known: Known) -> bool:
        """Whether no test notices the mutant, of those that run its line; the quickest are asked first."""
        tests = known.tests_of(mutant)
        path = self.root / "flask_statistics" / mutant.path
        source = path.read_text("utf-8")
        path.write_text(mutant.applied(source), "utf-8")
        try:
            for some in (tests[:FIRST], tests[FIRST:]):
                timeout_s = 60 + PATIENCE * sum(known.seconds[test] for test in some)
                if some and self.run("-x", "-n", "0", *some, timeout_s=timeout_s):
                    return False
            return True
        finally:
            path.write_text(source, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--random", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="mutants whose line has this text")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    mutants = [*random_mutants(options.folder, options.random, options.seed), *chosen_mutants(options.folder)]
    mutants = [mutant for mutant in mutants if options.only in str(mutant)]
    trials: SimpleQueue[Trial] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="mutants-") as place, ThreadPoolExecutor(options.processes) as pool:
        for number in range(options.processes):
            (folder := Path(place) / str(number)).mkdir()
            trials.put(Trial(folder))
        trial = trials.get()
        known = trial.learn(options.folder)
        trials.put(trial)

        def survives(mutant: Mutant) -> bool:
            trial = trials.get()
            survived = trial.survives(mutant, known)
            trials.put(trial)
            print("SURVIVES" if survived else "caught  ", mutant, flush=True)
            return survived

        survivors = sum(pool.map(survives, mutants))
    print(f"{options.folder}: {survivors} of {len(mutants)} survive")
    sys.exit(survivors > MOST_SURVIVE * len(mutants))


if __name__ == "__main__":
    main()
