"""Writes the figures of docs/benchmarks.md from benchmarks/results/: python benchmarks/figures.py

Each row of the page has one figure; tests/test_figures.py holds the page against the same functions.
"""

import itertools
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
HEADERS = ("what", "model", "asked for")
CELLS = re.compile(r"(?<!\\)\|")


def result(name):
    """The results file of a benchmark."""
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def cells_of(line):
    """The cells of a row of a table; [] for a header, a separator and all other lines."""
    cells = [cell.strip() for cell in CELLS.split(line.strip("|\n"))] if line.startswith("|") else []
    return [] if not cells or set(cells[0]) <= {"-"} or cells[0] in HEADERS else cells


def table(page):
    """The rows of all tables of a page as lists of cells, without header and separator rows."""
    return list(filter(None, map(cells_of, page.splitlines())))


def fixed(value, digits=4):
    return f"{value:.{digits}f}"


def training():
    sst2, speed, heads = result("accuracy_sst2"), result("train_classify"), result("heads_minilm")
    scales, ties, mini = result("regression_scales"), result("ties"), result("sst2_mini")
    runs = ", ".join(fixed(run["accuracy"]) for run in sst2["runs"])
    assert [run["seed"] for run in sst2["runs"]] == [0, 1, 2] == [run["seed"] for run in mini["minilm"]]
    assert sst2["same_seed_same_weights"] is True
    assert scales["bar"] == 1.02 and len(scales["scales"]) == 5 and len(ties["tasks"]) == 10
    yield f"{runs}; mean {fixed(sst2['mean_accuracy'])}"
    yield "the same weights, bit for bit"
    yield f"{fixed(speed['times_trainer'], 2)} times"
    yield f"{fixed(speed['times_trainer_best'], 2)} times"
    for found in (result("train_base")["lengths"][length] for length in ("sst2", "128")):
        times, share = found["times"]["trainer bf16, grouped by length"], found["arms"]["hftool"]["of_R"]
        yield f"{fixed(times, 2)} times; {100 * share:.0f} %"
    for name in ("mrpc", "stsb", "embeddings", "wnut17", "squad", "chnsenticorp_htl"):
        yield fixed(heads[name]["value"])
    yield fixed(scales["worst_ratio"], 7)
    yield str(sum(task["preferred"] for task in ties["tasks"].values()))
    yield ", ".join(fixed(run["test"]) for run in mini["minilm"])
    yield fixed(mini["bag_of_words"]["test"])


def asking():
    ask, generation = result("ask_classify"), result("generate_speed")
    times = {name: f"{fixed(value, 2)} times" for name, value in ask["times"].items()}
    yield f"{ask['texts_per_second']['hftool']:.0f}; {100 * ask['agreement']['hftool']:.1f} %"
    yield f"{times['pipeline']}; {times['pipeline, batch 32']}"
    yield f"{times['openvino']}; {times['fp32']}"
    yield "; ".join(times[name] for name in ("ctranslate2 int8", "onnxruntime int8", "inductor"))
    accuracy = {name: fixed(value) for name, value in ask["accuracy"].items()}
    yield "; ".join(accuracy[name] for name in ("hftool", "fp32", "bf16", "pipeline"))
    peers = ("openvino", "openvino fp32", "ctranslate2 int8", "onnxruntime fp32", "onnxruntime int8", "inductor")
    yield "; ".join(accuracy[name] for name in peers)
    vectors = result("embed_sentences")
    assert vectors["sentences"] == 2500 and min(vectors["smallest_cosine"].values()) > 0.999
    yield f"{vectors['per_second']['hftool']:.0f}; " + "; ".join(f"{fixed(v, 2)} times" for v in vectors["times"].values())
    for family in ("gpt2", "t5"):
        for arms in generation[family]["batches"].values():
            rates = {name: arm["tokens_per_second"] for name, arm in arms.items()}
            formats = (rates[f"hftool {name}"] / rates["transformers fp32"] for name in ("fp32", "bf16", "int8"))
            yield "; ".join(fixed(times, 2) for times in formats)
            yield fixed(rates["hftool int8"] / rates["ctranslate2 int8"], 2)
    stop = result("generate_stop")["lengths"]
    yield "; ".join(f"{length['hftool']:.0f} µs, {length['whole']:.0f} µs" for length in stop.values())
    verbs = result("start_up")["verbs"]
    yield "; ".join(
        f"{fixed(verbs[verb]['over_bare'], 2)} s" for verb in ("classify", "generate", "predict", "finetune", "serve")
    )


