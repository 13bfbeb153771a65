"""Job lists: expansion of globs, languages and placeholders, and rejection of faulty lists before work starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from retalkit.batch.gate_limits import GateLimits
from retalkit.batch.jobs import Common, Job, build_jobs
from retalkit.batch.jobs_file import merge_gates, read_jobs
from retalkit.batch.placeholders import fixed_folder
from retalkit.cues.faults import Faults
from retalkit.errors import RetalkitError
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry

from tests.cli.commands import call


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@pytest.fixture(scope="module")
def media(moving_head: Path, short_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    (folder / "clips").mkdir()
    for name in ("anna", "ben"):
        shutil.copy(moving_head, folder / "clips" / f"{name}.mp4")
        for language in ("de", "fr"):
            shutil.copy(short_speech, folder / f"{name}_{language}.wav")
    (folder / "cues.yaml").write_text("cues: [{from: 0.2, to: 1, speech: anna_de.wav}]")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("text")
    return folder


def jobs_of(text: str, folder: Path, registry: Registry, name: str = "jobs.yaml") -> list[Job]:
    (folder / name).write_text(text, encoding="utf-8")
    faults = Faults()
    read = read_jobs(folder / name, faults)
    jobs = build_jobs(read.rows, Common(folder=folder), registry, faults)
    faults.check()
    return jobs


def test_globs_languages_and_placeholders(media: Path, registry: Registry) -> None:
    text = """
