// Options of the run file: presets, the basic options, and a form that is generated from the JSON Schema.
import { $, copy, el, hasText, keepFocus, t } from "./dom.js";

const STAGES = ["detector", "reconstructor", "expression_editor", "denoiser", "lip_syncer"];
const LISTS = ["reference_enhancers", "enhancers", "finishers"];
const MERGED = ["label", "output", "provenance", "voice_activity", "photo", "sound"];
const BASIC = ["length"];
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const clone = (value) => JSON.parse(JSON.stringify(value ?? null));
const words = (name) => { const text = name.replace(/_/g, " "); return text[0].toUpperCase() + text.slice(1); };

export class Options {
  constructor(page, changed) {
    this.page = page;
    this.schema = page.schema;
    this.changed = changed;
    this.usePreset(page.presets.find((each) => !each.missing)?.name ?? page.presets[0].name);
  }

  usePreset(name) {
    const preset = this.page.presets.find((each) => each.name === name);
    if (!preset) throw new Error(t("unknown_preset", { name }));
    this.preset = preset;
    this.values = clone(preset.values);
  }

  /** Return the run file: the preset and every value that differs from it. */
  config() {
    const config = this.preset.name === "embedded" ? {} : { preset: this.preset.name };
    for (const [key, value] of Object.entries(this.values)) {
      const before = this.preset.values[key];
      if (same(value, before)) continue;
      if (STAGES.includes(key)) config[key] = this.#stage(key, value);
      else if (LISTS.includes(key)) config[key] = value.map((each) => this.#item(key, each));
      else if (MERGED.includes(key) && value && before && typeof value === "object") {
        config[key] = Object.fromEntries(Object.entries(value).filter(([name, each]) => !same(each, before[name])));
      } else config[key] = value;
    }
    return config;
  }

  /** Show the values of a run file. Unknown keys are kept, so that the server reports them. */
  load(config) {
    this.usePreset(config.preset ?? "embedded");
    for (const [key, value] of Object.entries(config)) {
      if (key === "preset") continue;
      const before = this.values[key];
      if (STAGES.includes(key)) this.values[key] = this.#complete(this.#mappings(key), value);
      else if (LISTS.includes(key)) this.values[key] = value.map((each) => this.#complete(this.#mappings(key), each));
      else if (MERGED.includes(key) && before && value && typeof value === "object") this.values[key] = { ...before, ...value };
      else if (key === "label" && typeof value === "string") this.values[key] = { text: value };
      else this.values[key] = value;
    }
  }

  #stage(key, value) { return this.#short(this.#mapping(this.#mappings(key), value.use), value); }
  #item(key, value) { return this.#short(this.#mapping(this.#mappings(key), value.use), value); }

  /** Return a stage without the options that have default values. A component, such as a driver, is shortened too. */
  #short(mapping, value) {
    const kept = { use: value.use };
    for (const [name, each] of Object.entries(value)) {
      const node = this.#resolve(mapping?.properties?.[name] ?? {});
      const shorten = (part) => (node.oneOf && part?.use ? this.#short(this.#mapping(node.oneOf.filter((one) => one.type === "object"), part.use), part) : part);
      const default_ = node.oneOf && typeof node.default === "string" ? { use: node.default } : node.default ?? null;
      if (name !== "use" && !same(shorten(each), shorten(default_))) kept[name] = shorten(each);
    }
    return kept;
  }

  #mappings(key) {
    const node = this.schema.properties[key];
    return ((LISTS.includes(key) ? node.items : node).oneOf ?? []).filter((each) => each.type === "object");
  }

  #mapping(mappings, use) { return mappings.find((each) => each.properties.use.enum.includes(use)); }

  #complete(mappings, value) {
    const given = typeof value === "string" ? { use: value } : value;
    const properties = this.#mapping(mappings, given.use)?.properties ?? {};
    const defaults = Object.entries(properties).filter(([name]) => name !== "use").map(([name, node]) => [name, clone(node.default)]);
    return { use: given.use, ...Object.fromEntries(defaults), ...given };
  }

