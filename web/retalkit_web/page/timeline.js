// Timeline: shots, what can be edited, speech activity, the cue and the cursor.
import { $, el, keepFocus, number, svg, t } from "./dom.js";

const percent = (value) => `${(100 * value).toFixed(3)}%`;

export class Timeline {
  constructor({ seek, cue }) {
    this.seekTo = seek;
    this.cueChanged = cue;
    this.length = 1;
    this.start = 0;
    this.stop = null;
  }

  /** Draw an inspection. `images`: URL of the inspection's images. */
  show(found, images, speechLength) {
    const video = found.video.is_photo ? 0 : found.video.duration;
    this.length = Math.max(video, speechLength, found.length?.output ?? 0, 0.1);
    this.video = found.video.is_photo ? this.length : video;
    const lanes = [this.#shots(found, images)];
    const persons = found.shots[0]?.results ?? [];
    persons.forEach((each, index) => {
      const spans = found.shots.flatMap((shot) => shot.results[index]?.spans ?? []);
      const name = persons.length > 1 ? t("lane_person", { number: each.person.replace("p", "") }) : t("lane_edit");
      lanes.push(this.#lane(name, this.#spans(spans)));
    });
    const several = found.speeches.length > 1;
    for (const speech of found.speeches) lanes.push(this.#lane(several ? t("lane_speech_of", { number: speech.name.replace("p", "") }) : t("lane_speech"), this.#speech(speech)));
    this.cueTrack = el("div", { class: "track cue" });
    lanes.push(this.#lane(t("lane_cue"), this.cueTrack), this.#ticks());
    this.head = this.#playhead();
    this.#cue();
    keepFocus($("#timeline"), () => $("#timeline").replaceChildren(this.head, ...lanes, this.#legend(found), ...this.#reasons(found)));
    this.cursor(this.time ?? 0);
    const editable = found.shots.flatMap((shot) => shot.spans).filter((span) => ["edited", "faded"].includes(span.outcome)).reduce((sum, span) => sum + span.end - span.start, 0);
    const total = found.video.is_photo ? found.video.duration : Math.max(found.video.inspected, 0.01);
    const share = Math.round((100 * editable) / Math.max(total, 0.01));
    const time = found.estimate.measured_frames ? ` ${t("estimate", { seconds: Math.max(Math.round(found.estimate.seconds), 1) })}` : "";
    $("#summary").textContent = `${t("editable", { percent: Math.min(share, 100) })}${found.speeches.length ? time : ""}`;
  }

  #lane(name, track, kind = "") {
    track.addEventListener("pointerdown", (event) => {
      if (event.target.closest("button")) return;
      const move = (each) => this.seekTo(this.#time(each, track));
      move(event);
      track.setPointerCapture(event.pointerId);
      track.onpointermove = move;
      track.onpointerup = track.onpointercancel = () => { track.onpointermove = null; };
    });
    return el("div", { class: `lane ${kind}` }, el("div", { class: "name", title: name }, name), track);
  }

  #time(event, track) {
    const box = track.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.length;
  }

  #shots(found, images) {
    const photo = found.video.is_photo;
    const shots = found.shots.map((shot) => el("div", {
      class: "shot", title: t("shot_label", { number: shot.number, start: number(shot.start, 2), end: number(shot.end, 2) }),
      style: { left: percent(photo ? 0 : shot.start / this.length), width: percent(photo ? 1 : (shot.end - shot.start) / this.length), backgroundImage: shot.picture ? `url("${images}/${shot.picture.file}")` : "none" },
    }, found.shots.length > 1 ? el("span", {}, String(shot.number)) : null));
    const end = photo ? this.length : found.video.duration;
    if (this.length - end > 0.2) shots.push(el("div", { class: "beyond", style: { left: percent(end / this.length), right: "0" }, title: found.length?.note ?? "" }, this.length - end > this.length * 0.15 ? found.length?.note ?? "" : ""));
    return this.#lane(t("lane_shots"), el("div", { class: "track shots" }, shots));
  }

  #spans(spans) {
    return el("div", { class: "track" }, spans.map((span) => el("div", {
      class: `span ${span.outcome}`, title: `${number(span.start, 2)} - ${number(span.end, 2)} s: ${t(`legend_${span.outcome}`)}${span.reason ? ` (${span.reason})` : ""}`,
      style: { left: percent(span.start / this.length), width: percent((span.end - span.start) / this.length) },
    })));
  }

  /** Waveform in time of the output. In a range, it begins with the silence before the range. */
  #speech(speech) {
    const count = speech.levels.length;
    const loudest = Math.max(...speech.levels, 0.01);
    const path = speech.levels.map((level, index) => `M${index} ${50 - (46 * level) / loudest}h1V${50 + (46 * level) / loudest}h-1z`).join("");
    const drawing = svg("svg", { viewBox: `0 0 ${count} 100`, preserveAspectRatio: "none", "aria-hidden": "true" });
    drawing.append(svg("path", { d: path }));
    const edges = [0, ...speech.active.flat(), speech.duration];
    const pauses = [];
    for (let index = 0; index + 1 < edges.length; index += 2) {
      const from = Math.max(edges[index], this.start);
      if (edges[index + 1] - from > 0.02) pauses.push([from, edges[index + 1]]);
    }
    const width = (seconds) => percent(seconds / this.length);
    return el("div", { class: "track speech", title: speech.name },
      pauses.map(([from, to]) => el("div", { class: "pause", title: `${number(from, 2)} - ${number(to, 2)} s: ${t("legend_pause")}`, style: { left: width(from), width: width(to - from) } })),
      el("div", { style: { left: "0", width: width(speech.duration) } }, drawing));
  }

  #ticks() {
    const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((each) => this.length / each <= 10) ?? 1200;
    const marks = [];
    for (let time = 0; time < this.length - step * 0.3; time += step) marks.push(el("div", { class: "tickmark", style: { left: percent(time / this.length) } }, `${number(time)} s`));
    return this.#lane("", el("div", { class: "track ticks" }, marks), "ticks");
  }

  #legend(found) {
    const spans = found.shots.flatMap((shot) => shot.results.flatMap((each) => each.spans));
    const kinds = ["edited", "faded", "passed", "outside", "unused"].filter((kind) => spans.some((span) => span.outcome === kind));
    if (found.speeches.length) kinds.push("pause");
    return el("ul", { class: "legend" }, kinds.map((kind) => el("li", {}, el("i", { class: `swatch ${kind}` }), t(`legend_${kind}`))));
  }

