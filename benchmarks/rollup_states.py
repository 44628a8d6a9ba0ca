"""Thousands of steps of the rollups' state machine: rows, clocks, kills, retention, rebuilds, forgetting and verification.

python -m benchmarks.rollup_states [--examples 200] [--steps 50]
"""

from __future__ import annotations

import argparse
import time

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.rollups.test_states import COUNTED, Rollups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    began = time.monotonic()
    run_state_machine_as_test(
        Rollups,
        settings=settings(
            max_examples=options.examples,
            stateful_step_count=options.steps,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{sum(COUNTED.values()):,} steps in {time.monotonic() - began:.0f} s: {dict(sorted(COUNTED.items()))}")


if __name__ == "__main__":
    main()