  #resolve(node) {
    if (!node.$ref) return node;
    const found = this.schema.$defs[node.$ref.replace("#/$defs/", "")];
    return { ...found, ...Object.fromEntries(Object.entries(node).filter(([name]) => name !== "$ref")) };
  }

  // ---------------------------------------------------------------- page

  render() {
    keepFocus($("#presets"), () => this.#presets());
    keepFocus($("#basic"), () => this.#basic());
    keepFocus($("#all"), () => this.#all());
  }

  #presets() {
    const open = Boolean($("#presets > details")?.open);
    const card = (each) => {
      const input = el("input", { type: "radio", name: "preset", value: each.name, disabled: Boolean(each.missing), checked: each === this.preset,
        onchange: () => { this.usePreset(each.name); this.render(); this.changed(); } });
      const facts = hasText(`preset_${each.name}`) ? t(`preset_${each.name}`) : "";
      const parts = [input, el("b", {}, words(each.name)), el("span", { class: "small" }, facts)];
      if (!each.missing) return el("label", { class: "preset" }, ...parts);
      const commands = each.commands.map((text) => {
        const button = el("button", { type: "button", onclick: () => copy(text, button), "aria-label": `${t("copy")} ${text}` }, t("copy"));
        return el("span", { class: "command" }, el("code", { tabindex: "0" }, text), button);
      });
      const more = el("details", { class: "missing" }, el("summary", {}, t("preset_missing")), el("span", {}, each.missing), ...commands);
      return el("div", { class: "preset", role: "presentation" }, input, el("b", { id: `preset-${each.name}` }, words(each.name)), el("span", { class: "small" }, facts), more);
    };
    const [ready, missing] = [this.page.presets.filter((each) => !each.missing), this.page.presets.filter((each) => each.missing)];
    $("#presets").replaceChildren(...ready.map(card), ...(missing.length ? [el("details", { open }, el("summary", {}, t("more_presets", { count: missing.length })), ...missing.map(card))] : []));
    for (const input of document.querySelectorAll("#presets input:disabled")) input.setAttribute("aria-labelledby", `preset-${input.value}`);
  }

  #basic() {
    const { values } = this;
    const fields = [this.#select(t("basic_length"), [["speech", t("length_speech")], ["video", t("length_video")]], values.length, (value) => { values.length = value; })];
    if (values.lip_syncer?.strength !== undefined) {
      const output = el("output", {}, `${Math.round(values.lip_syncer.strength * 100)} %`);
      const slider = el("input", { type: "range", min: "0", max: "1.5", step: "0.05", value: values.lip_syncer.strength, oninput: () => {
        values.lip_syncer.strength = Number(slider.value);
        output.textContent = `${Math.round(slider.value * 100)} %`;
        this.changed();
      } });
      fields.push(this.#row(t("basic_strength"), [slider, output]));
    }
    const sound = values.sound?.original;
    fields.push(this.#select(t("basic_sound"), [["auto", t("sound_speech")], ["original", t("sound_original")]], typeof sound === "object" && sound ? "original" : "auto", (value) => {
      values.sound.original = value === "auto" ? "auto" : { gain: 0 };
    }));
    const label = el("input", { value: values.label?.text ?? "", placeholder: t("basic_label_hint"), maxlength: "80", oninput: () => {
      values.label = label.value.trim() ? { ...(values.label ?? {}), text: label.value } : null;
      this.changed();
    } });
    fields.push(this.#row(t("basic_label"), [label]));
    $("#basic").replaceChildren(...fields);
  }

  #row(name, controls, help = "", changed = false) {
    return el("label", { class: `field${changed ? " changed" : ""}` }, el("span", {}, name), el("span", { class: "control" }, controls), help ? el("span", { class: "help" }, help) : null);
  }

  #select(name, choices, value, set, help = "", changed = false) {
    const select = el("select", { onchange: () => { set(JSON.parse(select.value)); this.changed(); } },
      choices.map(([each, text]) => el("option", { value: JSON.stringify(each), selected: same(each, value) }, text)));
    return this.#row(name, [select], help, changed);
  }

  /** Build the form of all options. It is rebuilt whenever another stage is selected. */
  #all() {
    const open = new Set([...document.querySelectorAll("#all details[open]")].map((each) => each.dataset.key));
    const groups = { stages: [], general: [] };
    const boxes = [];
    for (const [key, node] of Object.entries(this.schema.properties)) {
      if (!(key in this.values) || BASIC.includes(key)) continue;
      if (STAGES.includes(key)) groups.stages.push(this.#stageBox(key));
      else if (LISTS.includes(key)) groups.stages.push(this.#listBox(key));
      else if (this.#objectOf(node)) boxes.push(this.#group(key, words(key), this.#objectFields(key, this.#objectOf(node))));
      else groups.general.push(this.#field(words(key), node, () => this.values[key], (value) => { this.values[key] = value; }, this.preset.values[key]));
    }
    const all = [this.#group("stages", t("group_stages"), groups.stages), this.#group("general", t("group_general"), groups.general), ...boxes];
    $("#all").replaceChildren(...all);
    for (const each of document.querySelectorAll("#all details")) each.open = open.has(each.dataset.key);
  }

  #objectOf(node) {
    const candidates = [node, ...(node.anyOf ?? [])].map((each) => this.#resolve(each));
    return candidates.find((each) => each.type === "object" && each.properties) ?? null;
  }

  #group(key, title, fields) {
    return el("details", { "data-key": key }, el("summary", {}, title), ...fields);
  }

  #objectFields(key, node) {
    const read = () => this.values[key] ?? {};
    return Object.entries(node.properties).map(([name, each]) => this.#field(words(name), each, () => read()[name] ?? each.default ?? null, (value) => {
      this.values[key] = { ...read(), [name]: value };
    }, this.preset.values[key]?.[name] ?? each.default ?? null));
  }

  #stageBox(key) {
    const mappings = this.#mappings(key);
    const value = this.values[key];
    const choice = this.#select(t("stage"), mappings.map((each) => [each.title, each.title]), value.use, (use) => {
      this.values[key] = this.#complete(mappings, use);
      this.render();
    }, this.#mapping(mappings, value.use)?.description ?? "");
    return el("details", { "data-key": key }, el("summary", {}, `${words(key)}: ${value.use}`), choice, ...this.#stageFields(key, mappings, value));
  }

  #stageFields(key, mappings, value) {
    const mapping = this.#mapping(mappings, value.use);
    return Object.entries(mapping?.properties ?? {}).filter(([name]) => name !== "use").map(([name, raw]) => {
      const node = this.#resolve(raw);
      if (node.oneOf) return this.#nested(`${key}.${name}`, words(name), node, value, name);
      return this.#field(words(name), node, () => value[name], (each) => { value[name] = each; }, node.default);
    });
  }

  /** Component within a stage, such as the driver of a lip syncer. */
  #nested(key, title, node, owner, name) {
    const mappings = node.oneOf.filter((each) => each.type === "object");
    const value = owner[name] = this.#complete(mappings, owner[name] ?? mappings[0].title);
    const choice = this.#select(title, mappings.map((each) => [each.title, each.title]), value.use, (use) => { owner[name] = this.#complete(mappings, use); this.render(); });
    return el("details", { "data-key": key }, el("summary", {}, `${title}: ${value.use}`), choice, ...this.#stageFields(key, mappings, value));
  }

  #listBox(key) {
    const mappings = this.#mappings(key);
    const list = this.values[key];
    const items = list.map((value, index) => el("div", { class: "item" },
      this.#select(`${index + 1}.`, mappings.map((each) => [each.title, each.title]), value.use, (use) => { list[index] = this.#complete(mappings, use); this.render(); }, this.#mapping(mappings, value.use)?.description ?? ""),
      ...this.#stageFields(`${key}.${index}`, mappings, value),
      el("button", { type: "button", class: "quiet", onclick: () => { list.splice(index, 1); this.render(); this.changed(); } }, `${t("remove_item")} ${value.use}`)));
    const add = el("button", { type: "button", onclick: () => { list.push(this.#complete(mappings, mappings[0].title)); this.render(); this.changed(); } }, t("add_item"));
    const names = list.map((each) => each.use).join(", ") || t("none");
    return el("details", { "data-key": key }, el("summary", {}, `${words(key)}: ${names}`), ...items, mappings.length ? add : null);
  }

  /** Field of one value, by its schema. A value of an unusual type is edited as JSON. */
  #field(name, raw, get, set, before) {
    const node = this.#resolve(raw);
    const help = node.description ?? "";
    const changed = !same(get(), before);
    const alternatives = (node.anyOf ?? [node]).map((each) => this.#resolve(each));
    const choices = alternatives.flatMap((each) => each.enum ?? (each.const !== undefined ? [each.const] : each.type === "null" ? [null] : []));
    const scalar = alternatives.find((each) => ["number", "integer", "string"].includes(each.type) && !each.enum && each.const === undefined);
    if (node.type === "boolean") {
      const box = el("input", { type: "checkbox", checked: Boolean(get()), onchange: () => { set(box.checked); this.changed(); } });
      return this.#row(name, [box], help, changed);
    }
    if (choices.length && !scalar) {
      return this.#select(name, choices.map((each) => [each, each === null ? t("none") : String(each)]), get(), set, help, changed);
    }
    const optional = choices.length ? t("default_value", { value: choices[0] ?? t("none") }) : "";
    if (scalar && scalar.type !== "string" && !choices.some((each) => typeof each === "string")) {
      const input = el("input", { type: "number", value: get() ?? "", min: scalar.minimum, max: scalar.maximum, step: scalar.type === "integer" ? "1" : "any", placeholder: optional, onchange: () => {
        set(input.value === "" ? null : Number(input.value));
        this.changed();
      } });
      return this.#row(name, [input], help, changed);
    }
    const text = (value) => (value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));
    const input = el("input", { value: text(get()), placeholder: optional, spellcheck: "false", onchange: () => {
      let value = input.value.trim();
      if (value === "") value = choices.length ? choices[0] : null;
      else if (!(scalar?.type === "string") || choices.length) { try { value = JSON.parse(value); } catch { /* a word */ } }
      set(value);
      this.changed();
    } });
    return this.#row(name, [input], help, changed);
  }
}
