"""copy: write a recipe into a folder. Recipes are found through package metadata: hftool never imports `recipes`."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from hftool import DISTRIBUTION
from hftool.errors import InputMissing, UsageError, did_you_mean
from hftool.storage.run_folder import check_output


def recipe_paths() -> dict[str, Path]:
    """Name -> file of every recipe: those of the checkout, else those that the installed wheel lists."""
    root = Path(__file__).parents[2]
    paths = sorted((root / "recipes").glob("*.py"))
    if not (root / "pyproject.toml").is_file():  # site-packages may hold an unrelated `recipes`
        paths = _installed_paths()
    return {path.stem: path for path in paths if path.stem != "__init__" and path.is_file()}


def _installed_paths() -> list[Path]:
    try:
        files = distribution(DISTRIBUTION).files or []
    except PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if file.parts[:1] == ("recipes",) and file.suffix == ".py"]


def copy(recipe: str, *, folder: str | Path = ".", out: str | Path | None = None) -> Path:
    """Write a recipe into a folder, or to a file.

    Args:
        recipe: Its name: bert, roberta, gpt2 or t5.
        folder: The folder to write into.
        out: The file to write, instead of NAME.py in the folder.

    Returns:
        The path of the file.

    Raises:
        UsageError: No recipe has this name.
        OutputUnavailable: The file exists already.
    """
    target = Path(folder) / f"{recipe}.py" if out is None else Path(out)
    paths = recipe_paths()
    if not paths:
        raise InputMissing("this installation of hftool has no recipes", "Install it again: pip install hftool-recipes")
    if recipe not in paths:
        raise UsageError(f"unknown recipe '{recipe}'", did_you_mean(recipe, paths, otherwise="Recipes: " + ", ".join(paths)))
    text = paths[recipe].read_text(encoding="utf-8")
    check_output(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target
