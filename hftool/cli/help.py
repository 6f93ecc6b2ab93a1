"""The layout of help pages: usage line, options under headings, examples on separate lines."""

from collections.abc import Iterable, Iterator
from typing import Any

from typer.core import TyperCommand, TyperGroup

from hftool.errors import UsageError, listing

HEADINGS = (
    "Options",
    "Generation",
    "Training",
    "Data",
    "Evaluating and saving",
    "Machine",
    "Everywhere",
)  # in the order of the page
HINTS = {"--label": "A model is trained on one label: train a model for each"}
OWN, GENERATION, TRAINING, DATA, EVALUATING, MACHINE, COMMON = HEADINGS


class Page(TyperCommand):
    """A verb. Its options are grouped by `rich_help_panel`, which typer itself applies only with rich."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters of typer, with defaults for flags."""
        return _with_flag_defaults(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as typer does, but refuse an option that is given twice: typer silently keeps the last."""
        if not ctx.resilient_parsing:
            _check_given_once(self.make_parser(ctx), list(args))
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """[MODEL] [TASK] [OPTIONS], in the order in which they are typed."""
        return [*(_usage(p) for p in self.params if p.param_type_name == "argument"), "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then options by heading."""
        params = self.get_params(ctx)
        arguments = [(_usage(p), p.help or "") for p in params if p.param_type_name == "argument"]
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        headings: dict[str, list[tuple[str, str]]] = {}
        for heading, row in _options(params, ctx):
            headings.setdefault(heading, []).append(row)
        for heading in sorted(headings, key=HEADINGS.index):
            with formatter.section(heading):
                formatter.write_dl(headings[heading])


class Tour(TyperGroup):
    """The help page of `hftool --help`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters of typer, with defaults for flags."""
        return _with_flag_defaults(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """VERB first, as in every example."""
        return ["VERB", "[ARGUMENTS]", "[OPTIONS]"]


def _check_given_once(parser: Any, args: list[str]) -> None:
    """Raise UsageError that names the option and its values. Flags may be repeated."""
    single = {id(option): option for option in (*parser._long_opt.values(), *parser._short_opt.values())}
    single = {key: option for key, option in single.items() if option.action == "store"}
    for option in single.values():
        option.action = "append"
    values, _, _ = parser.parse_args(args=args)
    for option in single.values():
        given = values.get(option.dest)
        if isinstance(given, list) and len(given) > 1:
            name = max(option.obj.opts, key=len)
            raise UsageError(f"{name} is given {len(given)} times: {listing(given)}", HINTS.get(name, "Give it once"))


def _with_flag_defaults(params: Iterable[Any]) -> list[Any]:
    """Parameters with False for flags that are not given: for None typer's --help and completion import pydantic (0.1 s)."""
    settled = list(params)
    for param in settled:
        if param.param_type_name == "option" and param.is_flag and param.default is None:
            param.default = False
    return settled


def _usage(argument: Any) -> str:
    name = argument.metavar + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _options(params: list[Any], ctx: Any) -> Iterator[tuple[str, tuple[str, str]]]:
    for param in params:
        row = param.get_help_record(ctx) if param.param_type_name == "option" else None
        if row is not None:
            yield getattr(param, "rich_help_panel", None) or (COMMON if param.name == "help" else OWN), row
