// The search view: the query stays on the left, what was found is on the right.

import { get } from "../api.js";
import { button, el, icon, show } from "../dom.js";
import { number, score } from "../format.js";
import { t } from "../language.js";
import { failure, notice, say } from "../parts.js";
import { fields, progress } from "../search/form.js";
import { MOST, receive, sources, stored, strip } from "../search/queries.js";
import { columns, exportLink, grid, highest, remark, select, VERDICTS } from "../search/results.js";
import { begin, cancel, judge, judging, send } from "../search/run.js";
import { confirmed, narrowed, other, putAway, stale, state, widen } from "../search/state.js";
import { may } from "../session.js";
import { bind, cap } from "../shortcuts.js";

/** Where the view is drawn; null while another is open. */
let place = null;
let leave = () => {};
// Compare and the timeline come while the first image is looked at.
let late = null;

/** Draws the view into `root`; gives what ends it. */
export function mount(root) {
  leave();
  const cameras = get("/cameras").then((answer) => answer.items);
  const go = button(t("search"), "search", () => run(), { class: "primary", id: "search-go" });
  go.append(el("span", { class: "caps" }, cap("Ctrl+Enter")));
  place = { query: el("div", {}), fields: el("div", { class: "fields" }), results: el("section", { class: "results", "aria-label": t("results") }), cameras, empty: false };
  const form = (place.form = el("form", { class: "query-form", "aria-label": t("query"), onsubmit: (event) => (event.preventDefault(), run()) }, place.query, place.fields, el("div", { class: "go" }, go)));
  show(root, el("h1", { class: "hidden" }, t("view.search")), form, place.results);
  bind("view", keys());
  const stop = receive(root, changed);
  draw();
  const own = place;
  cameras.then((items) => ((own.empty = items.length === 0), own === place && own.empty && drawResults()), () => {});
  leave = () => {
    stop();
    place = null;
    leave = () => {};
  };
  return () => leave();
}

/** Draws all anew, the fields too: they show what will be searched. */
function draw() {
  if (place) show(place.fields, fields(place.cameras));
  drawAround();
}

/** The same but for the fields, in which somebody may be typing. */
function drawAround() {
  if (!place) return;
  drawQuery();
  drawResults();
}

function drawQuery() {
  place.form.classList.toggle("folded", state.folded);
  const heading = el("header", {}, el("h2", {}, t("query")), button(t("query.change"), "search", unfold, { id: "unfold" }), state.queries.length > 0 && button(t("query.new"), "cross", restart, { class: "quiet", id: "restart" }));
  const empty = state.queries.length === 0 && el("p", { class: "hint" }, t("query.hint"));
  show(place.query, heading, strip(changed), empty, sources(changed), lights());
}

function unfold() {
  state.folded = false;
  drawQuery();
  document.getElementById("pick-button").focus();
}

/** What light the server took each query for, where it was left to it. */
function lights() {
  const told = (state.answer?.query_modalities ?? []).filter((one) => one.detected);
  if (told.length === 0 || state.modality !== "auto" || stale()) return null;
  const names = [...new Set(told.map((one) => t(one.modality)))].join(", ");
  return el("p", { class: "detected", role: "status" }, icon("auto"), t("query.detected", { light: names }));
}

/** The query is another: what was found for a person must not stand beside the next one. */
function changed() {
  const remains = (asked) => asked.some((one) => state.queries.includes(one));
  state.folded = false;
  if (state.run && !remains(state.run.asked)) cancel();
  if (state.asked.length > 0 && !remains(state.asked)) {
    const next = state.queries;
    state.queries = state.asked;
    putAway(next);
    draw();
  } else drawAround();
  load().catch(() => {});
}

async function load() {
  late ??= Object.assign({}, ...(await Promise.all([import("../search/compare.js"), import("../search/timeline.js")])));
}

function restart() {
  cancel();
  putAway();
  draw();
}

function undo() {
  if (!state.undo) return false;
  cancel();
  state.undo();
  return draw();
}

function stop() {
  if (!state.run) return false;
  Object.assign(state, state.run.before);
  cancel();
  return drawAround();
}

/** Searches for the query, with a switch turned where `change` says so. */
async function run(change = {}) {
  if (state.queries.length === 0) {
    say(t("query.needed"), "error");
    document.getElementById("pick-button")?.focus();
    return;
  }
  if (place && !place.form.reportValidity()) return;
  const begun = begin(change);
  document.getElementById("case-kept")?.remove();
  drawAround();
  try {
    await send(begun);
    await load();
  } catch (problem) {
    if (state.run === begun) state.problem = problem;
  }
  // Another search began since, or this one was ended: what is shown is no longer its matter.
  if (state.run !== begun) return;
  state.run = null;
  drawAround();
  if (place && !state.problem) select(0, document.activeElement === document.body || document.activeElement.id === "search-go");
}

function drawResults() {
  const { answer, problem, run: begun } = state;
  if (begun) show(place.results, progress(begun, button(t("cancel"), "cross", stop, { class: "quiet" })));
  else if (problem) show(place.results, failure(problem, () => run()));
  else if (!answer) show(place.results, place.empty ? notice(t("gallery.empty"), t("gallery.empty.words")) : welcome());
  else if (answer.items.length === 0) show(place.results, nothing());
  else show(place.results, head(), state.timeline && late?.timeline(answer.items, (at) => select(at)), found());
}

/** No result, and the way to some where the search was narrowed. */
function nothing() {
  const wider = button(t("nothing-found.wider"), "search", () => (widen(), draw(), run()), { id: "wider" });
  return narrowed() > 0 ? notice(t("nothing-found"), t("nothing-found.words"), wider) : notice(t("nothing-found.at-all"));
}

