// What the search view holds; it outlives a change of view or language.

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

/** How many limits may hold results back. */
export const narrowed = () => (state.cameras.size > 0) + (state.range !== "any") + (state.threshold > 0);

/** Takes these limits away. */
export function widen() {
  state.cameras.clear();
  Object.assign(state, { range: "any", threshold: 0 });
}

/** The other light. */
export const other = (modality) => (modality === "visible" ? "infrared" : "visible");

/** The results with a verdict, in the order of time. */
export function confirmed() {
  const found = (state.answer?.items ?? []).filter((item) => state.verdicts.get(item.image_id) === "confirmed");
  return found.sort((one, two) => new Date(one.captured_at) - new Date(two.captured_at));
}
