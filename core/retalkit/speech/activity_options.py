"""Voice activity detection options (``voice_activity:`` in a run file).

Every configuration imports this module, so the module has no heavy dependencies.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class VoiceActivityOptions(BaseModel):
    """Options that determine when speech drives the mouth. Times are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quietest_speech: Annotated[
        float,
        Field(
            ge=-90.0,
            le=-5.0,
            description="Level threshold in LU relative to the loudness of the speech (ITU-R BS.1770). Audio whose "
            "level over level_window is below the threshold is treated as background and does not move the mouth.",
        ),
    ] = -28.0
    knee: Annotated[
        float,
        Field(gt=0.0, le=30.0, description="Level above quietest_speech in dB at which the level gate is fully open."),
    ] = 6.0
    level_window: Annotated[
        float, Field(ge=0.1, le=1.0, description="Window in seconds over which the level is measured.")
    ] = 0.6
    probability: Annotated[
        float, Field(ge=0.05, le=0.95, description="Speech probability at which the activity is 0.5.")
    ] = 0.65
    shortest: Annotated[
        float,
        Field(
            ge=0.0,
            le=0.5,
            description="Minimum duration of a probability peak in seconds. Shorter peaks are treated as noise.",
        ),
    ] = 0.16
    shortest_pause: Annotated[
        float, Field(ge=0.0, le=0.6, description="Minimum pause in seconds. Shorter gaps between words remain active.")
    ] = 0.3
    before: Annotated[
        float,
        Field(
            ge=0.0,
            le=0.3,
            description="Duration in seconds over which the activity rises before the voice starts, because people "
            "open the mouth before the voice is audible.",
        ),
    ] = 0.15
    after: Annotated[
        float,
        Field(ge=0.0, le=0.5, description="Duration in seconds over which the activity falls after the voice ends."),
    ] = 0.18
