"""Tasks known by name. A new task is one row here."""

import itertools
from dataclasses import dataclass
from typing import Any

from hftool.errors import UsageError, did_you_mean
from hftool.registry.languages import LANGUAGES

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Task:
    """A data set and the head that is trained on it."""

    name: str
    head: str
    about: str  # a few words for `hftool tasks`
    columns: Pairs  # pairs of role and column; translation.de is the key `de` of the column `translation`
    labels: Pairs = ()  # pairs of the value in the data and the label name, in id order
    measures: tuple[str, ...] = ()  # the metrics of the task, the first of which decides; () for those of the head
    also: tuple[str, ...] = ()  # other heads that can be trained on it: for families without its own, or by --head
    numbers: bool = False  # whether its labels are continuous
    prefix: str = ""  # the prefix of each text for families with named tasks (T5)
    lines: bool = False  # whether its rows are lines of one running text
    # pairs of a split (train, validation, test) and its name in the repository
    splits: Pairs = (("train", "train"), ("validation", "validation"), ("test", "test"))
    repo: str = ""
    revision: str = ""
    config: str = ""
    bundled: str = ""  # its folder under hftool/assets/data, for data that comes with hftool
    stand_in: str = ""  # the bundled task that stands in when neither cache nor Hub has it


GLUE = "nyu-mll/glue@bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
WMT = "wmt/wmt16@41d8a4013aa1489f28fea60ec0932af246086482"
CNN = "abisee/cnn_dailymail@96df5e686bee6baa90b8bee7c28b81fa3fa6223d:3.0.0"
XSUM = "EdinburghNLP/xsum@7d4d486c2f8ef850b1a11aead99b894ff3dd7da9"
DIALOGSUM = "knkarthick/dialogsum@a968e7aee0602e257935f1321a02e4287f7d5848"
TRAIN_AND_VALIDATION = (("train", "train"), ("validation", "validation"))
TRAIN_AND_TEST = (("train", "train"), ("test", "test"))
SENTENCE = (("text", "sentence"), ("label", "label"))
SENTENCES = (("text", "sentence1"), ("text_pair", "sentence2"), ("label", "label"))
TEXT = (("text", "text"), ("label", "label"))
SENTIMENT = (("0", "negative"), ("1", "positive"))
ENTAILED = (("0", "entailment"), ("1", "not_entailment"))
ENTITIES = (("tokens", "tokens"), ("tags", "ner_tags"))
RUNNING_TEXT = (("text", "text"),)
DIALOGUES, PHRASES = (("source", "dialogue"), ("target", "summary")), (("source", "en"), ("target", "de"))
SQUAD = (("question", "question"), ("context", "context"), ("answers", "answers"))
BY_F1 = ("f1", "accuracy")
BY_CORRELATION = ("pearson", "spearman")
BY_BLEU = ("bleu", "chrf")
SUMMARIZE = "summarize: "  # the prefixes with which T5 was pre-trained: Raffel et al., 2020, appendix D


def translation_prefix(source: str, target: str) -> str:
    """The prefix with which T5 translates from one language to another, by their names in English."""
    return f"translate {source} to {target}: "


GERMAN = translation_prefix("English", "German")
TRANSLATIONS = {translation_prefix(*names) for names in itertools.permutations(LANGUAGES.values(), 2)}


def is_translation(prefix: str) -> bool:
    """Whether a prefix is that of a translation between two known languages."""
    return prefix in TRANSLATIONS


def _numbered(*names: str) -> Pairs:
    """Names in id order -> pairs of id and name."""
    return tuple((str(i), name) for i, name in enumerate(names))


def split_data_id(name: str) -> tuple[str, str, str]:
    """The repository, revision and configuration of owner/name[@revision][:configuration]."""
    name, _, config = name.partition(":")
    repo, _, revision = name.partition("@")
    return repo, revision, config


