"use strict";
/* The videos of the report, side by side. */
(() => {
  const place = document.getElementById("player");
  if (!place) return;
  const data = JSON.parse(document.getElementById("player-data").textContent);
  const by = (id) => document.getElementById(id);
  const off = new Set();
  let heard = "";
  let current = null;
  let sized = false;
  const together = new Together(tell);
  window.retalkitPlayer = together;

  function option(value, text) {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = text;
    return made;
  }

  function fillArms(wish) {
    const chosen = data.groups.filter((group) => group.clip === by("clip").value);
    by("arm").replaceChildren(...chosen.map((group) => option(group.id, group.label)));
    const same = chosen.find((group) => group.label === wish);
    by("arm").value = (same || chosen[0]).id;
    show();
  }

  function show() {
    together.stop();
    current = data.groups.find((group) => group.id === by("arm").value);
    const names = current.tiles.map((tile) => tile.name);
    if (!names.includes(heard)) heard = names.find((name) => !name.startsWith("(")) || names[0];
    by("shown").replaceChildren(document.createTextNode("Show "), ...current.tiles.map(box));
    const figures = current.tiles.map(figure);
    by("tiles").replaceChildren(...figures);
    forgetAddresses(new Set(current.tiles.map((tile) => tile.id)));
    together.load([...by("tiles").querySelectorAll("video")], current.times, current.end);
    by("scrubber").max = String(current.times.length - 1);
    listen();
    hide();
    together.show(0);
  }

  function size(pixels) {
    by("tile").value = pixels;
    by("tiles").style.setProperty("--tile", pixels + "px");
  }

  /* The largest size at which all videos stand in one row, or the smallest; until somebody chose one. */
  function fit() {
    if (sized) return;
    const count = current.tiles.filter((tile) => !off.has(tile.name)).length;
    const gap = parseFloat(getComputedStyle(by("tiles")).columnGap) || 0;
    const sizes = [...by("tile").options].map((each) => Number(each.value));
    const room = by("tiles").clientWidth;
    size(String(sizes.filter((each) => count * (each + gap) - gap <= room).pop() || sizes[0]));
  }

  function box(tile) {
    const label = document.createElement("label");
    const check = document.createElement("input");
    check.type = "checkbox";
    check.checked = !off.has(tile.name);
    check.dataset.name = tile.name;
    check.addEventListener("change", () => {
      if (check.checked) off.delete(tile.name);
      else off.add(tile.name);
      hide(true);
    });
    label.append(check, swatch(tile), document.createTextNode(tile.name));
    return label;
  }

  function swatch(tile) {
    const made = document.createElement("span");
    made.className = "swatch";
    made.style.background = tile.colour || "var(--faint)";
    return made;
  }

  function figure(tile) {
    const made = document.createElement("figure");
    made.dataset.name = tile.name;
    if (tile.problem) {
      const text = document.createElement("div");
      text.className = "broken";
      text.textContent = tile.problem;
      made.append(text);
    } else {
      const video = document.createElement("video");
      video.preload = "auto";
      video.playsInline = true;
      video.muted = true;
      video.src = addressOf(tile.id, tile.link);
      video.dataset.name = tile.name;
      video.setAttribute("aria-label", tile.name);
      video.style.aspectRatio = tile.width + " / " + tile.height;
      video.addEventListener("click", toggle);
      made.append(video);
    }
    const caption = document.createElement("figcaption");
    const name = document.createElement("span");
    name.className = "name named";
    const text = document.createElement("span");
    text.textContent = tile.name;
    name.append(swatch(tile), text);
    caption.append(name);
    if (!tile.problem && tile.sound) {
      const label = document.createElement("label");
      const radio = document.createElement("input");
      radio.type = "radio";
      radio.name = "heard";
      radio.checked = tile.name === heard;
      radio.addEventListener("change", () => {
        heard = tile.name;
        listen();
      });
      label.append(radio, document.createTextNode("sound"));
      caption.append(label);
    }
    made.append(caption);
    return made;
  }

  function listen() {
    for (const video of together.videos) {
      video.muted = video.dataset.name !== heard;
      if (!video.muted) together.leader = video;
    }
  }

  async function hide(changed) {
    const frame = together.frame;
    const playing = together.playing;
    for (const made of by("tiles").children) {
      const gone = off.has(made.dataset.name);
      made.hidden = gone;
      const video = made.querySelector("video");
      if (!video) continue;
      if (gone) {
        video.dataset.off = "1";
        video.pause();
      } else delete video.dataset.off;
    }
    fit();
    if (!changed) return;
    together.stop();
    await together.show(frame);
    if (playing) together.play(frame);
  }

  function tell() {
    if (!current) return;
    const frame = together.frame;
    by("play").textContent = together.playing ? "Pause" : "Play";
    by("scrubber").value = String(frame);
    by("clock").textContent = `frame ${frame + 1} of ${current.times.length}, ${current.times[frame].toFixed(3)} s`;
  }

  function toggle() {
    if (together.playing) together.pause();
    else together.play();
  }

  by("clip").append(...[...new Set(data.groups.map((group) => group.clip))].map((clip) => option(clip, clip)));
  by("clip").addEventListener("change", () => fillArms(current.label));
  by("arm").addEventListener("change", show);
  by("tile").addEventListener("change", () => {
    sized = true;
    size(by("tile").value);
  });
  by("play").addEventListener("click", toggle);
  by("back").addEventListener("click", () => together.step(-1));
  by("forward").addEventListener("click", () => together.step(1));
  by("scrubber").addEventListener("input", () => {
    together.stop();
    together.show(Number(by("scrubber").value));
  });
  by("speed").addEventListener("change", () => {
    together.rate = Number(by("speed").value);
  });
  by("loop").addEventListener("change", () => {
    together.loop = by("loop").checked;
  });
  window.addEventListener("resize", fit);

  /* Half of the videos, or as much as half of the window: else keys move the page, as they do everywhere. */
  function inView() {
    const seen = by("tiles").getBoundingClientRect();
    const height = Math.min(seen.bottom, innerHeight) - Math.max(seen.top, 0);
    return height >= Math.min(seen.height, innerHeight) / 2;
  }

  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || at.matches("select")) return;
    if (!place.contains(at) && (at.matches("input, button") || !inView())) return;
    const field = at.matches("input, button, summary");
    const steps = { ",": -1, ".": 1, ArrowLeft: -1, ArrowRight: 1 };
    if (event.key === " " && !field) {
      if (!event.repeat) toggle();
    } else if (event.key in steps && !(field && event.key.startsWith("Arrow"))) together.step(steps[event.key]);
    else return;
    event.preventDefault();
  });
  fillArms("");
})();
