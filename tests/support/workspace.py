"""Training runs of one small model in one folder, as processes that can be killed; and the run that is not interrupted."""

from conftest import film_rows, write_tsv
from support.command_words import last_wins
from support.crash_injection import KILLED, finish, result, start


class Workspace:
    """A folder with train.tsv and dev.tsv in which runs are made.

    model: the folder of the model. options: words of `hftool finetune` that all runs have. A run is named by its folder in the
    workspace, or by an absolute path.
    """

    def __init__(self, model, folder, options, *, train_rows=44):
        self.model, self.folder, self.options = model, folder, options
        self._reference = None
        rows = film_rows(train_rows + 16)
        write_tsv(folder / "train.tsv", rows[:train_rows])
        write_tsv(folder / "dev.tsv", rows[train_rows:])

    def words(self, out, *more):
        """The command that makes a run."""
        files = ("--train", self.folder / "train.tsv", "--validation", self.folder / "dev.tsv")
        return last_wins(["finetune", self.model, "sst2", *files, *self.settings(out), *more])

    def settings(self, out):
        """The words without model, task and data."""
        return ["--out", self.folder / out, *self.options, "--lr", 0.001, "--offline"]

    def output(self, out):
        """Where stdout and stderr of a run are written."""
        return self.folder / f"output-{(self.folder / out).name}"

    def start(self, out, *more, **how):
        return start(self.output(out), self.words(out, *more), **how)

    def interrupted(self, out, *more, at, **how):
        """The folder of a run that was killed before this disk operation."""
        outcome = self.start(out, *more, at=at, **how).wait()
        assert outcome.code == KILLED, (at, outcome)
        return self.folder / out

    def resume(self, out, *more, code=0, **how):
        """Resume a run as `hftool resume` does -> its outcome."""
        outcome = finish(self.output(out), ["resume", self.folder / out, "--offline", *more], **how)
        assert outcome.code == code, outcome.err
        return outcome

    def reference(self):
        """What the run that is not interrupted ends with, and its disk operations as (operation, path)."""
        if self._reference is None:
            trace = self.folder / "operations"
            outcome = self.start("reference", trace=trace).wait()
            assert outcome.code == 0, outcome.err
            operations = [tuple(line.split(" ", 1)) for line in trace.read_text(encoding="utf-8").splitlines()]
            self._reference = result(self.folder / "reference"), operations
        return self._reference
