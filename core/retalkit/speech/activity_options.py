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
            le=-10.0,
            description="dBFS (RMS over level_window): quieter sound counts as background and moves no mouth. Lower it "
            "for a quiet, clean recording.",
        ),
    ] = -37.0
    knee: Annotated[
        float, Field(gt=0.0, le=30.0, description="dB above quietest_speech at which the level gate is fully open.")
    ] = 4.0
    level_window: Annotated[float, Field(ge=0.1, le=1.0, description="Seconds over which the level is measured.")] = 0.6
    probability: Annotated[
        float, Field(ge=0.05, le=0.95, description="Speech probability that gives an activity of 0.5.")
    ] = 0.65
    shortest: Annotated[
        float, Field(ge=0.0, le=0.5, description="Seconds: shorter peaks of the probability count as noise.")
    ] = 0.16
    before: Annotated[
        float,
        Field(
            ge=0.0,
            le=0.3,
            description="Seconds over which the activity rises before the sound is recognised, because a mouth opens "
            "before it is heard.",
        ),
    ] = 0.15
    after: Annotated[
        float, Field(ge=0.0, le=0.5, description="Seconds over which the activity falls after the sound.")
    ] = 0.18
