// A result beside the query, as large as the screen allows.

import { button, el, show, svg } from "../dom.js";
import { date, time } from "../format.js";
import { t } from "../language.js";
import { light } from "../parts.js";
import { may } from "../session.js";
import { bind, cap, dialog, unbind } from "../shortcuts.js";
import { enlarged } from "./queries.js";
import { gauge, highest, markCard, verdictButtons, VERDICTS } from "./results.js";
import { state } from "./state.js";

/** Opens result `at` beside the query; `judge` records a verdict, `follow` searches from a result. */
export function compare(at, judge, follow, closed) {
  const { answer: { items }, asked: queries } = state;
  const place = el("div", { class: "compare", tabindex: "-1", autofocus: true });
  const box = dialog(t("compare.title"), place, el("p", { class: "hint" }, t("compare.hint")));
  let shown = at;
  let query = 0;
  const decide = (item, verdict) => {
    judge(item, verdict);
    markCard(place.querySelector(".found"), item);
  };
  const draw = () => {
    const item = items[shown];
    state.selected = shown;
    const step = (by) => button(t(by < 0 ? "previous" : "next"), by < 0 ? "left" : "right", () => go(shown + by), { bare: true, class: "step", disabled: !items[shown + by] });
    show(place, step(-1), asked(queries, query, (next) => ((query = next), draw())), found(item, decide, () => (box.close(), follow(item))), step(1));
    markCard(place.querySelector(".found"), item);
  };
  const go = (next) => {
    if (!items[next]) return;
    shown = next;
    draw();
  };
  const verdict = (name) => may("verdict") && decide(items[shown], name);
  box.dataset.scope = "compare";
  box.classList.add("full");
  box.addEventListener("close", () => (unbind("compare"), closed(shown)));
  bind("compare", {
    ArrowLeft: { act: () => go(shown - 1) },
    ArrowRight: { act: () => go(shown + 1) },
    b: { act: () => document.getElementById("brighten").click() },
    ...Object.fromEntries(Object.entries(VERDICTS).map(([name, [, key]]) => [key, { act: () => verdict(name) }])),
  });
  draw();
}

/** Lifts what is dark and leaves what is bright, for the eye; nothing is searched or stored differently. */
function brighten() {
  if (!document.getElementById("lift")) {
    const lift = ["R", "G", "B"].map((channel) => svg(`feFunc${channel}`, { type: "gamma", exponent: 0.5 }));
    const filter = svg("filter", { id: "lift", "color-interpolation-filters": "sRGB" }, svg("feComponentTransfer", {}, lift));
    document.body.append(svg("svg", { width: 0, height: 0, class: "hidden", "aria-hidden": "true" }, filter));
  }
  const flip = (event) => {
    state.bright = !state.bright;
    tellBright(event.currentTarget);
  };
  const made = button(t("brighten"), "bright", flip, { class: "toggle", id: "brighten" });
  made.append(cap("b"));
  tellBright(made);
  return made;
}

function tellBright(made) {
  made.setAttribute("aria-pressed", String(Boolean(state.bright)));
  document.documentElement.classList.toggle("brightened", Boolean(state.bright));
}

function asked(queries, at, choose) {
  const query = queries[at];
  const choices = queries.map((_, other) => el("button", { type: "button", "aria-pressed": String(other === at), onclick: () => choose(other) }, String(other + 1)));
  return el(
    "figure",
    { class: "asked" },
    query?.url ? el("img", { src: query.url, alt: t("query.nth", { n: at + 1 }) }) : el("p", { class: "no-preview" }, t("query.gone")),
    el("figcaption", {}, el("h3", {}, t("query")), queries.length > 1 && el("div", { class: "choices" }, choices)),
  );
}

function found(item, judge, follow) {
  return el(
    "figure",
    { class: "found", "data-image": item.image_id },
    enlarged(item, t("result.nth", { n: item.rank })),
    el(
      "figcaption",
      {},
      el("h3", {}, t("result.nth", { n: item.rank })),
      gauge(item.score, highest(state.answer.items)),
      el("p", { class: "camera" }, light(item.modality), item.camera_id),
      el("p", { class: "clock" }, time(item.captured_at), el("small", {}, date(item.captured_at))),
      item.track_id && el("p", { class: "track-name" }, item.track_id),
      may("verdict") && verdictButtons(item, judge, true),
      el("div", { class: "more" }, brighten(), button(t("search.from"), "search", follow)),
    ),
  );
}
