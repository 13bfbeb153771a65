// The page: inputs, jobs and results.
import { RequestError, call, getJson, upload } from "./api.js";
import { $, $$, announce, copy, duration, el, hasText, keepFocus, number, setTexts, t, toast } from "./dom.js";
import { Motion } from "./motion.js";
import { Options } from "./options.js";
import { Players } from "./players.js";
import { Timeline } from "./timeline.js";

const STORE = "retalkit-page";
const UNFINISHED = ["queued", "running"];
const page = await getJson("/api/page");
setTexts(page.texts);

/** What is on the screen, apart from the options. It survives a reload. */
const saved = (() => { try { return JSON.parse(localStorage.getItem(STORE)) ?? {}; } catch { return {}; } })();
const screen = { video: "", people: {}, start: 0, stop: null, transcript: "", language: "en-us", motions: {}, shown: "", ...saved };
let state = { files: [], jobs: [] };
/** Number of changes of the state by answers to requests. An older answer with the whole state is ignored. */
let revision = 0;
let inspection = null;
let known = {};
let recorder = null;
const starting = new Set();

const options = new Options(page, () => optionsChanged());
const players = new Players((time) => { timeline.cursor(time); motion.cursor(time); });
const timeline = new Timeline({ seek: (time) => players.seek(time), cue: rangeChanged });
const motion = new Motion({ apply: applyMotion, time: () => players.time });

const file = (id) => state.files.find((each) => each.id === id);
const job = (id) => state.jobs.find((each) => each.id === id);
const speeches = () => state.files.filter((each) => each.kind === "sound");
const people = () => inspection?.persons ?? [];
const chosen = () => people().filter((each) => screen.people[each.id]?.on);
const newest = (kind) => state.jobs.filter((each) => each.kind === kind).at(-1);
const variants = () => state.jobs.filter((each) => each.kind === "render" && each.status === "done");
const keep = () => { localStorage.setItem(STORE, JSON.stringify({ ...screen, config: options.config() })); runFileSoon(); };

function failed(error) {
  if (error instanceof RequestError && error.code === "no-session") banner(t("session_expired"), true);
  else toast(error.message, true);
}

function banner(text, bad = false) {
  const box = $("#banner");
  box.textContent = text;
  box.hidden = !text;
  box.classList.toggle("bad", bad);
}

// ------------------------------------------------------------------ requests

/** Return the persons to dub, each with its speech. */
function dubbed() {
  const selected = chosen().length ? chosen() : people().slice(0, 1);
  const only = people().length <= 1;
  const default_speech = speeches().at(-1)?.id;
  const list = selected.map((each) => ({ person: only ? "largest" : each.id, speech: file(screen.people[each.id]?.speech)?.id ?? default_speech })).filter((each) => each.speech);
  if (!selected.length && default_speech) list.push({ person: "largest", speech: default_speech });
  return list;
}

/** Return the only speech of the persons to dub. A motion file replaces the prediction for all persons, so that it needs one. */
function onlySpeech() {
  const used = new Set(dubbed().map((each) => each.speech));
  return used.size === 1 ? [...used][0] : "";
}

/** Return the motion file in use, or an empty string. */
function motionInUse() {
  const id = screen.motions[onlySpeech()];
  return file(id) ? id : "";
}

/** Return the request of a job for everything that is on the screen. */
function request(extra = {}) {
  return {
    video: screen.video, people: dubbed(), start: screen.start || null, stop: screen.stop, config: options.config(),
    transcript: screen.transcript, language: screen.language, motion: motionInUse(), ...extra,
  };
}

async function start(kind, extra = {}) {
  const made = await call("start", kind, request(extra), "");
  revision += 1;
  state.jobs = [...state.jobs.filter((each) => each.id !== made.id), made];
  // A quick job may end before the next request for the state, or before this answer.
  known[made.id] = "queued";
  draw();
  poll(true);
  return made;
}

/** Start a job unless the same kind is being started, for example by a double click. */
async function startOnce(kind, extra) {
  if (starting.has(kind)) return;
  starting.add(kind);
  try { await start(kind, extra); } finally { starting.delete(kind); }
}

let inspecting = 0;
function inspectSoon(delay = 350) {
  clearTimeout(inspecting);
  inspecting = setTimeout(() => { if (file(screen.video)) start("inspect").catch(failed); }, delay);
}

