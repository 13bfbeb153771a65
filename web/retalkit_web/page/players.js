// The two players: synchronised playback, frame steps and mouth zoom.
import { $, number, t } from "./dom.js";

export class Players {
  constructor(moved) {
    this.moved = moved;
    this.left = $("#left video");
    this.right = $("#right video");
    this.photo = $("#left .photo");
    this.rate = 25;
    this.offset = 0;
    this.zoomed = false;
    this.mouth = null;
    this.time = 0;
    this.single = true;
    $("#play").onclick = () => this.toggle();
    $("#step-back").onclick = () => this.step(-1);
    $("#step-on").onclick = () => this.step(1);
    $("#zoom").onclick = () => this.zoom(!this.zoomed);
    $("#listen").onchange = () => this.#sound();
    $("#seek").oninput = () => this.seek(this.offset + Number($("#seek").value));
    for (const video of [this.left, this.right]) {
      video.addEventListener("loadedmetadata", () => this.#loaded(video));
      video.addEventListener("ended", () => { if (video === this.master) this.pause(); });
    }
    new ResizeObserver(() => this.#frame()).observe($("#left .frame"));
    const tick = () => {
      if (this.playing) this.#follow();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  /** Player that determines the time: the result if there is one. */
  get master() { return this.single ? this.left : this.right; }
  get playing() { return document.body.classList.contains("playing"); }
  get duration() {
    const length = this.master.duration;
    return Number.isFinite(length) ? length : 0;
  }

  showOriginal(url, { photo = false, rate = 25, caption = t("original"), facts = "" } = {}) {
    this.pause();
    this.isPhoto = photo;
    if (rate) this.rate = rate;
    this.left.hidden = photo;
    this.photo.hidden = !photo;
    if (photo) { this.photo.src = url; this.photo.alt = caption; this.left.removeAttribute("src"); }
    else if (this.left.getAttribute("src") !== url) this.left.src = url;
    $("#left .caption").textContent = caption;
    $("#left .facts").textContent = facts;
    this.leftOffset = 0;
  }

  /** Show a video on the right. `offset`: its start in seconds of the output. */
  showResult(url, { offset = 0, caption, facts = "", leftOffset = 0 } = {}) {
    this.pause();
    this.offset = offset;
    this.leftOffset = leftOffset;
    this.single = !url;
    if (url) this.right.src = url; else this.right.removeAttribute("src");
    this.right.hidden = !url;
    $("#right .caption").textContent = caption ?? t("result");
    $("#right .facts").textContent = facts;
    document.body.classList.toggle("has-result", Boolean(url));
    this.#sound();
  }

  #loaded(video) {
    if (video === this.master) {
      $("#seek").max = Math.max(this.duration, 0.01);
      $("#transport").hidden = false;
      if (this.single) this.seek(this.time);
    }
    if (video === this.right) { this.seek(this.offset); if (this.autoplay) { this.autoplay = false; this.play(); } }
    this.#frame();
  }

  #sound() {
    const listen = $("#listen").value;
    $(".listen").hidden = this.single || this.isPhoto;
    const compared = $("#left .caption").textContent !== t("original");
    for (const [side, name] of [["left", t("original")], ["right", t("result")]]) $(`#listen [value=${side}]`).textContent = compared ? $(`#${side} .caption`).textContent : name;
    this.left.muted = !this.single && listen === "right";
    this.right.muted = !this.single && listen === "left";
  }

  async play() {
    if (this.single && this.isPhoto) return;
    if (this.master.ended || this.master.currentTime >= this.duration - 0.02) this.seek(this.offset);
    document.body.classList.add("playing");
    $("#play").setAttribute("aria-label", t("pause"));
    try { await this.master.play(); } catch { this.pause(); return; }
    if (!this.single && !this.isPhoto) this.left.play().catch(() => {});
  }

  pause() {
    document.body.classList.remove("playing");
    $("#play").setAttribute("aria-label", t("play"));
    this.left.pause();
    this.right.pause();
  }

  toggle() { if (this.playing) this.pause(); else this.play(); }

  step(frames) {
    this.pause();
    const position = Math.round((this.time - this.offset) * this.rate) + frames;
    // The middle of a frame avoids rounding to its neighbour.
    this.seek(this.offset + (Math.max(position, 0) + (position ? 0.01 : 0)) / this.rate);
  }

  /** Move both players to a time in seconds of the output. */
  seek(time) {
    const inside = Math.min(Math.max(time - this.offset, 0), Math.max(this.duration - 0.001, 0));
    this.master.currentTime = inside;
    this.#set(this.single ? time : this.offset + inside);
    if (!this.single && !this.isPhoto) this.left.currentTime = this.#leftTime();
  }

  #leftTime() {
    const length = this.left.duration || 0;
    return Math.min(Math.max(this.time - this.leftOffset, 0), Math.max(length - 0.001, 0));
  }

  #set(time) {
    this.time = time;
    const inside = time - this.offset;
    $("#seek").value = inside;
    $("#clock").textContent = `${time.toFixed(2)} / ${number(this.offset + this.duration, 2)} s`;
    this.moved(time);
    if (this.zoomed) this.#frame();
  }

  #follow() {
    this.#set(this.offset + this.master.currentTime);
    if (this.single || this.isPhoto) return;
    const wanted = this.#leftTime();
    if (Math.abs(this.left.currentTime - wanted) > 0.08 && !this.left.seeking) this.left.currentTime = wanted;
    if (this.left.paused && wanted < (this.left.duration || 0) - 0.05) this.left.play().catch(() => {});
  }

  zoom(on) {
    this.zoomed = on;
    $("#zoom").setAttribute("aria-pressed", String(on));
    this.#frame();
  }

  /** Move and scale the players so that the mouth fills the frame. */
  #frame() {
    const mouth = this.zoomed && this.mouth ? this.mouth(this.time) : null;
    for (const each of [this.left, this.right, this.photo]) {
      const box = each.parentElement.getBoundingClientRect();
      const width = each.videoWidth || each.naturalWidth;
      const height = each.videoHeight || each.naturalHeight;
      if (!mouth || !width || !box.width) { each.style.transform = ""; continue; }
      const fit = Math.min(box.width / width, box.height / height);
      const x = (box.width - width * fit) / 2 + mouth.x * width * fit;
      const y = (box.height - height * fit) / 2 + mouth.y * height * fit;
      const scale = Math.min(Math.max((box.width * 0.42) / (mouth.size * width * fit), 1), 12);
      each.style.transform = `translate(${box.width / 2 - x * scale}px, ${box.height / 2 - y * scale}px) scale(${scale})`;
    }
  }
}
