"""hftool/progress.py: events are passed to one function; the default one ignores them."""

from hftool.progress import Event, notice, silent


def test_notice_is_passed_as_an_event_with_its_text():
    seen = []
    notice(seen.append, "stand-in: x")
    assert seen == [Event("notice", "stand-in: x")] and not seen[0].values


def test_default_progress_is_silent(capsys):
    assert silent(Event("step", values={"step": 1})) is None
    assert capsys.readouterr() == ("", "")
