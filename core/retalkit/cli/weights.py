"""Command group ``retalkit weights``: list, download, import and verify checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retalkit.cli.options import PluginFiles, Preset

if TYPE_CHECKING:
    from retalkit.plugins.registry import Registry
    from retalkit.weights.checkpoint import Checkpoint
    from retalkit.weights.store import WeightStore


AcceptNew = Annotated[
    bool,
    typer.Option(
        "--accept-new", help="Accept a file that differs from the first imported file if no hash was published."
    ),
]


_UNVERIFIED = "imported from a converted file, so no published hash is available for verification"


def application() -> typer.Typer:
    """Return the command group ``weights``."""
    app = typer.Typer(help="Manage network checkpoints.", rich_markup_mode=None)
    app.callback(invoke_without_command=True)(_group)
    app.command("list")(list_weights)
    app.command("pull")(pull_weights)
    app.command("import")(import_weights)
    app.command("verify")(verify_weights)
    app.command("where")(print_path)
    return app


def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def list_weights(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False, plugin: PluginFiles = None
) -> None:
    """List the checkpoints that stages can use, with their licences and installation states."""
    from retalkit.plugins.discovery import discover
    from retalkit.weights.describe import checkpoint_size, commercial_use
    from retalkit.weights.store import WeightStore

    registry, store = discover(plugin or []), WeightStore()
    rows: list[dict[str, Any]] = [
        {
            "name": checkpoint.name,
            "file": checkpoint.file,
            "summary": checkpoint.summary,
            "urls": list(checkpoint.urls),
            "size": checkpoint.size,
            "min_size": checkpoint.min_size,
            "sha256": checkpoint.sha256,
            "licence": checkpoint.licence,
            "commercial_use": checkpoint.commercial_use,
            "used_by": _users(registry, checkpoint.name),
            "path": str(store.expected_file(checkpoint)) if store.has(checkpoint) else None,
        }
        for checkpoint in registry.checkpoints
    ]
    if as_json:
        typer.echo(json.dumps({"folder": str(store.folder), "weights": rows}, indent=2))
        return
    for row, checkpoint in zip(rows, registry.checkpoints, strict=True):
        state = "installed" if row["path"] else "not installed"
        commercial = commercial_use(row["commercial_use"])
        typer.echo(f"  {typer.style(row['name'], bold=True)}: {row['summary']}; {state}")
        typer.echo(
            f"      {row['file']}, {checkpoint_size(checkpoint)}, used by {', '.join(row['used_by']) or 'no stage'}"
        )
        typer.echo(f"      licence: {row['licence']}; commercial use: {commercial}")
        typer.echo(f"      {row['urls'][0] if row['urls'] else 'URL unknown'}")
    typer.echo(f"stored in {store.folder} (set RETALKIT_HOME to use another directory)")


def pull_weights(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Checkpoint names; see `retalkit weights list`.")
    ] = None,
    preset: Preset = None,
    every: Annotated[bool, typer.Option("--all", help="Download all declared checkpoints.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Download installed checkpoints again.")] = False,
    accept_new: AcceptNew = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not print progress.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """Download published files, verify them and add them to the store. No other command downloads files."""
    from retalkit.cli.progress import progress
    from retalkit.errors import WeightsError
    from retalkit.plugins.discovery import discover
    from retalkit.weights.describe import checkpoint_facts
    from retalkit.weights.locks import FolderError
    from retalkit.weights.pull import check_online, common_code, pull
    from retalkit.weights.store import WeightStore

    registry, store = discover(plugin or []), WeightStore()
    errors: list[WeightsError] = []
    for checkpoint in _chosen(registry, names or [], preset, every):
        if store.has(checkpoint) and not (force or accept_new):
            typer.echo(f"{checkpoint.name}: already installed")
            continue
        check_online(checkpoint)
        typer.echo(f"{checkpoint.name}: {checkpoint_facts(checkpoint)}")
        before = store.pinned_hash(checkpoint.name)
        try:
            with progress(quiet=quiet) as observer:
                file = pull(checkpoint, store, observer, accept=accept_new)
        except FolderError:
            raise
        except WeightsError as error:
            errors.append(error)
            continue
        typer.echo(f"{checkpoint.name}: {file}")
        _report_pin(store, checkpoint, before)
    if errors:
        raise WeightsError("; ".join(map(str, errors)), code=common_code(errors, "download-failed"))


def import_weights(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Published files.", show_default=False)],
    name: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="NAME", help="Checkpoint name, required if the file name does not identify the checkpoint."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an installed checkpoint.")] = False,
    accept_new: AcceptNew = False,
    plugin: PluginFiles = None,
) -> None:
    """Verify published files and copy them into the store. The original files are not changed."""
    from retalkit.errors import ConfigError, WeightsError
    from retalkit.plugins.discovery import discover
    from retalkit.weights.store import WeightStore

    if name is not None and len(files) > 1:
        raise ConfigError(
            f"--as: expected exactly one FILE, got {len(files)}; import the files one at a time", code="invalid-option"
        )
    registry, store = discover(plugin or []), WeightStore()
    chosen = [(file, registry.checkpoint(name) if name else _by_file_name(registry, file)) for file in files]
    for file, checkpoint in chosen:
        if store.has(checkpoint) and not (force or accept_new):
            raise WeightsError(
                f"{store.expected_file(checkpoint)} already exists; use --force to replace it with {file}",
                code="output-exists",
            )
    for file, checkpoint in chosen:
        before = store.pinned_hash(checkpoint.name)
        typer.echo(f"{checkpoint.name}: {_import(store, checkpoint, file, accept_new)}")
        _report_pin(store, checkpoint, before)


def verify_weights(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Checkpoint names. Default: all installed checkpoints."),
    ] = None,
    plugin: PluginFiles = None,
) -> None:
    """Verify that installed checkpoints are unchanged and match their networks."""
    from retalkit.errors import WeightsError
    from retalkit.plugins.discovery import discover
    from retalkit.weights.store import WeightStore

    registry, store = discover(plugin or []), WeightStore()
    if names:
        requested = [registry.checkpoint(name) for name in names]
    else:
        requested = [checkpoint for checkpoint in registry.checkpoints if store.has(checkpoint)]
    faults = {checkpoint.name: fault for checkpoint in requested if (fault := store.verify(checkpoint)) is not None}
    for checkpoint in requested:
        if checkpoint.name in faults:
            typer.echo(f"{checkpoint.name}: FAILED")
        elif store.is_from_published_file(checkpoint):
            typer.echo(f"{checkpoint.name}: OK")
        else:
            typer.echo(f"{checkpoint.name}: unchanged since import; {_UNVERIFIED}")
    if faults:
        raise WeightsError("; ".join(f"{name}: {fault}" for name, fault in faults.items()), code="verification-failed")
    if not requested:
        typer.echo(f"no checkpoints are installed in {store.folder}")


def print_path(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Checkpoint name. Default: print the checkpoint directory.")
    ] = None,
    plugin: PluginFiles = None,
) -> None:
    """Print the path of a checkpoint or of the checkpoint directory."""
    from retalkit.plugins.discovery import discover
    from retalkit.weights.store import WeightStore

    store = WeightStore()
    typer.echo(store.folder if name is None else store.expected_file(discover(plugin or []).checkpoint(name)))


def _chosen(registry: Registry, names: list[str], preset: str | None, every: bool) -> list[Checkpoint]:
    """Return the checkpoints selected by name, preset or --all. Raises ConfigError if no checkpoint is selected."""
    from retalkit.config.model import RunConfig
    from retalkit.errors import ConfigError
    from retalkit.pipeline.plan import required_checkpoints

    if every:
        return list(registry.checkpoints)
    wanted = list(names)
    if preset is not None:
        wanted += required_checkpoints(RunConfig.from_preset(preset, registry=registry), registry)
    elif not wanted:
        known = ", ".join(checkpoint.name for checkpoint in registry.checkpoints) or "none"
        raise ConfigError(
            f"no checkpoint selected; pass checkpoint names (known: {known}), --preset NAME or --all",
            code="missing-argument",
        )
    return [registry.checkpoint(name) for name in dict.fromkeys(wanted)]


def _report_pin(store: WeightStore, checkpoint: Checkpoint, before: str | None) -> None:
    """Print the checkpoint's pinned hash if no complete SHA-256 hash was published."""
    from retalkit.weights.store import needs_pin

    pinned = store.pinned_hash(checkpoint.name)
    if not needs_pin(checkpoint):
        return
    if not store.is_from_published_file(checkpoint):
        typer.echo(f"{checkpoint.name}: {_UNVERIFIED}")
    elif before not in (None, pinned):
        typer.echo(f"{checkpoint.name}: replaced the pinned hash {before} with {pinned} in {store.pin_file}")
    else:
        typer.echo(
            f"{checkpoint.name}: no complete SHA-256 hash was published, so the hash {pinned} was recorded in "
            f"{store.pin_file}; files with other hashes will be rejected"
        )