let checking = 0;
function runFileSoon() {
  clearTimeout(checking);
  checking = setTimeout(showRunFile, 400);
}

function optionsChanged() { keep(); }

function rangeChanged() {
  screen.start = timeline.start;
  screen.stop = timeline.stop;
  keep();
  drawRange();
  inspectSoon();
}

async function showRunFile() {
  if (!$("#runfile").open || !file(screen.video)) return;
  try {
    const found = await call("run_file", request(), "");
    $("#runfile-text").textContent = found.text;
    $("#runfile-error").textContent = found.error;
  } catch (error) { $("#runfile-error").textContent = error.message; }
}

// ------------------------------------------------------------------ uploads

async function send(kind, given, name = given.name) {
  const zone = kind === "video" ? $("#drop-video") : $("#drop-speech");
  const limit = page.limits.upload_bytes;
  if (given.size > limit) { toast(t("too_large", { name, limit: number(limit / 1e6, 0) }), true); return null; }
  const bar = el("div", { class: "bar", role: "progressbar", "aria-label": t("uploading", { name, percent: "" }) }, el("i"));
  const text = el("p", {}, t("uploading", { name, percent: 0 }));
  const progress = el("div", { class: "upload" }, text, bar);
  zone.classList.add("busy");
  $(".problem", zone)?.remove();
  const place = zone.hidden ? $("#progress") : zone;
  place.append(progress);
  try {
    const stored = await upload(kind, given, name, (share) => {
      bar.firstChild.style.width = `${100 * share}%`;
      text.textContent = share < 1 ? t("uploading", { name, percent: Math.round(100 * share) }) : t("checking", { name });
      bar.classList.toggle("unknown", share >= 1);
    });
    revision += 1;
    state.files.push(stored);
    if (kind === "video") useVideo(stored);
    else useSpeech(stored);
    return stored;
  } catch (error) {
    failed(error);
    announce(t("upload_failed", { name }));
    zone.append(el("p", { class: "error problem" }, error.message));
    return null;
  } finally {
    progress.remove();
    zone.classList.remove("busy");
  }
}

function useVideo(stored) {
  Object.assign(screen, { video: stored.id, people: {}, start: 0, stop: null, shown: "" });
  inspection = null;
  timeline.start = 0;
  timeline.stop = null;
  keep();
  players.showResult("");
  draw();
  inspectSoon(0);
}

function useSpeech(stored) {
  for (const each of chosen()) if (!file(screen.people[each.id].speech) || chosen().length === 1) screen.people[each.id].speech = stored.id;
  keep();
  draw();
  inspectSoon(0);
}

function dropped(files, kind) {
  for (const given of files) {
    const sound = given.type.startsWith("audio/");
    send(sound ? "sound" : kind === "any" ? (screen.video ? "sound" : "video") : kind, given);
  }
}

async function record(button) {
  if (recorder) { recorder.stop(); return; }
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({ audio: true }); } catch (error) { toast(t("no_microphone", { reason: error.message }), true); return; }
  const parts = [];
  recorder = new MediaRecorder(stream);
  const begin = performance.now();
  const clock = setInterval(() => { for (const each of $$(".record")) each.textContent = `${t("stop_recording")} (${Math.round((performance.now() - begin) / 1000)} s)`; }, 250);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    clearInterval(clock);
    for (const track of stream.getTracks()) track.stop();
    const type = recorder.mimeType.split(";")[0];
    recorder = null;
    for (const each of $$(".record")) { each.textContent = t("record"); each.classList.remove("recording"); }
    const suffix = type.includes("mp4") ? "m4a" : type.includes("ogg") ? "ogg" : "webm";
    send("sound", new Blob(parts, { type }), `${t("recording_name")}-${speeches().length + 1}.${suffix}`);
  };
  recorder.start();
  for (const each of $$(".record")) each.classList.add("recording");
  button.focus();
}

// ------------------------------------------------------------------ jobs

let polling = 0;
function poll(soon = false) {
  clearTimeout(polling);
  const busy = soon || state.jobs.some((each) => UNFINISHED.includes(each.status));
  polling = setTimeout(refresh, busy ? 300 : 20000);
}

