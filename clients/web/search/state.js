// What the search view holds; it outlives a change of view or language.

import { instantOf } from "../format.js";

/** All that belongs to the person who is searched for; `asked` are the queries that `answer` answers. */
const person = () => ({
  queries: [],
  asked: [],
  answer: null,
  searches: [],
  verdicts: new Map(),
  recorded: new Map(),
  selected: 0,
  problem: null,
  folded: false,
  modality: "auto",
  gallery: "",
});

export const state = {
  ...person(),
  cameras: new Set(),
  range: "any",
  after: "",
  before: "",
  threshold: 0,
  limit: "50",
  group: false,
  rerank: false,
  case: "",
  reason: "",
  caseKept: false,
  run: null,
  undo: null,
  timeline: true,
  filtersOpen: innerWidth > 1000,
};

/** Puts the person away with all that was found and said of them, and begins with `queries`; `state.undo` brings all back. */
export function putAway(queries = []) {
  exchange({ ...person(), queries });
  state.caseKept = Boolean(state.case || state.reason);
}

function exchange(next) {
  const kept = Object.fromEntries([...Object.keys(person()), "case", "reason"].map((name) => [name, state[name]]));
  Object.assign(state, next, { caseKept: false });
  // What was found is worth more than an image that was only brought in.
  if (!kept.answer && (kept.queries.length === 0 || state.undo)) return;
  state.undo = () => {
    state.undo = null;
    exchange(kept);
  };
}

/** Whether the answer is of other images than those that stand as the query. */
export const stale = () => state.asked.length !== state.queries.length || state.asked.some((one) => !state.queries.includes(one));

/** The other light. */
export const other = (modality) => (modality === "visible" ? "infrared" : "visible");

const HOUR_MS = 3_600_000;
export const RANGES = { any: 0, hour: 1, night: 12, day: 24, week: 168, own: 0 };

/** The time range as instants; "" where it is open. */
export function span() {
  if (state.range === "own") return { after: instantOf(state.after), before: instantOf(state.before) };
  const hours = RANGES[state.range];
  return { after: hours ? new Date(Date.now() - hours * HOUR_MS).toISOString() : "", before: "" };
}

/** The results with a verdict, in the order of time. */
export function confirmed() {
  const found = (state.answer?.items ?? []).filter((item) => state.verdicts.get(item.image_id) === "confirmed");
  return found.sort((one, two) => new Date(one.captured_at) - new Date(two.captured_at));
}
