"""``retalkit weights``: which checkpoints the stages need, which are there, and how they come in."""

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
        "--accept-new", help="Take another file than the one that came first, where its publisher gave no hash."
    ),
]


def application() -> typer.Typer:
    """The command group ``weights``."""
    app = typer.Typer(help="Keep the checkpoints of networks.", rich_markup_mode=None)
    app.callback(invoke_without_command=True)(_group)
    app.command("list")(list_weights)
    app.command("pull")(pull_weights)
    app.command("import")(import_weights)
    app.command("verify")(verify_weights)
    app.command("where")(where)
    return app


def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def list_weights(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False, plugin: PluginFiles = None
) -> None:
    """List every checkpoint that a stage may need, its licence, and whether it is there."""
    from retalkit.plugins.discovery import discover
    from retalkit.weights.describe import commercial_use, told_size
    from retalkit.weights.store import WeightStore

    registry, store = discover(plugin or []), WeightStore()
    rows: list[dict[str, Any]] = [
        {
            "name": checkpoint.name,
            "file": checkpoint.file,
            "summary": checkpoint.summary,
            "urls": list(checkpoint.urls),
            "size": checkpoint.size,
            "least_size": checkpoint.least_size,
            "sha256": checkpoint.sha256,
            "licence": checkpoint.licence,
            "commercial_use": checkpoint.commercial_use,
            "used_by": _users(registry, checkpoint.name),
            "path": str(store.place(checkpoint)) if store.has(checkpoint) else None,
        }
        for checkpoint in registry.checkpoints
    ]
    if as_json:
        typer.echo(json.dumps({"folder": str(store.folder), "weights": rows}, indent=2))
        return
    for row, checkpoint in zip(rows, registry.checkpoints, strict=True):
        state = "there" if row["path"] else "not there"
        commercial = commercial_use(row["commercial_use"])
        typer.echo(f"  {typer.style(row['name'], bold=True)}: {row['summary']}; {state}")
        typer.echo(f"      {row['file']}, {told_size(checkpoint)}, for {', '.join(row['used_by']) or 'no stage'}")
        typer.echo(f"      licence: {row['licence']}; commercial use: {commercial}")
        typer.echo(f"      {row['urls'][0] if row['urls'] else 'no address is known'}")
    typer.echo(f"kept in {store.folder} (RETALKIT_HOME chooses another folder)")


def pull_weights(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Checkpoints; see `retalkit weights list`.")
    ] = None,
    preset: Preset = None,
    every: Annotated[bool, typer.Option("--all", help="Every checkpoint that is declared.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Get again what is there.")] = False,
    accept_new: AcceptNew = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """Download published files, check them and keep them. No other command downloads anything."""
    from retalkit.cli.progress import progress
    from retalkit.errors import WeightsError
    from retalkit.plugins.discovery import discover
    from retalkit.weights.describe import facts
    from retalkit.weights.locks import FolderError
    from retalkit.weights.pull import check_online, pull
    from retalkit.weights.store import WeightStore

    registry, store = discover(plugin or []), WeightStore()
    faults: list[str] = []
    for checkpoint in _chosen(registry, names or [], preset, every):
        if store.has(checkpoint) and not (force or accept_new):
            typer.echo(f"{checkpoint.name}: is there already")
            continue
        check_online(checkpoint)
        typer.echo(f"{checkpoint.name}: {facts(checkpoint)}")
        before = store.pinned(checkpoint.name)
        try:
            with progress(quiet=quiet) as observer:
                kept = pull(checkpoint, store, observer, accept=accept_new)
        except FolderError:
            raise
        except WeightsError as error:
            faults.append(str(error))
            continue
        typer.echo(f"{checkpoint.name}: {kept}")
        _tell_pin(store, checkpoint, before)
    if faults:
        raise WeightsError("; ".join(faults))


def import_weights(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Published files.", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Which checkpoint it is, where its name does not tell.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a checkpoint that is there.")] = False,
    accept_new: AcceptNew = False,
    plugin: PluginFiles = None,
) -> None:
    """Check published files and keep them; the files themselves stay where they are."""
    from retalkit.errors import ConfigError, WeightsError
    from retalkit.plugins.discovery import discover
    from retalkit.weights.store import WeightStore

    if name is not None and len(files) > 1:
        raise ConfigError("--as names one checkpoint: give one FILE")
    registry, store = discover(plugin or []), WeightStore()
    chosen = [(file, registry.checkpoint(name) if name else _by_file_name(registry, file)) for file in files]
    for file, checkpoint in chosen:
        if store.has(checkpoint) and not (force or accept_new):
            raise WeightsError(f"{store.place(checkpoint)} is there already: --force replaces it by {file}")
    for file, checkpoint in chosen:
        before = store.pinned(checkpoint.name)
        typer.echo(f"{checkpoint.name}: {_imported(store, checkpoint, file, accept_new)}")
        _tell_pin(store, checkpoint, before)


