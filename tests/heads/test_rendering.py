"""Answers as lines: nothing of a model or a text breaks a line or controls the terminal."""

import pytest

from hftool.models import HeadConfig
from hftool.registry.heads import head_spec

HOSTILE = "po\x1b[2Js\nLINE\u2028"
ANSWERS = {
    "classify": {"label": HOSTILE, "probability": 0.7, "probabilities": {HOSTILE: 0.7, "neg": 0.3}},
    "tag": {"entities": [{"type": HOSTILE, "text": HOSTILE, "probability": 0.7, "start": 0, "end": 1}]},
    "answer": {"answer": HOSTILE, "probability": 0.7, "start": 0, "end": 1},
    "fill": {"masks": [{"start": 0, "end": 1, "fills": [{"token": HOSTILE, "probability": 0.7}]}]},
    "text2text": {"text": HOSTILE, "finish": "stop"},
    "generate": {"text": HOSTILE, "finish": "stop"},
    "embed": {"embedding": [0.5, 0.25]},
}


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("head", ANSWERS)
def test_labels_tokens_and_texts_stay_on_their_line(head, terminal):
    render = head_spec(head).module("render")
    head_config = HeadConfig(head=head, labels=(HOSTILE, "neg"))
    line = render.line(HOSTILE, ANSWERS[head], head_config, terminal=terminal)
    assert len(line.splitlines()) == 1 and "\x1b" not in line


def test_leading_space_of_a_token_is_kept():
    answer = {"masks": [{"start": 0, "end": 1, "fills": [{"token": " cat", "probability": 0.5}]}]}
    assert "\t cat\t" in head_spec("fill").module("render").line("x", answer, HeadConfig(head="fill"), terminal=False)
