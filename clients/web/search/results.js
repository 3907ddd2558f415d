// The results: a grid of cards, best first, with a verdict on each.

import { queryOf } from "../api.js";
import { button, el, icon } from "../dom.js";
import { brief, date, score, stamp, time } from "../format.js";
import { t } from "../language.js";
import { light, thumbnail } from "../parts.js";
import { may } from "../session.js";
import { cap } from "../shortcuts.js";
import { state } from "./state.js";

// As many searches as the server packs into one file.
const MOST_EXPORTED = 100;
export const VERDICTS = { confirmed: ["check", "c"], unsure: ["unsure", "u"], rejected: ["cross", "r"] };

/** The grid; `open` shows a result beside the query, `judge` records a verdict. */
export function grid(items, open, judge) {
  const best = highest(items);
  return el("ol", { class: "grid", id: "grid" }, items.map((item, at) => card(item, at, best, open, judge)));
}

const isQuery = (item) => state.asked.some((query) => query.imageId === item.image_id);

/** The highest score of an answer but for those of the query's own images; re-ranked, its first result need not have it. */
export function highest(items, isOwn = isQuery) {
  const others = items.filter((item) => !isOwn(item));
  return Math.max(...(others.length > 0 ? others : items).map((item) => item.score));
}

function card(item, at, best, open, judge) {
  const select = () => (state.selected = at);
  const picture = el(
    "button",
    { type: "button", class: "card-open", onclick: () => (select(), open(at)), onfocus: select, tabindex: at === state.selected ? 0 : -1, "aria-label": described(item) },
    thumbnail(item, ""),
    el("span", { class: "stamp", "aria-hidden": "true" }),
  );
  const facts = el(
    "div",
    { class: "facts" },
    el("p", { class: "rank" }, `#${item.rank}`, isQuery(item) && el("span", { class: "group own" }, t("query")), item.group_size > 1 && el("span", { class: "group", title: t("group.size", { n: item.group_size }) }, icon("tracks"), `×${item.group_size}`)),
    gauge(item.score, best),
    el("p", { class: "camera", title: item.camera_id }, light(item.modality), el("span", {}, brief(item.camera_id))),
    el("p", { class: "clock", title: stamp(item.captured_at) }, time(item.captured_at), el("small", {}, date(item.captured_at))),
    may("verdict") && verdictButtons(item, judge),
  );
  const made = el("li", { class: "card", "data-image": item.image_id, "data-at": at }, picture, facts);
  markCard(made, item);
  return made;
}

function described(item) {
  const verdict = state.verdicts.get(item.image_id);
  const words = t("result.words", { rank: item.rank, score: score(item.score), camera: item.camera_id, time: stamp(item.captured_at) });
  return verdict ? `${words}, ${t(`verdict.${verdict}`)}` : words;
}

/** A score as a number over a bar, which is full at `best`, the highest of the answer: across the lights all lie far below 1. */
export function gauge(value, best) {
  const bar = el("span", { class: "gauge-bar" });
  bar.style.width = `${best > 0 ? 100 * Math.max(0, Math.min(1, value / best)) : 0}%`;
  return el("div", { class: "gauge" }, el("strong", {}, score(value)), el("span", { class: "gauge-track", "aria-hidden": "true" }, bar));
}

/** A link to one file of `searches`, told of in this order. */
export function exportLink(searches, attributes = {}, words = t("export")) {
  const [first, ...also] = searches.slice(-MOST_EXPORTED);
  return el("a", { class: "button", href: `/searches/${first}/export${queryOf({ also })}`, download: `search-${searches.at(-1)}.zip`, ...attributes }, icon("export"), el("span", {}, words));
}

/** The three verdicts on one result. */
export function verdictButtons(item, judge, worded = false) {
  const made = Object.entries(VERDICTS).map(([verdict, [symbol, key]]) => {
    const words = worded ? t(`verdict.${verdict}`) : `${t(`verdict.${verdict}`)} (${key.toUpperCase()})`;
    const attributes = { bare: !worded, class: `verdict ${verdict}`, "data-verdict": verdict, "aria-pressed": "false" };
    const one = button(words, symbol, () => judge(item, verdict), attributes);
    if (worded) one.append(cap(key));
    return one;
  });
  return el("div", { class: "verdicts", role: "group", "aria-label": t("verdict") }, made);
}

/** Shows on a card, or on the pane that compares, which verdict holds. */
export function markCard(place, item) {
  mark(place, state.verdicts.get(item.image_id) ?? "");
  place.querySelector(".card-open")?.setAttribute("aria-label", described(item));
}

/** Shows in `place` the verdict that holds, and as given the one that is one's `own`. */
export function mark(place, verdict, own = verdict) {
  place.dataset.verdict = verdict;
  place.querySelectorAll("button[data-verdict]").forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.verdict === own)));
  place.querySelector(".stamp")?.replaceChildren(...(verdict ? [icon(VERDICTS[verdict][0])] : []));
}

/** Who found what of an image; what somebody found before is struck through. */
export function saidBy(verdicts) {
  const one = ({ verdict, superseded, at, key }) =>
    el("li", { class: superseded ? "superseded" : `is-${verdict}`, title: stamp(at) }, icon(VERDICTS[verdict][0]), el("span", {}, key ?? "–", superseded && ` (${t("cases.superseded")})`));
  return el("ul", { class: "said-by" }, verdicts.length > 0 ? verdicts.map(one) : el("li", {}, t("cases.unjudged")));
}

/** Marks the card of `item` anew. */
export function remark(item) {
  document.querySelectorAll("[data-image]").forEach((place) => place.dataset.image === item.image_id && markCard(place, item));
}

/** Moves the selection to result `at`, as far as there is one; whether the keys were meant for the grid. */
export function select(at, focus = true) {
  const cards = document.querySelectorAll("#grid .card-open");
  if (cards.length === 0) return false;
  const to = Math.max(0, Math.min(cards.length - 1, at));
  cards[state.selected]?.setAttribute("tabindex", "-1");
  state.selected = to;
  cards[to].setAttribute("tabindex", "0");
  if (focus) cards[to].focus();
  cards[to].closest(".card").scrollIntoView({ block: "nearest" });
  return true;
}

/** How many cards stand in a row. */
export function columns(grid = "#grid") {
  const cards = [...document.querySelectorAll(`${grid} .card`)];
  const next = cards.findIndex((one) => one.offsetTop > cards[0].offsetTop);
  return next < 1 ? cards.length : next;
}
