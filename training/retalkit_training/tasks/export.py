"""Export of trained networks as files with the published names, and model cards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from retalkit.errors import InputError, OutputError
from retalkit.storage.permissions import default_permissions
from retalkit_training.loop.checkpoints import CheckpointFolder, read_state, write_failure
from retalkit_training.loop.logs import read_scalars
from retalkit_training.loop.trainer import CHECKPOINTS
from retalkit_training.published_files import EXPERT
from retalkit_training.tasks.config import CONFIGS
from retalkit_training.tasks.runs import flat_options, read_record
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Published:
    """Published file of a network."""

    network: str
    """Name in ``Task.networks``."""
    file: str
    wrapper: str
    """Entry of the file that contains the state dict."""
    prefix: str
    """Prefix of each parameter name in the published file."""
    checkpoint: str
    """Name for ``retalkit weights import``."""
    shapes: str
    """Import path of the function that returns the names and shapes of the published network."""


PUBLISHED: Final[Mapping[str, Published]] = {
    "syncnet": Published(
        "expert",
        "lipsync_expert.pth",
        "state_dict",
        "",
        EXPERT,
        "retalkit_training.networks.syncnet_expert:parameter_shapes",
    ),
    "lnet": Published(
        "lnet", "LNet.pth", "state_dict", "module.", "lnet", "retalkit_renderers.lnet.network:parameter_shapes"
    ),
    "dnet": Published("dnet", "DNet.pt", "net_G_ema", "", "dnet", "retalkit_renderers.dnet.network:parameter_shapes"),
    "enet": Published(
        "enet", "ENet.pth", "state_dict", "module.", "enet", "retalkit_enhancers.enet.network:parameter_shapes"
    ),
    "wav2lip": Published(
        "generator",
        "wav2lip_gan.pth",
        "state_dict",
        "module.",
        "wav2lip_gan",
        "retalkit_renderers.wav2lip.network:parameter_shapes",
    ),
}
"""Published file of each trainer. The wrappers and prefixes are those that ``retalkit weights import`` removes."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Files of an export."""

    file: Path
    """File in the published format, with wrapper and prefix."""
    arrays: Path
    """The same tensors as safetensors. ``retalkit weights import`` verifies names and shapes of this file, but not the
    hash of the published file."""
    card: Path
    step: int
    importable: str
    """Checkpoint name for ``retalkit weights import``, or an empty string if the network has other sizes than the
    published one."""
    difference: str
    """How the sizes differ from the published ones, such as ``channels=8 instead of 32``, or an empty string."""
    chin: float
    """Value of the lip syncer's option ``chin`` with which the faces of a run have the same boxes as those of the
    dataset."""


def export_run(run: Path, output: Path | None = None, *, best: bool = False, force: bool = False) -> Exported:
    """Write the network of a run's newest or best checkpoint in the published format, with a model card.

    The moving average is exported if the run has one. ``output``: file name (default: the published name, in RUN).

    Raises:
        InputError: the run has no such checkpoint.
        OutputError: the output exists.
    """
    record = read_record(run)
    published = PUBLISHED[record["trainer"]]
    folder = CheckpointFolder(run / CHECKPOINTS, keep=1)
    path = folder.best if best else folder.newest
    if path is None:
        kind = "best checkpoint; the run has no validation speakers or no evaluation" if best else "checkpoint"
        raise InputError(f"{run}: contains no {kind}", code="no-checkpoint")
    state = read_state(path)
    if not {"networks", "averages"} <= state.keys():
        raise InputError(f"{path}: checkpoint of another version of Retalkit", code="incompatible-version")
    target = output if output is not None else run / published.file
    arrays, card = target.with_suffix(".safetensors"), target.with_suffix(".md")
    if target.suffix in (arrays.suffix, card.suffix) or target.is_dir():
        raise OutputError(
            f"{target}: the published format needs a file name such as {published.file}; the safetensors file and the "
            "model card are written next to it",
            code="invalid-output",
        )
    for existing in (target, arrays, card):
        if existing.exists() and not force:
            raise OutputError(f"{existing}: exists; use --force to overwrite it", code="output-exists")
    averaged = published.network in state["averages"]
    tensors: dict[str, Tensor] = state["averages" if averaged else "networks"][published.network]
    difference = _difference(tensors, published, record["trainer"], record["config"])
    importable = "" if difference else published.checkpoint
    wrapped = {published.wrapper: {published.prefix + name: value for name, value in tensors.items()}}
    page = model_card(run, record, state["step"], target.name, averaged=averaged)
    partials = [path.with_name(path.name + ".partial") for path in (target, arrays, card)]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partials[0].open("wb") as file:
            torch.save(wrapped, file)
        with default_permissions(partials[1]):
            save_file({name: value.contiguous() for name, value in tensors.items()}, partials[1])
        partials[2].write_text(page, encoding="utf-8")
        for partial, path in zip(partials, (target, arrays, card), strict=True):
            partial.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise OutputError(
            f"{target}: cannot be written ({write_failure(error)}); free disk space, or choose another file",
            code="unwritable-output",
        ) from error
    finally:
        with suppress(OSError):
            for partial in partials:
                partial.unlink(missing_ok=True)
    return Exported(target, arrays, card, state["step"], importable, difference, float(record["data"].get("chin", 0.0)))