async function refresh() {
  try {
    const results = new Map(state.jobs.filter((each) => each.status === "done" && each.result).map((each) => [each.id, each.result]));
    // Results can be large, so that each one is sent once.
    const before = revision;
    const found = await getJson(`/api/state?known=${[...results.keys()].join()}`);
    if (before !== revision) { poll(true); return; }
    state = found;
    for (const each of state.jobs) each.result ??= results.get(each.id) ?? {};
    if (!$("#banner").classList.contains("bad") || $("#banner").textContent === t("connection_lost")) banner("");
  } catch (error) {
    if (error.code === "no-session" || error.code === "401") banner(t("session_expired"), true);
    else banner(t("connection_lost"), true);
    clearTimeout(polling);
    polling = setTimeout(refresh, 2000);
    return;
  }
  for (const each of state.jobs) {
    const before = known[each.id];
    if (before !== each.status) {
      known[each.id] = each.status;
      if (before !== undefined || each === newest(each.kind)) ended(each, before !== undefined);
    }
  }
  draw();
  poll();
}

/** Use the result of a job that has just ended. `fresh`: it ended while the page was open. */
function ended(each, fresh) {
  if (each.status === "failed" && each === newest(each.kind)) {
    if (fresh) announce(`${t("failed")}: ${each.error.message}`);
    return;
  }
  if (each.status !== "done") return;
  if (each.kind === "inspect" && each.request.video === screen.video) inspected(each);
  if (each.kind === "preview" && fresh) showJob(each, true);
  if (each.kind === "render" && fresh) { showJob(each, true); announce(t("done")); }
  if (each.kind === "motion" && fresh && each.request.people[0].speech === onlySpeech()) showMotion(each);
  if (each.kind === "compare" && fresh) toast(t("blind_ready"));
}

function inspected(each) {
  const first = !inspection;
  inspection = each.result;
  const all = people();
  for (const person of all) screen.people[person.id] ??= { on: all.length === 1 || person.name !== "", speech: speeches().at(-1)?.id ?? "" };
  if (all.length && !chosen().length) screen.people[all[0].id].on = true;
  if (first) { timeline.start = screen.start; timeline.stop = screen.stop; }
  const longest = Math.max(0, ...dubbed().map((each) => file(each.speech)?.seconds ?? 0));
  timeline.show(inspection, `/media/jobs/${each.id}`, inspection.video.is_photo ? longest : inspection.length?.output ?? 0);
  players.mouth = mouthAt;
  drawPeople();
  drawRange();
  motion.refresh(motionLevels(), screen.start);
  showOriginal();
  keep();
  // The first inspection does not know the persons. The output of one of several persons is as long as the video.
  if (all.length > 1 && each.request.people.some((one) => one.person === "largest")) inspectSoon(0);
}

/** Return the centre and the size of the mouth relative to the frame. */
function mouthAt(time) {
  const person = chosen()[0] ?? people()[0];
  const track = inspection?.mouths?.[person?.id];
  if (!track?.length) return null;
  const length = inspection.video.is_photo ? 1e9 : inspection.video.duration;
  const inside = time > length && length ? (Math.floor(time / length) % 2 ? length - (time % length) : time % length) : time;
  let low = 0;
  let high = track.length - 1;
  while (low < high) { const middle = (low + high + 1) >> 1; if (track[middle][0] <= inside) low = middle; else high = middle - 1; }
  const [, x, y, size] = track[low];
  return { x, y, size };
}

function showOriginal() {
  const video = file(screen.video);
  if (!video) return;
  const converted = !video.playable;
  if (converted && !inspection?.playable) return;
  const facts = video.kind === "photo" ? t("photo_facts", video) : t("video_facts", { ...video, seconds: number(video.seconds, 1), rate: number(video.rate, 2) });
  if ($("#left .caption").textContent === t("original") && players.shownOriginal === video.id) { $("#left .facts").textContent = facts; return; }
  players.shownOriginal = video.id;
  players.showOriginal(`/media/files/${video.id}/${converted ? "playable" : encodeURIComponent(video.name)}`, { photo: video.kind === "photo", rate: video.rate, facts });
}

const label = (each) => each.request.name || t("variant", { number: variants().indexOf(each) + 1 });