def reading():
    rate, growth, spans = result("data_rate"), result("predict_growth")["rows"], result("spans_rate")
    for work in ("predict", "finetune"):
        yield "; ".join(fixed(rate["files"][kind]["share_of_raw"][work], 2) for kind in ("csv", "jsonl"))
    counts = [count for count in growth if count != "1"]
    yield "; ".join(f"{growth[count]['ms_a_row']:.3f}, {growth[count]['peak_mb']}" for count in counts)
    yield f"{fixed(spans['times'], 2)} times; {spans['peak_mb']['hftool']} MB, {spans['peak_mb']['datasets']:,} MB"


def crashes():
    arms = result("crash_points")["arms"]
    assert arms["hftool"]["points"] == arms["hftool"]["resumed"] and arms["trainer"]["points"] == 50
    yield str(arms["hftool"]["bitwise"])
    yield str(arms["trainer"]["bitwise"])


def exports():
    document = result("export_parity")
    models, sst2 = document["families"]["models"], document["sst2"]
    parities = [model["fp32"]["parity"] for model in models.values()]
    worst = max(part["relative"] for p in parities for part in (p["outputs"], p["random"]) if "relative" in part)
    assert len(models) == 38
    yield fixed(worst, 7)
    after = (sst2["torch"]["accuracy"], sst2["fp32"]["accuracy"], sst2["int8"]["metrics"]["after"]["accuracy"])
    yield ", ".join(map(fixed, after))
    size, latency = sst2["int8"]["bytes"], sst2["int8"]["latency"]
    sizes = f"{size['before'] / 1e6:.1f}, {size['after'] / 1e6:.1f}"
    yield f"{sizes}; {latency['after_ms'] / latency['before_ms']:.2f}"


def serving():
    load, faults = result("serve_load"), result("serve_faults")["faults"]
    beside, flood = load["beside"], load["flood"]["loads"]
    first, full = flood["queue by default"], flood["queue of 32"]
    assert list(first["statuses"]) == ["200"] and first["resets"] == {} and beside["clients"] == 64
    yield f"{fixed(beside['times_def'], 2)} times; {fixed(beside['times_async'], 2)} times"
    yield f"{first['statuses']['200']:,} answers; no 5xx, no reset"
    yield f"{full['milliseconds']['429']['p99']:.0f} ms at the client"
    yield f"{100 * load['batcher']['cost']['batcher of 512']:.1f} % more time"
    memory = result("serve_memory")
    assert memory["holds"] is True and memory["requests_of_a_round"] == 30_000 and len(memory["rounds"]) == 2
    yield f"{memory['mb_for_1000_requests'][0]:.2f} MB"
    servers = ("hftool, classifier", "LitServe, classifier", "transformers serve, GPT-2")
    yield "; ".join(faults["malformed"][name]["shown"].partition(" of 18")[0] for name in servers)
    shares = ("hftool, classifier", "LitServe, classifier", "hftool, GPT-2", "transformers serve, GPT-2")
    yield "; ".join(f"{100 * faults['disconnected'][name]['share']:.0f} %" for name in shares)
    held = [faults["slow"][name]["seconds"]["headers"] for name in servers]
    yield "; ".join("never" if seconds is None else f"{seconds:.0f} s" for seconds in held)
    tricks = result("serve_tricks")
    for name, trick in tricks["optimisations"].items():
        assert trick["times_the_speed"] >= tricks["bar"] == 1.05, name
        yield f"{fixed(trick['times_the_speed'], 2)} times"


def structure():
    jobs = [result("rooms_passed")[name] for name in ("classify", "finetune", "request")]
    for figure in ("rooms", "climbs"):
        yield "; ".join(", ".join(str(job[tree][figure]) for job in jobs) for tree in ("before", "after"))


def all_figures():
    """The figures of the page in order."""
    return [*itertools.chain(training(), asking(), reading(), crashes(), exports(), serving(), structure())]


def with_figures(page):
    """The page with these figures."""
    figures, lines = iter(all_figures()), []
    for line in page.splitlines(keepends=True):
        cells = cells_of(line)
        if cells:
            line = line.replace(f"| {cells[1]} |", f"| {next(figures)} |", 1)
        lines.append(line)
    return "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(with_figures(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
