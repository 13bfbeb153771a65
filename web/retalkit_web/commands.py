"""Command ``retalkit web``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def application() -> typer.Typer:
    """Return the application of the command."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(web)
    return app


def web(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 selects a free port.")] = 7860,
    auth: Annotated[
        str | None,
        typer.Option(metavar="USER:PASSWORD", envvar="RETALKIT_WEB_AUTH", help="Require this login.", show_envvar=True),
    ] = None,
    allow_open: Annotated[
        bool, typer.Option("--allow-open", help="Allow other machines to use the server without a login.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Directory of the sessions. Default: retalkit-web next to the cache."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=64, help="Number of videos that are rendered at the same time.")
    ] = 1,
    queue: Annotated[int, typer.Option(min=1, metavar="N", help="Maximum number of waiting jobs.")] = 20,
    max_upload: Annotated[float, typer.Option(min=0.001, metavar="MB", help="Maximum size of one file.")] = 2000.0,
    max_minutes: Annotated[
        float, typer.Option(min=0.01, metavar="MINUTES", help="Maximum duration of a video or sound.")
    ] = 30.0,
    keep_hours: Annotated[
        float,
        typer.Option(min=0.01, metavar="HOURS", help="Delete a session this long after its last request."),
    ] = 24.0,
    plugin: Annotated[
        list[Path] | None,
        typer.Option("--plugin", metavar="FILE", help="Also load plugins from this Python file; may be repeated."),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Serve the web page. By default, only this machine can reach the server.

    Ctrl-C stops the server. Unfinished jobs are resumed when the server starts again.
    """
    from retalkit.storage.cache import default_folder

    from retalkit_web.settings import ServerSettings, check_access, parse_account

    account = parse_account(auth)
    check_access(host, account, allow_open)
    default = default_folder()
    settings = ServerSettings(
        folder=folder if folder is not None else default.with_name(f"{default.name}-web"),
        host=host,
        port=port,
        account=account,
        jobs=jobs,
        waiting=queue,
        upload_bytes=round(max_upload * 1e6),
        media_seconds=max_minutes * 60,
        keep_hours=keep_hours,
        plugins=tuple(path.resolve() for path in plugin or ()),
    )

    from retalkit_web.server import serve

    serve(settings, lambda url: typer.echo(f"Retalkit is running on {url} (press Ctrl-C to stop)"), open_browser)
