"""What durability costs a step of the loop: claimed under a lease, written with the fence, given back.

    make bench-steps

Beside it, in the same rounds, the same transaction without any of that: the difference is what a lease and its
fence cost. SQLite in a folder of its own, as it is embedded (WAL, synchronous=FULL); medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import insert

from modelworks.core.clock import system_clock
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.lease import Lease
from modelworks.stores.ledger.tables import watermarks


def step(ledger: Ledger, name: str, lease: Lease | None) -> None:
    """The transaction of one step, with the fence or without."""
    with ledger.write() as db:
        if lease is not None:
            lease.confirm(db)
        db.execute(insert(watermarks).values(name=name, moment=system_clock()))


def main() -> None:
    """Measure, and print a line for each way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=200)
    chosen = parser.parse_args()
    took: dict[str, list[float]] = {"bare": [], "fenced": [], "leased": []}
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{Path(folder) / 'ledger.db'}")
        for number in range(chosen.rounds):
            for way, each in took.items():
                begun = time.perf_counter()
                if way == "leased":  # each step has a lease of its own
                    for place in range(chosen.steps):
                        with ledger.leases.take(f"step {place}") as lease:
                            step(ledger, f"{way} {number} {place}", lease)
                elif way == "fenced":  # many steps under one
                    with ledger.leases.take("work") as lease:
                        for place in range(chosen.steps):
                            step(ledger, f"{way} {number} {place}", lease)
                else:
                    for place in range(chosen.steps):
                        step(ledger, f"{way} {number} {place}", None)
                each.append((time.perf_counter() - begun) / chosen.steps * 1e3)
        ledger.close()
    middle = {way: statistics.median(each) for way, each in took.items()}
    said = {
        "bare": "a transaction of one row",
        "fenced": "the same, one of many steps under a lease",
        "leased": "the same, under a lease of its own",
    }
    for way, value in middle.items():
        print(f"{said[way]:<45} {value:7.3f} ms   {value - middle['bare']:+7.3f} ms")


if __name__ == "__main__":
    main()
