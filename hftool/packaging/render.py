"""Renders the Jinja2 templates in templates/."""

import functools
import json
from pathlib import Path
from typing import Any

from hftool.packaging.service import GRACE, KEY, PORT, USER, ServiceSpec

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, service: ServiceSpec, **values: object) -> str:
    """Fill the template of this name, without its `.j2`, with the service and further values.

    The service was validated by `check_name` and `check_image`: templates insert its fields without escaping.

    Raises:
        jinja2.UndefinedError: The template uses a variable that is not given.
    """
    return str(_environment().get_template(f"{template}.j2").render(service=service, **values))


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  YAML, Markdown and Dockerfiles are no HTML
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["json"] = json.dumps
    environment.globals.update(port=PORT, user=USER, key=KEY, grace=GRACE)
    return environment