function welcome() {
  const back = state.undo && undoButton();
  if (state.queries.length > 0) return notice(t("ready"), t("ready.words"), ...(back ? [back] : []));
  const steps = ["image", "case", "judge"].map((step) => el("li", {}, t(`welcome.${step}`)));
  return el("section", { class: "welcome" }, el("div", { class: "horizon", "aria-hidden": "true" }, icon("sun"), icon("moon")), el("h2", {}, t("welcome")), el("ol", {}, steps), el("p", { class: "hint" }, cap("?"), ` ${t("welcome.keys")}`), back);
}

function undoButton() {
  const made = button(t("undo"), "left", undo, { id: "undo", bare: Boolean(state.answer) });
  if (!state.answer) made.append(cap("z"));
  return made;
}

function head() {
  const { answer } = state;
  const toggle = (name, symbol) => button(t(name), symbol, () => flip(name), { "aria-pressed": String(state[name]), class: "toggle", id: `toggle-${name}` });
  const refine = button(t("refine"), "refine", again, { id: "refine", disabled: confirmed().length === 0, title: t("refine.words") });
  const file = may("export") && exportLink(state.searches, { id: "export", title: t("export.words"), onclick: afterVerdicts });
  return el(
    "header",
    { class: "results-head" },
    el("p", { class: "told", role: "status" }, el("strong", {}, t("found", { n: answer.items.length })), el("span", {}, ` ${t("in", { light: t(answer.gallery_modality ?? answer.items[0].modality) })} · ${number(Math.round(answer.timings_ms.total))} ms · ${t("score.bars", { score: score(highest(answer.items)) })}`)),
    el("div", { class: "tools" }, state.undo && undoButton(), toggle("timeline", "time"), toggle("group", "tracks"), toggle("rerank", "rerank"), may("verdict") && refine, file),
    stale() && el("p", { class: "stale", role: "status" }, t("stale")),
  );
}

/** A verdict that is still on its way to the server would be missing in the file. */
async function afterVerdicts(event) {
  const link = event.currentTarget;
  if (!judging()) return;
  event.preventDefault();
  await judging();
  link.click();
}

function flip(name) {
  if (name !== "timeline") return run({ [name]: !state[name] });
  state.timeline = !state.timeline;
  return drawResults();
}

function found() {
  return el("div", { class: "scroller" }, grid(state.answer.items, beside, decideOn));
}

async function decideOn(item, verdict) {
  const marked = () => {
    remark(item);
    document.querySelector(".timeline")?.dispatchEvent(new Event("peca-marks"));
    const refine = document.getElementById("refine");
    if (refine) refine.disabled = confirmed().length === 0;
  };
  try {
    await judge(item, verdict, marked);
  } catch (problem) {
    say(`#${item.rank}: ${t("verdict.lost")} ${problem.words}`, "error");
  }
}

function beside(at) {
  late?.compare(at, decideOn, follow, (shown) => select(shown));
}

/** Searches from a result alone, in the other light. */
async function follow(item) {
  const query = await storedOrSaid(item);
  if (!query) return;
  cancel();
  putAway([query]);
  state.gallery = other(item.modality);
  draw();
  run();
}

/** Searches the same light again with what was confirmed beside the queries. */
async function again() {
  const { answer } = state;
  const items = confirmed().filter((item) => !state.queries.some((query) => query.imageId === item.image_id));
  const added = await Promise.all(items.slice(0, MOST - state.queries.length).map(storedOrSaid));
  if (state.answer !== answer || state.run || added.includes(null)) return;
  state.queries.push(...added);
  state.gallery = answer.gallery_modality ?? answer.items[0].modality;
  draw();
  run();
}

async function storedOrSaid(image) {
  try {
    return await stored(image);
  } catch (problem) {
    say(problem.words ?? problem.message, "error");
    return null;
  }
}

function keys() {
  const inGrid = () => Boolean(document.activeElement?.closest("#grid")) || document.activeElement === document.body;
  const step = (by) => ({ act: () => inGrid() && select(state.selected + by()) });
  const verdict = ([name, [, key]]) => [key, { words: `verdict.${name}`, act: () => decideSelected(name) }];
  return {
    "Ctrl+Enter": { words: "search", act: () => void run() },
    n: { words: "query.new", act: restart },
    z: { words: "undo", act: undo },
    o: { words: "query.pick", act: () => document.getElementById("pick").click() },
    ...(may("verdict") ? Object.fromEntries(Object.entries(VERDICTS).map(verdict)) : {}),
    ArrowRight: { ...step(() => 1), words: "next" },
    ArrowLeft: { ...step(() => -1), words: "previous" },
    ArrowDown: step(columns),
    ArrowUp: step(() => -columns()),
    Enter: { words: "compare", act: () => document.activeElement === document.body && Boolean(document.getElementById("grid")) && beside(state.selected) },
    t: { words: "timeline", act: () => document.getElementById("toggle-timeline")?.click() },
    g: { words: "group", act: () => document.getElementById("toggle-group")?.click() },
    k: { words: "rerank", act: () => document.getElementById("toggle-rerank")?.click() },
    a: { words: "refine", act: () => document.getElementById("refine")?.click() },
    e: { words: "export", act: () => document.getElementById("export")?.click() },
    Escape: { words: "cancel", act: stop },
  };
}

/** A verdict on the selected result, and on to the next one. */
function decideSelected(verdict) {
  const item = state.answer?.items[state.selected];
  if (!item || !document.getElementById("grid")) return false;
  decideOn(item, verdict);
  return select(state.selected + 1);
}
