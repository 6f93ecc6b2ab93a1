"""Models and families by name: whole rows, the nearest name, stand-ins that can stand in."""

import re

import pytest

from hftool.errors import UsageError
from hftool.registry.models import FAMILIES, MODELS, check_head, find_family, find_model, get_model


def test_rows_are_whole_and_pinned():
    families = {family.name for family in FAMILIES}
    assert len({row.name for row in MODELS}) == len(MODELS)
    for row in MODELS:
        assert row.family in families
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", row.repo) and re.fullmatch(r"[0-9a-f]{40}", row.revision)
        assert row.package is None or re.fullmatch(r"[0-9a-f]{64}", row.package.sha256)


def test_a_stand_in_can_do_the_head_for_which_it_stands():
    for row in MODELS:
        for head, name in row.stand_ins:
            other = get_model(name)
            assert other.package is not None  # it is there without a network
            assert head in next(f for f in FAMILIES if f.name == other.family).heads
            assert row.stand_in(head) == name and row.stand_in("nothing") is None


def test_names_are_found_or_the_nearest_is_named():
    assert find_model("bert") is get_model("bert") and find_model("nope") is None
    assert find_family("bert").name == "bert" and find_family("llama") is None
    with pytest.raises(UsageError, match=r"^unknown model 'minlm'. Did you mean 'minilm'\?$"):
        get_model("minlm")
    with pytest.raises(UsageError, match=r"See `hftool models`; a Hub id is owner/name$"):
        get_model("zzzzzz")


def test_a_family_that_cannot_do_the_task_names_those_that_can():
    check_head(find_family("bert"), "classify", model="bert")
    with pytest.raises(UsageError, match=r"^'t5' is of the family t5, which cannot do 'classify'. Families that can: 'bert', "):
        check_head(find_family("t5"), "classify", model="t5")
