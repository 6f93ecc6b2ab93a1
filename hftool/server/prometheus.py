"""Prometheus metrics of the server: the table of metrics, and a registry that any thread may update."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 64, 256, 1024, 2048, 4096, 8192, 16384, 65536)
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter has a second series, the time of its start


@dataclass(frozen=True)
class Metric:
    """One metric: its kind ("counter", "gauge" or "histogram"), help text, labels, and the bucket bounds of a histogram."""

    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def register(self, name: str, registry: CollectorRegistry) -> Any:
        """Create the metric of prometheus_client in a registry."""
        if self.kind == "histogram":
            return Histogram(name, self.help, self.labels, buckets=self.buckets, registry=registry)
        return (Counter if self.kind == "counter" else Gauge)(name, self.help, self.labels, registry=registry)


METRICS = {
    "hftool_ready": Metric("gauge", "1 while all models answer, else 0."),
    "hftool_model_info": Metric("gauge", "1 for each model that is served.", ("model", "version", "commit", "sha256")),
    "hftool_queue_size": Metric("gauge", "Rows that wait or are computed."),
    "hftool_queue_duration_seconds": Metric("histogram", "From admission to the batch, for each row.", (), SECONDS),
    "hftool_batch_items": Metric("histogram", "Rows in a batch.", (), ROWS),
    "hftool_batch_tokens": Metric("histogram", "Tokens in a batch, padding included.", (), TOKENS),
    "hftool_padding_ratio": Metric("histogram", "The share of a batch that is padding.", (), SHARES),
    "hftool_rejected_total": Metric("counter", "Requests that were refused, by reason.", ("reason",)),
    "hftool_dropped_total": Metric("counter", "Rows given up after they were admitted, by reason.", ("reason",)),
    "hftool_requests_total": Metric("counter", "Requests answered.", ("route", "code", "model", "version")),
    "hftool_request_duration_seconds": Metric("histogram", "From the request to the end of its answer.", ("route",), SECONDS),
}


class Stats:
    """The metrics of one server. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._metrics = {name: metric.register(name, self._registry) for name, metric in METRICS.items()}

    def add(self, name: str, value: float = 1, **labels: object) -> None:
        """Add to a counter or a gauge. Raises KeyError (unknown metric), ValueError (missing or unknown labels)."""
        self._child(name, labels).inc(value)

    def set(self, name: str, value: float, **labels: object) -> None:
        """Set a gauge. Raises as `add`."""
        self._child(name, labels).set(value)

    def observe(self, name: str, *values: float, **labels: object) -> None:
        """Add values to a histogram. Raises as `add`."""
        child = self._child(name, labels)
        for value in values:
            child.observe(value)

    def value(self, name: str, **labels: object) -> float:
        """The value of a counter or gauge, or the sum of a histogram; 0 if it was never set."""
        return self._sample(f"{name}_sum" if METRICS[name].kind == "histogram" else name, labels)

    def count(self, name: str, **labels: object) -> int:
        """The number of observations of a histogram."""
        return int(self._sample(f"{name}_count", labels))

    def render(self) -> str:
        """All metrics in the Prometheus text format, version 0.0.4."""
        return generate_latest(self._registry).decode()

    def _child(self, name: str, labels: Mapping[str, object]) -> Any:
        metric = self._metrics[name]
        return metric.labels(**labels) if labels or METRICS[name].labels else metric

    def _sample(self, name: str, labels: Mapping[str, object]) -> float:
        return self._registry.get_sample_value(name, {key: str(value) for key, value in labels.items()}) or 0.0
