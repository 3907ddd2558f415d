// The search view: the query stays on the left, what was found is on the right.

import { get } from "../api.js";
import { button, el, icon, show } from "../dom.js";
import { number } from "../format.js";
import { t } from "../language.js";
import { failure, notice, say } from "../parts.js";
import { compare } from "../search/compare.js";
import { fields, progress } from "../search/form.js";
import { addStored, clear, receive, sources, strip } from "../search/queries.js";
import { columns, grid, remark, select, VERDICTS } from "../search/results.js";
import { cancel, judge, search } from "../search/run.js";
import { confirmed, other, state } from "../search/state.js";
import { timeline } from "../search/timeline.js";
import { may } from "../session.js";
import { bind, cap } from "../shortcuts.js";

/** Draws the view into `root`; gives what ends it. */
export function mount(root) {
  const place = { query: el("div", {}), results: el("section", { class: "results", "aria-label": t("results") }) };
  const cameras = get("/cameras").then((answer) => answer.items);
  const changed = () => (drawQuery(place), state.phase === "idle" && drawResults(place));
  place.ask = () => run(place);
  place.changed = changed;
  const go = button(t("search"), "search", place.ask, { class: "primary", id: "search-go" });
  go.append(el("span", { class: "caps" }, cap("Ctrl+Enter")));
  const form = el("form", { class: "query-form", "aria-label": t("query"), onsubmit: (event) => (event.preventDefault(), place.ask()) }, place.query, fields(cameras), el("div", { class: "go" }, go));
  show(root, el("h1", { class: "hidden" }, t("view.search")), form, place.results);
  bind("view", keys(place));
  const stop = receive(root, changed);
  drawQuery(place);
  drawResults(place);
  cameras.then((items) => items.length === 0 && !state.answer && show(place.results, notice(t("gallery.empty"), t("gallery.empty.words"))), () => {});
  return stop;
}

function drawQuery(place) {
  const heading = el("header", {}, el("h2", {}, t("query")), state.queries.length > 0 && button(t("query.new"), "cross", () => restart(place), { class: "quiet", id: "restart" }));
  const empty = state.queries.length === 0 && el("p", { class: "hint" }, t("query.hint"));
  show(place.query, heading, strip(place.changed), empty, sources(place.changed), lights());
}

/** What light the server took each query for, where it was left to it. */
function lights() {
  const told = (state.answer?.query_modalities ?? []).filter((one) => one.detected);
  if (told.length === 0 || state.modality !== "auto") return null;
  const names = [...new Set(told.map((one) => t(one.modality)))].join(", ");
  return el("p", { class: "detected", role: "status" }, icon("auto"), t("query.detected", { light: names }));
}

function restart(place) {
  cancel();
  clear();
  Object.assign(state, { answer: null, problem: null, phase: "idle", modality: "auto", gallery: "" });
  state.verdicts.clear();
  place.changed();
  document.querySelector('.segments input[value="auto"]').checked = true;
}

async function run(place) {
  if (state.queries.length === 0) {
    say(t("query.needed"), "error");
    document.getElementById("pick-button")?.focus();
    return;
  }
  const under = progress(button(t("cancel"), "cross", cancel, { class: "quiet" }));
  Object.assign(state, { phase: "running", problem: null });
  show(place.results, under.place);
  try {
    await search(under.advance);
  } catch (problem) {
    state.problem = problem.name === "AbortError" ? null : problem;
  }
  state.phase = "idle";
  drawQuery(place);
  drawResults(place);
  if (state.answer && !state.problem) select(0, document.activeElement === document.body || document.activeElement?.id === "search-go");
}

function drawResults(place) {
  const { answer, problem } = state;
  if (problem) show(place.results, failure(problem, place.ask));
  else if (!answer) show(place.results, welcome());
  else if (answer.items.length === 0) show(place.results, notice(t("nothing-found"), t("nothing-found.words")));
  else show(place.results, head(place), state.timeline && timeline(answer.items, (at) => select(at)), found(place));
}

function welcome() {
  if (state.queries.length > 0) return notice(t("ready"), t("ready.words"));
  const steps = ["image", "case", "judge"].map((step) => el("li", {}, t(`welcome.${step}`)));
  return el("section", { class: "welcome" }, el("div", { class: "horizon", "aria-hidden": "true" }, icon("sun"), icon("moon")), el("h2", {}, t("welcome")), el("ol", {}, steps), el("p", { class: "hint" }, cap("?"), ` ${t("welcome.keys")}`));
}

