"""The text of /metrics, parsed as Prometheus does."""

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hftool.server.prometheus import METRICS, Stats


def samples(text):
    """(name, labels in the order of their names) -> value."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_are_rendered():
    stats = Stats()
    stats.add("hftool_queue_size", 3)
    stats.add("hftool_queue_size", -1)
    stats.set("hftool_ready", 1)
    for _ in range(2):
        stats.add("hftool_requests_total", route="/predict", code=200, model="a", version="1")
    shown = samples(stats.render())
    assert shown["hftool_queue_size", ()] == 2
    assert shown["hftool_ready", ()] == 1
    labels = (("code", "200"), ("model", "a"), ("route", "/predict"), ("version", "1"))
    assert shown["hftool_requests_total", labels] == 2


def test_histogram_buckets_are_cumulative():
    stats = Stats()
    stats.observe("hftool_batch_items", 1, 2, 2, 300)
    shown = samples(stats.render())
    buckets = {labels: value for (name, labels), value in shown.items() if name == "hftool_batch_items_bucket"}
    assert [buckets[("le", border),] for border in ("1.0", "2.0", "256.0", "+Inf")] == [1, 3, 3, 4]
    assert list(buckets.values()) == sorted(buckets.values())
    assert (shown["hftool_batch_items_sum", ()], shown["hftool_batch_items_count", ()]) == (305, 4)


def test_label_values_are_escaped():
    stats = Stats()
    stats.set("hftool_model_info", 1, model='a"b\\c\nhftool_ready 0', version="1", commit="", sha256="")
    text = stats.render()
    assert 'model="a\\"b\\\\c\\nhftool_ready 0"' in text
    samples(text)


def test_metrics_exist_before_the_first_request():
    text = Stats().render()
    for name, metric in METRICS.items():
        assert f"# TYPE {name} {metric.kind}\n" in text
    assert "hftool_ready 0.0\n" in text and "hftool_batch_items_count 0.0\n" in text
    assert "_created" not in text


def test_unknown_labels_are_an_error():
    for labels in ({}, {"reason": "x", "more": "y"}, {"cause": "x"}):
        with pytest.raises(ValueError, match="label"):
            Stats().add("hftool_dropped_total", **labels)


def test_counters_are_thread_safe():
    stats = Stats()

    def count():
        for _ in range(2000):
            stats.add("hftool_dropped_total", reason="disconnected")
            stats.observe("hftool_batch_items", 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stats.value("hftool_dropped_total", reason="disconnected") == stats.count("hftool_batch_items") == 8000
