"""Files of the published release that no stage loads. Retalkit lists, downloads and verifies these files only.

The release does not publish hashes. The hashes here belong to identical files on Hugging Face. RetinaFace-R50.pth was
published by an author of the paper (vinthony/videoretalking), and dlib's predictor is available from many publishers.
BFM.zip has no published hash.
"""

from __future__ import annotations

from typing import Final

from retalkit.weights.checkpoint import Checkpoint

from retalkit_enhancers.releases import released

CHECKPOINTS: Final = (
    Checkpoint(
        name="retinaface",
        summary="RetinaFace with ResNet-50, the face detector of the published enhancer",
        file="RetinaFace-R50.pth",
        urls=released("RetinaFace-R50.pth"),
        licence="MIT by the repository of its network (biubug6/Pytorch_Retinaface), file Resnet50_Final.pth",
        commercial_use=None,
        shapes="",
        size=109_497_761,
        sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
    ),
    Checkpoint(
        name="dlib_landmarks",
        summary="The 68-point predictor of dlib",
        file="shape_predictor_68_face_landmarks.dat",
        urls=released("shape_predictor_68_face_landmarks.dat"),
        licence="CC0-1.0 by davisking/dlib-models; its training images (iBUG 300-W) exclude commercial use",
        commercial_use=False,
        shapes="",
        size=99_693_937,
        sha256="fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    ),
    Checkpoint(
        name="bfm",
        summary="Files of the Basel Face Model that the published loader reads; deep3d needs only bfm_landmarks",
        file="BFM.zip",
        urls=released("BFM.zip"),
        licence="the University of Basel's, for non-commercial research; requires registration on its website",
        commercial_use=False,
        shapes="",
    ),
)
