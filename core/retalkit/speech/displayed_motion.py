"""Mouth motion at display times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retalkit.stages import DriverWithLead, MouthMotion, Speech, SpeechToMouth


def displayed_motion(driver: SpeechToMouth, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
    """Return the driver's mouth motion to display at ``times`` (seconds, float64 [T]).

    If the driver has a lead, the driver is called for times that are later by the lead (see ``DriverWithLead``).
    """
    lead = driver.lead if isinstance(driver, DriverWithLead) else 0.0
    return driver.motion(speech, np.asarray(times, np.float64) + lead)