def _import(store: WeightStore, checkpoint: Checkpoint, file: Path, accept: bool) -> Path:
    """Add a checkpoint file to the store.

    If ``file`` is the published zip archive, the archive member that contains the checkpoint is added.
    """
    from retalkit.weights.sources import archive_member, extract_member

    member = archive_member(checkpoint, file)
    if not member:
        return store.add(checkpoint, file, accept=accept)
    with TemporaryDirectory() as folder, extract_member(file, member, checkpoint, Path(folder)) as inner:
        return store.add(checkpoint, inner, accept=accept)


def _by_file_name(registry: Registry, file: Path) -> Checkpoint:
    from retalkit.errors import WeightsError

    known = [
        checkpoint
        for checkpoint in registry.checkpoints
        if file.name.lower() == checkpoint.file.lower() or file.stem == checkpoint.name
    ]
    if len(known) != 1:
        raise WeightsError(
            f"{file}: the file name does not identify a checkpoint; add --as NAME", code="unknown-checkpoint"
        )
    return known[0]


def _users(registry: Registry, name: str) -> list[str]:
    users = [found.label for found in registry.stages if name in found.spec.checkpoints]
    users += [f"metric '{found.spec.name}'" for found in registry.metrics if name in found.spec.checkpoints]
    users += [f"command '{found.spec.name}'" for found in registry.commands if name in found.spec.checkpoints]
    return users or [
        f"an option of {found.label}" for found in registry.stages if name in found.spec.optional_checkpoints
    ]