def verify_weights(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: all that are there.")] = None,
    plugin: PluginFiles = None,
) -> None:
    """Check that what is kept is what was put in, and fits the networks."""
    from retalkit.errors import WeightsError
    from retalkit.plugins.discovery import discover
    from retalkit.weights.store import WeightStore

    registry, store = discover(plugin or []), WeightStore()
    if names:
        asked = [registry.checkpoint(name) for name in names]
    else:
        asked = [checkpoint for checkpoint in registry.checkpoints if store.has(checkpoint)]
    faults = {checkpoint.name: fault for checkpoint in asked if (fault := store.verify(checkpoint)) is not None}
    for checkpoint in asked:
        if checkpoint.name in faults:
            typer.echo(f"{checkpoint.name}: bad")
        elif store.is_of_published(checkpoint):
            typer.echo(f"{checkpoint.name}: good")
        else:
            typer.echo(f"{checkpoint.name}: as it came in, which was no published file: its hash compares with nothing")
    if faults:
        raise WeightsError("; ".join(f"{name}: {fault}" for name, fault in faults.items()))
    if not asked:
        typer.echo(f"there are no weights in {store.folder}")


def where(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A checkpoint; default: the folder.")] = None,
    plugin: PluginFiles = None,
) -> None:
    """Print where checkpoints lie."""
    from retalkit.plugins.discovery import discover
    from retalkit.weights.store import WeightStore

    store = WeightStore()
    typer.echo(store.folder if name is None else store.place(discover(plugin or []).checkpoint(name)))


def _chosen(registry: Registry, names: list[str], preset: str | None, every: bool) -> list[Checkpoint]:
    """The checkpoints that a command line names in one of three ways. Raises ConfigError where it names none."""
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
        raise ConfigError(f"name the weights (there are: {known}), or a preset with --preset NAME, or --all")
    return [registry.checkpoint(name) for name in dict.fromkeys(wanted)]


def _tell_pin(store: WeightStore, checkpoint: Checkpoint, before: str | None) -> None:
    """What is known of the file's hash, where its publisher gave none."""
    from retalkit.weights.store import needs_pin

    pinned = store.pinned(checkpoint.name)
    if not needs_pin(checkpoint):
        return
    if not store.is_of_published(checkpoint):
        typer.echo(f"{checkpoint.name}: was no published file; its hash compares with nothing")
    elif before not in (None, pinned):
        typer.echo(f"{checkpoint.name}: {store.lock_file} had {before} and now has {pinned}")
    else:
        typer.echo(
            f"{checkpoint.name}: its publisher gave no whole SHA-256; {store.lock_file} has {pinned}, and another file "
            "is refused from now on"
        )


def _imported(store: WeightStore, checkpoint: Checkpoint, file: Path, accept: bool) -> Path:
    """Keeps a file, or the one inside the zip in which it was published."""
    from retalkit.weights.sources import member_of, taken_out

    member = member_of(checkpoint, file)
    if not member:
        return store.add(checkpoint, file, accept=accept)
    with TemporaryDirectory() as folder, taken_out(file, member, checkpoint, Path(folder)) as inner:
        return store.add(checkpoint, inner, accept=accept)


def _by_file_name(registry: Registry, file: Path) -> Checkpoint:
    from retalkit.errors import WeightsError

    known = [
        checkpoint
        for checkpoint in registry.checkpoints
        if file.name.lower() == checkpoint.file.lower() or file.stem == checkpoint.name
    ]
    if len(known) != 1:
        raise WeightsError(f"{file}: its name is that of no published checkpoint: say which one it is with --as NAME")
    return known[0]


def _users(registry: Registry, name: str) -> list[str]:
    users = [found.label for found in registry.stages if name in found.spec.checkpoints]
    users += [f"metric '{found.spec.name}'" for found in registry.metrics if name in found.spec.checkpoints]
    return users or [
        f"an option of {found.label}" for found in registry.stages if name in found.spec.optional_checkpoints
    ]