def _hub(name: str, head: str, about: str, columns: Pairs, data: str, labels: Pairs = (), **facts: Any) -> Task:
    """A data set on the Hub."""
    repo, revision, config = split_data_id(data)
    return Task(name, head, about, columns, labels, repo=repo, revision=revision, config=config, **facts)


def _glue(config: str, about: str, columns: Pairs, labels: Pairs, **facts: Any) -> Task:
    """A task of GLUE (Wang et al., 2019), whose test labels are secret."""
    facts = {"splits": TRAIN_AND_VALIDATION, **facts}
    return _hub(config, "classify", f"{about} (GLUE)", columns, f"{GLUE}:{config}", labels, **facts)


def _summaries(name: str, about: str, source: str, target: str, data: str) -> Task:
    columns = (("source", source), ("target", target))
    return _hub(name, "text2text", about, columns, data, prefix=SUMMARIZE, stand_in="dialogsum-mini")


def _translations(name: str, about: str, language: str, source: str, target: str, data: str, **facts: Any) -> Task:
    columns, prefix = (("source", source), ("target", target)), translation_prefix("English", language)
    return _hub(name, "text2text", about, columns, data, measures=BY_BLEU, prefix=prefix, **facts)


def _wmt(ours: str, language: str, config: str) -> Task:
    about, columns = f"news, English to {language} (WMT 2016)", ("translation.en", f"translation.{ours}")
    stand_in = "phrases-mini" if ours == "de" else ""
    return _translations(f"wmt16-en-{ours}", about, language, *columns, f"{WMT}:{config}", stand_in=stand_in)


def _mini(name: str, head: str, about: str, columns: Pairs, labels: Pairs = (), **facts: Any) -> Task:
    """A small data set that was made for hftool and comes with it."""
    return Task(name, head, f"{about} for hftool, bundled", columns, labels, bundled=name, **facts)


