"use strict";
/* Player of the report for synchronized playback of side-by-side videos. */
(() => {
  const player = document.getElementById("player");
  if (!player) return;
  const data = JSON.parse(document.getElementById("player-data").textContent);
  const by = (id) => document.getElementById(id);
  const hiddenNames = new Set();
  let audible = "";
  let current = null;
  let sizeChosen = false;
  const sync = new VideoSync(update);
  window.retalkitPlayer = sync;

  function option(value, text) {
    const element = document.createElement("option");
    element.value = value;
    element.textContent = text;
    return element;
  }

  function fillArms(preferredLabel) {
    const groups = data.groups.filter((group) => group.clip === by("clip").value);
    by("arm").replaceChildren(...groups.map((group) => option(group.id, group.label)));
    const preferred = groups.find((group) => group.label === preferredLabel);
    by("arm").value = (preferred || groups[0]).id;
    showGroup();
  }

  function showGroup() {
    sync.stop();
    current = data.groups.find((group) => group.id === by("arm").value);
    const names = current.tiles.map((tile) => tile.name);
    if (!names.includes(audible)) audible = names.find((name) => !name.startsWith("(")) || names[0];
    by("shown").replaceChildren(document.createTextNode("Show "), ...current.tiles.map(variantCheckbox));
    by("tiles").replaceChildren(...current.tiles.map(tileFigure));
    releaseVideoUrls(new Set(current.tiles.map((tile) => tile.id)));
    sync.load([...by("tiles").querySelectorAll("video")], current.times, current.end);
    by("scrubber").max = String(current.times.length - 1);
    updateSound();
    updateVisibility();
    sync.show(0);
  }

  function setTileSize(pixels) {
    by("tile").value = pixels;
    by("tiles").style.setProperty("--tile", pixels + "px");
  }

  /* Unless the user chose a size, use the largest size at which all videos fit in one row, or the smallest size. */
  function fitTiles() {
    if (sizeChosen) return;
    const count = current.tiles.filter((tile) => !hiddenNames.has(tile.name)).length;
    const gap = parseFloat(getComputedStyle(by("tiles")).columnGap) || 0;
    const sizes = [...by("tile").options].map((each) => Number(each.value));
    const available = by("tiles").clientWidth;
    setTileSize(String(sizes.filter((each) => count * (each + gap) - gap <= available).pop() || sizes[0]));
  }

  function variantCheckbox(tile) {
    const label = document.createElement("label");
    const checkbox = document.createElement("input");
    checkbox.type = "checkbox";
    checkbox.checked = !hiddenNames.has(tile.name);
    checkbox.dataset.name = tile.name;
    checkbox.addEventListener("change", () => {
      if (checkbox.checked) hiddenNames.delete(tile.name);
      else hiddenNames.add(tile.name);
      updateVisibility(true);
    });
    label.append(checkbox, swatch(tile), document.createTextNode(tile.name));
    return label;
  }

  function swatch(tile) {
    const element = document.createElement("span");
    element.className = "swatch";
    element.style.background = tile.colour || "var(--faint)";
    return element;
  }

  function tileFigure(tile) {
    const figure = document.createElement("figure");
    figure.dataset.name = tile.name;
    if (tile.problem) {
      const text = document.createElement("div");
      text.className = "broken";
      text.textContent = tile.problem;
      figure.append(text);
    } else {
      const video = document.createElement("video");
      video.preload = "auto";
      video.playsInline = true;
      video.muted = true;
      video.src = videoUrl(tile.id, tile.link);
      video.dataset.name = tile.name;
      video.setAttribute("aria-label", tile.name);
      video.style.aspectRatio = tile.width + " / " + tile.height;
      video.addEventListener("click", togglePlayback);
      figure.append(video);
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
      radio.name = "audible";
      radio.checked = tile.name === audible;
      radio.addEventListener("change", () => {
        audible = tile.name;
        updateSound();
      });
      label.append(radio, document.createTextNode("sound"));
      caption.append(label);
    }
    figure.append(caption);
    return figure;
  }

  function updateSound() {
    for (const video of sync.videos) {
      video.muted = video.dataset.name !== audible;
      if (!video.muted) sync.leader = video;
    }
  }

  async function updateVisibility(changed) {
    const frame = sync.frame;
    const playing = sync.playing;
    for (const figure of by("tiles").children) {
      figure.hidden = hiddenNames.has(figure.dataset.name);
      const video = figure.querySelector("video");
      if (!video) continue;
      if (figure.hidden) {
        video.dataset.off = "1";
        video.pause();
      } else delete video.dataset.off;
    }
    fitTiles();
    if (!changed) return;
    sync.stop();
    await sync.show(frame);
    if (playing) sync.play(frame);
  }

  function update() {
    if (!current) return;
    const frame = sync.frame;
    by("play").textContent = sync.playing ? "Pause" : "Play";
    by("scrubber").value = String(frame);
    by("clock").textContent = `frame ${frame + 1} of ${current.times.length}, ${current.times[frame].toFixed(3)} s`;
  }

  function togglePlayback() {
    if (sync.playing) sync.pause();
    else sync.play();
  }

  by("clip").append(...[...new Set(data.groups.map((group) => group.clip))].map((clip) => option(clip, clip)));
  by("clip").addEventListener("change", () => fillArms(current.label));
  by("arm").addEventListener("change", showGroup);
  by("tile").addEventListener("change", () => {
    sizeChosen = true;
    setTileSize(by("tile").value);
  });
  by("play").addEventListener("click", togglePlayback);
  by("back").addEventListener("click", () => sync.step(-1));
  by("forward").addEventListener("click", () => sync.step(1));
  by("scrubber").addEventListener("input", () => {
    sync.stop();
    sync.show(Number(by("scrubber").value));
  });
  by("speed").addEventListener("change", () => {
    sync.rate = Number(by("speed").value);
  });
  by("loop").addEventListener("change", () => {
    sync.loop = by("loop").checked;
  });
  window.addEventListener("resize", fitTiles);

  /* Whether the videos cover half of their own height or half of the window. If not, keys scroll the page as usual. */
  function inView() {
    const bounds = by("tiles").getBoundingClientRect();
    const visible = Math.min(bounds.bottom, innerHeight) - Math.max(bounds.top, 0);
    return visible >= Math.min(bounds.height, innerHeight) / 2;
  }

  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("select")) return;
    if (!player.contains(target) && (target.matches("input, button") || !inView())) return;
    const isControl = target.matches("input, button, summary");
    const steps = { ",": -1, ".": 1, ArrowLeft: -1, ArrowRight: 1 };
    if (event.key === " " && !isControl) {
      if (!event.repeat) togglePlayback();
    } else if (event.key in steps && !(isControl && event.key.startsWith("Arrow"))) sync.step(steps[event.key]);
    else return;
    event.preventDefault();
  });
  fillArms("");
})();