function showJob(each, play = false) {
  screen.shown = each.id;
  keep();
  const offset = each.result.part?.from ?? 0;
  const caption = each.kind === "preview" ? t("preview_ready", { start: number(offset, 2), end: number(each.result.part.to, 2) }) : label(each);
  players.shownOriginal = "";
  showOriginal();
  players.autoplay = play;
  players.showResult(`/media/jobs/${each.id}/${each.result.playable}`, { offset, caption, facts: t("done_in", { seconds: number(each.result.wall_seconds, 1) }) });
  draw();
}

function sideBySide(first, second) {
  players.shownOriginal = "";
  players.showOriginal(`/media/jobs/${first.id}/${first.result.playable}`, { rate: file(screen.video)?.rate, caption: label(first) });
  players.shownOriginal = "compared";
  players.showResult(`/media/jobs/${second.id}/${second.result.playable}`, { caption: label(second) });
  $("#viewer").scrollIntoView();
}

// ------------------------------------------------------------------ motion

/** Return the waveform of the speech whose motion is shown, in time of the output. */
function motionLevels() {
  const found = inspection?.speeches?.[0];
  return found ? { levels: found.levels, step: found.step } : null;
}

async function showMotion(each) {
  let edited = null;
  const id = motionInUse();
  if (id) try { edited = await readMotion(id, each.result.count); } catch (error) { failed(error); }
  $("#motion").hidden = false;
  motion.speech = each.request.people[0].speech;
  motion.show(each.id, each.result, motionLevels(), screen.start, edited);
  drawMotion();
}

/** Return the curves of a motion file of this session, or null if its rows are not those of the prediction. */
async function readMotion(id, count) {
  const response = await fetch(`/media/files/${id}/${file(id).name}`);
  if (!response.ok) throw new Error(String(response.status));
  const [names, ...rows] = (await response.text()).trim().split("\n").map((line) => line.split(","));
  const column = (name) => rows.map((row) => Number(row[names.indexOf(name)]));
  return rows.length === count ? { opening: column("opening"), closure: column("closure") } : null;
}

async function applyMotion(id, curves) {
  try {
    const round = (values) => values.map((each) => Math.round(each * 1e4) / 1e4);
    const stored = await call("save_motion", id, { opening: round(curves.opening), closure: round(curves.closure) }, "");
    revision += 1;
    state.files.push(stored);
    screen.motions[motion.speech] = stored.id;
    motion.applied();
    motionChanged();
    await start("preview", { at: players.time });
  } catch (error) { failed(error); }
}

function motionChanged() {
  keep();
  drawMotion();
}

function drawMotion() {
  const speech = onlySpeech();
  const used = Boolean(motionInUse());
  if (!$("#motion").hidden && motion.speech !== speech) $("#motion").hidden = true;
  const note = !speech ? t("motion_one_speech") : used ? t("motion_used") : "";
  $("#motion-note").textContent = note;
  $("#motion-note").hidden = !note;
  $("#motion-discard").hidden = !used;
  $("#motion-show").hidden = !speech || !$("#motion").hidden;
}

// ------------------------------------------------------------------ drawing

function draw() {
  const video = file(screen.video);
  const speech = speeches().length > 0;
  document.body.classList.toggle("has-video", Boolean(video));
  document.body.classList.toggle("waiting-speech", Boolean(video) && !speech);
  $("#drop-video").hidden = Boolean(video);
  $("#drop-speech").hidden = speech;
  $("#no-result").hidden = !inspection || !speech || !players.single;
  $("#start-over").hidden = !state.files.length;
  $("#panel").hidden = !video;
  $("#timeline-card").hidden = !inspection;
  $("#motion-card").hidden = !inspection || !speech;
  $("#variants-card").hidden = !video || !speech;
  if (video && video.playable) showOriginal();
  drawSpeeches();
  if (!inspection) drawPeople();
  drawProgress();
  drawVariants();
  drawMotion();
}

/** Say what the range does to the output. */
function drawRange() {
  const whole = !screen.start && screen.stop === null;
  const end = screen.stop ?? timeline.video;
  $("#range-note").textContent = whole ? t("timeline_hint") : t("range_note", { start: number(screen.start, 2), end: number(end, 2) });
  $("#range-reset").hidden = whole;
}

