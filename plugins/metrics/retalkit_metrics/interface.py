"""Specs of the metrics that require no network. The module imports neither an array library nor torch."""

from __future__ import annotations

from typing import Final

from retalkit.metrics import FRAMES, LANDMARKS, LIPS, ORIGINAL, QUIET, RECORD, TRUTH, Measure, MetricSpec

FACE_HEIGHT: Final = "% of face height"

_LIPS = MetricSpec(
    name="lips",
    version="3",
    summary="Lip motion compared with a reference person who speaks the same words, at 25 values a second.",
    measures=(
        Measure(
            "opening_r",
            "opening r",
            "higher",
            ideal=1.0,
            low=-1.0,
            high=1.0,
            summary="Correlation of the mouth opening after lag compensation; 0 for a motionless mouth or a lost face. "
            "The lag is searched for, so chance is above 0: the mismatched arm shows it.",
        ),
        Measure(
            "width_r",
            "width r",
            "higher",
            ideal=1.0,
            low=-1.0,
            high=1.0,
            summary="The same for the mouth width.",
        ),
        Measure(
            "lip_lag",
            "lip lag",
            "nearer",
            ideal=0.0,
            low=-5.0,
            high=5.0,
            unit="frames at 25/s",
            digits=1,
            summary="Delay of the lips relative to the reference, searched within 6 frames; undefined if the best one "
            "is 6, because the true one may be larger. Meaningless if the correlations are low.",
        ),
        Measure(
            "opening_error",
            "opening error",
            "lower",
            ideal=0.0,
            low=0.0,
            unit=FACE_HEIGHT,
            digits=2,
            summary="Mean absolute difference of the opening after lag compensation. Only defined if the reference is "
            "the same person, because people open their mouths by different amounts.",
        ),
        Measure(
            "closure_hits",
            "closure hits",
            "higher",
            ideal=1.0,
            low=0.0,
            high=1.0,
            summary="Recall: share of the reference's lip closures (p, b, m) that the video shows within two frames.",
        ),
        Measure(
            "closure_precision",
            "closure precision",
            "higher",
            ideal=1.0,
            low=0.0,
            high=1.0,
            summary="Share of the video's closures that the reference has within two frames; low for a mouth that "
            "closes too often.",
        ),
    ),
    build="retalkit_metrics.lips:LipsMetric",
    source="Pearson's r of distances between lip landmarks; lag and closures as defined in "
    "retalkit.motion_eval.agreement",
    needs=frozenset({LANDMARKS, LIPS}),
    uses=frozenset({TRUTH}),
)

_FACE = MetricSpec(
    name="face",
    summary="Whether the face is still detected wherever the unedited clip shows it.",
    measures=(
        Measure(
            "face_kept",
            "face kept",
            "higher",
            ideal=1.0,
            low=0.0,
            high=1.0,
            summary="Share of the frames with a face in the unedited clip in which the video also has one. Below 1, "
            "other metrics of the face only cover the remaining frames.",
        ),
    ),
    build="retalkit_metrics.face_presence:FacePresenceMetric",
    source="definition in retalkit_metrics.face_presence",
    needs=frozenset({ORIGINAL}),
)

_QUIET_MOUTH = MetricSpec(
    name="quiet_mouth",
    summary="Opening and motion of the mouth in audio without speech.",
    measures=(
        Measure(
            "rest_opening",
            "opening at rest",
            "lower",
            ideal=0.0,
            low=0.0,
            unit=FACE_HEIGHT,
            digits=2,
            summary="98th percentile of the opening. Tracking noise keeps it above 0 for a closed mouth.",
        ),
        Measure(
            "mouth_energy",
            "mouth energy",
            "lower",
            ideal=0.0,
            low=0.0,
            unit="% of face height a second",
            digits=2,
            summary="Root mean square of the speed of the opening. Includes the tracker's jitter.",
        ),
    ),
    build="retalkit_metrics.mouth_at_rest:MouthAtRestMetric",
    source="definition in retalkit_metrics.mouth_at_rest",
    needs=frozenset({LANDMARKS, QUIET}),
)

_PIXELS = MetricSpec(
    name="pixels",
    summary="PSNR and SSIM against ground-truth frames: whole frame and mouth rectangle.",
    measures=(
        Measure(
            "psnr",
            "PSNR",
            "higher",
            ideal=100.0,
            low=0.0,
            high=100.0,
            unit="dB",
            digits=2,
            summary="PSNR of the whole frame, most of which is not edited. 100 means identical.",
        ),
        Measure(
            "ssim",
            "SSIM",
            "higher",
            ideal=1.0,
            low=-1.0,
            high=1.0,
            summary="SSIM of the whole frame, most of which is not edited.",
        ),
        Measure(
            "mouth_psnr",
            "PSNR of the mouth",
            "higher",
            ideal=100.0,
            low=0.0,
            high=100.0,
            unit="dB",
            digits=2,
            summary="PSNR of the mouth rectangle. Rewards blur: for uncertain lips, their mean scores best.",
        ),
        Measure(
            "mouth_ssim",
            "SSIM of the mouth",
            "higher",
            ideal=1.0,
            low=-1.0,
            high=1.0,
            summary="SSIM of the mouth rectangle. Also rewards blur.",
        ),
    ),
    build="retalkit_metrics.pixels:PixelsMetric",
    source="Wang et al., 'Image quality assessment: from error visibility to structural similarity', IEEE TIP 2004 "
    "(scikit-image, Gaussian window, greyscale); PSNR of the squared error of all frames together",
    needs=frozenset({FRAMES, ORIGINAL, TRUTH}),
    requires=("skimage",),
    install="scikit-image",
)

