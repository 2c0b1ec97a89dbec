"""What the server counts: plain integers on the hot path, Prometheus text when it is asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from modelworks.serving.residency import Counted

BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper bounds of the latency buckets, seconds."""


class Counters:
    """Of one model."""

    __slots__ = ("buckets", "errors", "odd", "requests", "rows", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.rows = 0
        self.errors = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.odd: dict[tuple[str, str], int] = {}

    def answered(self, rows: int, seconds: float) -> None:
        """Count a request that was answered, `seconds` after it had been read."""
        self.requests += 1
        self.rows += rows
        self.seconds += seconds
        self.buckets[bisect_left(BOUNDS, seconds)] += 1

    def was_odd(self, kind: str, action: str) -> None:
        """Count a value that the input guard had something to say of."""
        self.odd[kind, action] = self.odd.get((kind, action), 0) + 1


class _Reading(Collector):
    """One reading of all counters."""

    def __init__(
        self,
        counters: Mapping[str, Counters],
        live: Mapping[str, int],
        memory: Counted,
        unknown: int,
        shed: int,
        streams: int,
    ) -> None:
        self.counters = counters
        self.live = live
        self.memory = memory
        self.unknown = unknown
        self.shed = shed
        self.streams = streams

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "modelworks_requests", "Prediction requests answered.", labels=["model"]
        )
        rows = CounterMetricFamily("modelworks_rows", "Rows predicted.", labels=["model"])
        errors = CounterMetricFamily(
            "modelworks_errors", "Prediction requests refused or failed.", labels=["model"]
        )
        latency = HistogramMetricFamily(
            "modelworks_latency_seconds", "From the request read to the answer written.", labels=["model"]
        )
        live = GaugeMetricFamily("modelworks_live_versions", "Model versions that answer.", labels=["model"])
        odd = CounterMetricFamily(
            "modelworks_odd_values",
            "Values that the input guard refused or flagged.",
            labels=["model", "kind", "action"],
        )
        for model, counted in sorted(self.counters.items()):
            for (kind, action), number in sorted(counted.odd.items()):
                odd.add_metric([model, kind, action], number)
            requests.add_metric([model], counted.requests)
            rows.add_metric([model], counted.rows)
            errors.add_metric([model], counted.errors)
            total, buckets = 0, []
            for bound, number in zip((*map(str, BOUNDS), "+Inf"), counted.buckets, strict=True):
                total += number
                buckets.append((bound, float(total)))
            latency.add_metric([model], buckets, counted.seconds)
        errors.add_metric([""], self.unknown)
        for model, number in sorted(self.live.items()):
            live.add_metric([model], number)
        shed = CounterMetricFamily(
            "modelworks_shed", "Requests told to come again, since there was no time for them.", self.shed
        )
        streams = GaugeMetricFamily(
            "modelworks_streams", "Answers given piece by piece just now.", self.streams
        )
        return [requests, rows, errors, odd, latency, live, shed, streams, *self._memory()]

    def _memory(self) -> Iterable[Metric]:
        """Of the models in memory."""
        now = self.memory
        yield GaugeMetricFamily("modelworks_loaded_versions", "Model versions in memory.", now.models)
        yield GaugeMetricFamily("modelworks_loaded_bytes", "Memory that they take.", now.bytes)
        yield CounterMetricFamily("modelworks_loads", "How often a version was loaded.", now.loads)
        yield CounterMetricFamily("modelworks_load_seconds", "How long loading took.", now.load_seconds)
        yield CounterMetricFamily(
            "modelworks_evictions", "How often a version made room for another.", now.evictions
        )


def metrics_text(
    counters: Mapping[str, Counters],
    live: Mapping[str, int],
    memory: Counted,
    unknown: int,
    shed: int = 0,
    streams: int = 0,
) -> str:
    """The counters in Prometheus' text format.

    Args:
        counters: By model.
        live: Model versions that answer, by model.
        memory: What is in memory.
        unknown: Requests for a model that is not there.
        shed: Requests for which there was no time.
        streams: Answers that are given piece by piece just now.
    """
    registry = CollectorRegistry()
    registry.register(_Reading(dict(counters), live, memory, unknown, shed, streams))
    return generate_latest(registry).decode()
