"""Published checkpoints that no stage loads. Retalkit only lists, downloads and verifies these checkpoints."""

from __future__ import annotations

from typing import Final

from retalkit.weights.checkpoint import Checkpoint

from retalkit_enhancers.releases import released

CHECKPOINTS: Final = (
    Checkpoint(
        name="retinaface",
        summary="RetinaFace with a ResNet-50 backbone, the face detector of the published enhancer",
        file="RetinaFace-R50.pth",
        urls=released("RetinaFace-R50.pth"),
        licence="MIT (repository licence of the network, biubug6/Pytorch_Retinaface, file Resnet50_Final.pth)",
        commercial_use=None,
        shapes="",
        size=109_497_761,
        sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
    ),
    Checkpoint(
        name="dlib_landmarks",
        summary="dlib's 68-point landmark predictor",
        file="shape_predictor_68_face_landmarks.dat",
        urls=released("shape_predictor_68_face_landmarks.dat"),
        licence="CC0-1.0 (davisking/dlib-models); the licence of the training images (iBUG 300-W) "
        "excludes commercial use",
        commercial_use=False,
        shapes="",
        size=99_693_937,
        sha256="fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    ),
    Checkpoint(
        name="bfm",
        summary="Basel Face Model files that the published loader reads; the reconstructor 'deep3d' "
        "requires only bfm_landmarks",
        file="BFM.zip",
        urls=released("BFM.zip"),
        licence="University of Basel licence for non-commercial research; requires registration on "
        "the university's website",
        commercial_use=False,
        shapes="",
    ),
)
