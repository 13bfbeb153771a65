"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from retalkit.plugins.specs import StageConfig

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Run file (YAML); see `retalkit config show`.")
]
Preset = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="embedded (the default), paper, fast or wav2lip.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override one value, such as lip_syncer.use=exemplar; may be repeated."
    ),
]
Transcript = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Transcript of SPEECH (.txt, .srt or .vtt). Requires retalkit[transcript]."),
]
Language = Annotated[
    str | None, typer.Option(metavar="CODE", help="Language of the transcript, such as de. Default: en-us.")
]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Also load plugins from this Python file; may be repeated."),
]


def transcript_options(transcript: Path | None, language: str | None) -> dict[str, str]:
    """Return the driver options that ``--transcript`` and ``--language`` set."""
    given = {"transcript": None if transcript is None else str(transcript), "language": language}
    return {name: value for name, value in given.items() if value is not None}


def check_language(language: str | None, options: StageConfig) -> None:
    """Raise ConfigError if ``--language`` is given, but the driver options contain no transcript."""
    from retalkit.errors import ConfigError

    if language is not None and getattr(options, "transcript", "not an option") is None:
        raise ConfigError(
            "--language: there is no transcript; add --transcript FILE or remove --language", code="unused-option"
        )
