"""Progress: one function, small values, silence by default."""

from hftool.progress import Event, notice, silent


def test_a_notice_reaches_the_function_as_an_event_with_its_text():
    seen = []
    notice(seen.append, "stand-in: x")
    assert seen == [Event("notice", "stand-in: x")] and not seen[0].values


def test_the_default_says_nothing(capsys):
    assert silent(Event("step", values={"step": 1})) is None
    assert capsys.readouterr() == ("", "")
