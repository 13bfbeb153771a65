"""Adversarial losses and gradient penalties. All functions take logits, and compute losses in float32 or more."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from retalkit_training.networks.batch_statistics import gather_batch
from retalkit_training.networks.precision import at_least_float32
from torch import Tensor
from torch.nn import functional

Kind = Literal["non-saturating", "saturating", "hinge", "lsgan"]


def discriminator_loss(real: Tensor, generated: Tensor, kind: Kind) -> Tensor:
    """Return the discriminator's loss for logits of real and generated images.

    * ``non-saturating`` and ``saturating``: softplus(-D(x)) + softplus(D(G)), the logistic loss (Goodfellow et al.,
      NeurIPS 2014). With probabilities sigmoid(D), it equals -log D(x) - log(1 - D(G)), equation 11 of S with the
      corrected real term, and the sum of Wav2Lip's two losses.
    * ``hinge``: max(0, 1 - D(x)) + max(0, 1 + D(G)) (Lim and Ye, 2017).
    * ``lsgan``: (D(x) - 1)^2 + D(G)^2 (Mao et al., ICCV 2017).
    """
    real, generated = at_least_float32(real), at_least_float32(generated)
    if kind == "hinge":
        return functional.relu(1 - real).mean() + functional.relu(1 + generated).mean()
    if kind == "lsgan":
        return (real - 1).square().mean() + generated.square().mean()
    return functional.softplus(-real).mean() + functional.softplus(generated).mean()


def generator_loss(generated: Tensor, kind: Kind) -> Tensor:
    """Return the generator's loss for logits of generated images.

    * ``non-saturating``: softplus(-D(G)) = -log sigmoid(D(G)) (StyleGAN2, GPEN, GFPGAN, Wav2Lip).
    * ``saturating``: -softplus(D(G)) = log(1 - sigmoid(D(G))) (equation 11 of S). Its gradient vanishes for images that
      the discriminator rejects.
    * ``hinge``: -D(G).
    * ``lsgan``: (D(G) - 1)^2.
    """
    generated = at_least_float32(generated)
    if kind == "hinge":
        return -generated.mean()
    if kind == "lsgan":
        return (generated - 1).square().mean()
    if kind == "saturating":
        return -functional.softplus(generated).mean()
    return functional.softplus(-generated).mean()


def r1_penalty(real_logits: Tensor, real: Tensor) -> Tensor:
    """Return the mean squared norm of the gradient of the logits with respect to real images.

    Reference: Mescheder et al., "Which training methods for GANs do actually converge?", ICML 2018, equation 9.
    ``real`` must require gradients. The published trainers add ``r1_weight`` / 2 * penalty * ``r1_interval`` every
    ``r1_interval`` steps: GPEN in a separate optimiser step, GFPGAN in the same one.
    """
    (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


class PathLength(NamedTuple):
    """Path length penalty and its state."""

    penalty: Tensor
    """Mean squared deviation of the path lengths from their running mean."""
    mean: Tensor
    """New running mean, without gradient."""
    lengths: Tensor
    """Path length of each item, [B]."""


def path_length_penalty(images: Tensor, codes: Tensor, mean: Tensor, decay: float, noise: Tensor) -> PathLength:
    """Return the path length penalty of StyleGAN2's generator, which GPEN also uses (``g_path_regularize``).

    Reference: Karras et al., CVPR 2020, section 3.2: the penalty is E(|J^T y| - a)^2 with the Jacobian J of the
    generator, noise y and the running mean a of the lengths.

    ``images``: [B, 3, H, W], computed from ``codes`` [B, levels, C]. ``mean``: running mean, initially 0. ``decay``:
    share of this batch in the new mean. ``noise``: [B, 3, H, W] from N(0, 1). The mean is computed over all processes.
    """
    scaled = noise / (images.shape[2] * images.shape[3]) ** 0.5
    (gradient,) = torch.autograd.grad((images * scaled).sum(), codes, create_graph=True)
    lengths = gradient.square().sum(2).mean(1).sqrt()
    new_mean = mean + decay * (gather_batch(lengths).mean() - mean)
    return PathLength((lengths - new_mean).square().mean(), new_mean.detach(), lengths)
