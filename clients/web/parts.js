// Pieces that several views use: fields, choices, chips, images, words to a state.

import { button, el, icon, show } from "./dom.js";
import { t } from "./language.js";
import { may } from "./session.js";

const TRIES_AGAIN_MS = [2000, 8000];
let numbered = 0;
/** {place: the last load into it}. */
const loads = new WeakMap();

/** A labelled field around `control`. */
export function field(label, control, hint) {
  control.id ||= `field-${++numbered}`;
  const words = hint && el("small", { id: `${control.id}-hint` }, hint);
  if (words) control.setAttribute("aria-describedby", words.id);
  return el("div", { class: "field" }, el("label", { for: control.id }, label), control, words);
}

/** A row of choices of which one holds: [[value, words, icon]]. */
export function segments(label, choices, chosen, change) {
  const name = `segments-${++numbered}`;
  return el(
    "fieldset",
    { class: "segments" },
    el("legend", {}, label),
    choices.map(([value, words, symbol]) =>
      el(
        "label",
        { title: words },
        el("input", { type: "radio", name, value, checked: value === chosen, onchange: () => change(value) }),
        el("span", {}, symbol && icon(symbol), words),
      ),
    ),
  );
}

/** A drop-down of {value: words}. */
export function select(choices, chosen, change) {
  const options = Object.entries(choices).map(([value, words]) => el("option", { value, selected: value === chosen }, words));
  return el("select", { onchange: (event) => change(event.target.value) }, options);
}

/** Cameras to tick; `chosen` is a set that changes in place. */
export function cameraChips(cameras, chosen, change = () => {}) {
  const chip = ([camera, modalities]) => {
    const flip = (event) => {
      if (event.target.checked) chosen.add(camera);
      else chosen.delete(camera);
      change();
    };
    return el("label", { class: "chip" }, el("input", { type: "checkbox", checked: chosen.has(camera), onchange: flip }), el("span", {}, modalities.map(light), camera));
  };
  return el("div", { class: "chips" }, [...cameras].map(chip));
}

/** {camera: [its modalities]} of what `GET /cameras` says. */
export function byCamera(items) {
  const cameras = new Map();
  for (const { camera_id: camera, modality } of items) cameras.set(camera, [...(cameras.get(camera) ?? []), modality]);
  return cameras;
}

/** The sign of a light, with its name for those who do not see it. */
export function light(modality) {
  return el("span", { class: `light ${modality}`, title: t(modality) }, icon(modality === "visible" ? "sun" : "moon"), el("span", { class: "hidden" }, t(modality)));
}

/** A stored image; where it cannot be had, or is not for this key, its place says so. */
export function thumbnail(image, words) {
  if (!may("view")) return missing();
  const picture = el("img", { src: image.thumbnail_url, alt: words, loading: "lazy", decoding: "async", width: 80, height: 160 });
  const waits = [...TRIES_AGAIN_MS];
  picture.addEventListener("error", () => {
    if (waits.length === 0) picture.replaceWith(missing());
    else setTimeout(() => (picture.src = image.thumbnail_url), waits.shift());
  });
  return picture;
}

function missing() {
  return el("span", { class: "no-image", role: "img", "aria-label": t("image.missing") }, icon("cross"), t("image.missing"));
}

/** A state of a view in words: nothing there, or what failed, with a way on. */
export function notice(title, words, ...actions) {
  return el("section", { class: "notice" }, el("h2", {}, title), words && el("p", {}, words), actions.length > 0 && el("div", { class: "actions" }, actions));
}

/** What failed, in words, with the server's own below, and another try. */
export function failure(problem, again) {
  const detail = problem.message && problem.message !== problem.words ? el("p", { class: "detail", lang: "en" }, problem.message) : null;
  const retry = again && button(t("retry"), "refine", again);
  return el("section", { class: problem.slug === "offline" ? "notice failed offline" : "notice failed", role: "alert" }, el("h2", {}, problem.words ?? t("failed")), detail, retry && el("div", { class: "actions" }, retry));
}

/** Fills `place` with what `load` gives, unless it is filled anew by then; waiting and failing are told there. */
export async function loadInto(place, load) {
  loads.set(place, load);
  const overtaken = () => loads.get(place) !== load;
  place.setAttribute("aria-busy", "true");
  const waiting = setTimeout(() => place.childElementCount === 0 && show(place, el("p", { class: "waiting", role: "status" }, t("loading"))), 250);
  try {
    const found = await load();
    if (place.isConnected && !overtaken()) show(place, found);
  } catch (problem) {
    if (problem.name === "AbortError" || overtaken()) return;
    show(place, failure(problem, () => loadInto(show(place), load)));
  } finally {
    clearTimeout(waiting);
    if (!overtaken()) place.removeAttribute("aria-busy");
  }
}

/** A button in whose place stands what `load` gives, which adds a page and gives the next such button. */
export function further(load) {
  const place = el("div", { class: "more-rows" });
  const turn = async () => place.replaceWith((await load()) ?? "");
  const go = button(t("more"), "plus", () => {
    go.disabled = true;
    loadInto(place, turn);
  });
  place.append(go);
  return place;
}

/** Says something in passing at the foot of the page. */
export function say(words, kind = "") {
  document.getElementById("said")?.remove();
  const said = el("p", { id: "said", class: kind, role: kind === "error" ? "alert" : "status" }, words);
  (document.querySelector("dialog[open]") ?? document.body).append(said);
  setTimeout(() => said.remove(), 5000);
}
