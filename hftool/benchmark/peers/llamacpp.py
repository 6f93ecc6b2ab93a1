"""llama.cpp for GPT-2, as node-llama-cpp has it built: a process of node that gets token ids and answers with token ids."""

import dataclasses
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

from hftool.benchmark.arm import Arm
from hftool.benchmark.generate import GenerateWork, Texts
from hftool.benchmark.peers.gguf_file import write
from hftool.benchmark.serve import peak_of
from hftool.engines.kv_cache import end_ids
from hftool.errors import DataError, UsageError
from hftool.heads.protocol import Batch

ROOM = 32  # positions of the cache above those of the longest row
# node finds a package that stands in NODE_PATH by require alone
PROGRAM = """
import {createRequire} from 'node:module';
import {createInterface} from 'node:readline';
import {pathToFileURL} from 'node:url';
const [path, threads, rows, size] = process.argv.slice(2);
const found = createRequire(process.cwd() + '/').resolve('node-llama-cpp');
const {getLlama} = await import(pathToFileURL(found));
const llama = await getLlama({gpu: false, build: 'never', skipDownload: true, maxThreads: +threads, logLevel: 'error'});
const model = await llama.loadModel({modelPath: path});
const context = await model.createContext({sequences: +rows, contextSize: +size, threads: +threads});
const sequences = Array.from({length: +rows}, () => context.getSequence());
async function continued(sequence, {ids, most, ends}) {
  await sequence.clearHistory();
  const tokens = [];
  for await (const token of sequence.evaluate(ids, {temperature: 0, yieldEogToken: true})) {
    if (ends.includes(token)) break;
    tokens.push(token);
    if (tokens.length === most) break;
  }
  return tokens;
}
console.log('[]');
for await (const line of createInterface({input: process.stdin})) {
  const texts = await Promise.all(JSON.parse(line).map((one, i) => continued(sequences[i], one)));
  console.log(JSON.stringify(texts));
}
"""


def generate(work: GenerateWork, variant: str) -> Arm:
    """The model converted. variant: fp16 or int8, the number format of its weights."""
    model, most = work.loaded.model, work.job.max_new_tokens
    if model.config.model_type != "gpt2":
        raise UsageError(f"llama.cpp is measured on GPT-2, not on {model.config.model_type}")
    path = Path(tempfile.mkdtemp()) / "model.gguf"
    write(model, work.loaded.tokenizer, variant, path)
    longest = max(batch["input_ids"].shape[1] for batch in work.batches)
    rows = max(len(batch["input_ids"]) for batch in work.batches)
    node = _start(path, rows, longest + most + ROOM)

    def _texts(batch: Batch) -> Texts:
        pairs = zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True)
        asked = [{"ids": row[mask].tolist(), "most": most, "ends": list(end_ids(model))} for row, mask in pairs]
        found: Texts = _answer(node, json.dumps(asked))
        return found

    return dataclasses.replace(work.arm(_texts, variant), memory=lambda: peak_of(node.pid))


def _start(path: Path, rows: int, size: int) -> "subprocess.Popen[str]":
    """The process, once it has loaded the model. It ends with this one, whose pipe it reads."""
    sizes = [str(number) for number in (torch.get_num_threads(), rows, size)]
    program = path.with_name("program.mjs")  # a file: the package starts node with the options of this process, such as -e
    program.write_text(PROGRAM, encoding="utf-8")
    command = ["node", str(program), str(path), *sizes]
    environment = {**os.environ, "NODE_LLAMA_CPP_SKIP_DOWNLOAD": "true"}
    node = subprocess.Popen(  # noqa: S603  the program above
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    _answer(node, None)
    return node


def _answer(node: "subprocess.Popen[str]", asked: str | None) -> Any:
    """The answer to a line; without a line, to the start."""
    assert node.stdin is not None and node.stdout is not None
    if asked is not None:
        node.stdin.write(asked + "\n")
        node.stdin.flush()
    line = node.stdout.readline()
    if not line:
        raise DataError(f"the process of node-llama-cpp ended with {node.wait()}", "Repeat it with --verbose")
    return json.loads(line)
