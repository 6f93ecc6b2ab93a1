"""Measures the verbs beside other engines: alternating rounds, outputs compared first, rates beside what the machine allows.

`run_benchmark` in `benchmark.py` starts one process for each arm (`worker.py`), so that threads, allocators and imports of one
engine do not disturb another and memory is that of the arm alone. A kind of work is one file here (infer, generate, train,
serve), a peer one file in `peers/`.
"""