defaults: {output: "out/{language}/{video.stem}_{speech.stem}.mp4", preset: embedded, set: {output.crf: 20}}
jobs:
  - {video: clips/*.mp4, language: [de, fr], speech: "{video.stem}_{language}.wav"}
  - video: clips/anna.mp4
    cues: {de: cues.yaml}
    output: "{video.folder}-{cues.stem}{{1}}.mp4"
    set: {output.crf: 30, lip_syncer: {use: exemplar}}
"""
    jobs = jobs_of(text, media, registry)
    outputs = [job.output.relative_to(media).as_posix() for job in jobs]
    assert outputs == [
        "out/de/anna_anna_de.mp4",
        "out/fr/anna_anna_fr.mp4",
        "out/de/ben_ben_de.mp4",
        "out/fr/ben_ben_fr.mp4",
        "clips-cues{1}.mp4",
    ]
    assert [job.config.output.crf for job in jobs] == [20, 20, 20, 20, 30]
    assert jobs[4].settings == "preset=embedded, output.crf=30, lip_syncer.use=exemplar"
    assert jobs[0].config is jobs[1].config, "equal settings are loaded once"
    assert (jobs[4].cues, jobs[4].speech, jobs[4].language) == (media / "cues.yaml", None, "de")
    assert fixed_folder("out/{language}/a.mp4") == Path("out")


def test_csv_has_the_same_meaning(media: Path, registry: Registry) -> None:
    text = "video;speech;language;output;set.output.crf\nclips/anna.mp4;anna_de.wav;de;{video.stem}.mp4;25\n\n"
    (job,) = jobs_of(text, media, registry, "jobs.csv")
    assert job.output == media / "anna.mp4" and job.config.output.crf == 25 and job.language == "de"
    assert job.origin.endswith("jobs.csv:2")


JOB = "{video: clips/anna.mp4, speech: anna_de.wav, output: out/a.mp4"
FAULTY = {
    "jobs: []": ("empty-list", "jobs.yaml:1"),
    "job: []\njobs: [" + JOB + "}]": ("unknown-option", "'job'"),
    "jobs:\n  - " + JOB + "}\n  - {vidoe: a.mp4}": ("unknown-option", "jobs.yaml:3"),
    "jobs: [" + JOB + "}, 3]": ("not-a-mapping", "3"),
    "jobs: [{speech: anna_de.wav, output: a.mp4}]": ("missing-option", "video"),
    "jobs: [{video: clips/anna.mp4, output: a.mp4}]": ("missing-speech", "speech"),
    "jobs: [{video: clips/*.mov, speech: anna_de.wav, output: a.mp4}]": ("no-match", "*.mov"),
    "jobs: [{video: clips/carl.mp4, speech: anna_de.wav, output: a.mp4}]": ("file-not-found", "carl.mp4"),
    "jobs: [{video: broken.mp4, speech: anna_de.wav, output: a.mp4}]": ("", "broken.mp4"),
    "jobs: [{video: clips/anna.mp4, speech: notes.txt, output: a.mp4}]": ("", "notes.txt"),
    "jobs: [{video: clips/anna.mp4, speech: clips/anna.mp4, output: a.mp4}]": ("", "audio"),
    "jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: '{langage}.mp4'}]": ("unknown-placeholder", "langage"),
    "jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: '{language}.mp4'}]": ("missing-value", "language"),
    "jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: 'a}.mp4'}]": ("invalid-placeholder", "}"),
    "jobs: [{video: clips/*.mp4, speech: anna_de.wav, output: out/a.mp4}]": ("duplicate-output", "anna.mp4"),
    "jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: clips/ben.mp4}]": ("output-exists", "--force"),
    "jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: clips/anna.mp4}]": ("output-is-input", "anna.mp4"),
    "jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: notes.txt/a.mp4}]": ("unwritable-output", "notes.txt"),
    "jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: a.gif}]": ("", ".gif"),
    "jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: 'https://a.org/{language}.mp4', language: de}]": (
        "unsupported-path",
        "https://a.org/de.mp4: URLs",
    ),
    "jobs: [{video: 'https://a.org/a.mp4', speech: anna_de.wav, output: a.mp4}]": (
        "unsupported-path",
        "video: https://",
    ),
    "jobs: [{video: clips/anna.mp4, speech: '-', output: a.mp4}]": ("unsupported-path", "speech: -"),
    "jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: '-'}]": ("unsupported-path", "output: -"),
    "jobs: [" + JOB + ", preset: embeded}]": ("unknown-preset", "embedded"),
    "jobs: [" + JOB + ", set: {output.crf: 99}}]": ("invalid-option", "output.crf"),
    "jobs: [" + JOB + ", set: {lip_syncer.use: exmplar}}]": ("", "exemplar"),
    "jobs: [" + JOB + ", config: none.yaml}]": ("file-not-found", "none.yaml"),
    "jobs: [" + JOB + ", cues: notes.txt}]": ("wrong-suffix", "notes.txt"),
    "jobs: [" + JOB + ", reference: gone.mp4}]": ("file-not-found", "reference"),
    "gates: {slience: 0.1}\njobs: [" + JOB + "}]": ("unknown-option", "silence"),
    "- {" + JOB[1:] + "}": ("not-a-mapping", "jobs:"),
    "gates: {silence: much}\njobs: [" + JOB + "}]": ("invalid-option", "'much'"),
    "jobs: [" + JOB + "}\n": ("invalid-yaml", "jobs.yaml"),
}


@pytest.mark.parametrize("text", FAULTY)
def test_faulty_list_is_rejected_before_work(
    text: str, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, fact = FAULTY[text]
    (media / "jobs.yaml").write_text(text, encoding="utf-8")
    before = sorted(media.rglob("*"))
    done = call(capsys, "batch", media / "jobs.yaml", "--cache", tmp_path / "cache", "--json")
    assert done.code == 2
    assert fact in done.error
    assert not code or f'"code": "{code}"' in done.out.splitlines()[-1], done.out
    assert sorted(media.rglob("*")) == before and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("jobs.csv", "video,speech,outptu\na,b,c\n", "unknown-option"),
        ("jobs.csv", "video,speech,output\na.mp4,b.wav,c.mp4,d\n", "invalid-file"),
        ("jobs.csv", "video,video\n", "duplicate-key"),
        ("jobs.csv", "video,speech,output\n", "empty-file"),
        ("jobs.json", "{}", "wrong-suffix"),
    ],
)
def test_faulty_files(name: str, text: str, code: str, tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(RetalkitError) as error:
        jobs_of(text, tmp_path, registry, name)
    assert error.value.code == code


def test_all_faults_are_reported_once(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        'video: broken.mp4, speech: {de: anna_de.wav, fr: anna_fr.wav}, output: "{language}.mp4"',
        "video: gone.mp4, speech: anna_de.wav, output: a.mp4",
        *["video: a.mp4"] * 25,
    ]
    (media / "jobs.yaml").write_text("jobs:\n" + "".join(f"  - {{{row}}}\n" for row in rows), encoding="utf-8")
    done = call(capsys, "batch", media / "jobs.yaml", "--cache", tmp_path / "cache")
    lines = done.err.splitlines()
    assert done.code == 2 and len(lines) == 22 and "jobs.yaml:4: " in done.error
    assert "jobs.yaml:24: " in lines[20] and lines[21].split()[0] == "6", lines
    (media / "jobs.yaml").write_text("jobs:\n" + "".join(f"  - {{{row}}}\n" for row in rows[:2]), encoding="utf-8")
    done = call(capsys, "batch", media / "jobs.yaml", "--cache", tmp_path / "cache", "--json")
    first, second = done.err.splitlines()
    assert "broken.mp4" in first and "gone.mp4" in second
    (other,) = json.loads(done.out.splitlines()[-1])["others"]
    assert "gone.mp4" in other


def test_gates_of_the_command_line_override_the_list() -> None:
    limits = merge_gates(GateLimits(silence=0.2, drift=3), ["drift=off", "edited=0.9"])
    assert limits == GateLimits(silence=0.2, drift=None, edited=0.9)
    with pytest.raises(RetalkitError, match="--gate") as error:
        merge_gates(GateLimits(), ["edited=2"])
    assert error.value.code == "invalid-option"


HOSTILE = {
    'jobs: [{video: "a\\0.mp4", speech: anna_de.wav, output: a.mp4}]': "invalid-name",
    'jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: "a\\e[2J.mp4"}]': "invalid-name",
    "jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: '{language}.mp4', language: ../de}]": "invalid-name",
    "jobs: [{video: clips/anna.mp4, speech: {a/b: anna_de.wav}, output: a.mp4}]": "invalid-name",
    "jobs: [{video: clips/anna.mp4, speech: anna_de.wav, output: a.mp4, language: []}]": "empty-list",
    "jobs: [{video: clips/anna.mp4, speech: {de: anna_de.wav}, cues: {de: cues.yaml, fr: cues.yaml}, output: a.mp4}]": (
        "missing-value"
    ),
    "gates: {drift: 1" + "0" * 400 + "}\njobs: [" + JOB + "}]": "invalid-option",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_list_is_rejected(text: str, media: Path, registry: Registry) -> None:
    with pytest.raises(RetalkitError) as error:
        jobs_of(text, media, registry)
    assert error.value.code == HOSTILE[text]


def test_nested_aliases_are_limited(media: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retalkit.config.yaml_io._MAX_VALUES", 1000)
    levels = [f"k{n}: &k{n} [{', '.join([f'*k{n - 1}' if n else 'x'] * 9)}]" for n in range(9)]
    with pytest.raises(RetalkitError, match="nested aliases") as error:
        jobs_of("\n".join(levels), media, registry)
    assert error.value.code == "invalid-yaml"


def test_only_the_template_contains_globs(media: Path, registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "[2026]"
    folder.mkdir()
    for name in ("x[1].mp4", ".x.mp4", "x[1]_de.wav"):
        (folder / name).touch()
    text = "jobs: [{video: '*.mp4', speech: '{video.stem}_*.wav', output: '{speech.stem}.mp4'}]"
    (job,) = jobs_of(text, folder, registry)
    assert (job.video.name, job.output.name) == ("x[1].mp4", "x[1]_de.mp4")


def test_paths_in_settings_are_relative_to_the_list(media: Path, registry: Registry, tmp_path: Path) -> None:
    shutil.copy(media / "anna_de.wav", tmp_path / "x.wav")
    row, signed = f"video: {media}/clips/anna.mp4, speech: x.wav", "certificate: c.pem, key: k.pem"
    text = f"""
defaults: {{set: {{label: {{text: A, font: a.ttf}}}}}}
jobs:
  - {{{row}, output: 1.mp4, set: {{sound: x.wav}}}}
  - {{{row}, output: 2.mp4, set: {{sound: {{files: [{{file: x.wav}}, {{file: /y.wav}}]}}, provenance: {{{signed}}}}}}}
"""
    one, other = jobs_of(text, tmp_path, registry)
    assert one.config.sound.mix == tmp_path / "x.wav" and one.settings.endswith("sound=x.wav")
    assert one.config.label is not None and one.config.label.font == tmp_path / "a.ttf"
    assert [each.file for each in other.config.sound.files] == [tmp_path / "x.wav", Path("/y.wav")]
    assert other.config.provenance.key == tmp_path / "k.pem"
    text = f"video,speech,output,set.sound\n{media}/clips/anna.mp4,x.wav,3.mp4,x.wav\n"
    assert jobs_of(text, tmp_path, registry, "jobs.csv")[0].config.sound.mix == tmp_path / "x.wav"


def test_globs_do_not_match_outputs_of_the_list(registry: Registry, tmp_path: Path) -> None:
    text = """
jobs:
  - {video: "*.mp4", speech: {de: a.wav, fr: a.wav}, output: "{video.stem}_{language}.mp4"}
"""
    (tmp_path / "a.mp4").touch()
    first = [job.output.name for job in jobs_of(text, tmp_path, registry)]
    for name in (*first, "a_de_fr.mp4", "b_it.mp4"):
        (tmp_path / name).touch()
    # a_de_fr.mp4 is no output of a.mp4, and is therefore an input.
    outputs = [job.output.name for job in jobs_of(text, tmp_path, registry)]
    assert outputs[:2] == first == ["a_de.mp4", "a_fr.mp4"]
    assert outputs[2:] == ["a_de_fr_de.mp4", "a_de_fr_fr.mp4", "b_it_de.mp4", "b_it_fr.mp4"]
    # A video that the list names is an input, although it is also an output.
    named = text + "  - {video: a_de.mp4, speech: a.wav, output: c.mp4}\n"
    assert "c.mp4" in [job.output.name for job in jobs_of(named, tmp_path, registry)]
    # A file that would be its own output is not left out.
    itself = jobs_of('jobs: [{video: "a.mp*", speech: a.wav, output: "{video.name}"}]', tmp_path, registry)
    assert [job.video for job in itself] == [job.output for job in itself]
