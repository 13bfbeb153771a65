"""Fills the templates. Everything is escaped but our own styles, scripts and plots."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from retalkit.comparison.report import formatting, views


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
    )
    names: dict[str, Any] = {
        "counted": formatting.counted,
        "arrow": formatting.arrow,
        "direction": formatting.direction,
        "span": formatting.span,
        "share": formatting.share,
        "nothing": formatting.NOTHING,
        "weights_of": views.weights_of,
        "as_yaml": views.as_yaml,
        "shown_first": views.shown_first,
        "group_starts": views.group_starts,
        "has_signs": views.has_signs,
        "signs": views.SIGNS,
    }
    environment.globals.update(names)
    environment.filters["capitalize_first"] = _capitalize_first
    return environment


def _capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _template(name: str) -> str:
    return (files("retalkit.comparison.report") / "templates" / name).read_text(encoding="utf-8")


def page(template: str, styles: Sequence[str], scripts: Sequence[str], **values: Any) -> str:
    """A whole page; what is not Markup is escaped.

    Args:
        template: its file.
        styles: files that go into its ``<style>``.
        scripts: files that go into its ``<script>``.
        values: what the template names.
    """
    # Our own files, which may hold what would have to be escaped in text.
    css = Markup("\n".join(_template(name) for name in styles))
    code = Markup("\n".join(_template(name) for name in scripts))
    return _environment().get_template(template).render(css=css, scripts=code, **values)
