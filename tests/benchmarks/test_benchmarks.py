"""Every benchmark runs on a tiny clip. The numbers that they print are not checked."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source

from tests.conftest import REPOSITORY
from tests.docs.sample_files import side_by_side

BENCHMARKS = REPOSITORY / "benchmarks"
SECONDS = 0.4


def benchmark(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(scope="module", autouse=True)
def importable_benchmarks() -> Iterator[None]:
    """Put ``benchmarks`` on ``sys.path``, as for a script, and remove its modules at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield
    for path in BENCHMARKS.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture(scope="module")
def media(
    importable_benchmarks: None, moving_head: Path, short_speech: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Directory with a clip ``head.mp4`` and its speech ``head.wav``, ten frames long."""
    folder = tmp_path_factory.mktemp("benchmarks")
    clips = benchmark("benchmark_clips")
    clips.reencode_video(moving_head, folder / "head.mp4", seconds=SECONDS)
    clips.loop_sound(short_speech, SECONDS, folder / "head.wav")
    return folder


def test_every_benchmark_is_tested() -> None:
    programs = {path.stem for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
    started_by_dub_speed = {"dub_floor", "profiled_command"}
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert programs - tested == started_by_dub_speed
    listed = set(re.findall(r"^\| `(\w+)\.py", (BENCHMARKS / "README.md").read_text(encoding="utf-8"), re.M))
    assert listed == programs - {"profiled_command"}


def test_encoder_presets(media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(media / "head.mp4"), "--presets", "ultrafast", "superfast", "--crf", "10", "30"]
    benchmark("encoder_presets").main(arguments)
    rows = tables(capsys.readouterr().out)["preset"]
    assert [(row["preset"], row["crf"]) for row in rows] == [
        ("ultrafast", "10"), ("ultrafast", "30"), ("superfast", "10"), ("superfast", "30")
    ]  # fmt: skip
    assert float(rows[0]["SSIM"]) > float(rows[1]["SSIM"]) and float(rows[0]["KB"]) > float(rows[1]["KB"])


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the benchmark reads /proc of Linux")
def test_dub_speed(moving_head: Path, short_speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark("dub_speed").main([str(moving_head), str(short_speech), "--runs", "1", "--warm-up", "0"])
    titled = tables(capsys.readouterr().out)
    (speed,) = titled["clip : speech"]
    assert 0 < float(speed["floor, s"]) < float(speed["command, s"]) and float(speed["peak, MiB"]) > 50
    steps = {row["step"]: row for row in titled["step"]}
    assert list(steps)[0] == "start-up" and {"faces", "speech", "render", "join", "exit"} <= steps.keys()
    assert steps["speech"]["thread"] == "speech"
    threads = {row["thread, CPU s"]: row for row in titled["thread, CPU s"]}
    assert {"MainThread", "profiler"} < threads.keys()
    assert any(name.startswith("read-ahead ") for name in threads)
    # Every step's CPU time is the sum of its column, except the profiler's.
    used = [float(row["render"]) for name, row in threads.items() if name != "profiler"]
    assert sum(used) == pytest.approx(float(steps["render"]["CPU, s"]), abs=0.005 * (len(used) + 5))


def test_missing_clips_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmark("benchmark_clips").main([str(tmp_path), str(tmp_path)])
    assert "lacks talk_man_700p22.mp4, " in capsys.readouterr().err.splitlines()[-1]


def test_dub_speed_compares_two_checkouts() -> None:
    speed = benchmark("dub_speed")
    before, own = Path("before"), Path("own")
    runs = {before: [speed.Run(4.0, 6.0, 2**29)] * 3, own: [speed.Run(wall, 5.0, 2**28) for wall in (1.0, 2.0, 9.0)]}
    floors = [{"decode": 0.2, "track": 0.5, "encode": 0.3}]
    case = speed.Case("clip : 5 s", Path(), Path(), 5.0, runs=runs, floors=floors)
    (titled,) = tables(f"{speed.head(True)}\n{speed.row(case, own, before)}").values()
    assert titled == [
        {
            "clip : speech": "clip : 5 s",
            "before, s": "4.00",
            "command, s": "2.00",
            "x real time": "2.50",
            "floor, s": "1.00",
            "command / floor": "2.00",
            "CPU, s": "5.0",
            "peak, MiB": "256",
            "command / before": "0.50",
            "before / floor": "4.00",
            "CPU before, s": "6.0",
            "peak before, MiB": "512",
        }
    ]


def tables(text: str) -> dict[str, list[dict[str, str]]]:
    """Read Markdown tables: first column's title -> rows, as title -> cell."""
    found: dict[str, list[dict[str, str]]] = {}
    rows: list[dict[str, str]] | None = None
    titles: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            rows = None
        elif rows is None:
            titles, rows = cells, found.setdefault(cells[0], [])
        elif not cells[0].startswith("---"):
            rows.append(dict(zip(titles, cells, strict=True)))
    return found


def test_benchmark_clips(media: Path, tmp_path: Path) -> None:
    clips = benchmark("benchmark_clips")
    clips.reencode_video(media / "head.mp4", tmp_path / "small.mp4", size=(64, 48), rate=Fraction(50))
    clips.loop_video(tmp_path / "small.mp4", 0.5, tmp_path / "small_60s.mp4")
    info = open_source(tmp_path / "small_60s.mp4").info
    # Ten frames at 50 frames/s are shown three times.
    assert (info.width, info.height, info.frame_count) == (64, 48, 30)
    assert info.duration == pytest.approx(0.6)
    for seconds in (0.5, 2.0):
        clips.loop_sound(media / "head.wav", seconds, tmp_path / clips.speech_name(seconds))
        assert open_sound(tmp_path / clips.speech_name(seconds)).duration == pytest.approx(seconds)
    cases = benchmark("dub_speed").table_cases(tmp_path, None, [])
    # Loops are measured with the longest speech only.
    assert [case.name for case in cases] == ["small : 0.5 s", "small : 2 s", "small_60s : 2 s"]


def test_batch_scaling(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark("batch_scaling").main(["--clips", "40", "--workers", "1", "8"])
    one, eight = (
        [float(cell.split()[0]) for cell in row.split("|")[1:-1]] for row in capsys.readouterr().out.splitlines()[-2:]
    )
    for row in (one, eight):
        assert sum(row[3:11]) == pytest.approx(100, abs=0.5), "the shares of all workers' time"
    # One worker is idle only while it starts, and eight workers are at most eight times as fast.
    assert one[2] > 0.9 and one[1] / 8 <= eight[1] < one[1] / 4


def test_signing_cost(media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark("signing_cost").main([str(media / "head.mp4"), str(media / "head.wav")])
    assert "% of the processor time" in capsys.readouterr().out


def test_memory(media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark("memory").main([str(media / "head.mp4"), str(media / "head.wav"), "--seconds", "0.2", str(SECONDS)])
    *_, short, long, line = capsys.readouterr().out.splitlines()
    assert float(long.split()[1]) > 50, "peak memory in MiB"
    assert float(short.split()[0]) < float(long.split()[0]) and "per second of output" in line


def test_exemplar_quality(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark("exemplar_quality").main(["--media", str(media), "--out", str(tmp_path), "--pairs", "head:head"])
    assert "head:head" in capsys.readouterr().out
    scores = json.loads((tmp_path / "head__head.scores.json").read_text())
    assert scores["mouth"]["frames"] >= 8
    assert (tmp_path / "head__head.png").exists()


def test_lip_agreement(talking_head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copy(talking_head, tmp_path / "other.mp4")
    benchmark("lip_agreement").main([str(talking_head), str(other)])
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 4 and rows[-1].split()[0] == "mean"
    # The lips of the speaker were rendered from the same speech.
    assert float(rows[-1].split()[1]) > 0.8


def test_transcript_sync(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("espeakng_loader", reason="transcripts need the extra: pip install 'retalkit[transcript]'")
    benchmark("transcript_sync").main(["--count", "1"])
    assert "found" in capsys.readouterr().out


def test_restoration_flicker(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--media", str(media), "--out", str(tmp_path), "--pairs", "head:head", "--frames", "4"]
    benchmark("restoration_flicker").main([*arguments, "--restorers", "drifting"])
    assert "drifting" in capsys.readouterr().out
    rows = json.loads((tmp_path / "flicker.json").read_text())
    assert [row["steadiness"] for row in rows] == [None, 0.0, 0.25, 0.5, 0.75, 1.0]
    assert rows[1]["flicker"]["frames"] == 3


def test_paper_networks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="this benchmark needs the extra: pip install 'retalkit[paper]'")
    # The benchmark sets the number of threads of the process.
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    benchmark("paper_networks").main(["--only", "face3d", "--rounds", "1", "--inference", "torch"])
    assert "face3d" in capsys.readouterr().out


@pytest.mark.parametrize("backends", [["--no-compile"], pytest.param([], marks=pytest.mark.slow, id="compile")])
def test_network_backends(
    backends: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="this benchmark needs the extra: pip install 'retalkit[paper]'")
    pytest.importorskip("openvino", reason="this benchmark needs the extra: pip install 'retalkit[openvino]'")
    if not backends and shutil.which("c++") is None:
        pytest.skip("torch.compile needs a C++ compiler: apt-get install g++")
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    benchmark("network_backends").main(["--only", "wav2lip", "--rounds", "1", *backends])
    differences = capsys.readouterr().out.splitlines()[-2].split()[3::3]
    assert len(differences) == (2 if backends else 3)
    assert max(map(float, differences)) < 1e-3


def test_first_video(capfd: pytest.CaptureFixture[str]) -> None:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("the benchmark clones the checkout, which is not a git repository")
    benchmark("first_video").main(["--target", "help"])
    row = capfd.readouterr().out.splitlines()[-1].split("|")
    assert float(row[2]) >= float(row[3]) > 0
    assert row[5].strip() == "0", "make help creates no environment"


def test_persons(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    side_by_side(media / "head.mp4", tmp_path / "panel.mp4")
    benchmark("persons").main([str(tmp_path / "panel.mp4"), str(media / "head.wav"), "--rounds", "1"])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1].strip() for row in rows] == ["detection and persons", "tracks and coefficients", "total"]
    assert all(float(row[3]) > 0 for row in rows)
