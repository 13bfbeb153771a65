"""Model cards of the weights files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retalkit_training.speech_to_mouth.export import exported_metadata
from retalkit_training.tasks.export import last_values, markdown_table
from retalkit_training.tasks.runs import flat_options

_FACTS = ("date", "channels", "dilations", "lookahead", "hours", "voices", "steps", "corpus")
_OPTIONS = ("training", "fine_tuning", "views")


def write_card(weights: Path, run: Path, folds: Sequence[Mapping[str, Any]] = ()) -> Path:
    """Write the model card of a weights file next to the file, with the data, the scores, the losses and the options.

    ``run``: directory of the network, with ``scalars.csv``. ``folds``: scores of each fold of the cross-validation.
    """
    metadata = exported_metadata(weights)
    facts = {name: metadata[name] for name in _FACTS if metadata.get(name)}
    for name, value in json.loads(metadata.get("real_lips", "{}")).items():
        facts[f"real lips: {name}"] = value
    scores = flat_options(json.loads(metadata["scores"]))
    options = {name: json.loads(metadata[name]) for name in _OPTIONS if name in metadata}
    tested = "speakers of other folds, with decoding" if folds else "held-out voices"
    parts = [
        f"# {weights.name}",
        "Weights of Retalkit's driver `model`, which predicts mouth motion from speech.",
        markdown_table(("fact", "value"), facts.items()),
        f"## Scores on {tested}",
        markdown_table(("score", "value"), scores.items()),
    ]
    if folds:
        columns = tuple(folds[0])
        parts.append(markdown_table(columns, [[fold[name] for name in columns] for fold in folds]))
    parts += [
        "## Last values of the training",
        markdown_table(("scalar", "value"), last_values(run / "scalars.csv").items()),
        "## Options",
        markdown_table(("option", "value"), flat_options(options).items()),
        "The licence of the weights depends on the licences of the training data and of the initial weights.",
    ]
    card = weights.with_suffix(".md")
    card.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return card
