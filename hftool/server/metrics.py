"""What /metrics shows: counters, gauges and histograms in the text format of Prometheus, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 64, 256, 1024, 2048, 4096, 8192, 16384, 65536)
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Metric:
    """One metric: its kind ("counter", "gauge" or "histogram"), what it says, its labels, and the borders of a histogram."""

    kind: str
    help: str
    labels: tuple[str, ...] = ()
    borders: tuple[float, ...] = ()


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
    """The metrics of a server; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in METRICS}
        self._counts: dict[str, dict[tuple[str, ...], list[int]]] = {name: {} for name in METRICS}
        for name, metric in METRICS.items():  # what has no labels is there from the start, with 0
            if not metric.labels:
                self._values[name][()] = 0.0
                self._counts[name][()] = [0] * (len(metric.borders) + 1)

    def add(self, name: str, value: float = 1, **labels: object) -> None:
        """Add to a counter or a gauge."""
        key = _key(name, labels)
        with self._lock:
            self._values[name][key] = self._values[name].get(key, 0.0) + value

    def set(self, name: str, value: float, **labels: object) -> None:
        """Set a gauge."""
        key = _key(name, labels)
        with self._lock:
            self._values[name][key] = value

    def observe(self, name: str, *values: float, **labels: object) -> None:
        """Put values into a histogram."""
        key, borders = _key(name, labels), METRICS[name].borders
        with self._lock:
            counts = self._counts[name].setdefault(key, [0] * (len(borders) + 1))
            for value in values:
                counts[bisect_left(borders, value)] += 1  # a border is part of the bucket below it
            self._values[name][key] = self._values[name].get(key, 0.0) + sum(values)

    def value(self, name: str, **labels: object) -> float:
        """A counter or a gauge as it stands; of a histogram the sum of what was observed."""
        with self._lock:
            return self._values[name].get(_key(name, labels), 0.0)

    def count(self, name: str, **labels: object) -> int:
        """How many values a histogram holds."""
        with self._lock:
            return sum(self._counts[name].get(_key(name, labels), ()))

    def render(self) -> str:
        """All metrics, as Prometheus reads them."""
        with self._lock:
            return "".join(f"{line}\n" for name, metric in METRICS.items() for line in self._lines(name, metric))

    def _lines(self, name: str, metric: Metric) -> Iterable[str]:
        yield f"# HELP {name} {metric.help}"
        yield f"# TYPE {name} {metric.kind}"
        for key, value in self._values[name].items():
            if metric.kind != "histogram":
                yield f"{name}{_labels(metric.labels, key)} {value:.17g}"
                continue
            total = 0
            for border, count in zip((*metric.borders, float("inf")), self._counts[name][key], strict=True):
                total += count
                least = "+Inf" if border == float("inf") else f"{border:g}"
                yield f"{name}_bucket{_labels((*metric.labels, 'le'), (*key, least))} {total}"
            yield f"{name}_sum{_labels(metric.labels, key)} {value:.17g}"
            yield f"{name}_count{_labels(metric.labels, key)} {total}"


def _key(name: str, labels: dict[str, object]) -> tuple[str, ...]:
    """The values of the labels in the order of the metric's. Raises KeyError for a metric or a label that there is not."""
    wanted = METRICS[name].labels
    if len(labels) != len(wanted):
        raise KeyError(f"{name} has the labels {wanted}, not {tuple(labels)}")
    return tuple(str(labels[label]) for label in wanted)


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
