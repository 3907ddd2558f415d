// The quality view: how well the encoder finds the labelled people of this gallery.

import { get } from "../api.js";
import { curves, histograms } from "../charts.js";
import { el, show } from "../dom.js";
import { number, percent } from "../format.js";
import { t } from "../language.js";
import { light, loadInto, notice } from "../parts.js";

const RANKS = [1, 5, 10, 20];
const PAIRINGS = ["across", "visible", "infrared"];

/** Draws the view into `root`. */
export function mount(root) {
  const place = el("div", {});
  show(root, el("header", {}, el("h1", {}, t("view.quality")), el("p", { class: "hint" }, t("quality.hint"))), place);
  loadInto(place, evaluation);
}

async function evaluation() {
  let found;
  try {
    found = await get("/quality");
  } catch (problem) {
    // Nothing labelled is a state of the gallery, not a failure of the page.
    if (problem.slug === "not-labelled") return notice(t("quality.none"), t("quality.none.words"));
    throw problem;
  }
  const lines = found.directions.map((one) => ({ name: way(one), kind: one.query_modality, values: one.cmc }));
  const told = t("quality.told", { labelled: found.labelled, people: found.people, images: found.images.visible + found.images.infrared });
  return [
    el("p", { class: "told" }, told),
    el("div", { class: "table-wrap" }, table(found.directions)),
    el("div", { class: "charts" }, curves(lines, t("quality.cmc"), t("quality.rank")), PAIRINGS.map((pairing) => cosines(found.cosines[pairing], pairing))),
  ];
}

const way = (one) => `${t(one.query_modality)} → ${t(one.gallery_modality)}`;

function table(directions) {
  const titles = [t("quality.direction"), t("quality.queries"), ...RANKS.map((rank) => t("quality.r", { n: rank })), "mAP", "mINP", t("quality.chance")];
  const rate = (value) => el("td", { class: "number" }, percent(value));
  const row = (one) =>
    el("tr", {}, el("th", { scope: "row" }, light(one.query_modality), " ", way(one)), el("td", { class: "number" }, number(one.valid_queries)), RANKS.map((rank) => rate(one[`rank${rank}`])), rate(one.mean_ap), rate(one.mean_inp), rate(one.chance_rank1));
  return el("table", { class: "rates" }, el("caption", { class: "hidden" }, t("view.quality")), el("thead", {}, el("tr", {}, titles.map((title, at) => el("th", { scope: "col", class: at ? "number" : "" }, title)))), el("tbody", {}, directions.map(row)));
}

/** The scores of pairs of one person over those of pairs of two. */
function cosines(found, pairing) {
  const series = ["different", "same"].map((kind) => ({ name: `${t(`quality.${kind}`)} · ${t("quality.pairs", { n: found[kind].pairs })}`, kind, counts: found[kind].histogram }));
  return histograms(series, -1, 1, t(`quality.${pairing}`), t("quality.cosine"));
}
