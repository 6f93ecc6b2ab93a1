"""Export a fine-tuned model to ONNX in int8, and serve it over HTTP. Needs the extras [export] and [serve]."""

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import hftool

folder = Path(tempfile.mkdtemp(prefix="hftool-example-"))

# 1. A model to export: film opinion, from data that come with hftool.
run = hftool.finetune(
    "bert-mini", "sst2-mini", config={"max_steps": 60, "lr": 5e-4, "limit": 400}, out=folder / "run", offline=True
).run

# 2. Export. The folder appears only if the graphs answer as the model does; report says how far they are apart.
exported = hftool.export(run.path, out=folder / "int8", quantize="int8")
size = exported.report["bytes"]
print(f"{size['before'] / 1e6:.1f} MB before, {size['after'] / 1e6:.1f} MB after")

# 3. An export works wherever a model does.
[answer] = hftool.classify(exported.path, ["A warm, funny film."])
print(answer["label"], round(answer["probability"], 3))

# 4. Serve it. --port 0 takes a free port; with --json the address is printed when the model answers.
command = [sys.executable, "-m", "hftool", "serve", f"films={exported.path}", "--port", "0", "--json", "--quiet", "--offline"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
assert server.stdout is not None
ready, _ = json.JSONDecoder().raw_decode(server.stdout.readline())
try:
    # 5. Ask it, as any HTTP client would.
    body = json.dumps({"inputs": ["A warm, funny film.", "Two hours I will never get back."]}).encode()
    request = urllib.request.Request(ready["url"] + "/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        for labels in json.load(response):
            print(labels[0]["label"], round(labels[0]["score"], 3))
finally:
    # 6. SIGTERM lets requests in flight finish.
    server.terminate()
    server.communicate(timeout=60)
    print("server ended with", server.returncode)
