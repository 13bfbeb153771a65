"""Specs of the metrics that do not require a network. The module does not import an array library or torch."""

from __future__ import annotations

from typing import Final

from retalkit.metrics import FRAMES, LANDMARKS, LIPS, ORIGINAL, QUIET, RECORD, TRUTH, Measure, MetricSpec

FACE_HEIGHT: Final = "% of face height"

_LIPS = MetricSpec(
    name="lips",
    version="3",
    summary="Lip motion at 25 values per second, compared with a reference person who speaks identical words.",
    measures=(
        Measure(
            "opening_r",
            "opening r",
            "higher",
            ideal=1.0,
            low=-1.0,
            high=1.0,
            summary="Pearson correlation of the mouth opening after lag compensation. The "
            "correlation is 0 for a motionless mouth and for frames in which the face was "
            "lost. The lag search raises the correlation of unrelated motion above 0; the "
            "mismatched arm shows this chance level.",
        ),
        Measure(
            "width_r",
            "width r",
            "higher",
            ideal=1.0,
            low=-1.0,
            high=1.0,
            summary="Pearson correlation of the mouth width after lag compensation.",
        ),
        Measure(
            "lip_lag",
            "lip lag",
            "nearer",
            ideal=0.0,
            low=-5.0,
            high=5.0,
            unit="frames at 25 fps",
            digits=1,
            summary="Delay of the lips relative to the reference, searched within 6 frames. The "
            "delay is undefined at the limit of 6 frames, because the true delay may be "
            "larger. The delay is not meaningful if the correlations are low.",
        ),
        Measure(
            "opening_error",
            "opening error",
            "lower",
            ideal=0.0,
            low=0.0,
            unit=FACE_HEIGHT,
            digits=2,
            summary="Mean absolute difference of the opening after lag compensation. The error is "
            "only defined if the reference is the same person, because the mouth opening "
            "differs between people.",
        ),
        Measure(
            "closure_hits",
            "closure recall",
            "higher",
            ideal=1.0,
            low=0.0,
            high=1.0,
            summary="Recall: share of the reference's lip closures (p, b, m) that occur in the video "
            "within two frames.",
        ),
        Measure(
            "closure_precision",
            "closure precision",
            "higher",
            ideal=1.0,
            low=0.0,
            high=1.0,
            summary="Precision: share of the video's lip closures that occur in the reference within "
            "two frames. Frequent unnecessary closures lower the value.",
        ),
    ),
    build="retalkit_metrics.lips:LipsMetric",
    source="Pearson correlation of distances between lip landmarks; lag and closures are defined in "
    "retalkit.motion_eval.agreement",
    needs=frozenset({LANDMARKS, LIPS}),
    uses=frozenset({TRUTH}),
)

_FACE = MetricSpec(
    name="face",
    summary="Share of frames in which the face is still detected, among the frames with a face in the unedited clip.",
    measures=(
        Measure(
            "face_kept",
            "face detected",
            "higher",
            ideal=1.0,
            low=0.0,
            high=1.0,
            summary="Share of frames with a detected face in the output, among the frames with a "
            "face in the unedited clip. If the value is below 1, the other face metrics "
            "cover only the remaining frames.",
        ),
    ),
    build="retalkit_metrics.face_presence:FacePresenceMetric",
    source="defined in retalkit_metrics.face_presence",
    needs=frozenset({ORIGINAL}),
)

_QUIET_MOUTH = MetricSpec(
    name="quiet_mouth",
    summary="Mouth opening and mouth motion during audio without speech.",
    measures=(
        Measure(
            "rest_opening",
            "opening at rest",
            "lower",
            ideal=0.0,
            low=0.0,
            unit=FACE_HEIGHT,
            digits=2,
            summary="98th percentile of the mouth opening. Tracking noise keeps the value above 0 "
            "even for a closed mouth.",
        ),
        Measure(
            "mouth_energy",
            "mouth energy",
            "lower",
            ideal=0.0,
            low=0.0,
            unit="% of face height per second",
            digits=2,
            summary="Root mean square of the opening speed, including tracking jitter.",
        ),
    ),
    build="retalkit_metrics.mouth_at_rest:MouthAtRestMetric",
    source="defined in retalkit_metrics.mouth_at_rest",
    needs=frozenset({LANDMARKS, QUIET}),
)

_PIXELS = MetricSpec(
    name="pixels",
    summary="PSNR and SSIM against ground-truth frames for the whole frame and the mouth rectangle.",
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
            summary="PSNR of the whole frame, most of which is unedited. Identical frames score 100 dB.",
        ),
        Measure(
            "ssim",
            "SSIM",
            "higher",
            ideal=1.0,
            low=-1.0,
            high=1.0,
            summary="SSIM of the whole frame, most of which is unedited.",
        ),
        Measure(
            "mouth_psnr",
            "mouth PSNR",
            "higher",
            ideal=100.0,
            low=0.0,
            high=100.0,
            unit="dB",
            digits=2,
            summary="PSNR of the mouth rectangle. The metric rewards blur, because an average of "
            "plausible lip shapes has the lowest expected squared error.",
        ),
        Measure(
            "mouth_ssim",
            "mouth SSIM",
            "higher",
            ideal=1.0,
            low=-1.0,
            high=1.0,
            summary="SSIM of the mouth rectangle. The metric rewards blur.",
        ),
    ),
    build="retalkit_metrics.pixels:PixelsMetric",
    source="Wang et al., 'Image quality assessment: from error visibility to structural similarity', "
    "IEEE TIP 2004 (scikit-image, Gaussian window, greyscale); PSNR is computed from the "
    "squared error over all frames",
    needs=frozenset({FRAMES, ORIGINAL, TRUTH}),
    requires=("skimage",),
    install="scikit-image",
)

