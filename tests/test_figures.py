"""The figures in docs/benchmarks.md and docs/concepts/stand-ins.md agree with benchmarks/results/."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
SPEC = importlib.util.spec_from_file_location("figures", ROOT / "benchmarks" / "figures.py")
figures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(figures)
result, table = figures.result, figures.table
STAND_INS = (ROOT / "docs" / "concepts" / "stand-ins.md").read_text(encoding="utf-8")


def test_figures_of_the_page_agree_with_the_results():
    assert [figure for _, figure, _ in table(PAGE)] == figures.all_figures()


def test_figures_are_written_where_they_are():
    wrong = PAGE
    for figure in figures.all_figures()[1:4]:
        wrong = wrong.replace(f" {figure} ", " 0 ")
    assert wrong.count(" 0 ") >= 3 and figures.with_figures(wrong) == PAGE == figures.with_figures(PAGE)


def test_each_row_names_a_script_with_a_results_file():
    for what, _, script in table(PAGE):
        name = script.strip("`")
        assert (ROOT / "benchmarks" / name).is_file(), what
        assert (ROOT / "benchmarks" / "results" / name).with_suffix(".json").is_file(), what


def test_figures_of_bundled_models_agree_with_the_results():
    models = result("minis")["models"]
    shown = {name: figure for name, figure in (row for row in table(STAND_INS) if row[0].endswith("-mini"))}
    assert shown == {
        "gpt2-mini": f"perplexity {models['gpt2-mini']['perplexity']:.0f} over a vocabulary of 6,000",
        "bert-mini": f"perplexity {models['bert-mini']['perplexity']:.0f} on masked tokens",
        "roberta-mini": f"perplexity {models['roberta-mini']['perplexity']:.0f} on masked tokens",
        "t5-mini": f"loss {models['t5-mini']['loss']:.2f} a token",
    }


def test_the_check_finds_violations():
    assert [row[1] for row in table(PAGE.replace("0.8645", "0.8646"))] != figures.all_figures()