function drawPeople() {
  const box = $("#people");
  const running = newest("inspect");
  if (!inspection) {
    const error = running?.status === "failed" ? running.error.message : "";
    box.replaceChildren(el("p", { class: error ? "error" : "hint", role: error ? "alert" : null }, error || t("looking")));
    return;
  }
  if (!people().length) { box.replaceChildren(el("p", { class: "error", role: "alert" }, t("no_people"))); return; }
  const source = newest("inspect");
  const images = state.jobs.filter((each) => each.kind === "inspect" && each.status === "done").at(-1)?.id ?? source.id;
  keepFocus(box, () => box.replaceChildren(...people().map((each, index) => {
    const setting = (screen.people[each.id] ??= { on: false, speech: "" });
    const toggle = () => {
      setting.on = !setting.on;
      setting.speech ||= speeches().at(-1)?.id ?? "";
      keep();
      drawPeople();
      drawMotion();
      inspectSoon();
    };
    const face = el("button", { class: "face", type: "button", "data-id": each.id, "aria-pressed": String(setting.on), "aria-label": t("person_label", { number: index + 1, seconds: number(each.visible, 1) }), onclick: toggle },
      each.picture ? el("img", { src: `/media/jobs/${images}/${each.picture.file}`, alt: "" }) : "", el("span", { class: "tick", "aria-hidden": "true" }, "✓"));
    const select = el("select", { "aria-label": t("speech_of", { number: index + 1 }), onchange: () => { setting.speech = select.value; setting.on = true; keep(); drawPeople(); drawMotion(); inspectSoon(); } },
      speeches().map((one) => el("option", { value: one.id, selected: one.id === setting.speech }, one.name)));
    return el("div", { class: `person${setting.on ? " on" : ""}` }, face, el("div", { class: "what" }, el("span", {}, el("b", {}, t("person_name", { number: index + 1 })), " ", el("span", { class: "small" }, t("visible", { seconds: number(each.visible, 1) }))), speeches().length && setting.on ? select : null));
  })));
}

function drawSpeeches() {
  const list = speeches();
  const key = list.map((each) => each.id).join();
  if ($("#speeches").dataset.key === key) return;
  $("#speeches").dataset.key = key;
  $("#speeches").replaceChildren(...(list.length ? list.map((each) => el("li", {}, el("span", { class: "name", title: each.name }, each.name), el("span", { class: "small" }, `${number(each.seconds, 1)} s`),
    el("button", { class: "quiet", type: "button", "aria-label": t("remove", { name: each.name }), title: t("remove", { name: each.name }), onclick: () => removeFile(each.id) }, "×"))) : [el("li", {}, el("span", { class: "name" }, t("no_speech_yet")))]));
  if (inspection) drawPeople();
}

async function removeFile(id) {
  try {
    await call("delete", id, "");
    revision += 1;
    state.files = state.files.filter((each) => each.id !== id);
    draw();
    inspectSoon();
  } catch (error) { failed(error); }
}

function stepText(each) {
  const key = `step_${each.step.replace(/ /g, "_")}`;
  return !each.step ? t("working") : hasText(key) ? t(key) : t("step_other", { step: each.step });
}

function progressOf(each) {
  if (each.status === "queued") return { text: each.position ? t("waiting_behind", { count: each.position }) : t("waiting"), more: "", share: null };
  const more = [];
  if (each.rate) more.push(t("rate", { rate: number(each.rate, each.rate < 10 ? 1 : 0), unit: t(each.step === "speech" ? "unit_speech" : "unit_frames") }));
  if (each.left !== null) more.push(t("left", { time: duration(each.left) }));
  const share = each.fraction > 0 ? each.fraction : each.total ? each.done / each.total : null;
  return { text: stepText(each), more: more.join(", "), share };
}

function bar(share) {
  const attributes = share === null ? {} : { "aria-valuenow": Math.round(100 * share) };
  return el("div", { class: `bar${share === null ? " unknown" : ""}`, role: "progressbar", "aria-label": t("working"), "aria-valuemin": "0", "aria-valuemax": "100", ...attributes }, el("i", { style: share === null ? {} : { width: `${100 * share}%` } }));
}

