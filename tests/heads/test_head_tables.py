"""Tables outside of heads/ that speak of each head: a new head is a line in each of them, and none may be forgotten."""

from hftool.cli.inference_command import KEYS
from hftool.cli.next_command import ASK
from hftool.cli.render import LINES
from hftool.heads import HEADS, head_class
from hftool.models import AUTO_CLASSES
from hftool.models.model_card import PIPELINES
from hftool.registry.models import FAMILIES


def test_every_table_has_every_head_and_no_other():
    for table in (KEYS, ASK, LINES, AUTO_CLASSES, PIPELINES):
        assert set(table) == set(HEADS)


def test_every_head_is_done_by_a_family_and_declares_what_it_is():
    assert {head for family in FAMILIES for head in family.heads} == set(HEADS)
    for name in HEADS:
        kind = head_class(name)
        assert kind.row_schemas and kind.outputs and kind.batch_tokens > 0
        assert isinstance(kind.numbers, bool) and isinstance(kind.knobs, tuple)
