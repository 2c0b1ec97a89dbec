"""What there is to know of worker processes, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelworks.serving.native.pools import Pools


class _Reading(Collector):
    """One reading of all pools."""

    def __init__(self, pools: Pools) -> None:
        self.pools = pools

    def collect(self) -> Iterable[Metric]:
        of = ["worker"]
        up = GaugeMetricFamily(
            "modelworks_worker_up", "Whether the worker process of a flavor runs.", labels=of
        )
        size = GaugeMetricFamily("modelworks_worker_bytes", "Memory of a worker process.", labels=of)
        starts = CounterMetricFamily("modelworks_worker_starts", "How often one was started.", labels=of)
        crashes = CounterMetricFamily(
            "modelworks_worker_crashes", "How often one ended by itself.", labels=of
        )
        grown = CounterMetricFamily(
            "modelworks_worker_grown", "How often one was started again since it had grown.", labels=of
        )
        paused = GaugeMetricFamily(
            "modelworks_paused",
            "Seconds for which a version is not asked that ended its workers.",
            labels=["version"],
        )
        for pool in self.pools:
            worker, name = pool.worker, [pool.name]
            up.add_metric(name, float(worker is not None))
            size.add_metric(name, 0 if worker is None else worker.size())
            starts.add_metric(name, pool.counted.starts)
            crashes.add_metric(name, pool.counted.crashes)
            grown.add_metric(name, pool.counted.grown)
            for version, left in pool.paused():
                paused.add_metric([version], left)
        return [up, size, starts, crashes, grown, paused]


def workers_text(pools: Pools) -> str:
    """The state of every pool."""
    registry = CollectorRegistry()
    registry.register(_Reading(pools))
    return generate_latest(registry).decode()
