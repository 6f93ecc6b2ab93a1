"""Tiny models of every family, each with a tokenizer, and rows that they can memorize."""

import functools
import json
import tempfile
from pathlib import Path

from support.session_folders import created_once, session_folder

SHARED = session_folder("families")
HOME = Path(tempfile.mkdtemp(dir=SHARED))  # of this process

COLOURS = ("red", "blue", "green", "white")
THINGS = ("cat", "dog", "car", "hat", "cup", "bed", "box", "pen")
CITIES = ("rome", "oslo", "lima", "cairo")
PEOPLE = ("ann", "bob", "eve", "tom")
GERMAN = {"red": "rot", "blue": "blau", "green": "grün", "white": "weiß"}
CORPUS = [
    *(f"the {colour} {thing} is warm and fine ." for colour in COLOURS for thing in THINGS),
    *(f"the {colour} {thing} is cold and dull ." for colour in COLOURS for thing in THINGS),
    *(f"{name} went to {location} with a {thing} ." for name in PEOPLE for location in CITIES for thing in THINGS),
    *(f"who went to {location} ? where is the {thing} ?" for location in CITIES for thing in THINGS),
    *(f"{one} {two} summarize: translate:" for one, two in GERMAN.items()),
    "alike unlike 0 1 2 3 4 5 6 7 8 9 , . ! ? # : ;",
    *"abcdefghijklmnopqrstuvwxyz",
]
SIZE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
CALM = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # memorizing needs no dropout


def _bert(tokenizer):
    from transformers import BertConfig, BertForMaskedLM

    return BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **SIZE, **CALM))


