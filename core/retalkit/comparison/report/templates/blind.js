"use strict";
/* Blind votes on pairs of videos. The variants of each pair are in `hidden-data`, which is obfuscated (XOR with the
   comparison's identifier, then base64), not encrypted. */
(() => {
  const shown = JSON.parse(document.getElementById("pair-data").textContent);
  if (!shown.pairs) return;
  const by = (id) => document.getElementById(id);
  const hidden = deobfuscate(by("hidden-data").textContent, shown.comparison);
  const sync = new VideoSync(() => undefined);
  const memory = new Map();
  let voter = "";
  let state = null;
  let otherPages = { order: [], votes: [] };

  function deobfuscate(text, key) {
    const mixed = atob(text.trim());
    const bytes = Uint8Array.from(mixed, (byte, index) => byte.charCodeAt(0) ^ key.charCodeAt(index % key.length));
    return JSON.parse(new TextDecoder().decode(bytes));
  }

  const storeKey = (name) => `retalkit-blind/${shown.comparison}/${name}`;

  function read(name) {
    try {
      return JSON.parse(localStorage.getItem(storeKey(name)));
    } catch {
      return memory.get(name) ?? null;
    }
  }

  function write(name, value) {
    memory.set(name, value);
    try {
      localStorage.setItem(storeKey(name), JSON.stringify(value));
    } catch {
      by("problem").textContent = "This browser cannot store votes. Save the votes as JSON before you close the page.";
    }
  }

  /* Random number generator for [0, 1): a 32-bit xorshift, seeded with a string and a random number per page load. */
  function randomGenerator(text) {
    const seed = new Uint32Array(1);
    crypto.getRandomValues(seed);
    let value = seed[0];
    for (const letter of text) value = (Math.imul(value, 31) + letter.codePointAt(0)) >>> 0;
    value = value || 1;
    return () => {
      value ^= value << 13;
      value >>>= 0;
      value ^= value >>> 17;
      value ^= value << 5;
      value >>>= 0;
      return value / 4294967296;
    };
  }

  function newOrder(name) {
    const random = randomGenerator(name);
    for (let warmup = 0; warmup < 16; warmup += 1) random();
    const order = hidden.pairs.map((pair) => ({ pair: pair.id, swapped: random() < 0.5 }));
    for (let last = order.length - 1; last > 0; last -= 1) {
      const other = Math.floor(random() * (last + 1));
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  }

  function begin(name) {
    voter = name;
    const known = new Set(hidden.pairs.map((pair) => pair.id));
    const stored = read("voter " + voter) || { order: [], votes: [], finished: false };
    /* Pairs with changed videos have new ids. Votes on pairs that are not on this page are preserved. */
    const onThisPage = (each) => known.has(each.pair);
    state = {
      order: stored.order.filter(onThisPage),
      votes: stored.votes.filter(onThisPage),
      finished: stored.finished,
    };
    otherPages = {
      order: stored.order.filter((each) => !onThisPage(each)),
      votes: stored.votes.filter((vote) => !onThisPage(vote)),
    };
    const listed = new Set(state.order.map((each) => each.pair));
    state.order.push(...newOrder(voter).filter((each) => !listed.has(each.pair)));
    if (!state.votes.length) state.finished = false;
    write("current", voter);
    saveState();
    next();
  }

  const saveState = () =>
    write("voter " + voter, {
      order: [...state.order, ...otherPages.order],
      votes: [...state.votes, ...otherPages.votes],
      finished: state.finished,
    });
  const votedOn = () => new Set(state.votes.map((vote) => vote.pair));

  function current() {
    const voted = votedOn();
    return state.order.find((each) => !voted.has(each.pair)) || null;
  }

  function sides(each) {
    const pair = hidden.pairs.find((one) => one.id === each.pair);
    return each.swapped ? [pair.second, pair.first] : [pair.first, pair.second];
  }

  function next() {
    const each = current();
    by("start").hidden = true;
    if (state.finished || !each) {
      finish();
      return;
    }
    by("end").hidden = true;
    by("vote").hidden = false;
    by("undo").disabled = !state.votes.length;
    by("finish").disabled = !state.votes.length;
    by("progress").textContent = `Pair ${state.votes.length + 1} of ${state.order.length}`;
    by("bar").value = state.votes.length / state.order.length;
    const pair = hidden.pairs.find((one) => one.id === each.pair);
    const videos = [by("left"), by("right")];
    sync.stop();
    sides(each).forEach((side, index) => {
      videos[index].src = videoUrl(side.video, side.link);
    });
    releaseVideoUrls(new Set(sides(each).map((side) => side.video)));
    sync.load(videos, pair.times, pair.end);
    sync.play(0);
  }

  function choose(choice) {
    const each = current();
    if (!each || by("vote").hidden) return;
    state.votes.push({ pair: each.pair, swapped: each.swapped, choice, time: new Date().toISOString() });
    saveState();
    next();
  }

  function undo() {
    if (by("vote").hidden || !state.votes.length) return;
    const last = state.votes.pop();
    const index = state.order.findIndex((each) => each.pair === last.pair);
    state.order.unshift(...state.order.splice(index, 1));
    saveState();
    next();
  }

  function finish() {
    sync.stop();
    state.finished = true;
    saveState();
    by("vote").hidden = true;
    by("end").hidden = false;
    by("thanks").textContent = `${voter}: ${state.votes.length} of ${state.order.length} pairs. Thank you for voting.`;
    by("rates").replaceChildren(...winRates().map(rateRow));
  }

  function namedVotes() {
    return state.votes.map((vote) => {
      const [left, right] = sides(vote).map((side) => hidden.variants[side.variant]);
      return { pair: vote.pair, left, right, choice: vote.choice, time: vote.time };
    });
  }

  function winRates() {
    const found = new Map();
    for (const vote of namedVotes()) {
      for (const [variant, other, side] of [
        [vote.left, vote.right, "left"],
        [vote.right, vote.left, "right"],
      ]) {
        for (const against of ["", other]) {
          const key = JSON.stringify([variant, against]);
          if (!found.has(key)) found.set(key, { variant, against, wins: 0, ties: 0, losses: 0 });
          const each = found.get(key);
          if (vote.choice === side) each.wins += 1;
          else if (vote.choice === "tie") each.ties += 1;
          else each.losses += 1;
        }
      }
    }
    const all = [...found.values()];
    const order = (name) => hidden.variants.indexOf(name);
    all.sort((a, b) => Boolean(a.against) - Boolean(b.against) || order(a.variant) - order(b.variant) || order(a.against) - order(b.against));
    return all;
  }

  /* Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927. */
  function wilson(rate, count) {
    const z = 1.959963984540054;
    const middle = rate + (z * z) / (2 * count);
    const half = z * Math.sqrt((rate * (1 - rate)) / count + (z * z) / (4 * count * count));
    const scale = 1 + (z * z) / count;
    return [Math.max(0, (middle - half) / scale), Math.min(1, (middle + half) / scale)];
  }

  function rateRow(each) {
    const count = each.wins + each.ties + each.losses;
    const rate = (each.wins + each.ties / 2) / count;
    const [low, high] = wilson(rate, count);
    const percent = (value) => `${Math.round(100 * value)} %`;
    const row = document.createElement("tr");
    const texts = [each.variant, each.against || "all others", percent(rate), `${percent(low)} to ${percent(high)}`];
    for (const [index, text] of [...texts, each.wins, each.ties, each.losses].entries()) {
      const cell = document.createElement("td");
      cell.textContent = String(text);
      if (index > 1) cell.className = "n";
      row.append(cell);
    }
    return row;
  }

  function save() {
    const file = { comparison: shown.comparison, voter, time: new Date().toISOString(), votes: namedVotes() };
    const url = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1)], { type: "application/json" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = `votes-${voter.replace(/[^\p{L}\p{N}_-]+/gu, "_")}-${shown.comparison.slice(-6)}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  by("who").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = by("voter").value.trim();
    if (!name) return;
    by("voter").blur();
    begin(name);
  });
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.addEventListener("click", () => {
      button.blur();
      choose(button.dataset.choice);
    });
  }
  const replay = () => {
    sync.stop();
    sync.play(0);
  };
  by("replay").addEventListener("click", replay);
  by("undo").addEventListener("click", undo);
  by("finish").addEventListener("click", finish);
  by("save").addEventListener("click", save);
  by("another").addEventListener("click", () => {
    write("current", "");
    by("end").hidden = true;
    by("start").hidden = false;
    by("voter").value = "";
    by("voter").focus();
  });
  document.addEventListener("keydown", (event) => {
    if (by("vote").hidden || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const choices = { 1: "left", 2: "right", 0: "tie" };
    if (event.key in choices) choose(choices[event.key]);
    else if (event.key === " ") replay();
    else if (event.key === "u") undo();
    else return;
    event.preventDefault();
  });
  const lastVoter = read("current");
  const pairIds = new Set(hidden.pairs.map((pair) => pair.id));
  const hasVotes = lastVoter && (read("voter " + lastVoter)?.votes ?? []).some((vote) => pairIds.has(vote.pair));
  if (hasVotes) begin(lastVoter);
})();