TASKS = (
    _glue("sst2", "film opinion, negative or positive", SENTENCE, SENTIMENT, stand_in="sst2-mini"),
    _glue(
        "cola", "is a sentence good English", SENTENCE, _numbered("unacceptable", "acceptable"), measures=("mcc", "accuracy")
    ),
    _glue("mrpc", "do two sentences mean the same", SENTENCES, _numbered("not_equivalent", "equivalent"), measures=BY_F1),
    _glue(
        "qqp",
        "do two questions mean the same",
        (("text", "question1"), ("text_pair", "question2"), ("label", "label")),
        _numbered("not_duplicate", "duplicate"),
        measures=BY_F1,
    ),
    _glue("stsb", "how alike are two sentences, 0 to 5", SENTENCES, (), measures=BY_CORRELATION, also=("embed",), numbers=True),
    _glue(
        "mnli",
        "does a sentence follow from another",
        (("text", "premise"), ("text_pair", "hypothesis"), ("label", "label")),
        _numbered("entailment", "neutral", "contradiction"),
        splits=(("train", "train"), ("validation", "validation_matched")),
    ),
    _glue(
        "qnli",
        "does a sentence answer a question",
        (("text", "question"), ("text_pair", "sentence"), ("label", "label")),
        ENTAILED,
    ),
    _glue("rte", "does a sentence follow from another, small", SENTENCES, ENTAILED),
    _glue("wnli", "what does a pronoun stand for", SENTENCES, _numbered("not_entailment", "entailment")),
    _hub(
        "ag_news",
        "classify",
        "news by topic, four of them",
        TEXT,
        "fancyzhx/ag_news@eb185aade064a813bc0b7f42de02595523103ca4",
        _numbered("World", "Sports", "Business", "Sci/Tech"),
        splits=TRAIN_AND_TEST,
    ),
    _hub(
        "imdb",
        "classify",
        "film reviews, negative or positive",
        TEXT,
        "stanfordnlp/imdb@e6281661ce1c48d982bc483cf8a173c1bbeb5d31:plain_text",
        SENTIMENT,
        splits=TRAIN_AND_TEST,
    ),
    _hub(
        "emotion",
        "classify",
        "feelings in short messages, six of them",
        TEXT,
        "dair-ai/emotion@cab853a1dbdf4c42c2b3ef2173804746df8825fe:split",
        _numbered("sadness", "joy", "love", "anger", "fear", "surprise"),
    ),
    _hub(
        "wnut17",
        "tag",
        "rare names in messages, six types",
        ENTITIES,
        "leondz/wnut_17@1ac0b6d18c8a1a1d1606b24bef78b8af2f92d2d9",  # the Hub's own conversion to Parquet
        stand_in="entities-mini",
    ),
    _hub(
        "conll2003",
        "tag",
        "names in news: PER, ORG, LOC, MISC",
        ENTITIES,
        "lhoestq/conll2003@19edcb426bfd625c275c17b9a99b2239243f4377",  # a Parquet copy: the first one runs a script
        stand_in="entities-mini",
    ),
    _hub(
        "squad",
        "answer",
        "questions about Wikipedia, answered in its words",
        SQUAD,
        "rajpurkar/squad@7b6d24c440a36b6815f21b70d25016731768db1f:plain_text",
        splits=TRAIN_AND_VALIDATION,
        stand_in="squad-mini",
    ),
    _hub(
        "squad_v2",
        "answer",
        "the same, and questions without an answer",
        SQUAD,
        "rajpurkar/squad_v2@3ffb306f725f7d2ce8394bc1873b24868140c412:squad_v2",
        splits=TRAIN_AND_VALIDATION,
        stand_in="squad-mini",
    ),
    _summaries("cnn_dailymail", "news and their highlights", "article", "highlights", CNN),
    _summaries("xsum", "news and one sentence about them", "document", "summary", XSUM),
    _summaries("dialogsum", "conversations and their summaries", "dialogue", "summary", DIALOGSUM),
    _wmt("de", "German", "de-en"),
    _wmt("ro", "Romanian", "ro-en"),
    _wmt("ru", "Russian", "ru-en"),
    _translations(
        "opus_books",
        "books, English to French",
        "French",
        "translation.en",
        "translation.fr",
        "Helsinki-NLP/opus_books@1f9f6191d0e91a3c539c2595e2fe48fc1420de9b:en-fr",
        splits=(("train", "train"),),
    ),
    _hub(
        "wikitext",
        "generate",
        "articles of Wikipedia as running text, to generate or to fill",
        RUNNING_TEXT,
        "Salesforce/wikitext@b08601e04326c79dfdd32d625aee71d232d685c3:wikitext-2-raw-v1",
        also=("fill",),
        lines=True,
        stand_in="stories-mini",
    ),
    _mini("stories-mini", "generate", "short stories as running text, written", RUNNING_TEXT, also=("fill",), lines=True),
    _mini("sst2-mini", "classify", "film opinion, hand-written", SENTENCE, SENTIMENT),
    _mini("entities-mini", "tag", "names of four types, hand-written", (("tokens", "tokens"), ("tags", "tags"))),
    _mini("squad-mini", "answer", "questions about short texts, hand-written", SQUAD),
    _mini("dialogsum-mini", "text2text", "conversations and their summaries, hand-written", DIALOGUES, prefix=SUMMARIZE),
    _mini(
        "phrases-mini",
        "text2text",
        "phrases, English to German, hand-written",
        PHRASES,
        measures=BY_BLEU,
        prefix=GERMAN,
    ),
)


def find_task(name: str) -> Task | None:
    """The row called `name`, or None."""
    return next((row for row in TASKS if row.name == name), None)


def get_task(name: str) -> Task:
    """The row called `name`. Raises UsageError with the nearest name."""
    row = find_task(name)
    if row is None:
        otherwise = "See `hftool tasks`; a Hub data set is owner/name, a file needs its ending (.csv .tsv .jsonl .txt ...)"
        raise UsageError(f"unknown task '{name}'", did_you_mean(name, (t.name for t in TASKS), otherwise=otherwise))
    return row
