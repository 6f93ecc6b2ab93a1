# Two commands: `make quickstart` trains a model and asks it, `make test` checks everything.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin
RUN = runs/quickstart
# pinned first and alone: a range would fetch the newest build with gigabytes of CUDA
TORCH = torch==2.13.0
# engines that `make bench` measures beside hftool
PEERS = ctranslate2==4.8.5 openvino==2026.4.1
SST2_RUN = build/bench/sst2
# empty: the newest releases that pyproject.toml allows
CONSTRAINTS = --constraint constraints.txt
NEWEST = build/newest
# where mktemp makes the folder of the tests: in memory, if there is room, as training waits for the disk at each checkpoint
MEMORY = $(shell df --output=avail /dev/shm 2>/dev/null | awk 'NR == 2 && $$1 > 4000000 { print "-p /dev/shm" }')
# --no-compile: modules are compiled when they are first imported; to compile all takes as long as to install them
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test lint types unit soak newest docs minis bench clean

quickstart: $(RUN)/metrics.json
	$(BIN)/hftool classify $(RUN) "A warm, funny film." "Two hours I will never get back." \
		"The plot is thin, but the cast is a joy."
	@echo "hftool export and hftool serve need more: $(BIN)/pip install -c constraints.txt -e '.[offline,export,serve]'"

$(RUN)/metrics.json: | $(VENV)/quickstart.done
	rm -rf $(RUN)
	$(BIN)/hftool finetune bert sst2 --offline --out $(RUN)

# pip of Python 3.11 takes twice as long to find the versions
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --no-compile --upgrade $(CONSTRAINTS) pip

$(VENV)/torch.done: | $(VENV)/bin/python
	$(BIN)/pip install --quiet --no-compile $(CONSTRAINTS) $(TORCH)
	touch $@

$(VENV)/quickstart.done: pyproject.toml constraints.txt | $(VENV)/torch.done
	$(BIN)/pip install --quiet --no-compile $(CONSTRAINTS) --editable ".[offline]"
	touch $@

$(VENV)/dev.done: pyproject.toml constraints.txt | $(VENV)/torch.done
	$(BIN)/pip install --quiet --no-compile $(CONSTRAINTS) --editable ".[dev]"
	touch $@

$(VENV)/bench.done: pyproject.toml constraints.txt | $(VENV)/dev.done
	$(BIN)/pip install --quiet --no-compile $(CONSTRAINTS) --editable ".[bench]" $(PEERS)
	touch $@

$(VENV)/docs.done: pyproject.toml constraints.txt | $(VENV)/torch.done
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable ".[docs]"
	touch $@

# the types are checked beside the tests, whose closing line is the last one
test: lint
	$(MAKE) --no-print-directory -j 2 types unit

lint: | $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: | $(VENV)/dev.done
	$(BIN)/mypy

# three processes of one thread each on two cores: most tests wait for the processor, some for processes, sockets and clocks
unit: | $(VENV)/dev.done
	TMPDIR=$$(mktemp -d $(MEMORY)) && export TMPDIR && trap 'rm -rf "$$TMPDIR"' EXIT && \
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m pytest -n 3 --dist loadfile \
		-p support.line_coverage -p support.fewer_collections

soak: | $(VENV)/dev.done
	$(BIN)/python -m pytest -m "not hub and not gpu" --override-ini addopts="--strict-markers"

# the suite on the newest releases that pyproject.toml allows; torch stays pinned unless asked: make newest TORCH=torch
newest:
	rm -rf $(NEWEST)
	$(MAKE) $(NEWEST)/dev.done VENV=$(NEWEST) CONSTRAINTS=
	$(NEWEST)/bin/pip freeze --exclude-editable
	$(MAKE) --keep-going unit types lint VENV=$(NEWEST) CONSTRAINTS=

# the documentation as a site in build/site; a warning is an error
docs: | $(VENV)/docs.done
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# the bundled models, from a folder with train.txt and valid.txt: make minis TEXT=DIR
minis: | $(VENV)/dev.done
	@test -n "$(TEXT)" || { echo "Which text? make minis TEXT=DIR with train.txt and valid.txt" >&2; exit 2; }
	$(BIN)/python benchmarks/minis.py --text "$(TEXT)" --work build/minis

# figures of speed, into benchmarks/results and docs/benchmarks.md; those of asking, training and serving are of SST-2:
# make bench SST2=DIR with train.tsv and dev.tsv
bench: | $(VENV)/bench.done
	cd benchmarks && ../$(BIN)/python speed_ratios.py --out results/speed_ratios.json
	$(BIN)/python benchmarks/generate_speed.py --against transformers,ctranslate2
	$(BIN)/python benchmarks/generate_stop.py
	$(BIN)/python benchmarks/data_rate.py minilm --out benchmarks/results/data_rate.json
	$(BIN)/python benchmarks/predict_growth.py --out benchmarks/results/predict_growth.json
	$(BIN)/python benchmarks/spans_rate.py --mb 1000 --rounds 1 --out benchmarks/results/spans_rate.json
ifdef SST2
	test -f $(SST2_RUN)/metrics.json || $(BIN)/hftool finetune minilm sst2 --train "$(SST2)/train.tsv" \
		--validation "$(SST2)/dev.tsv" --epochs 1 --offline --out $(SST2_RUN)
	$(BIN)/python benchmarks/ask_classify.py $(SST2_RUN) "$(SST2)/dev.tsv" \
		--against pipeline onnxruntime inductor openvino ctranslate2 \
		--out benchmarks/results/ask_classify.json
	$(BIN)/python benchmarks/train_classify.py "$(SST2)/train.tsv" --out benchmarks/results/train_classify.json
	$(BIN)/python benchmarks/train_base.py "$(SST2)/train.tsv" --against trainer-best --out benchmarks/results/train_base.json
	$(BIN)/python benchmarks/train_base.py "$(SST2)/train.tsv" --length 128 --steps 3 --against trainer-best \
		--out benchmarks/results/train_base.json
	$(BIN)/python benchmarks/embed_sentences.py minilm "$(SST2)/train.tsv" --against fp32 bf16 --sentences 2500 \
		--out benchmarks/results/embed_sentences.json
	$(BIN)/python benchmarks/start_up.py $(SST2_RUN) --verbs classify generate predict finetune serve --out benchmarks/results/start_up.json
	$(BIN)/python benchmarks/serve_load.py $(SST2_RUN) --out benchmarks/results/serve_load.json
else
	@echo "skipped without SST2=DIR: ask_classify.py, train_classify.py, train_base.py, embed_sentences.py, start_up.py, serve_load.py"
endif
	$(BIN)/python benchmarks/figures.py

clean:
	rm -rf $(VENV) runs build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
