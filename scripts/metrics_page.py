"""Write the tables of docs/metrics.md anew from the registered metrics: `make docs`. Metrics of other
packages that are installed here are left out: the page is about i4d's own."""

from pathlib import Path

from i4d.metrics.registry import METRICS
from i4d.metrics.table import with_table

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"


def main() -> None:
    own = [METRICS[name] for name in METRICS.built_in]
    PAGE.write_text(with_table(PAGE.read_text(), own))
    print(f"{PAGE}: {len(own)} metrics")


if __name__ == "__main__":
    main()