function drawProgress() {
  const shown = ["render", "preview", "inspect", "motion", "compare"].map(newest).filter((each) => each && (UNFINISHED.includes(each.status) || (["render", "compare", "preview"].includes(each.kind) && ["failed", "cancelled"].includes(each.status) && !each.dismissed)));
  const rows = shown.filter((each) => each.kind !== "preview" || each.status !== "cancelled").map((each) => {
    if (UNFINISHED.includes(each.status)) {
      const { text, more, share } = progressOf(each);
      const cancel = ["inspect", "motion"].includes(each.kind) ? null : el("button", { type: "button", onclick: () => act("cancel", each.id) }, t("cancel"));
      return el("div", { class: "job", "data-kind": each.kind }, el("div", { class: "line" }, el("span", {}, text), el("span", {}, more)), bar(share), cancel);
    }
    const error = each.status === "failed";
    const resume = each.kind === "preview" || (error && each.error.code !== "internal-error" && each.error.code !== "worker-ended") ? null : el("button", { type: "button", class: "primary", onclick: () => act("resume", each.id) }, t("resume"));
    return el("div", { class: "job", "data-kind": each.kind }, el("p", { class: error ? "error" : "hint", role: error ? "alert" : null }, error ? each.error.message : t("cancelled")), el("div", { class: "row" }, resume, el("button", { type: "button", class: "quiet", onclick: () => act("delete", each.id) }, t("delete"))));
  });
  const uploads = $$("#progress .upload");
  const focused = document.activeElement?.closest?.("#progress .job")?.dataset.kind;
  $("#progress").replaceChildren(...uploads, ...rows);
  if (focused) $(`#progress [data-kind="${focused}"] button`)?.focus();
  const ready = Boolean(inspection) && dubbed().length > 0;
  const busy = (kind) => UNFINISHED.includes(newest(kind)?.status);
  $("#preview-button").disabled = !ready;
  $("#render-button").disabled = !ready || busy("render");
  const current = newest("render");
  const status = $("#status");
  const active = UNFINISHED.includes(current?.status) ? current : UNFINISHED.includes(newest("preview")?.status) ? newest("preview") : null;
  status.hidden = !active;
  if (active) $("#no-result").hidden = true;
  status.classList.toggle("middle", players.single);
  if (active) { const { text, more, share } = progressOf(active); status.replaceChildren(el("b", {}, text), bar(share), el("span", {}, more)); }
}

async function act(name, id) {
  try {
    const found = await call(name, id, "");
    revision += 1;
    if (name === "delete") state.jobs = state.jobs.filter((each) => each.id !== id);
    else Object.assign(job(id), found);
    draw();
    poll();
  } catch (error) { failed(error); }
}

/** Return whether a variant was rendered with cues, which a comparison does not support. */
function hasCues({ request: { people, start, stop } }) {
  return Boolean(start) || (stop ?? null) !== null || people.length > 1 || people.some((each) => each.person !== "largest");
}

/** Return the settings of a variant that differ from the preset, in words. */
function settings({ request: given }) {
  const parts = [];
  const add = (value, name) => {
    if (value && typeof value === "object" && !Array.isArray(value)) {
      for (const [key, each] of Object.entries(value)) if (key !== "use" || Object.keys(value).length === 1) add(each, `${name} ${key.replace(/_/g, " ")}`.trim());
    } else parts.push(`${name}: ${Array.isArray(value) ? value.map((each) => each?.use ?? each).join(", ") || t("none") : value ?? t("none")}`);
  };
  add(given.config, "");
  if (speeches().length > 1) parts.push(given.people.map((each) => file(each.speech)?.name ?? "").join(", "));
  if (given.start || (given.stop ?? null) !== null) parts.push(t("settings_range", { start: number(given.start ?? 0, 2), end: number(given.stop ?? timeline.video, 2) }));
  if (given.motion) parts.push(t("settings_motion"));
  else if (given.transcript?.trim()) parts.push(t("settings_transcript"));
  return parts.join("; ") || t("settings_none");
}

