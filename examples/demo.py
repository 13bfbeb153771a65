"""Dub an animated portrait with synthetic speech.

The demo does not download any files. The portrait is NASA's public-domain photograph of the astronaut Eileen Collins,
which is included in the scikit-image wheel. The speech was generated with ``make_speech.py``. To dub other footage,
pass ``--video`` and ``--speech``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from retalkit.cli.main import main as retalkit
from retalkit.testing.fixtures.material import make_clip

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="Video or still image to dub instead of the portrait.")
    parser.add_argument(
        "--speech",
        type=Path,
        default=HERE / "speech.wav",
        help="Audio or video file with the speech. Defaults to the synthetic speech in examples/speech.wav.",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("out/demo.mp4"), help="Path of the output video (default: %(default)s)."
    )
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    video = options.video
    if video is None:
        video = options.output.parent / "astronaut.mp4"
        make_clip(video)
    command = ["dub", str(video), str(options.speech), "-o", str(options.output), "--force"]
    print(f"retalkit {' '.join(command)}", file=sys.stderr)
    # Without arguments, the process belongs to the command line, which hides the log lines of native libraries.
    sys.argv = ["retalkit", *command]
    retalkit()


if __name__ == "__main__":
    main()
