"""Write replication/*/expected anew, after a change of a specification: python tests/replication/write_expected.py."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from coalition_exit.runner import run_spec

STUDIES = Path(__file__).parents[2] / "replication"


def main() -> None:
    """Run every specification of both studies."""
    for study in ("rossi", "heart"):
        for folder in ("specs", "robustness"):
            ran = [run_spec(path) for path in sorted((STUDIES / study / folder).glob("*.yaml"))]
            for name in ("estimates", "models"):
                rows = pd.concat([getattr(r, name) for r in ran], ignore_index=True)
                path = STUDIES / study / "expected" / f"{folder}_{name}.csv"
                rows.to_csv(path, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
