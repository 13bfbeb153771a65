"""Requests of the page: paths, forbidden keys, run files and the translation into cues."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from retalkit.errors import RetalkitError
from retalkit.media.motion_files import read_motion
from retalkit.plugins.discovery import discover
from retalkit_web.run_request import check_config, check_files, command_text, parse_request, parse_run_file, prepare_run
from retalkit_web.scrub import scrub, valid_json
from retalkit_web.sessions import Session, SessionStore, StoredFile, safe_name
from retalkit_web.settings import Account, ServerSettings, WebError, check_access, parse_account


@pytest.fixture
def session(tmp_path: Path) -> Session:
    _, made = SessionStore(ServerSettings(folder=tmp_path)).create()
    for id, name, kind in (("f1", "talk.mp4", "video"), ("f2", "a b.wav", "sound"), ("f3", "motion.csv", "motion")):
        made.add(StoredFile(id=id, name=name, kind=kind, bytes=4, seconds=5.0))
        made.path(made.file(id)).parent.mkdir(parents=True)
        made.path(made.file(id)).write_text(
            "time,opening,width,protrusion,closure,speech\n0,0,0,0,0,0\n0.5,0,0,0,0,0\n1.5,0,0,0,0,0\n",
            encoding="utf-8",
        )
    return made


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"sound": {"mix": "/etc/passwd"}}, "path-not-allowed"),
        ({"sound": "../../secret.wav"}, "path-not-allowed"),
        ({"sound": {"files": [{"file": "~/x.wav"}]}}, "path-not-allowed"),
        ({"lip_syncer": {"use": "exemplar", "driver": {"use": "file", "path": "C:\\x.csv"}}}, "path-not-allowed"),
        ({"provenance": {"time_stamp_authority": "http://10.0.0.1"}}, "server-option"),
        ({"provenance": {"key": "key.pem"}}, "server-option"),
        ({"cache_limit_gb": 0}, "server-option"),
        ({"sound": json.loads("[" * 50 + "]" * 50)}, "invalid-request"),
    ],
)
def test_paths_and_server_options_are_rejected(config: dict[str, object], code: str) -> None:
    with pytest.raises(WebError) as error:
        check_config(config)
    assert error.value.code == code


def test_a_relative_path_of_the_server_is_rejected(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "motion.csv").write_bytes((session.path(session.file("f3"))).read_bytes())
    request = {"video": "f1", "people": [{"speech": "f2"}]}
    syncer = {"use": "exemplar", "driver": {"use": "file", "path": "motion.csv"}}
    outside = parse_request({**request, "config": {"lip_syncer": syncer}})
    with pytest.raises(WebError) as error:
        prepare_run(outside, session, session.jobs / "j1", discover())
    assert error.value.code == "path-not-allowed"
    inside = parse_request(
        {**request, "config": {"lip_syncer": {**syncer, "driver": {"use": "file", "path": "file:f3"}}}}
    )
    run = prepare_run(inside, session, session.jobs / "j1", discover())
    assert run.config.lip_syncer.options["driver"]["path"] == str(session.path(session.file("f3")))
    assert "path: motion.csv" in run.run_file
    assert str(tmp_path) not in run.run_file


def test_one_person_makes_a_plain_run_and_a_range_makes_cues(session: Session) -> None:
    registry, folder = discover(), session.jobs / "j1"
    request = {"video": "f1", "people": [{"speech": "f2"}]}
    plain = prepare_run(parse_request(request), session, folder, registry)
    assert (plain.speech, plain.sheet) == (session.path(session.file("f2")), None)
    moved = parse_request({**request, "start": 1.5, "stop": 2.5, "motion": "f3"})
    driver = prepare_run(moved, session, folder, registry).config.lip_syncer.options["driver"]
    # Drivers receive the speech of a range in time of the output, up to the end of the range.
    assert list(read_motion(Path(driver["path"])).times) == [1.5, 2.0]
    several = [{"person": "p1", "speech": "f2"}, {"person": "p2", "speech": "f1"}]
    with pytest.raises(WebError) as error:
        prepare_run(parse_request({**request, "people": several, "motion": "f3"}), session, folder, registry)
    assert error.value.code == "invalid-request"
    cued = parse_request({**request, "people": [{"person": "p2", "speech": "f2"}], "start": 1.0, "stop": 2.5})
    sheet = prepare_run(cued, session, folder, registry).sheet
    assert sheet is not None
    assert [(cue.start, cue.stop, str(sheet.persons[cue.person])) for cue in sheet.cues] == [(1.0, 2.5, "p2")]
    assert command_text(cued, session).endswith("--person 'p2=a b.wav' --from 1 --to 2.5")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n", "invalid-yaml"),
        ("preset: [", "invalid-yaml"),
        ("sound: /etc/shadow", "path-not-allowed"),
        ("- 1\n", "not-a-mapping"),
        ("lip_syncer: null", "invalid-option"),
        ("preset: nope", "unknown-preset"),
        ("seed: !!timestamp 2024-01-01", "invalid-option"),
        ("label: \ud800", "invalid-yaml"),
        ("x: " + "y" * 200_000, "file-too-large"),
    ],
)
def test_unusable_run_files_are_rejected(text: str, code: str) -> None:
    with pytest.raises(RetalkitError) as error:
        parse_run_file(text, discover())
    assert error.value.code == code


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        (".hidden", "hidden"),
        ("a\0b<script>.mp4", "ab_script_.mp4"),
        ("Größe 1.wav", "Größe 1.wav"),
        ("...", "video"),
        ("x" * 300 + ".mp4", "x" * 80 + ".mp4"),
        ("\U00020000" * 80 + ".mp4", "\U00020000" * 40 + ".mp4"),
    ],
)
def test_file_names_are_safe(given: str, stored: str) -> None:
    assert safe_name(given, "video") == stored


@pytest.mark.parametrize(
    "request_", [{"video": "f2"}, {"video": "f1", "motion": "f1"}, {"video": "f1", "people": [{"speech": "f3"}]}]
)
def test_files_of_a_different_kind_are_rejected(session: Session, request_: dict[str, object]) -> None:
    with pytest.raises(WebError) as error:
        check_files(parse_request(request_), session)
    assert error.value.code == "invalid-request"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("file:/srv/web/sessions/ab12/files/f1/x.mp4", "x.mp4"),
        ("file:///etc/ssl/key.pem: no", "key.pem: no"),
        ("x.yaml:/etc/ssl/key.pem", "x.yaml:key.pem"),
        ("in /srv/web/sessions/ab12", "in session"),
        ("30 frames/s </td>", "30 frames/s </td>"),
    ],
)
def test_paths_in_other_forms_are_removed(message: str, shown: str) -> None:
    assert scrub(message, Path("/srv/web/sessions/ab12")) == shown


def test_results_are_valid_json() -> None:
    given = {"a": [float("nan"), float("-inf"), 1.5], "b": "\ud800", "c": {Path("x")}, 1: (True, None)}
    made = valid_json(given)
    assert made == {"a": [None, None, 1.5], "b": "?", "c": ["x"], "1": [True, None]}
    json.dumps(made, allow_nan=False).encode()


def test_messages_contain_no_paths_of_the_server() -> None:
    folder = Path("/srv/web/sessions/ab12")
    text = scrub(f"{folder}/files/f1/talk.mp4: no face (/usr/lib/python3/x.py, line 3), see https://a.b/c/d", folder)
    assert text == "talk.mp4: no face (x.py, line 3), see https://a.b/c/d"


def test_sessions_are_known_only_by_their_token_and_expire(tmp_path: Path) -> None:
    store = SessionStore(ServerSettings(folder=tmp_path, keep_hours=1.0, sessions=2))
    token, session = store.create()
    assert store.find(token) is session
    assert token not in str(list(tmp_path.rglob("*")))
    assert store.find(session.key) is None
    assert store.find("../" + token[3:]) is None
    assert store.expired() == []
    assert store.expired(session.used() + 3601) == [session]
    _, unused = store.create()
    with pytest.raises(WebError) as error:
        store.create()
    assert error.value.code == "too-many-sessions"
    # Sessions without files make room, for example those of a program that checks the availability.
    (session.folder / "files" / "f1").mkdir(parents=True)
    for each in (session, unused):
        os.utime(each.folder / "used", (0, 0))
    store.create()
    assert (session.folder.exists(), unused.folder.exists()) == (True, False)
    store.delete(session)
    assert store.find(token) is None
    assert re.fullmatch(r"[0-9a-f]{32}", session.key)


def test_an_open_server_must_be_requested() -> None:
    account = parse_account("anna:correct-horse")
    assert account == Account("anna", "correct-horse")
    for host, given, allow in (
        ("127.0.0.1", None, False),
        ("::1", None, False),
        ("0.0.0.0", account, False),
        ("0.0.0.0", None, True),
    ):
        check_access(host, given, allow)
    for host in ("0.0.0.0", "192.168.1.2", "example.org", "::"):
        with pytest.raises(WebError) as error:
            check_access(host, None, False)
        assert error.value.code == "open-server"
    for text in ("anna", "anna:short", ":long-enough-password"):
        with pytest.raises(WebError) as error:
            parse_account(text)
        assert error.value.code == "invalid-account"