def _roberta(tokenizer):
    """64 tokens: two more positions than tokens, since RoBERTa counts from padding_idx + 1."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    return RobertaForMaskedLM(_positions_from_pad(RobertaConfig, tokenizer))


def _xlm_roberta(tokenizer):
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    return XLMRobertaForMaskedLM(_positions_from_pad(XLMRobertaConfig, tokenizer))


def _positions_from_pad(kind, tokenizer):
    pad = tokenizer.pad_token_id
    known = {"vocab_size": len(tokenizer), "pad_token_id": pad, "type_vocab_size": 1, "max_position_embeddings": 65 + pad}
    return kind(**known, **SIZE, **CALM)


def _electra(tokenizer):
    """An architecture that the registry has no row for."""
    from transformers import ElectraConfig, ElectraForMaskedLM

    known = {"vocab_size": len(tokenizer), "embedding_size": 48, "max_position_embeddings": 64}
    return ElectraForMaskedLM(ElectraConfig(**known, **SIZE, **CALM))


def _gpt2(tokenizer):
    from transformers import GPT2Config, GPT2LMHeadModel

    end = tokenizer.eos_token_id
    known = {"vocab_size": len(tokenizer), "n_positions": 64, "bos_token_id": end, "eos_token_id": end}
    calm = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(n_embd=48, n_layer=2, n_head=2, **known, **calm))


def _t5(tokenizer):
    from transformers import T5Config, T5ForConditionalGeneration

    known = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    size = {"d_model": 48, "d_kv": 24, "d_ff": 96, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
    return T5ForConditionalGeneration(T5Config(decoder_start_token_id=tokenizer.pad_token_id, **known, **size))


# Training WordPiece or Unigram breaks ties by chance, so that a run would end otherwise in each process: words are listed.
WORDS = sorted({word for text in CORPUS for word in text.split()})
LETTERS = sorted(set("".join(CORPUS)) - {" "})


def _wordpiece():
    from transformers import BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)])
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})


def _unigram(name, special, last=(), **settings):
    import transformers

    pieces = dict.fromkeys([*(f"\u2581{word}" for word in WORDS), "\u2581", *LETTERS])
    scores = [(piece, -10.0 if piece.removeprefix("\u2581") in ["", *LETTERS] else -2.0) for piece in pieces]
    vocab = [*((one, 0.0) for one in special), *scores, *((one, 0.0) for one in last)]
    return getattr(transformers, name)(vocab=vocab, **settings)


def _bytes(name):
    import transformers

    return getattr(transformers, name)().train_new_from_iterator(CORPUS, 360)  # bytes alone take 256


KINDS = {  # model type -> its tokenizer, its model
    "bert": (_wordpiece, _bert),
    "roberta": (lambda: _bytes("RobertaTokenizer"), _roberta),
    "gpt2": (lambda: _bytes("GPT2Tokenizer"), _gpt2),
    "t5": (lambda: _unigram("T5Tokenizer", ["<pad>", "</s>", "<unk>"], extra_ids=0), _t5),
    "electra": (_wordpiece, _electra),
    "xlm-roberta": (lambda: _unigram("XLMRobertaTokenizer", ["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"]), _xlm_roberta),
}


@functools.cache
def folder(kind):
    """A pre-trained checkpoint (its weights drawn from a seed) of the family, as a folder. Do not change it."""
    return created_once(SHARED, kind, lambda: _save_checkpoint(kind))


def _save_checkpoint(kind):
    import torch

    make_tokenizer, make_model = KINDS[kind]
    path = SHARED / kind
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = 64
    torch.manual_seed(0)
    make_model(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def classify_rows(count=64):
    """A label that one word decides."""
    ends = ("warm and fine", "cold and dull")
    return [
        {"text": f"the {COLOURS[i // 2 % 4]} {THINGS[i // 8 % 8]} is {ends[i % 2]} .", "label": ("good", "bad")[i % 2]}
        for i in range(count)
    ]


def regression_rows(count=64):
    """A number that the colour decides; with a fraction, so that it is known for a number."""
    return [
        {"text": f"the {COLOURS[i % 4]} {THINGS[i // 4 % 8]} is {'warm' if i < 32 else 'cold'} .", "label": str(i % 4 / 2)}
        for i in range(count)
    ]


def pair_rows(count=64):
    """Two texts, of which both have a say in the label."""
    rows = []
    for i in range(count):
        colour, state = COLOURS[i % 2], ("warm", "cold")[i // 2 % 2]
        first, second = f"the {colour} {THINGS[i // 8]}", f"the {THINGS[i // 4 % 8]} is {state}"
        rows.append({"sentence1": first, "sentence2": second, "label": f"{colour}-{state}"})
    return rows


def tag_rows(count=64):
    """Names of people, of one word or of two, and of places."""
    rows = []
    for i in range(count):
        name, location = PEOPLE[i % 4], CITIES[i // 4 % 4]
        tokens = [name, *([THINGS[i // 16]] if i % 3 else []), "went", "to", location, "."]
        tags = ["B-PER", *(["I-PER"] if i % 3 else []), "O", "O", "B-LOC", "O"]
        rows.append({"tokens": tokens, "tags": tags})
    return rows


def answer_rows(count=64):
    """Where somebody went, in texts that begin in many ways."""
    rows = []
    for i in range(count):
        name, location, thing = PEOPLE[i % 4], CITIES[i // 4 % 4], THINGS[i // 16]
        context = f"{'the cat is warm . ' * (i % 3)}{name} went to {location} with a {thing} ."
        answers = {"text": [location], "answer_start": [context.index(location)]}
        rows.append({"question": f"where is the {thing} ?", "context": context, "answers": answers})
    return rows


def text_rows(count=64):
    """Running text that repeats one word many times, then another."""
    return [{"text": " ".join([THINGS[i % 8]] * (20 + i % 5))} for i in range(count)]


def completion_rows(count=64):
    """A prompt and its completion."""
    return [
        {"prompt": f"the {COLOURS[i % 4]} {THINGS[i // 4 % 8]} is", "completion": f" {'warm' if i % 4 < 2 else 'cold'} ."}
        for i in range(count)
    ]


def target_rows(count=64):
    """A colour to be written in German."""
    colours = list(GERMAN.items())
    return [{"source": f"{colours[i % 4][0]} {THINGS[i // 4 % 8]}", "target": colours[i % 4][1]} for i in range(count)]


def score_rows(count=64):
    """Pairs of texts with how alike they are, 1 to 5, by their colours."""
    rows = []
    for i in range(count):
        first, second = COLOURS[i % 4], COLOURS[(i + i // 4 % 2) % 4]
        score = "5" if first == second else ("1.5", "1")[i % 2]
        rows.append({"sentence1": f"the {first} {THINGS[i // 8]}", "sentence2": f"a {second} {THINGS[i // 8]}", "score": score})
    return rows


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def inputs_of(head_case, rows):
    """The rows of a head case as `workflow.infer` takes them: texts, and second texts or None."""
    first, second = ASKED[head_case]
    if head_case == "fill":
        return [" ".join([*row["text"].split()[:4], "[MASK]", *row["text"].split()[:4]]) for row in rows], None
    texts = [" ".join(row["tokens"]) if head_case == "tag" else row[first] for row in rows]
    return texts, [row[second] for row in rows] if second else None


ASKED = {
    "classify": ("text", ""),
    "regression": ("text", ""),
    "pairs": ("sentence1", "sentence2"),
    "tag": ("tokens", ""),
    "answer": ("question", "context"),
    "generate": ("prompt", ""),
    "text2text": ("source", ""),
    "fill": ("text", ""),
    "embed": ("sentence1", "sentence2"),
}
# name of the head case -> the head, its rows, and the settings with which 64 rows are memorized in some tens of steps
HEAD_CASES = {
    "classify": ("classify", classify_rows, {"epochs": 10}),
    "regression": ("classify", regression_rows, {"epochs": 20, "schedule": "linear"}),
    "pairs": ("classify", pair_rows, {"epochs": 32, "lr": 2e-3, "warmup": 0.2, "schedule": "linear"}),
    "tag": ("tag", tag_rows, {"epochs": 8}),
    "answer": ("answer", answer_rows, {"epochs": 15, "lr": 2e-3}),
    "generate": ("generate", completion_rows, {"epochs": 10}),
    "text2text": ("text2text", target_rows, {"epochs": 12}),
    "fill": ("fill", text_rows, {"epochs": 8, "lr": 2e-3, "max_length": 16}),
    "embed": ("embed", score_rows, {"epochs": 15, "lr": 1e-3}),
}
LR = {"t5": {"lr": 5e-3}}  # T5 takes steps by Adafactor as large as 1e-2: Raffel et al., 2020, section 3.1.2


@functools.cache
def trained_run(kind, head_case):
    """A finished run of the family on the rows of the head case, which are its validation rows, too; and its notices.

    It is made once for all processes of the session. Do not change its folder.
    """
    return created_once(SHARED, f"{kind}-{head_case}", lambda: _finetune(kind, head_case, SHARED / f"{kind}-{head_case}-run"))


def run_of(head_case):
    """The folder of the run of the tiny BERT."""
    return trained_run("bert", head_case)[0].run.path


@functools.cache
def short_run(kind, head_case):
    """The same after four steps, for tests that do not ask how good the model is."""
    name = f"{kind}-{head_case}-short"
    return created_once(SHARED, name, lambda: _finetune(kind, head_case, SHARED / f"{name}-run", max_steps=4))


def _finetune(kind, head_case, out, **more):
    from hftool import workflow

    head, rows, knobs = HEAD_CASES[head_case]
    path = write_jsonl(out.with_suffix(".jsonl"), rows())
    config = {"lr": 3e-3, "batch_size": 8, "schedule": "constant", "warmup": 0, "weight_decay": 0, **knobs, **LR.get(kind, {})}
    config |= {"train": str(path), "validation": str(path), "allow_leak": True, "eval_steps": 1000, "patience": 0, **more}
    events = []
    result = workflow.finetune(str(folder(kind)), config=config, head=head, out=out, progress=events.append)
    return result, [event.text for event in events if event.kind == "notice"]
