"""What the metrics without a network give: names, ranges, sources. Light: read when metrics are listed."""

from __future__ import annotations

from typing import Final

from retalkit.metrics import FRAMES, LANDMARKS, LIPS, ORIGINAL, QUIET, RECORD, TRUTH, Measure, MetricSpec

FACE_HEIGHT: Final = "% of face height"

_LIPS = MetricSpec(
    name="lips",
    version="3",
    summary="The lips of the video against those of somebody who really says it, at 25 values a second.",
    measures=(
        Measure(
            "opening_r",
            "opening r",
            "higher",
            ideal=1.0,
            low=-1.0,
            high=1.0,
            summary="Correlation of the mouth's opening after the lag is taken out; 0 for a mouth that stands still, "
            "and a face that is lost counts as one. "
            "The lag is searched for, so chance is above 0: the mismatched arm shows it.",
        ),
        Measure(
            "width_r",
            "width r",
            "higher",
            ideal=1.0,
            low=-1.0,
            high=1.0,
            summary="The same of the mouth's width.",
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
            summary="By how much the lips come after the reference's, looked for within 6 frames; undefined where the "
            "best one is 6, for it may lie beyond. Says nothing where the correlations are low.",
        ),
        Measure(
            "opening_error",
            "opening error",
            "lower",
            ideal=0.0,
            low=0.0,
            unit=FACE_HEIGHT,
            digits=2,
            summary="Mean difference of the opening after the lag is taken out. Only where the reference is the same "
            "person in a clip that shows the same words: other people open their mouths further or less.",
        ),
        Measure(
            "closure_hits",
            "closure hits",
            "higher",
            ideal=1.0,
            low=0.0,
            high=1.0,
            summary="Share of the reference's lip closures (p, b, m) that the video shows within two frames.",
        ),
        Measure(
            "closure_precision",
            "closure precision",
            "higher",
            ideal=1.0,
            low=0.0,
            high=1.0,
            summary="Share of the closures shown that the reference has within two frames; it punishes a mouth that "
            "flaps.",
        ),
    ),
    build="retalkit_metrics.lips:LipsMetric",
    source="Pearson's r of distances between lip landmarks; lag and closures as retalkit.motion_eval.agreement "
    "defines them",
    needs=frozenset({LANDMARKS, LIPS}),
    uses=frozenset({TRUTH}),
)

_FACE = MetricSpec(
    name="face",
    summary="Whether the face is still found wherever the unedited clip shows it.",
    measures=(
        Measure(
            "face_kept",
            "face kept",
            "higher",
            ideal=1.0,
            low=0.0,
            high=1.0,
            summary="Share of the frames with a face in the unedited clip in which the video has one, too. Below 1 the "
            "other numbers of the face are those of the frames that are left.",
        ),
    ),
    build="retalkit_metrics.face_kept:FaceKeptMetric",
    source="definition in retalkit_metrics.face_kept",
    needs=frozenset({ORIGINAL}),
)

_QUIET_MOUTH = MetricSpec(
    name="quiet_mouth",
    summary="What the mouth does while nobody speaks: how far it opens, and how much it moves.",
    measures=(
        Measure(
            "rest_opening",
            "opening at rest",
            "lower",
            ideal=0.0,
            low=0.0,
            unit=FACE_HEIGHT,
            digits=2,
            summary="98th percentile of the opening. A closed mouth that is tracked is not 0.",
        ),
        Measure(
            "mouth_energy",
            "mouth energy",
            "lower",
            ideal=0.0,
            low=0.0,
            unit="% of face height a second",
            digits=2,
            summary="Root mean square of the opening's speed. The tracker's own jitter is in it.",
        ),
    ),
    build="retalkit_metrics.quiet_mouth:QuietMouthMetric",
    source="definition in retalkit_metrics.quiet_mouth",
    needs=frozenset({LANDMARKS, QUIET}),
)

_PIXELS = MetricSpec(
    name="pixels",
    summary="The frames against true ones: whole frame, and the rectangle around the mouth.",
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
            summary="Of the whole frame, most of which no edit touches. 100 stands for no difference at all.",
        ),
        Measure(
            "ssim",
            "SSIM",
            "higher",
            ideal=1.0,
            low=-1.0,
            high=1.0,
            summary="Of the whole frame, most of which no edit touches.",
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
            summary="Of the rectangle around the mouth. Rewards blur: where lips are not certain, their mean scores "
            "best.",
        ),
        Measure(
            "mouth_ssim", "SSIM of the mouth", "higher", ideal=1.0, low=-1.0, high=1.0, summary="Rewards blur, too."
        ),
    ),
    build="retalkit_metrics.pixels:PixelsMetric",
    source="Wang et al., 'Image quality assessment: from error visibility to structural similarity', IEEE TIP 2004 "
    "(scikit-image, Gaussian window, grey); PSNR of the squared error of all frames together",
    needs=frozenset({FRAMES, ORIGINAL, TRUTH}),
    requires=("skimage",),
    install="scikit-image",
)