_SHARPNESS = MetricSpec(
    name="sharpness",
    summary="Face sharpness: edge widths (CPBD), and skin texture relative to the unedited clip.",
    measures=(
        Measure(
            "cpbd",
            "CPBD",
            "higher",
            low=0.0,
            high=1.0,
            summary="Share of the face's edges that are too narrow to appear blurred. Noise, "
            "blocking artifacts and a visible seam count as sharp edges, so compare the "
            "value with that of the real video.",
        ),
        Measure(
            "skin_sharpness",
            "skin sharpness",
            "nearer",
            ideal=1.0,
            low=0.0,
            digits=2,
            summary="Variance of the Laplacian on the skin around the mouth, relative to the "
            "unedited clip. Values below 1 indicate softer skin, and values above 1 indicate "
            "sharper or noisier skin.",
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
    summary="Artifacts that the edit adds to the unedited clip: flicker, a seam, and changes outside the face.",
    measures=(
        Measure(
            "ring_flicker",
            "ring flicker",
            "lower",
            low=0.0,
            digits=2,
            summary="Frame-to-frame difference at the mouth region's border, relative to the "
            "unedited clip. Values of 1 or less are good. Blur lowers the value.",
        ),
        Measure(
            "seam_energy",
            "seam energy",
            "nearer",
            ideal=1.0,
            low=0.0,
            digits=2,
            summary="Gradient along the mouth region's border, relative to the unedited clip. Values "
            "above 1 indicate a visible seam, and values below 1 indicate blur.",
        ),
        Measure(
            "flicker_coarse",
            "shading flicker",
            "lower",
            ideal=0.0,
            low=0.0,
            unit="grey levels",
            digits=2,
            summary="Frame-to-frame variation of the low frequencies (shading and tint) that the "
            "edit adds to the face, excluding the lips.",
        ),
        Measure(
            "flicker_fine",
            "detail flicker",
            "lower",
            ideal=0.0,
            low=0.0,
            unit="grey levels",
            digits=2,
            summary="Frame-to-frame variation of the high frequencies (skin, hair and noise) that "
            "the edit adds to the face, excluding the lips. The value includes encoding "
            "noise, so compare it with the real video.",
        ),
        Measure(
            "outside_change",
            "change outside the face",
            "lower",
            ideal=0.0,
            low=0.0,
            high=255.0,
            unit="grey levels",
            summary="Mean absolute difference outside the face. The value includes encoding noise, "
            "so compare it with the real video.",
        ),
    ),
    build="retalkit_metrics.temporal_stability:TemporalStabilityMetric",
    source="Lai et al., 'Learning blind video temporal consistency', ECCV 2018, with head pose "
    "instead of optical flow (retalkit_metrics.meters.flicker and image_quality)",
    needs=frozenset({FRAMES, LANDMARKS, ORIGINAL}),
)

STAGES: Final = {
    "detector": "face detection and tracking",
    "reconstructor": "face model fitting",
    "denoiser": "denoising and voice activity detection",
    "expression_editor": "reference faces",
    "lip_syncer": "lip synthesis, including per-clip preparation",
    "enhancers": "all enhancers",
    "render": "the complete rendering pass: decoding, lip synthesis and enhancers (concurrent), compositing, encoding",
}
"""Mapping from each stage name, or ``render``, to a description of the stage's work."""

_COST = MetricSpec(
    name="cost",
    version="3",
    summary="Computational cost of the run: time per stage, memory and weight size.",
    measures=(
        Measure(
            "realtime_factor",
            "real-time factor",
            "higher",
            low=0.0,
            digits=2,
            summary="Seconds of video per second of computing time if all steps run sequentially. "
            "Concurrent jobs lower the value.",
        ),
        *(
            Measure(
                f"cost_{stage}",
                stage.replace("_", " "),
                "lower",
                low=0.0,
                unit="seconds per second of video",
                summary=f"Computing time per second of video, including steps loaded from the cache: {work}.",
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
            summary="Peak resident memory of the process, including steps loaded from the cache.",
        ),
        Measure(
            "weights_size",
            "weights",
            "lower",
            low=0.0,
            unit="MiB",
            digits=1,
            summary="Total size of the weight files that the run loads; 0 if the run loads no weights.",
        ),
    ),
    build="retalkit_metrics.cost:CostMetric",
    source="run record",
    needs=frozenset({RECORD}),
)

METRICS: Final = (_FACE, _LIPS, _QUIET_MOUTH, _PIXELS, _SHARPNESS, _STEADINESS, _COST)
