"""Use models as they are, without fine-tuning: generate text, fill a mask, compare sentences."""

import hftool

# 1. Generate, greedily. gpt2-mini comes with hftool; take "gpt2" for better texts.
gpt2 = hftool.load("gpt2-mini", offline=True)
[answer] = hftool.generate(gpt2, ["Once upon a time"], max_new_tokens=20)
print("greedy:  ", answer["text"])

# 2. Sample, repeatably: the random seed decides the draws.
settings = {"max_new_tokens": 20, "temperature": 0.8, "top_p": 0.9, "seed": 7}
[first] = hftool.generate(gpt2, ["Once upon a time"], **settings)
[second] = hftool.generate(gpt2, ["Once upon a time"], **settings)
assert first["text"] == second["text"]
print("sampled: ", first["text"])

# 3. Stream: each piece of text as soon as it is certain.
pieces: list[str] = []
[streamed] = hftool.generate(gpt2, ["The old dog"], max_new_tokens=10, on_text=pieces.append)
assert "".join(pieces) == streamed["text"]
print("streamed:", pieces)

# 4. Fill a mask.
[filled] = hftool.fill("bert-mini", ["The [MASK] opened the door."], top_k=3)
for choice in filled["masks"][0]["fills"]:
    print(f"{choice['probability']:.3f}  {choice['token']}")

# 5. Embed: vectors (N, H), and the cosine similarity of two sentences. "minilm" needs the extra [offline], or the Hub.
minilm = hftool.load("minilm", head="embed", offline=True)
vectors = hftool.embed(minilm, ["A man rides a horse.", "Somebody is on a horse.", "The stock market fell."])
print("vectors: ", vectors.shape)
print("similar: ", round(hftool.similar(minilm, "A man rides a horse.", "Somebody is on a horse."), 3))
print("other:   ", round(hftool.similar(minilm, "A man rides a horse.", "The stock market fell."), 3))