_SHARPNESS = MetricSpec(
    name="sharpness",
    summary="How sharp the face is: by the widths of its edges, and by its skin against the unedited clip's.",
    measures=(
        Measure(
            "cpbd",
            "CPBD",
            "higher",
            low=0.0,
            high=1.0,
            summary="Share of the face's edges that are too narrow to be seen as blurred. Noise, blocks and a hard "
            "seam count as sharp: read it beside the real video's.",
        ),
        Measure(
            "skin_sharpness",
            "skin sharpness",
            "nearer",
            ideal=1.0,
            low=0.0,
            digits=2,
            summary="Variance of the Laplacian in the skin around the mouth over that of the unedited clip. Below 1: "
            "softened; above 1: sharper or noisier.",
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
    summary="What the edit adds that the unedited clip has not: flicker, a seam, changes outside the face.",
    measures=(
        Measure(
            "ring_flicker",
            "ring flicker",
            "lower",
            low=0.0,
            digits=2,
            summary="Frame-to-frame difference at the border of the mouth region over the unedited clip's; 1 or less "
            "is good. Blur lowers it.",
        ),
        Measure(
            "seam_energy",
            "seam energy",
            "nearer",
            ideal=1.0,
            low=0.0,
            digits=2,
            summary="Gradient along the border of the mouth region over the unedited clip's. Above 1: an edge that was "
            "not there; below 1: blur.",
        ),
        Measure(
            "flicker_coarse",
            "flicker of light",
            "lower",
            ideal=0.0,
            low=0.0,
            unit="grey levels",
            digits=2,
            summary="How far what the edit changes in the face (lips left out) jumps from frame to frame, in shading "
            "and tint.",
        ),
        Measure(
            "flicker_fine",
            "flicker of detail",
            "lower",
            ideal=0.0,
            low=0.0,
            unit="grey levels",
            digits=2,
            summary="The same in skin, hair and noise. The encoder's part is in it: see the real video's.",
        ),
        Measure(
            "outside_change",
            "change outside the face",
            "lower",
            ideal=0.0,
            low=0.0,
            high=255.0,
            unit="grey levels",
            summary="Mean difference of pixels outside the face. The encoder's part is in it: see the real video's.",
        ),
    ),
    build="retalkit_metrics.steadiness:SteadinessMetric",
    source="Lai et al., 'Learning blind video temporal consistency', ECCV 2018, with head pose in the place of optical "
    "flow (retalkit_metrics.meters.flicker and picture_quality)",
    needs=frozenset({FRAMES, LANDMARKS, ORIGINAL}),
)

STAGES: Final = {
    "detector": "finding and tracking the face",
    "reconstructor": "fitting the face model",
    "denoiser": "cleaning the speech and finding where somebody speaks",
    "expression_editor": "making reference faces",
    "lip_syncer": "making lips, with what it does for the whole clip",
    "enhancers": "all enhancers",
    "render": "the whole second pass: decoding, lips and enhancers at the same time, pasting, encoding",
}
"""Stage, or ``render`` -> what its seconds were spent on."""

_COST = MetricSpec(
    name="cost",
    version="3",
    summary="What the run took: seconds of each stage, memory, weights.",
    measures=(
        Measure(
            "realtime_factor",
            "real-time factor",
            "higher",
            low=0.0,
            digits=2,
            summary="Seconds of video for each second of computing, all steps one after the other. More jobs at once "
            "make it smaller.",
        ),
        *(
            Measure(
                f"cost_{stage}",
                stage.replace("_", " "),
                "lower",
                low=0.0,
                unit="s for each second",
                summary=f"Seconds of its own for each second of video, also where a stored result was used: {work}.",
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
            summary="Largest resident memory of the process that ran it, also where a stored result was used.",
        ),
        Measure(
            "weights_size",
            "weights",
            "lower",
            low=0.0,
            unit="MiB",
            digits=1,
            summary="Size of all weight files that it loads; 0 where it loads none.",
        ),
    ),
    build="retalkit_metrics.cost:CostMetric",
    source="the run record",
    needs=frozenset({RECORD}),
)

METRICS: Final = (_FACE, _LIPS, _QUIET_MOUTH, _PIXELS, _SHARPNESS, _STEADINESS, _COST)
