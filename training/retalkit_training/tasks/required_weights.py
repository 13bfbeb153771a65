"""Check that the weights of a trainer exist, before a long preparation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retalkit.errors import WeightsError
from retalkit_metrics.identity.interface import NETWORK
from retalkit_metrics.lpips.interface import FEATURES as ALEXNET
from retalkit_metrics.lpips.interface import LINEAR
from retalkit_renderers.dnet.interface import TEMPLATES
from retalkit_training.loop.config import LoopConfig
from retalkit_training.losses.config import PerceptualConfig
from retalkit_training.published_files import EXPERT
from retalkit_training.tasks.config import DNetConfig, ENetConfig, GeneratorConfig, LNetConfig
from retalkit_training.tasks.export import PUBLISHED
from retalkit_training.tasks.frozen_weights import StoredWeights


def check_weights(trainer: str, options: LoopConfig, weights: StoredWeights) -> None:
    """Check that all files and checkpoints exist, without reading them. The error names all that are missing.

    Raises:
        ConfigError: no expert or no L-Net is configured.
        WeightsError: a file or a checkpoint is missing.
    """
    absent: list[WeightsError] = []
    names: dict[str, str] = {}
    files: list[str] = []
    for value, name, purpose in _required(trainer, options):
        try:
            if value is None or value == "published":
                weights.require(name, purpose)
            elif not Path(value).is_file():
                files.append(str(value))
                raise WeightsError(f"{value}: file not found", code="file-not-found")
        except WeightsError as error:
            absent.append(error)
            if error.code == "missing-weights":
                names.setdefault(name, purpose)
    if len(names) + len(files) > 1:
        listed = [*(f"'{name}' ({purpose})" for name, purpose in names.items()), *files]
        pull = f"; run `retalkit weights pull {' '.join(names)}`" if names else ""
        raise WeightsError(f"these weights are missing: {', '.join(listed)}{pull}", code=absent[0].code)
    if absent:
        raise absent[0]


def _required(trainer: str, options: LoopConfig) -> Iterator[tuple[str | Path | None, str, str]]:
    """Yield the file, ``published`` or None, the name of the checkpoint in the store, and its purpose."""
    if options.initial is not None:
        yield options.initial, PUBLISHED[trainer].checkpoint, "initial: published"
    if isinstance(options, GeneratorConfig) and options.uses_expert:
        options.check_expert()
        yield options.expert, EXPERT, "expert=published: the lip-sync loss"
    if isinstance(options, ENetConfig):
        options.check_lnet()
        yield options.lnet, PUBLISHED["lnet"].checkpoint, "lnet=published"
        if options.loss.identity_weight:
            yield None, NETWORK, "the identity loss"
    if isinstance(options, DNetConfig):
        if options.driving != "target":
            yield None, TEMPLATES, f"driving={options.driving}"
        if options.lpips:
            yield None, ALEXNET, "lpips=true"
            yield None, LINEAR, "lpips=true"
    for perceptual in _perceptual_losses(options):
        yield None, perceptual.network, "the perceptual loss"


def _perceptual_losses(options: LoopConfig) -> list[PerceptualConfig]:
    if isinstance(options, LNetConfig | ENetConfig):
        return [options.loss.perceptual] if options.loss.perceptual_weight else []
    # D-Net's task creates both losses, whatever their weights.
    return [options.loss.warp, options.loss.final] if isinstance(options, DNetConfig) else []
