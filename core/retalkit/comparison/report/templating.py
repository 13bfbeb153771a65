"""Rendering of the Jinja templates. All values are escaped except for the package's own styles, scripts and charts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from retalkit.comparison.report import formatting, views


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_own_template),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
    )
    names: dict[str, Any] = {
        "pluralize": formatting.pluralize,
        "arrow": formatting.arrow,
        "direction": formatting.direction,
        "span": formatting.span,
        "share": formatting.share,
        "nothing": formatting.NOTHING,
        "weights_summary": views.weights_summary,
        "as_yaml": views.as_yaml,
        "significant_first": views.significant_first,
        "metric_starts": views.metric_starts,
        "has_verdicts": views.has_verdicts,
        "signs": views.SIGNS,
    }
    environment.globals.update(names)
    environment.filters["capitalize_first"] = _capitalize_first
    return environment


def _capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _own_template(name: str) -> str:
    return _template(name, None)


def _template(name: str, folder: Traversable | None) -> str:
    """Return the text of a file in ``folder``, or of this package's file if ``folder`` does not contain the file."""
    if folder is not None and (found := folder / name).is_file():
        return found.read_text(encoding="utf-8")
    return (files("retalkit.comparison.report") / "templates" / name).read_text(encoding="utf-8")


def render_page(
    template: str, styles: Sequence[str], scripts: Sequence[str], *, folder: Traversable | None = None, **values: Any
) -> str:
    """Return a complete HTML page. All values except Markup objects are escaped.

    Args:
        template: file name of the template.
        styles: names of the files to insert into ``<style>``.
        scripts: names of the files to insert into ``<script>``.
        folder: folder with additional templates and styles, which another package provides.
        values: template variables.
    """
    # CSS and JavaScript must not be HTML-escaped. These files are part of the package and therefore trusted.
    css = Markup("\n".join(_template(name, folder) for name in styles))
    code = Markup("\n".join(_template(name, folder) for name in scripts))
    environment = _environment()
    page = environment.from_string(_template(template, folder))
    return page.render(css=css, scripts=code, **values)
