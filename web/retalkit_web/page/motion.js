// Curve of the predicted mouth motion, with points that can be dragged.
import { $, el, number, svg, t } from "./dom.js";

const HEIGHT = 220, TOP = 12, BASE = 176, LONGEST = 6;
const CONTACT = 0.35;

export class Motion {
  constructor({ apply, time }) {
    Object.assign(this, { apply, outputTime: time });
    this.from = 0;
    this.offset = 0;
  }

  /** Time of the cursor in seconds of the speech. */
  timeNow() { return this.outputTime() - this.offset; }

  /**
   * Show the result of a motion job. `levels`: waveform of the output with its step in seconds. `offset`: start of the
   * speech in seconds of the output. `edited`: curves of the motion file in use, or null.
   */
  show(job, result, levels, offset, edited = null) {
    this.job = job;
    this.result = result;
    this.levels = levels;
    this.offset = offset;
    this.before = result.opening;
    this.opening = [...(edited ?? result).opening];
    this.closure = [...(edited ?? result).closure];
    this.moved = new Set();
    this.differs = Boolean(edited);
    this.window = Math.min(Math.max(this.#length, 1.5), LONGEST);
    this.from = Math.min(this.from, Math.max(this.#length - this.window, 0));
    this.#keys();
    this.draw();
  }

  /** Use the waveform and the start of the speech after a change of the range. */
  refresh(levels, offset) {
    this.levels = levels;
    this.offset = offset;
    if (this.result && !$("#motion").hidden) this.draw();
  }

  /** The changed curves are in use. */
  applied() {
    this.moved.clear();
    this.differs = true;
    this.draw();
  }

  get #length() { return (this.result.count - 1) / this.result.rate; }

  /** Choose the points: peaks and valleys of the opening, and the start of every contact. */
  #keys() {
    const { opening, closure, result } = this;
    this.points = [];
    let last = -100;
    for (let row = 1; row + 1 < opening.length; row++) {
      const turn = (opening[row] >= opening[row - 1] && opening[row] > opening[row + 1]) || (opening[row] <= opening[row - 1] && opening[row] < opening[row + 1]);
      const active = result.speech[row] > 0.3;
      if (active && (turn || row - last >= 20) && row - last >= 5) { this.points.push({ row, kind: "opening" }); last = row; }
    }
    for (let row = 1; row + 1 < closure.length; row++) {
      if (closure[row] > CONTACT && closure[row] >= closure[row - 1] && closure[row] > closure[row + 1]) this.points.push({ row, kind: "closure" });
    }
  }

  #x(row) { return ((row / this.result.rate - this.from) / this.window) * this.width; }
  #y(value) { return BASE - (Math.min(value, 1.5) / 1.5) * (BASE - TOP); }
  #contactY(value) { return HEIGHT - 8 - value * 26; }

  draw() {
    // The drawing has the size of the page, so that circles stay round.
    this.width = Math.max($("#motion").clientWidth, 200);
    const { result } = this;
    const first = Math.max(Math.floor(this.from * result.rate), 0);
    const stop = Math.min(Math.ceil((this.from + this.window) * result.rate) + 1, result.count);
    const rows = Array.from({ length: Math.max(stop - first, 0) }, (_, index) => first + index);
    const line = (values) => rows.map((row, index) => `${index ? "L" : "M"}${this.#x(row).toFixed(1)} ${this.#y(values[row]).toFixed(1)}`).join("");
    const box = svg("svg", { viewBox: `0 0 ${this.width} ${HEIGHT}`, role: "group", "aria-label": t("motion") });
    if (this.levels) box.append(svg("path", { class: "wave", d: this.#wave() }));
    box.append(svg("path", { class: "before", d: line(this.before) }), svg("path", { class: "curve", d: line(this.opening) }));
    const contacts = rows.filter((row) => this.closure[row] > 0.05).map((row) => `M${this.#x(row).toFixed(1)} ${HEIGHT - 6}V${this.#contactY(this.closure[row]).toFixed(1)}h${(this.width / this.window / result.rate + 0.3).toFixed(2)}V${HEIGHT - 6}z`);
    box.append(svg("path", { class: "contact", d: contacts.join("") }));
    for (const [key, y] of [["motion_opening", TOP + 8], ["motion_closure", HEIGHT - 9]]) {
      const name = svg("text", { x: 8, y });
      name.textContent = t(key);
      box.append(name);
    }
    this.cursorLine = svg("line", { class: "cursor", y1: 0, y2: HEIGHT });
    box.append(this.cursorLine);
    this.points.forEach((point, index) => { if (point.row >= first && point.row < stop) box.append(this.#point(point, index)); });
    const to = Math.min(this.from + this.window, this.#length);
    const range = el("span", { class: "hint" }, `${number(this.from + this.offset, 1)} - ${number(to + this.offset, 1)} s`);
    const button = (key, run, attributes = {}) => el("button", { type: "button", onclick: run, ...attributes }, t(key));
    const changed = this.moved.size > 0;
    $("#motion").replaceChildren(el("p", { class: "hint" }, t("motion_hint")), box, el("div", { class: "row" },
      button("motion_earlier", () => this.#scroll(-1), { disabled: this.from <= 0 }), range, button("motion_later", () => this.#scroll(1), { disabled: this.from + this.window >= this.#length }),
      button("motion_add", () => this.#addContact()), el("span", { class: "spacer" }),
      button("motion_reset", () => this.#reset(), { disabled: !changed && !this.differs, class: "quiet" }),
      button("motion_apply", () => this.apply(this.job, { opening: this.opening, closure: this.closure }), { disabled: !changed, class: "primary" })));
    this.cursor(this.outputTime());
  }

  #wave() {
    const { levels, step } = this.levels;
    const loudest = Math.max(...levels, 0.01);
    const from = this.from + this.offset;
    const first = Math.max(Math.floor(from / step), 0);
    const parts = [];
    for (let index = first; index < levels.length && index * step < from + this.window; index++) {
      const x = ((index * step - from) / this.window) * this.width;
      const half = (levels[index] / loudest) * 80;
      parts.push(`M${x.toFixed(1)} ${(BASE / 2 - half).toFixed(1)}h${((step / this.window) * this.width).toFixed(1)}v${(2 * half).toFixed(1)}h-${((step / this.window) * this.width).toFixed(1)}z`);
    }
    return parts.join("");
  }

  /** Show the prediction again. It replaces the curves in use once it is applied. */
  #reset() {
    const { job, result, levels, offset, differs } = this;
    this.show(job, result, levels, offset);
    if (differs) { this.moved.add("all"); this.draw(); }
  }

  #scroll(direction) {
    this.from = Math.min(Math.max(this.from + direction * this.window * 0.75, 0), Math.max(this.#length - this.window, 0));
    this.draw();
  }

  #value(point) { return point.kind === "opening" ? this.opening[point.row] : this.closure[point.row]; }

  #point(point, index) {
    const opening = point.kind === "opening";
    const value = this.#value(point);
    const highest = opening ? 1.5 : 1;
    const box = svg("circle", {
      class: `point${this.moved.has(point) ? " moved" : ""}`, cx: this.#x(point.row), cy: opening ? this.#y(value) : this.#contactY(value), r: 6, tabindex: 0, role: "slider", "data-index": index,
      "aria-label": t(opening ? "motion_point" : "motion_contact", { time: number(point.row / this.result.rate + this.offset, 2) }), "aria-valuemin": 0, "aria-valuemax": highest, "aria-valuenow": value.toFixed(2), "aria-orientation": "vertical",
    });
    box.addEventListener("keydown", (event) => {
      const steps = { ArrowUp: 0.05, ArrowDown: -0.05, PageUp: 0.25, PageDown: -0.25 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      event.stopPropagation();
      this.#move(point, this.#value(point) + steps[event.key]);
      $(`#motion [data-index="${index}"]`)?.focus();
    });
    box.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      const area = $("#motion svg").getBoundingClientRect();
      const move = (each) => {
        const y = ((each.clientY - area.top) / area.height) * HEIGHT;
        this.#move(point, opening ? ((BASE - y) / (BASE - TOP)) * 1.5 : (HEIGHT - 8 - y) / 26);
      };
      const done = () => { removeEventListener("pointermove", move); removeEventListener("pointerup", done); $(`#motion [data-index="${index}"]`)?.focus(); };
      addEventListener("pointermove", move);
      addEventListener("pointerup", done);
    });
    return box;
  }

  /** Set the value of a point. Its neighbourhood follows with a smooth bump. */
  #move(point, wanted) {
    const opening = point.kind === "opening";
    const values = opening ? this.opening : this.closure;
    const highest = opening ? 1.5 : 1;
    const change = Math.min(Math.max(wanted, 0), highest) - values[point.row];
    const same = this.points.filter((each) => each.kind === point.kind).map((each) => each.row).sort((a, b) => a - b);
    const place = same.indexOf(point.row);
    const left = Math.max(same[place - 1] ?? point.row - 12, point.row - 20);
    const right = Math.min(same[place + 1] ?? point.row + 12, point.row + 20);
    for (let row = Math.max(left, 0); row <= Math.min(right, values.length - 1); row++) {
      const reach = row <= point.row ? point.row - left : right - point.row;
      const weight = 0.5 * (1 + Math.cos((Math.PI * Math.abs(row - point.row)) / Math.max(reach, 1)));
      values[row] = Math.min(Math.max(values[row] + change * weight, 0), highest);
    }
    this.moved.add(point);
    this.draw();
  }

  /** Close the lips for a moment at the cursor. */
  #addContact() {
    const row = Math.min(Math.max(Math.round(this.timeNow() * this.result.rate), 4), this.result.count - 5);
    for (let each = row - 4; each <= row + 4; each++) {
      const weight = 0.5 * (1 + Math.cos((Math.PI * (each - row)) / 5));
      this.closure[each] = Math.max(this.closure[each], weight);
      this.opening[each] *= 1 - weight;
    }
    const point = { row, kind: "closure" };
    this.points.push(point);
    this.moved.add(point);
    if (row / this.result.rate < this.from || row / this.result.rate > this.from + this.window) this.from = Math.max(row / this.result.rate - this.window / 2, 0);
    this.draw();
  }

  /** Move the cursor to a time in seconds of the output. */
  cursor(time) {
    if (!this.cursorLine) return;
    const x = ((time - this.offset - this.from) / this.window) * this.width;
    this.cursorLine.setAttribute("x1", x);
    this.cursorLine.setAttribute("x2", x);
  }
}
