// Hits of watchlists: their cards, and what people found of each, by one key.

import { call } from "../api.js";
import { el } from "../dom.js";
import { brief, day, time } from "../format.js";
import { t } from "../language.js";
import { light, say, thumbnail } from "../parts.js";
import { columns, gauge, mark, saidBy, verdictButtons, VERDICTS } from "../search/results.js";
import { may, who } from "../session.js";
import { bind, unbind } from "../shortcuts.js";
import { look } from "./look.js";

/** A card; `sought` gives the query image of a watchlist by its id. */
export function hitCard(hit, sought) {
  const open = () => compare(hit, sought.get(hit.watchlist_id));
  const made = el(
    "li",
    { class: "card hit", "data-event": hit.event_id },
    el("button", { type: "button", class: "card-open", onclick: open, "aria-label": t("watch.hit.words", { name: hit.name, camera: hit.camera_id }) }, thumbnail(hit, ""), el("span", { class: "stamp", "aria-hidden": "true" })),
    el(
      "div",
      { class: "facts" },
      el("p", {}, el("strong", {}, hit.name)),
      gauge(hit.score, 1),
      el("p", { class: "camera", title: hit.camera_id }, light(hit.modality), el("span", {}, brief(hit.camera_id))),
      el("p", { class: "clock" }, `${time(hit.captured_at)} `, el("small", {}, day(hit.captured_at))),
      may("verdict") && verdictButtons(hit, judge),
    ),
  );
  made.hit = hit;
  markHit(made, hit);
  return made;
}

/** The keys of a feed: arrows go through its hits, a letter judges the one that has the focus. */
export function hitKeys() {
  const step = (by) => () => go(by());
  const verdict = ([name, [, key]]) => [key, { words: `verdict.${name}`, act: () => judgeFocused(name) }];
  return {
    ArrowRight: { words: "next", act: step(() => 1) },
    ArrowLeft: { words: "previous", act: step(() => -1) },
    ArrowDown: { act: step(() => columns(".hits")) },
    ArrowUp: { act: step(() => -columns(".hits")) },
    ...(may("verdict") ? Object.fromEntries(Object.entries(VERDICTS).map(verdict)) : {}),
  };
}

const focused = () => document.activeElement?.closest(".hit");

/** Moves on among the hits, to the newest from anywhere else; whether there are any. */
function go(by) {
  const cards = [...document.querySelectorAll(".hits .hit")];
  const at = cards.indexOf(focused());
  if (cards.length === 0) return false;
  cards[at < 0 ? 0 : Math.max(0, Math.min(cards.length - 1, at + by))].querySelector(".card-open").focus();
  return true;
}

function judgeFocused(verdict) {
  const card = focused();
  if (!card) return false;
  judge(card.hit, verdict);
  return go(1);
}

/** A hit beside the query, with what was found of it. */
function compare(hit, sought) {
  const said = el("div", {});
  const buttons = may("verdict") && verdictButtons(hit, judge, true);
  const box = look(hit, sought, el("div", { class: "judged", "data-event": hit.event_id }, buttons, said));
  box.dataset.scope = "hit";
  bind("hit", may("verdict") ? Object.fromEntries(Object.entries(VERDICTS).map(([name, [, key]]) => [key, { act: () => judge(hit, name) }])) : {});
  box.addEventListener("close", () => unbind("hit"));
  remark(hit);
}

/** Records a verdict; one that was not recorded is not shown. */
async function judge(hit, verdict) {
  try {
    const given = await call("POST", `/watchlists/${encodeURIComponent(hit.watchlist_id)}/hits/${hit.event_id}/verdicts`, { json: { verdict } });
    const before = (hit.verdicts ?? []).map((one) => (one.key === given.key ? { ...one, superseded: true } : one));
    hit.verdicts = [...before, given];
    remark(hit);
  } catch (problem) {
    say(`${hit.name}: ${t("verdict.lost")} ${problem.words}`, "error");
  }
}

function remark(hit) {
  document.querySelectorAll(`[data-event="${hit.event_id}"]`).forEach((place) => markHit(place, hit));
}

function markHit(place, hit) {
  const standing = (hit.verdicts ?? []).filter((one) => !one.superseded);
  const own = standing.find((one) => one.key === who().name)?.verdict ?? "";
  mark(place, own || (standing.at(-1)?.verdict ?? ""), own);
  if (place.className === "judged") place.lastChild.replaceChildren(saidBy(hit.verdicts ?? []));
}
