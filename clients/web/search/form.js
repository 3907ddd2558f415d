// What a search is narrowed to, and for which case it is made.

import { button, el, icon, show } from "../dom.js";
import { t } from "../language.js";
import { byCamera, cameraChips, field, segments, select } from "../parts.js";
import { timeFields } from "../when.js";
import { narrowed, state } from "./state.js";

const MANY = 10;

/** The fields beside the query; `cameras` is a promise of what `GET /cameras` says. */
export function fields(cameras) {
  return [
    segments(t("query.light"), [["auto", t("auto"), "auto"], ["visible", t("visible"), "sun"], ["infrared", t("infrared"), "moon"]], state.modality, (value) => (state.modality = value)),
    caseFields(),
    el(
      "details",
      { class: "filters", open: state.filtersOpen, ontoggle: (event) => (state.filtersOpen = event.target.open) },
      el("summary", {}, t("filters"), summary()),
      cameraField(cameras),
      timeAndLight(),
      el("div", { class: "pair" }, field(t("limit"), select({ 20: "20", 50: "50", 100: "100", 200: "200", 500: "500" }, state.limit, set("limit"))), thresholdField()),
    ),
  ];
}

const set = (name) => (value) => {
  state[name] = value;
  tellNarrowed();
};

function summary() {
  return el("span", { id: "narrowed", class: "narrowed" }, narrowedWords());
}

function narrowedWords() {
  const count = narrowed() + (state.gallery !== "");
  return count ? t("filters.set", { n: count }) : "";
}

function tellNarrowed() {
  const place = document.getElementById("narrowed");
  if (place) place.textContent = narrowedWords();
}

function caseFields() {
  const text = (name, most) => el("input", { id: `search-${name}`, type: "text", maxlength: most, value: state[name], autocomplete: "off", oninput: (event) => (state[name] = event.target.value) });
  return el("div", { class: "pair" }, field(t("case"), text("case", 200)), field(t("reason"), text("reason", 1000)), state.caseKept && keptCase());
}

/** The case of the person before still stands; whether it is that of the next one only people know. */
function keptCase() {
  const empty = () => {
    for (const name of ["case", "reason"]) document.getElementById(`search-${name}`).value = state[name] = "";
    tell.remove();
    document.getElementById("search-case").focus();
  };
  const tell = el("p", { class: "kept", id: "case-kept", role: "status" }, t("case.kept"), button(t("case.clear"), null, empty, { class: "quiet" }));
  return tell;
}

function cameraField(cameras) {
  const place = el("div", {}, el("p", { class: "waiting" }, t("loading")));
  cameras.then(
    (items) => {
      const known = byCamera(items);
      // A camera that was erased meanwhile would be refused.
      state.cameras.forEach((camera) => known.has(camera) || state.cameras.delete(camera));
      const chips = cameraChips(known, state.cameras, tellNarrowed);
      show(place, known.size > MANY && sieve(chips), chips);
    },
    (problem) => show(place, el("p", { class: "error" }, problem.words)),
  );
  return el("fieldset", {}, el("legend", {}, t("cameras")), place);
}

/** A field that leaves only the chips whose camera holds its text. */
function sieve(chips) {
  const narrow = (event) => {
    for (const chip of chips.children) chip.hidden = !chip.textContent.toLowerCase().includes(event.target.value.toLowerCase());
  };
  return el("input", { type: "search", "aria-label": t("cameras.find"), placeholder: t("cameras.find"), oninput: narrow });
}

/** When, and in which light; the fields of a range of one's own below. */
function timeAndLight() {
  const lights = select({ "": t("gallery.other"), visible: t("visible"), infrared: t("infrared") }, state.gallery, set("gallery"));
  const [range, own] = timeFields(state, tellNarrowed);
  return [el("div", { class: "pair" }, range, field(t("gallery.light"), lights)), own];
}

function thresholdField() {
  const told = el("output", {}, thresholdWords());
  const change = (event) => {
    set("threshold")(Number(event.target.value));
    told.textContent = thresholdWords();
  };
  const slider = el("input", { type: "range", min: 0, max: 0.95, step: 0.05, value: state.threshold, oninput: change });
  const made = field(t("threshold"), slider);
  made.querySelector("label").append(told);
  return made;
}

const thresholdWords = () => (state.threshold > 0 ? state.threshold.toFixed(2) : t("threshold.none"));

/** How far `run` has come; the words change, the bar does not jump. */
export function progress(run, cancel) {
  const bar = el("div", { class: "bar" });
  const words = el("p", { role: "status" }, t("sending"));
  const place = el("section", { class: "progress" }, icon("search"), words, el("div", { class: "track" }, bar), cancel);
  const clock = setInterval(() => {
    const waited = performance.now() - run.began;
    if (!place.isConnected) clearInterval(clock);
    else if (waited > 5000) words.textContent = t("still", { s: Math.round(waited / 1000) });
  }, 1000);
  run.advance = (share) => {
    bar.style.width = `${Math.round(100 * share)}%`;
    if (share >= 1) {
      place.classList.add("waiting-answer");
      words.textContent = t("searching");
    }
  };
  run.advance(run.share);
  return place;
}
