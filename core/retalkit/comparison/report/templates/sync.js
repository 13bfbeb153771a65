"use strict";
/* Synchronized playback and frame stepping for several videos. Frames are located by time instead of index, so that
   variable frame rates are supported. */
class VideoSync {
  constructor(onUpdate) {
    this.onUpdate = onUpdate;
    this.rate = 1;
    this.loop = false;
    /* Incremented by every command, so that pending asynchronous steps of earlier commands are cancelled. */
    this.generation = 0;
    this.load([], [0], 0);
  }

  /* times: start time of each frame in seconds. end: end time of the last frame in seconds. */
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

  /* Reference clock: the audible video or, if no video is audible, the first visible video. Its playback rate is not
     adjusted. */
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

  /* Middle of a frame's interval. At the boundary of an interval, a player may display either of two frames. */
  middleOf(frame) {
    const next = frame + 1 < this.times.length ? this.times[frame + 1] : this.end;
    return (this.times[frame] + next) / 2;
  }

  get frame() {
    return this.playing && this.lead ? this.frameAt(this.lead.currentTime) : this.at;
  }

  stop() {
    this.playing = false;
    this.generation += 1;
    for (const video of this.videos || []) video.pause();
  }

  async pause() {
    const frame = this.frame;
    this.stop();
    await this.show(frame);
  }

  async show(frame) {
    this.at = Math.min(Math.max(frame, 0), this.times.length - 1);
    this.onUpdate();
    await Promise.all(this.active.map((video) => seek(video, this.middleOf(this.at))));
  }

  async step(by) {
    const frame = this.frame;
    this.stop();
    await this.show(frame + by);
  }

  async play(from) {
    if (this.playing || !this.lead) return;
    const generation = ++this.generation;
    this.playing = true;
    this.at = from === undefined ? (this.at >= this.times.length - 1 ? 0 : this.at) : from;
    this.onUpdate();
    const start = this.at === 0 ? 0 : this.middleOf(this.at);
    const active = this.active;
    await Promise.all(active.map((video) => seek(video, start)));
    if (generation !== this.generation) return;
    for (const video of active) {
      delete video.dataset.held;
      video.playbackRate = this.rate;
    }
    await Promise.all(active.map((video) => video.play().catch(() => undefined)));
    if (generation === this.generation) this.synchronize(generation);
  }

  synchronize(generation) {
    if (generation !== this.generation) return;
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
      /* On a busy machine, one video may fall behind. The other videos wait for it. */
      const wait = video.currentTime - slowest > (video.dataset.held ? 0.5 : 1.5) * frame;
      if (wait) {
        video.dataset.held = "1";
        video.pause();
        continue;
      }
      delete video.dataset.held;
      if (video.paused) video.play().catch(() => undefined);
      /* Small offsets are corrected by adjusting the playback rate, which is not noticeable. */
      const correction = Math.abs(ahead) < frame / 8 ? 0 : Math.min(Math.max(6 * ahead, -0.5), 0.5);
      const rate = this.rate * (1 - correction);
      if (Math.abs(video.playbackRate - rate) > 0.005) video.playbackRate = rate;
    }
    this.onUpdate();
    requestAnimationFrame(() => this.synchronize(generation));
  }
}

/* Seek a video. The promise resolves when the video displays the given time, on errors, and after a timeout of 5 s. */
function seek(video, time) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timeout);
      video.removeEventListener("seeked", done);
      video.removeEventListener("error", done);
      video.removeEventListener("loadeddata", go);
      resolve();
    };
    const go = () => {
      if (Math.abs(video.currentTime - time) < 1e-4 && !video.seeking) done();
      else video.currentTime = time;
    };
    const timeout = setTimeout(done, 5000);
    video.addEventListener("seeked", done);
    video.addEventListener("error", done);
    if (video.error) done();
    else if (video.readyState >= 2) go();
    else video.addEventListener("loadeddata", go);
  });
}

/* URL of a video: a blob URL of the embedded copy, or the URL of the linked file. */
const blobUrls = new Map();
function videoUrl(id, link) {
  const embedded = document.getElementById("video-" + id);
  if (!embedded) return link;
  if (!blobUrls.has(id)) {
    const text = atob(embedded.textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
    blobUrls.set(id, URL.createObjectURL(new Blob([bytes], { type: "video/mp4" })));
  }
  return blobUrls.get(id);
}

function releaseVideoUrls(keep) {
  for (const [id, url] of blobUrls) {
    if (keep.has(id)) continue;
    URL.revokeObjectURL(url);
    blobUrls.delete(id);
  }
}
