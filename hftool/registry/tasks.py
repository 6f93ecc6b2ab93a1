"""Tasks known by name. A new task is one row here."""

from dataclasses import dataclass

from hftool.errors import UsageError, did_you_mean

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Task:
    """A data set and the head that is trained on it.

    Attributes:
        about: A few words for `hftool tasks`.
        columns: Pairs of role and column; translation.de is the key `de` of the column `translation`.
        labels: Pairs of the value in the data and the label name, in id order.
        measures: The metrics of the task, the first of which decides; () for those of the head.
        also: Other heads that can be trained on it: for families without its own, or by --head.
        numbers: Whether its labels are continuous.
        prefix: The prefix of each text for families with named tasks (T5).
        lines: Whether its rows are lines of one running text.
        splits: Pairs of a split (train, validation, test) and its name in the repository.
        bundled: Its folder under hftool/assets/data, for data that comes with hftool.
        stand_in: The bundled task that stands in when neither cache nor Hub has it.
    """

    name: str
    head: str
    about: str
    columns: Pairs
    labels: Pairs = ()
    measures: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    numbers: bool = False
    prefix: str = ""
    lines: bool = False
    splits: Pairs = (("train", "train"), ("validation", "validation"), ("test", "test"))
    repo: str = ""
    revision: str = ""
    config: str = ""
    bundled: str = ""
    stand_in: str = ""


GLUE, GLUE_REVISION = "nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
TRAIN_AND_VALIDATION = (("train", "train"), ("validation", "validation"))
TRAIN_AND_TEST = (("train", "train"), ("test", "test"))
SENTENCE = (("text", "sentence"), ("label", "label"))
SENTENCES = (("text", "sentence1"), ("text_pair", "sentence2"), ("label", "label"))
TEXT = (("text", "text"), ("label", "label"))
SENTIMENT = (("0", "negative"), ("1", "positive"))
ENTAILED = (("0", "entailment"), ("1", "not_entailment"))
ENTITIES = (("tokens", "tokens"), ("tags", "ner_tags"))
SQUAD = (("question", "question"), ("context", "context"), ("answers", "answers"))
BY_F1 = ("f1", "accuracy")
BY_CORRELATION = ("pearson", "spearman")
BY_BLEU = ("bleu", "chrf")


def _numbered(*names: str) -> Pairs:
    """Names in id order -> pairs of id and name."""
    return tuple((str(i), name) for i, name in enumerate(names))


def _glue(config: str, about: str, columns: Pairs, labels: Pairs, **facts: object) -> Task:
    """A task of GLUE (Wang et al., 2019), whose test labels are secret."""
    row = {"repo": GLUE, "revision": GLUE_REVISION, "config": config, "splits": TRAIN_AND_VALIDATION, **facts}
    return Task(config, "classify", f"{about} (GLUE)", columns, labels, **row)  # type: ignore[arg-type]