const picked = new Set();
function drawVariants() {
  const list = variants();
  const key = JSON.stringify([list.map((each) => each.id), screen.shown, [...picked], newest("compare")?.status]);
  if ($("#variants").dataset.key === key) return;
  $("#variants").dataset.key = key;
  $("#variants-empty").hidden = list.length > 0;
  keepFocus($("#variants"), () => $("#variants").replaceChildren(...list.toReversed().map((each) => {
    const { result } = each;
    const name = label(each);
    const link = (path, text, as) => el("a", { href: `/media/jobs/${each.id}/${path}?download=${encodeURIComponent(as)}`, download: as, "aria-label": `${t("download")} ${text}: ${name}` }, text);
    const box = el("input", { type: "checkbox", checked: picked.has(each.id), "aria-label": t("select_compare", { name }), onchange: () => { if (box.checked) picked.add(each.id); else picked.delete(each.id); drawVariants(); } });
    const passed = Object.values(result.passed).reduce((sum, count) => sum + count, 0);
    return el("li", { class: `card variant${screen.shown === each.id ? " current" : ""}` },
      el("div", { class: "title" }, el("h3", {}, name), el("button", { type: "button", "aria-pressed": String(screen.shown === each.id), onclick: () => showJob(each) }, t(screen.shown === each.id ? "shown" : "show"))),
      el("span", { class: "hint" }, `${number(result.seconds, 1)} s, ${number(result.bytes / 1e6, 1)} MB. ${t("frames_edited", { edited: result.edited, passed })}.`),
      el("span", { class: "settings" }, settings(each)),
      result.notes.length ? el("details", {}, el("summary", {}, t("notes")), el("ul", {}, result.notes.map((text) => el("li", {}, text)))) : null,
      el("div", { class: "links" }, link(result.output, t("download_video"), `${name}.${result.output.split(".").at(-1)}`), link("record.json", t("download_record"), `${name}.json`), link("credentials.json", t("download_credentials"), `${name}-credentials.json`), link("run-file.yaml", t("download_run_file"), "run.yaml")),
      el("div", { class: "title" }, el("label", {}, box, t("select_compare", { name: "" })), el("button", { type: "button", class: "quiet", "aria-label": t("delete_name", { name }), onclick: () => act("delete", each.id) }, t("delete"))));
  })));
  const two = list.filter((each) => picked.has(each.id));
  const compared = newest("compare");
  const row = [el("button", { type: "button", disabled: two.length !== 2, onclick: () => sideBySide(two[0], two[1]) }, t("side_by_side")),
    el("button", { type: "button", disabled: two.length !== 2 || two.some(hasCues) || UNFINISHED.includes(compared?.status), "aria-describedby": "compare-note", onclick: () => start("compare", { others: two.map((each) => each.id) }).catch(failed) }, t("blind"))];
  if (compared?.status === "done") row.push(el("a", { href: `/media/jobs/${compared.id}/${compared.result.page}`, target: "_blank", rel: "noopener" }, t("blind_open")));
  if (list.length) row.push(el("button", { type: "button", onclick: () => { $("#options-card").scrollIntoView({ block: "start" }); $("#presets input:checked")?.focus(); } }, t("try_another")));
  keepFocus($("#compare-row"), () => $("#compare-row").replaceChildren(...(list.length ? row : [])));
  const note = two.some(hasCues) ? t("blind_cues") : list.length > 1 && two.length !== 2 ? t("blind_hint") : "";
  $("#compare-note").textContent = note;
  $("#compare-note").hidden = !note;
}

// ------------------------------------------------------------------ controls