_SHARPNESS = MetricSpec(
    name="sharpness",
    summary="Sharpness of the face: edge widths (CPBD), and skin texture relative to the unedited clip.",
    measures=(
        Measure(
            "cpbd",
            "CPBD",
            "higher",
            low=0.0,
            high=1.0,
            summary="Share of the face's edges that are too narrow to look blurred. Noise, blocking and a hard seam "
            "count as sharp: compare with the real video.",
        ),
        Measure(
            "skin_sharpness",
            "skin sharpness",
            "nearer",
            ideal=1.0,
            low=0.0,
            digits=2,
            summary="Variance of the Laplacian in the skin around the mouth, relative to the unedited clip. Below 1: "
            "softer; above 1: sharper or noisier.",
        ),
    ),
    build="retalkit_metrics.sharpness:SharpnessMetric",
    source="Narvekar and Karam, 'A no-reference image blur metric based on the cumulative probability of blur "
    "detection', IEEE TIP 2011; Pech-Pacheco et al., 'Diatom autofocusing in brightfield microscopy', ICPR 2000",
    needs=frozenset({FRAMES, LANDMARKS}),
    uses=frozenset({ORIGINAL}),
    requires=("skimage",),
    install="scikit-image",
)

_STEADINESS = MetricSpec(
    name="steadiness",
    summary="Artifacts that the edit adds to the unedited clip: flicker, a seam, changes outside the face.",
    measures=(
        Measure(
            "ring_flicker",
            "ring flicker",
            "lower",
            low=0.0,
            digits=2,
            summary="Frame-to-frame difference at the border of the mouth region, relative to the unedited clip; 1 or "
            "less is good. Blur lowers it.",
        ),
        Measure(
            "seam_energy",
            "seam energy",
            "nearer",
            ideal=1.0,
            low=0.0,
            digits=2,
            summary="Gradient along the border of the mouth region, relative to the unedited clip. Above 1: a new "
            "edge; below 1: blur.",
        ),
        Measure(
            "flicker_coarse",
            "flicker of light",
            "lower",
            ideal=0.0,
            low=0.0,
            unit="grey levels",
            digits=2,
            summary="Frame-to-frame jumps of the change made to the face (without lips), low frequencies: shading and "
            "tint.",
        ),
        Measure(
            "flicker_fine",
            "flicker of detail",
            "lower",
            ideal=0.0,
            low=0.0,
            unit="grey levels",
            digits=2,
            summary="The same for high frequencies: skin, hair and noise. Includes encoding noise: compare with the "
            "real video.",
        ),
        Measure(
            "outside_change",
            "change outside the face",
            "lower",
            ideal=0.0,
            low=0.0,
            high=255.0,
            unit="grey levels",
            summary="Mean absolute difference outside the face. Includes encoding noise: compare with the real video.",
        ),
    ),
    build="retalkit_metrics.temporal_stability:TemporalStabilityMetric",
    source="Lai et al., 'Learning blind video temporal consistency', ECCV 2018, with head pose in place of optical "
    "flow (retalkit_metrics.meters.flicker and image_quality)",
    needs=frozenset({FRAMES, LANDMARKS, ORIGINAL}),
)

STAGES: Final = {
    "detector": "face detection and tracking",
    "reconstructor": "face model fitting",
    "denoiser": "denoising and voice activity detection",
    "expression_editor": "reference faces",
    "lip_syncer": "lip synthesis, including per-clip preparation",
    "enhancers": "all enhancers",
    "render": "the whole second pass: decoding, lips and enhancers (concurrent), compositing, encoding",
}
"""Mapping from stage name (or ``render``) to a description of the stage's work."""

_COST = MetricSpec(
    name="cost",
    version="3",
    summary="Cost of the run: seconds per stage, memory, weights.",
    measures=(
        Measure(
            "realtime_factor",
            "real-time factor",
            "higher",
            low=0.0,
            digits=2,
            summary="Seconds of video per second of computing, with all steps in sequence. Concurrent jobs lower it.",
        ),
        *(
            Measure(
                f"cost_{stage}",
                stage.replace("_", " "),
                "lower",
                low=0.0,
                unit="s per second",
                summary=f"Seconds per second of video, including steps read from the cache: {work}.",
            )
            for stage, work in STAGES.items()
        ),
        Measure(
            "peak_memory",
            "peak memory",
            "lower",
            low=0.0,
            unit="MiB",
            digits=0,
            summary="Peak resident memory of the process, including steps read from the cache.",
        ),
        Measure(
            "weights_size",
            "weights",
            "lower",
            low=0.0,
            unit="MiB",
            digits=1,
            summary="Size of all weight files that the run loads; 0 if it loads none.",
        ),
    ),
    build="retalkit_metrics.cost:CostMetric",
    source="the run record",
    needs=frozenset({RECORD}),
)

METRICS: Final = (_FACE, _LIPS, _QUIET_MOUTH, _PIXELS, _SHARPNESS, _STEADINESS, _COST)
