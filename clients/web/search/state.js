// What the search view holds; it outlives a change of view or language.

import { instantOf } from "../format.js";

export const state = {
  queries: [],
  modality: "auto",
  gallery: "",
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
  answer: null,
  verdicts: new Map(),
  selected: 0,
  phase: "idle",
  problem: null,
  timeline: true,
  filtersOpen: innerWidth > 1000,
};

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
