"""Parts of the Python snippets in the model cards that several heads share."""

INPUTS = """inputs = tokenizer($texts, truncation=True, max_length=$max_length, return_tensors="pt")
with torch.inference_mode():
    outputs = model(**inputs)
"""
GENERATE = """inputs = tokenizer($texts, return_tensors="pt")
with torch.inference_mode():
    generated = model.generate(**inputs, max_new_tokens=$max_new_tokens, do_sample=False)
"""
