"use strict";
/* Plays several videos in step and moves them frame by frame. Frames are found by their times, not by counting, so that
   a variable frame rate is no special case. */
class Together {
  constructor(tell) {
    this.tell = tell;
    this.rate = 1;
    this.loop = false;
    this.turn = 0;
    this.load([], [0], 0);
  }

  /* times: seconds at which each frame is shown; end: seconds at which the last one ends. */
  load(videos, times, end) {
    this.stop();
    this.videos = videos;
    this.times = times;
    this.end = end;
    this.leader = videos[0] || null;
    this.at = 0;
  }

  get active() {
    return this.videos.filter((video) => !video.dataset.off);
  }

  /* The video whose sound is heard, or the first that is shown: its speed is left alone. */
  get lead() {
    const active = this.active;
    return active.includes(this.leader) ? this.leader : active[0] || null;
  }

  frameAt(time) {
    let low = 0;
    let high = this.times.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.times[middle] <= time + 1e-4) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /* A time well inside a frame: at its edge a player may show either neighbour. */
  inside(frame) {
    const next = frame + 1 < this.times.length ? this.times[frame + 1] : this.end;
    return (this.times[frame] + next) / 2;
  }

  get frame() {
    return this.playing && this.lead ? this.frameAt(this.lead.currentTime) : this.at;
  }

  stop() {
    this.playing = false;
    this.turn += 1;
    for (const video of this.videos || []) video.pause();
  }

  async pause() {
    const frame = this.frame;
    this.stop();
    await this.show(frame);
  }

  async show(frame) {
    this.at = Math.min(Math.max(frame, 0), this.times.length - 1);
    this.tell();
    await Promise.all(this.active.map((video) => settle(video, this.inside(this.at))));
  }

  async step(by) {
    const frame = this.frame;
    this.stop();
    await this.show(frame + by);
  }

  async play(from) {
    if (this.playing || !this.lead) return;
    const turn = ++this.turn;
    this.playing = true;
    this.at = from === undefined ? (this.at >= this.times.length - 1 ? 0 : this.at) : from;
    this.tell();
    const start = this.at === 0 ? 0 : this.inside(this.at);
    const active = this.active;
    await Promise.all(active.map((video) => settle(video, start)));
    if (turn !== this.turn) return;
    for (const video of active) {
      delete video.dataset.held;
      video.playbackRate = this.rate;
    }
    await Promise.all(active.map((video) => video.play().catch(() => undefined)));
    if (turn === this.turn) this.watch(turn);
  }

  watch(turn) {
    if (turn !== this.turn) return;
    const lead = this.lead;
    if (!lead) return;
    if (lead.ended || lead.currentTime >= this.end - 1e-3) {
      this.stop();
      this.at = this.times.length - 1;
      if (this.loop) this.play(0);
      else this.show(this.at);
      return;
    }
    const frame = this.end / this.times.length;
    const moving = this.active.filter((video) => !video.ended && !video.seeking);
    const slowest = Math.min(...moving.map((video) => video.currentTime));
    for (const video of moving) {
      const ahead = video.currentTime - lead.currentTime;
      if (Math.abs(ahead) > 8 * frame) {
        video.currentTime = lead.currentTime;
        continue;
      }
      /* A busy machine shows some video late: the others wait for it. */
      const wait = video.currentTime - slowest > (video.dataset.held ? 0.5 : 1.5) * frame;
      if (wait) {
        video.dataset.held = "1";
        video.pause();
        continue;
      }
      delete video.dataset.held;
      if (video.paused) video.play().catch(() => undefined);
      /* Small distances are made up for by speed, which nobody sees; the one that is heard keeps its own. */
      const bend = Math.abs(ahead) < frame / 8 ? 0 : Math.min(Math.max(6 * ahead, -0.5), 0.5);
      const rate = this.rate * (1 - bend);
      if (Math.abs(video.playbackRate - rate) > 0.005) video.playbackRate = rate;
    }
    this.tell();
    requestAnimationFrame(() => this.watch(turn));
  }
}

/* Resolves when the video shows that time, or cannot. */
function settle(video, time) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(late);
      video.removeEventListener("seeked", done);
      video.removeEventListener("error", done);
      video.removeEventListener("loadeddata", go);
      resolve();
    };
    const go = () => {
      if (Math.abs(video.currentTime - time) < 1e-4 && !video.seeking) done();
      else video.currentTime = time;
    };
    const late = setTimeout(done, 5000);
    video.addEventListener("seeked", done);
    video.addEventListener("error", done);
    if (video.error) done();
    else if (video.readyState >= 2) go();
    else video.addEventListener("loadeddata", go);
  });
}

/* The address of a video: of the copy inside the page, or of the file beside it. */
const addresses = new Map();
function addressOf(id, link) {
  const inside = document.getElementById("video-" + id);
  if (!inside) return link;
  if (!addresses.has(id)) {
    const text = atob(inside.textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
    addresses.set(id, URL.createObjectURL(new Blob([bytes], { type: "video/mp4" })));
  }
  return addresses.get(id);
}

function forgetAddresses(keep) {
  for (const [id, address] of addresses) {
    if (keep.has(id)) continue;
    URL.revokeObjectURL(address);
    addresses.delete(id);
  }
}