  /** List why parts of the video stay unchanged, longest first. */
  #reasons(found) {
    const seconds = {};
    for (const span of found.shots.flatMap((shot) => shot.spans)) {
      if (!["passed", "faded"].includes(span.outcome) || !span.reason) continue;
      const key = `${t(`short_${span.outcome}`)}: ${span.reason}${span.detail ? ` (${span.detail})` : ""}`;
      seconds[key] = (seconds[key] ?? 0) + span.end - span.start;
    }
    const rows = Object.entries(seconds).filter(([, time]) => time >= 0.05).sort((one, other) => other[1] - one[1]).slice(0, 6);
    if (!rows.length) return [];
    return [el("ul", { class: "reasons" }, rows.map(([text, time]) => el("li", {}, el("span", {}, text), el("span", {}, `${number(time)} s`))))];
  }

  /** Cursor, which the arrow keys move by one frame. */
  #playhead() {
    return el("div", {
      id: "playhead", role: "slider", tabindex: "0", "aria-label": t("cursor"), "aria-valuemin": "0", "aria-valuemax": number(this.length, 2),
      onkeydown: (event) => {
        const steps = { ArrowLeft: -0.04, ArrowRight: 0.04, ArrowDown: -0.04, ArrowUp: 0.04, PageDown: -1, PageUp: 1 };
        if (event.key === "Home" || event.key === "End") this.seekTo(event.key === "Home" ? 0 : this.length);
        else if (event.key in steps) this.seekTo(Math.min(Math.max(this.time + steps[event.key], 0), this.length));
        else return;
        event.preventDefault();
        event.stopPropagation();
      },
    });
  }

  /** Remove the range. */
  whole() {
    this.start = 0;
    this.stop = null;
    this.#cue();
    this.cueChanged();
  }

  #cue() {
    // Without a cue, the output is as long as the speech.
    const stop = this.stop ?? (this.start ? this.video : this.length);
    this.cueTrack.replaceChildren(
      el("div", { class: "cuebar", style: { left: percent(this.start / this.length), width: percent(Math.max(stop - this.start, 0) / this.length) } }),
      this.#handle("start", t("cue_start"), this.start), this.#handle("stop", t("cue_end"), stop));
  }

  /** Handle of one end of the cue, which the pointer and the arrow keys move. */
  #handle(end, label, time) {
    const set = (value) => {
      const stop = this.stop ?? this.video;
      if (end === "start") this.start = Math.min(Math.max(value, 0), stop - 0.2);
      else this.stop = Math.max(Math.min(value, this.video), this.start + 0.2);
      if (this.stop !== null && this.stop > this.video - 0.02) this.stop = null;
      if (this.start < 0.02) this.start = 0;
      this.#cue();
    };
    const handle = el("button", {
      class: "handle", type: "button", role: "slider", "aria-label": label, "data-end": end, "aria-valuemin": "0", "aria-valuemax": number(this.video, 2), "aria-valuenow": number(time, 2), "aria-valuetext": `${number(time, 2)} s`,
      style: { left: percent(time / this.length) },
      onkeydown: (event) => {
        const steps = { ArrowLeft: -0.04, ArrowRight: 0.04, ArrowDown: -0.04, ArrowUp: 0.04, PageDown: -1, PageUp: 1 };
        if (event.key === "Home" || event.key === "End") set(event.key === "Home" ? 0 : this.video);
        else if (event.key in steps) set(time + steps[event.key]);
        else return;
        event.preventDefault();
        event.stopPropagation();
        $(`.handle[data-end="${end}"]`).focus();
        this.cueChanged();
      },
      onpointerdown: (event) => {
        event.preventDefault();
        event.stopPropagation();
        const move = (each) => set(this.#time(each, this.cueTrack));
        const done = () => { removeEventListener("pointermove", move); removeEventListener("pointerup", done); $(`.handle[data-end="${end}"]`).focus(); this.cueChanged(); };
        addEventListener("pointermove", move);
        addEventListener("pointerup", done);
      },
    });
    return handle;
  }

  cursor(time) {
    this.time = time;
    if (!this.head) return;
    const track = this.cueTrack.getBoundingClientRect();
    const box = $("#timeline").getBoundingClientRect();
    this.head.setAttribute("aria-valuenow", number(Math.min(time, this.length), 2));
    this.head.setAttribute("aria-valuetext", `${number(time, 2)} s`);
    this.head.style.height = `${track.bottom - box.top + 4}px`;
    this.head.style.left = `${track.left - box.left + (Math.min(time, this.length) / this.length) * track.width - 1}px`;
  }
}