function connect() {
  for (const [zone, kind, input] of [["#drop-video", "video", "#file-video"], ["#drop-speech", "sound", "#file-speech"]]) {
    $(`${zone} .choose`).onclick = () => $(input).click();
    $(input).onchange = () => { dropped($(input).files, kind); $(input).value = ""; };
    $(zone).addEventListener("dragover", (event) => { event.preventDefault(); $(zone).classList.add("over"); });
    $(zone).addEventListener("dragleave", () => $(zone).classList.remove("over"));
    $(zone).addEventListener("drop", (event) => { event.preventDefault(); event.stopPropagation(); $(zone).classList.remove("over"); dropped(event.dataTransfer.files, kind); });
  }
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer?.files.length) dropped(event.dataTransfer.files, "any"); });
  for (const each of $$(".record")) { each.hidden = !navigator.mediaDevices || !window.MediaRecorder; each.onclick = () => record(each); }
  $("#more-speech").onclick = () => $("#file-speech").click();
  $("#replace-video").onclick = () => $("#file-video").click();
  $("#preview-button").onclick = () => start("preview", { at: players.time }).catch(failed);
  $("#render-button").onclick = () => startOnce("render", { name: t("variant", { number: state.jobs.filter((each) => each.kind === "render").length + 1 }) }).catch(failed);
  $("#motion-show").onclick = () => {
    const done = newest("motion");
    const now = request();
    const asked = ({ config, transcript, language }) => JSON.stringify([config, transcript, language]);
    if (done?.status === "done" && done.request.people[0]?.speech === onlySpeech() && asked(done.request) === asked(now)) showMotion(done);
    else start("motion", { motion: "" }).catch(failed);
  };
  $("#motion-discard").onclick = () => { delete screen.motions[onlySpeech()]; $("#motion").hidden = true; motionChanged(); };
  $("#range-reset").onclick = () => { timeline.whole(); $("#timeline .handle")?.focus(); };
  $("#transcript").value = screen.transcript;
  $("#language").value = screen.language;
  $("#transcript").onchange = () => { screen.transcript = $("#transcript").value; optionsChanged(); };
  $("#language").onchange = () => { screen.language = $("#language").value || "en-us"; optionsChanged(); };
  $("#reset-options").onclick = () => { options.usePreset(options.preset.name); options.render(); optionsChanged(); };
  $("#runfile").ontoggle = showRunFile;
  $("#runfile-copy").onclick = () => copy($("#runfile-text").textContent, $("#runfile-copy"));
  $("#runfile-download").onclick = () => {
    const url = URL.createObjectURL(new Blob([$("#runfile-text").textContent], { type: "text/yaml" }));
    el("a", { href: url, download: "run.yaml" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  $("#runfile-load").onclick = () => $("#file-run").click();
  $("#file-run").onchange = async () => {
    const given = $("#file-run").files[0];
    $("#file-run").value = "";
    if (!given) return;
    try {
      showOptions(await call("load_run_file", await given.text()));
      toast(t("run_file_loaded"));
      optionsChanged();
    } catch (error) { failed(error); }
  };
  $("#start-over").onclick = async () => {
    if (!confirm(t("start_over_confirm"))) return;
    try {
      for (const each of state.jobs) {
        if (UNFINISHED.includes(each.status)) await call("cancel", each.id, "");
      }
      await call("clear", "");
    } catch (error) { failed(error); }
    localStorage.removeItem(STORE);
    location.reload();
  };
  $("#theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark", true);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=range]), textarea, select, [role=slider], [contenteditable]")) return;
    const keys = { " ": () => players.toggle(), ArrowLeft: () => players.step(-1), ArrowRight: () => players.step(1), z: () => players.zoom(!players.zoomed), p: () => $("#preview-button").click() };
    if (!(event.key in keys) || $("#transport").hidden) return;
    if (event.key === " " && event.target.closest("button, a, summary, input")) return;
    if (event.key.startsWith("Arrow") && event.target.closest("input")) return;
    event.preventDefault();
    keys[event.key]();
  });
  addEventListener("resize", () => { timeline.cursor(players.time); if (!$("#motion").hidden) motion.draw(); });
  new ResizeObserver(() => timeline.cursor(players.time)).observe($("#timeline"));
}

/** Show the values of a run file. If they cannot be shown, the options stay as they were. */
function showOptions(config) {
  const before = [options.preset, options.values];
  try {
    options.load(config);
    options.config();
    options.render();
  } catch (error) {
    [options.preset, options.values] = before;
    options.render();
    throw error;
  }
}

function theme(name, store = false) {
  document.documentElement.dataset.theme = name;
  if (store) localStorage.setItem("retalkit-theme", name);
}

const dark = matchMedia("(prefers-color-scheme: dark)");
theme(localStorage.getItem("retalkit-theme") ?? (dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => { if (!localStorage.getItem("retalkit-theme")) theme(dark.matches ? "dark" : "light"); });
$("#privacy").textContent = t("privacy", { hours: number(page.limits.keep_hours) });
try { showOptions(saved.config ?? {}); } catch { /* another version of the options */ }
connect();
await refresh();
if (!file(screen.video)) Object.assign(screen, { video: state.files.find((each) => ["video", "photo"].includes(each.kind))?.id ?? "", people: {} });
const done = state.jobs.filter((each) => each.kind === "inspect" && each.status === "done" && each.request.video === screen.video).at(-1);
if (done && !inspection) inspected(done);
else if (screen.video && !done && !UNFINISHED.includes(newest("inspect")?.status)) inspectSoon(0);
draw();
const shown = job(screen.shown);
if (shown?.status === "done") showJob(shown);
document.body.dataset.ready = "true";