def _wmt(ours: str, language: str, config: str) -> Task:
    return Task(
        f"wmt16-en-{ours}",
        "text2text",
        f"news, English to {language} (WMT 2016)",
        (("source", "translation.en"), ("target", f"translation.{ours}")),
        measures=BY_BLEU,
        prefix=f"translate English to {language}: ",
        repo="wmt/wmt16",
        revision="41d8a4013aa1489f28fea60ec0932af246086482",
        config=config,
        stand_in="phrases-mini" if ours == "de" else "",
    )


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
    Task(
        "ag_news",
        "classify",
        "news by topic, four of them",
        TEXT,
        _numbered("World", "Sports", "Business", "Sci/Tech"),
        splits=TRAIN_AND_TEST,
        repo="fancyzhx/ag_news",
        revision="eb185aade064a813bc0b7f42de02595523103ca4",
    ),
    Task(
        "imdb",
        "classify",
        "film reviews, negative or positive",
        TEXT,
        SENTIMENT,
        splits=TRAIN_AND_TEST,
        repo="stanfordnlp/imdb",
        revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
        config="plain_text",
    ),
    Task(
        "emotion",
        "classify",
        "feelings in short messages, six of them",
        TEXT,
        _numbered("sadness", "joy", "love", "anger", "fear", "surprise"),
        repo="dair-ai/emotion",
        revision="cab853a1dbdf4c42c2b3ef2173804746df8825fe",
        config="split",
    ),
    Task(
        "wnut17",
        "tag",
        "rare names in messages, six types",
        ENTITIES,
        repo="leondz/wnut_17",
        revision="1ac0b6d18c8a1a1d1606b24bef78b8af2f92d2d9",  # the Hub's own conversion to Parquet
        stand_in="entities-mini",
    ),
    Task(
        "conll2003",
        "tag",
        "names in news: PER, ORG, LOC, MISC",
        ENTITIES,
        repo="lhoestq/conll2003",  # a Parquet copy: the first one runs a script
        revision="19edcb426bfd625c275c17b9a99b2239243f4377",
        stand_in="entities-mini",
    ),
    Task(
        "squad",
        "answer",
        "questions about Wikipedia, answered in its words",
        SQUAD,
        splits=TRAIN_AND_VALIDATION,
        repo="rajpurkar/squad",
        revision="7b6d24c440a36b6815f21b70d25016731768db1f",
        config="plain_text",
        stand_in="squad-mini",
    ),
    Task(
        "squad_v2",
        "answer",
        "the same, and questions without an answer",
        SQUAD,
        splits=TRAIN_AND_VALIDATION,
        repo="rajpurkar/squad_v2",
        revision="3ffb306f725f7d2ce8394bc1873b24868140c412",
        config="squad_v2",
        stand_in="squad-mini",
    ),
    Task(
        "cnn_dailymail",
        "text2text",
        "news and their highlights",
        (("source", "article"), ("target", "highlights")),
        prefix="summarize: ",
        repo="abisee/cnn_dailymail",
        revision="96df5e686bee6baa90b8bee7c28b81fa3fa6223d",
        config="3.0.0",
        stand_in="dialogsum-mini",
    ),
    Task(
        "xsum",
        "text2text",
        "news and one sentence about them",
        (("source", "document"), ("target", "summary")),
        prefix="summarize: ",
        repo="EdinburghNLP/xsum",
        revision="7d4d486c2f8ef850b1a11aead99b894ff3dd7da9",
        stand_in="dialogsum-mini",
    ),
    Task(
        "dialogsum",
        "text2text",
        "conversations and their summaries",
        (("source", "dialogue"), ("target", "summary")),
        prefix="summarize: ",
        repo="knkarthick/dialogsum",
        revision="a968e7aee0602e257935f1321a02e4287f7d5848",
        stand_in="dialogsum-mini",
    ),
    _wmt("de", "German", "de-en"),
    _wmt("ro", "Romanian", "ro-en"),
    _wmt("ru", "Russian", "ru-en"),
    Task(
        "opus_books",
        "text2text",
        "books, English to French",
        (("source", "translation.en"), ("target", "translation.fr")),
        measures=BY_BLEU,
        prefix="translate English to French: ",
        splits=(("train", "train"),),
        repo="Helsinki-NLP/opus_books",
        revision="1f9f6191d0e91a3c539c2595e2fe48fc1420de9b",
        config="en-fr",
    ),
    Task(
        "wikitext",
        "generate",
        "articles of Wikipedia as running text, to generate or to fill",
        (("text", "text"),),
        also=("fill",),
        lines=True,
        repo="Salesforce/wikitext",
        revision="b08601e04326c79dfdd32d625aee71d232d685c3",
        config="wikitext-2-raw-v1",
        stand_in="stories-mini",
    ),
    Task(
        "stories-mini",
        "generate",
        "short stories as running text, written for hftool, bundled",
        (("text", "text"),),
        also=("fill",),
        lines=True,
        bundled="stories-mini",
    ),
    Task("sst2-mini", "classify", "film opinion, hand-written for hftool, bundled", SENTENCE, SENTIMENT, bundled="sst2-mini"),
    Task(
        "entities-mini",
        "tag",
        "names of four types, hand-written for hftool, bundled",
        (("tokens", "tokens"), ("tags", "tags")),
        bundled="entities-mini",
    ),
    Task("squad-mini", "answer", "questions about short texts, hand-written for hftool, bundled", SQUAD, bundled="squad-mini"),
    Task(
        "dialogsum-mini",
        "text2text",
        "conversations and their summaries, hand-written for hftool, bundled",
        (("source", "dialogue"), ("target", "summary")),
        prefix="summarize: ",
        bundled="dialogsum-mini",
    ),
    Task(
        "phrases-mini",
        "text2text",
        "phrases, English to German, hand-written for hftool, bundled",
        (("source", "en"), ("target", "de")),
        measures=BY_BLEU,
        prefix="translate English to German: ",
        bundled="phrases-mini",
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
