// Small helpers for elements, texts and messages.
export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Return a new element. `attributes` may contain event listeners (`onclick`) and properties of `style`. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(made.style, value);
    else if (key === "value") made.value = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((each) => each !== null && each !== undefined));
  return made;
}

export function svg(name, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

let texts = {};
export const setTexts = (given) => { texts = given; };

/** Return a text of the page with the values in its braces. */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
export const hasText = (key) => key in texts;

let hide = 0;
export function toast(text, bad = false) {
  const box = $("#toast");
  box.textContent = text;
  box.classList.toggle("bad", bad);
  box.hidden = false;
  clearTimeout(hide);
  hide = setTimeout(() => { box.hidden = true; }, bad ? 9000 : 3500);
}

/** Call `draw`, which replaces elements of `root`, and restore the keyboard focus at the same place. */
export function keepFocus(root, draw) {
  const focusable = () => $$("button, input, select, textarea, summary, a, [tabindex='0']", root);
  const place = root.contains(document.activeElement) ? focusable().indexOf(document.activeElement) : -1;
  draw();
  if (place >= 0 && !root.contains(document.activeElement)) focusable()[place]?.focus({ preventScroll: true });
}

export const announce = (text) => { $("#live").textContent = text; };

export const number = (value, digits = 1) => String(Number(Number(value).toFixed(digits)));

export function duration(seconds) {
  const whole = Math.max(Math.round(seconds), 0);
  return whole < 90 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

export async function copy(text, button) {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = el("textarea", { value: text, class: "sr" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = t("copied");
  setTimeout(() => { button.textContent = before; }, 1500);
}
