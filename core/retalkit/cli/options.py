"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Run file (YAML); see `retalkit config show`.")
]
Preset = Annotated[str | None, typer.Option("--preset", metavar="NAME", help="embedded (the default), paper or fast.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override one value, such as lip_syncer.use=exemplar; may be repeated."
    ),
]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Also load plugins from this Python file; may be repeated."),
]
