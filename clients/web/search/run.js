// Asking the server: a search, and a verdict on what it showed.

import { call, upload } from "../api.js";
import { span } from "../when.js";
import { state } from "./state.js";

/** Begins a search for the query images, in place of one that is under way; `change` holds the switches that were turned for it. */
export function begin(change) {
  const before = state.run?.before ?? { group: state.group, rerank: state.rerank };
  cancel();
  state.run = { asked: [...state.queries], before, controller: new AbortController(), began: performance.now(), share: 0, advance: () => {} };
  Object.assign(state, change, { problem: null, caseKept: false });
  return state.run;
}

/** Ends a search that is under way; its answer is not shown. */
export function cancel() {
  state.run?.controller.abort();
  state.run = null;
}

/** Sends a search that was begun, and takes its answer unless it was ended meanwhile. Throws `Problem`. */
export async function send(run) {
  const [first] = run.asked;
  const alone = run.asked.length === 1 && first.imageId;
  const path = alone ? `/images/${encodeURIComponent(first.imageId)}/search` : "/search";
  const advance = (share) => run.advance((run.share = share));
  const answer = await upload(path, form(run.asked, alone), advance, run.controller.signal);
  if (state.run !== run) return;
  state.searches.push(answer.search_id);
  Object.assign(state, { answer, asked: run.asked, selected: 0, folded: answer.items.length > 0 });
}

function form(asked, alone) {
  const made = new FormData();
  const add = (name, value) => value !== "" && made.append(name, value);
  if (!alone) {
    asked.forEach((query, at) => {
      made.append("image", query.blob, `query-${at + 1}`);
      // Of a stored image the gallery says it; what the operator says is of the others.
      add("query_modality", query.modality ?? state.modality);
    });
  }
  const { after, before } = span(state);
  add("gallery_modality", state.gallery);
  add("limit", state.limit);
  state.cameras.forEach((camera) => add("camera_ids", camera));
  add("after", after);
  add("before", before);
  add("score_threshold", state.threshold > 0 ? String(state.threshold) : "");
  add("group_by", state.group ? "track_id" : "");
  add("rerank", state.rerank ? "true" : "");
  add("case", state.case.trim());
  add("reason", state.reason.trim());
  return made;
}

// The last verdict on each image that is being sent; the next one on it waits for that.
const sending = new Map();

/** Records a verdict; it shows at once, and goes back to the last recorded one where the server refuses it. */
export async function judge(item, verdict, redraw) {
  const { verdicts, recorded } = state;
  const { image_id: image } = item;
  const path = `/searches/${state.answer.search_id}/verdicts`;
  verdicts.set(image, verdict);
  redraw(item);
  const before = sending.get(image);
  const own = (async () => {
    await before?.catch(() => {});
    await call("POST", path, { json: { image_id: image, verdict } });
    recorded.set(image, verdict);
  })();
  sending.set(image, own);
  try {
    await own;
  } catch (problem) {
    if (sending.get(image) === own) {
      if (recorded.has(image)) verdicts.set(image, recorded.get(image));
      else verdicts.delete(image);
      redraw(item);
    }
    throw problem;
  } finally {
    if (sending.get(image) === own) sending.delete(image);
  }
}

/** Where verdicts are being sent, a promise that they are recorded, or refused. */
export const judging = () => sending.size > 0 && Promise.allSettled(sending.values());