def _difference(tensors: Mapping[str, Tensor], published: Published, trainer: str, config: Mapping[str, Any]) -> str:
    """Return how a network differs from the published network, or an empty string if all shapes are equal."""
    from retalkit.plugins.specs import resolve

    shapes: Mapping[str, tuple[int, ...]] = resolve(published.shapes)()
    if {name: tuple(value.shape) for name, value in tensors.items()} == dict(shapes):
        return ""
    default = CONFIGS[trainer].model_fields.get("channels")
    if default is not None and config.get("channels") != default.default:
        return f"channels={config.get('channels')} instead of channels={default.default}"
    return "the names or the shapes of its parameters differ"


def last_values(scalars: Path, step: int | None = None) -> dict[str, str]:
    """Return the last value of each scalar in ``scalars.csv`` up to a step, without the learning rates."""
    last: dict[str, str] = {}
    for at, name, value in read_scalars(scalars):
        if (step is None or at <= step) and not name.endswith("learning_rate"):
            last[name] = f"{value:.6g}"
    return dict(sorted(last.items()))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def model_card(run: Path, record: Mapping[str, Any], step: int, file: str, *, averaged: bool) -> str:
    """Return a Markdown page with the data, the options, the losses and the seed of a run."""
    config, data = record["config"], record["data"]
    lines = [
        f"# {file}",
        "",
        f"Network of the Retalkit trainer `{record['trainer']}` after {step} steps"
        + (" (moving average of the parameters)." if averaged else "."),
        "",
        "| fact | value |",
        "|---|---|",
        f"| Retalkit | {record['retalkit']} |",
        f"| PyTorch | {record.get('torch', 'unknown')} |",
        f"| dataset | {data['name']} (key {str(data['key'])[:16]}) |",
    ]
    for split, label in (("train", "training"), ("val", "validation")):
        counts = data[split]
        lines.append(
            f"| {label} data | {counts['clips']} clips, {counts['speakers']} speakers, {counts['frames']} frames |"
        )
    lines += [
        f"| reference faces in the dataset | {data.get('references', 'none')} |",
        f"| restoration of 384-pixel faces | {data.get('restoration', 'none')} |",
        f"| extension of the face box below the chin | {data.get('chin', 0.0):g} (option `lip_syncer.chin`) |",
        f"| seed | {config['seed']} |",
        f"| batch size | {config['batch_size']} |",
        f"| precision | {config['precision']} |",
        "",
        "## Last values",
        "",
        markdown_table(("scalar", "value"), last_values(run / "scalars.csv", step).items()),
        "",
        "## Options",
        "",
        markdown_table(("option", "value"), flat_options(config).items()),
        "",
        "The licence of the weights depends on the licence of the training data and of the initial weights.",
        "",
    ]
    return "\n".join(lines)