function head(place) {
  const { answer } = state;
  const toggle = (name, symbol) => {
    const flip = () => {
      state[name] = !state[name];
      if (name === "timeline") drawResults(place);
      else place.ask();
    };
    return button(t(name), symbol, flip, { "aria-pressed": String(state[name]), class: "toggle", id: `toggle-${name}` });
  };
  const refine = button(t("refine"), "refine", () => again(place), { id: "refine", disabled: confirmed().length === 0, title: t("refine.words") });
  const file = may("export") && el("a", { class: "button", href: `/searches/${answer.search_id}/export`, download: `search-${answer.search_id}.zip`, id: "export", title: t("export.words") }, icon("export"), el("span", {}, t("export")));
  return el(
    "header",
    { class: "results-head" },
    el("p", { class: "told", role: "status" }, el("strong", {}, t("found", { n: answer.items.length })), el("span", {}, ` ${t("in", { light: t(answer.gallery_modality ?? answer.items[0].modality) })} · ${number(Math.round(answer.timings_ms.total))} ms`)),
    el("div", { class: "tools" }, toggle("timeline", "time"), toggle("group", "tracks"), toggle("rerank", "rerank"), may("verdict") && refine, file),
  );
}

function found(place) {
  const decide = (item, verdict) => decideOn(place, item, verdict);
  return el("div", { class: "scroller" }, grid(state.answer.items, (at) => beside(place, at), decide));
}

async function decideOn(place, item, verdict) {
  const marked = () => {
    remark(item);
    document.querySelector(".timeline")?.dispatchEvent(new Event("peca-marks"));
    const refine = document.getElementById("refine");
    if (refine) refine.disabled = confirmed().length === 0;
  };
  try {
    await judge(item, verdict, marked);
  } catch (problem) {
    say(`${t("verdict.lost")} ${problem.words}`, "error");
  }
}

function beside(place, at) {
  compare(
    at,
    (item, verdict) => decideOn(place, item, verdict),
    (item) => searchFrom(place, [item], true),
    (shown) => select(shown),
  );
}

/** Searches the same light again with what was confirmed beside the first query. */
function again(place) {
  const items = confirmed().filter((item) => !state.queries.some((query) => query.imageId === item.image_id));
  state.gallery = state.answer.gallery_modality ?? state.answer.items[0].modality;
  state.modality = "auto";
  return searchFrom(place, items, false);
}

async function searchFrom(place, items, alone) {
  try {
    if (alone) {
      clear();
      state.verdicts.clear();
      state.gallery = other(items[0].modality);
      state.modality = "auto";
    }
    for (const item of items.slice(0, 8 - state.queries.length)) await addStored(item);
  } catch (problem) {
    say(problem.words ?? problem.message, "error");
    return;
  }
  await run(place);
}

function keys(place) {
  const inGrid = () => Boolean(document.activeElement?.closest("#grid")) || document.activeElement === document.body;
  const step = (by) => ({ act: () => inGrid() && select(state.selected + by()) });
  const verdict = ([name, [, key]]) => [key, { words: `verdict.${name}`, act: () => decideSelected(place, name) }];
  return {
    "Ctrl+Enter": { words: "search", act: place.ask },
    n: { words: "query.new", act: () => restart(place) },
    o: { words: "query.pick", act: () => document.getElementById("pick").click() },
    ...(may("verdict") ? Object.fromEntries(Object.entries(VERDICTS).map(verdict)) : {}),
    ArrowRight: { ...step(() => 1), words: "next" },
    ArrowLeft: { ...step(() => -1), words: "previous" },
    ArrowDown: step(columns),
    ArrowUp: step(() => -columns()),
    Enter: { words: "compare", act: () => document.activeElement === document.body && Boolean(state.answer) && beside(place, state.selected) },
    t: { words: "timeline", act: () => document.getElementById("toggle-timeline")?.click() },
    g: { words: "group", act: () => document.getElementById("toggle-group")?.click() },
    k: { words: "rerank", act: () => document.getElementById("toggle-rerank")?.click() },
    a: { words: "refine", act: () => document.getElementById("refine")?.click() },
    e: { words: "export", act: () => document.getElementById("export")?.click() },
    Escape: { words: "cancel", act: cancel },
  };
}

/** A verdict on the selected result, and on to the next one. */
function decideSelected(place, verdict) {
  const item = state.answer?.items[state.selected];
  if (!item || state.phase !== "idle") return false;
  decideOn(place, item, verdict);
  return select(state.selected + 1);
}
