"""Stand-ins are stored as data; the text that earlier versions stored is read as well."""

from hftool.storage.json_documents import fault_of
from hftool.storage.stand_ins import STAND_INS, StandIn, as_texts, read_stand_ins

STORED = {"model": {"requested": "bert", "used": "minilm"}, "data": "sst2-mini for sst2"}


def test_both_stored_forms_are_read():
    found = read_stand_ins(STORED)
    assert found == {"model": StandIn("bert", "minilm"), "data": StandIn("sst2", "sst2-mini")}
    assert as_texts(found) == {"model": "minilm for bert", "data": "sst2-mini for sst2"}


def test_values_that_name_no_pair_are_refused():
    assert fault_of(STORED, STAND_INS) == fault_of({}, STAND_INS) == ""
    for value in ("minilm", "", 5, ["a", "b"], {"used": "a"}, {"used": "a", "requested": 5}, {**STORED["model"], "why": "x"}):
        assert fault_of({"model": value}, STAND_INS)
