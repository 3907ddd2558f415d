// Times as people narrow by them: a choice of ranges.

import { el, show } from "./dom.js";
import { t } from "./language.js";
import { field, say, select } from "./parts.js";

const HOUR_MS = 3_600_000;
const HOURS = { hour: 1, day: 24, week: 168 };
const RANGES = ["any", "hour", "night", "day", "week", "own"];
const EVENING = 18;
const MORNING = 8;

/** The instants {after, before} that `where` ({range, after, before}) names; "" where it is open. */
export function span({ range, after, before }) {
  if (range === "own") return { after, before };
  if (range === "night") {
    const evening = new Date().setHours(EVENING - 24, 0, 0, 0);
    return { after: new Date(evening).toISOString(), before: new Date(new Date().setHours(MORNING, 0, 0, 0)).toISOString() };
  }
  const hours = HOURS[range];
  return { after: hours ? new Date(Date.now() - hours * HOUR_MS).toISOString() : "", before: "" };
}

/** A choice of time ranges, and the place for the fields of its own one. They change `where`; `done` is called then. */
export function timeFields(where, done = () => {}) {
  const own = el("div", { class: "own" });
  const draw = async () => {
    show(own);
    if (where.range !== "own") return;
    try {
      const { instantField } = await import("./instant.js");
      if (where.range !== "own") return;
      show(own, ["after", "before"].map((name) => instantField(t(name), where[name], (value) => (where[name] = value), done)));
      own.lastChild.scrollIntoView({ block: "nearest" });
    } catch {
      say(t("problem.offline"), "error");
    }
  };
  const change = (value) => {
    where.range = value;
    draw();
    done();
  };
  draw();
  return [field(t("range"), select(Object.fromEntries(RANGES.map((name) => [name, t(`range.${name}`)])), where.range, change)), own];
}
