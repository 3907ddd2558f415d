// The cases view: the searches that were made, for what, and what people found of them.

import { get } from "../api.js";
import { button, el, icon, show } from "../dom.js";
import { brief, date, number, stamp, time } from "../format.js";
import { t } from "../language.js";
import { field, light, loadInto, notice, thumbnail } from "../parts.js";
import { exportLink, gauge, highest, saidBy } from "../search/results.js";
import { may } from "../session.js";

let wanted = "";

/** Draws the list of searches into `root`, or, where `searchId` is given, that one. */
export function mount(root, searchId) {
  const place = el("div", {});
  if (searchId) {
    show(root, el("header", {}, el("h1", {}, t("view.cases")), el("a", { class: "button", href: "#/cases" }, icon("left"), el("span", {}, t("cases.back")))), place);
    loadInto(place, () => record(searchId));
    return;
  }
  const load = () => loadInto(show(place), () => list(place));
  const find = el("input", { type: "search", value: wanted, onchange: (event) => ((wanted = event.target.value.trim()), load()) });
  show(root, el("header", {}, el("h1", {}, t("view.cases"))), el("div", { class: "sieve one" }, field(t("cases.find"), find)), el("div", { class: "table-wrap" }, place));
  load();
}

async function list(place, cursor) {
  const answer = await get("/searches", { case: wanted, limit: 50, cursor });
  if (answer.items.length + answer.broken.length === 0 && !cursor) return wanted ? notice(t("cases.none-fits"), t("cases.none-fits.words")) : notice(t("cases.none"), t("cases.none.words"));
  const titles = ["when", "by", "find", "reason", "images", "results", ""].map((name) => el("th", { scope: "col", class: name === "results" ? "number" : "" }, name === "reason" ? t("reason") : name && t(`cases.${name}`)));
  const body = el("tbody", {}, answer.items.map(row), answer.broken.map((words) => el("tr", {}, el("td", { class: "error", colspan: titles.length }, `${t("audit.broken")}: ${words}`))));
  const more = el("p", { class: "more-rows" }, answer.next_cursor && button(t("more"), "plus", () => further(place, body, more, answer.next_cursor)));
  const whole = wanted && !cursor && may("export") && el("div", { class: "view-head" }, exportLink(answer.items.map((one) => one.search_id).reverse(), {}, t("cases.export")));
  return [whole, el("table", {}, el("caption", { class: "hidden" }, t("view.cases")), el("thead", {}, el("tr", {}, titles)), body), more];
}

async function further(place, body, more, cursor) {
  more.querySelector("button").disabled = true;
  const holder = el("div", { hidden: true });
  place.append(holder);
  await loadInto(holder, () => list(place, cursor));
  body.append(...(holder.querySelector("tbody")?.children ?? []));
  more.replaceWith(holder.querySelector(".more-rows") ?? holder.firstChild);
  holder.remove();
}

function row(search) {
  return el(
    "tr",
    {},
    el("td", { class: "when" }, stamp(search.began_at)),
    el("td", {}, search.key ?? "–"),
    el("td", {}, search.case ? el("strong", {}, search.case) : el("small", {}, t("cases.none-named"))),
    el("td", {}, search.reason ?? "–"),
    el("td", {}, light(search.query_modality), search.query_images > 1 && ` ×${number(search.query_images)}`),
    el("td", { class: "number" }, number(search.results)),
    el("td", {}, el("div", { class: "row-actions" }, el("a", { class: "button", href: `#/cases/${search.search_id}` }, t("cases.open")))),
  );
}

/** What a search was narrowed to, in words where there are some. */
function narrowed(filters) {
  const words = (name, value) => (name === "modality" ? t(value) : name === "after" || name === "before" ? `${t(name)} ${stamp(value)}` : [value].flat().join(", "));
  return Object.entries(filters).filter(([, value]) => value !== null).map(([name, value]) => words(name, value)).join(" · ");
}

async function record(searchId) {
  const search = await get(`/searches/${encodeURIComponent(searchId)}`);
  const fact = (words, value) => el("div", {}, el("dt", {}, words), el("dd", {}, value ?? "–"));
  return [
    el(
      "dl",
      { class: "facts-list" },
      fact(t("case"), search.case),
      fact(t("reason"), search.reason),
      fact(t("cases.by"), search.key),
      fact(t("cases.when"), stamp(search.ended_at)),
      fact(t("cases.filters"), narrowed(search.filters)),
      el("div", { class: "across" }, el("dt", {}, t("cases.query")), el("dd", {}, search.queries.map((one) => el("p", {}, light(one.modality), " ", el("code", {}, one.sha256 ?? one.image_id))))),
    ),
    el("div", { class: "view-head" }, el("p", { class: "hint" }, t("cases.read")), may("export") && exportLink([searchId])),
    search.results.length === 0 ? notice(t("nothing-found")) : el("ol", { class: "grid" }, search.results.map((one) => result(one, highest(search.results, () => false)))),
  ];
}

function result(one, best) {
  const standing = one.verdicts.findLast((given) => !given.superseded)?.verdict ?? "";
  return el(
    "li",
    { class: "card", "data-verdict": standing },
    el("div", { class: "card-open" }, thumbnail(one, t("result.nth", { n: one.rank }))),
    el(
      "div",
      { class: "facts" },
      el("p", { class: "rank" }, `#${one.rank}`),
      gauge(one.score, best),
      el("p", { class: "camera", title: one.camera_id }, brief(one.camera_id)),
      one.captured_at && el("p", { class: "clock" }, time(one.captured_at), el("small", {}, date(one.captured_at))),
      saidBy(one.verdicts),
    ),
  );
}
