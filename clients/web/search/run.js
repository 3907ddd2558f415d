// Asking the server: a search, and a verdict on what it showed.

import { call, upload } from "../api.js";
import { span, state } from "./state.js";

let running = null;

/** Searches for the query images; `progress` is told what share is sent. Throws `Problem`. */
export async function search(progress) {
  cancel();
  running = new AbortController();
  const [first] = state.queries;
  const alone = state.queries.length === 1 && first.imageId;
  const path = alone ? `/images/${encodeURIComponent(first.imageId)}/search` : "/search";
  state.answer = await upload(path, form(alone), progress, running.signal);
  state.selected = 0;
}

/** Ends a search that is under way. */
export function cancel() {
  running?.abort();
}

function form(alone) {
  const made = new FormData();
  const add = (name, value) => value !== "" && made.append(name, value);
  if (!alone) {
    state.queries.forEach((query, at) => made.append("image", query.blob, `query-${at + 1}`));
    add("query_modality", state.modality);
  }
  const { after, before } = span();
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

/** Records a verdict; it shows at once, and goes back where the server refuses it. */
export async function judge(item, verdict, redraw) {
  const before = state.verdicts.get(item.image_id);
  state.verdicts.set(item.image_id, verdict);
  redraw(item);
  try {
    await call("POST", `/searches/${state.answer.search_id}/verdicts`, { json: { image_id: item.image_id, verdict } });
  } catch (problem) {
    if (before) state.verdicts.set(item.image_id, before);
    else state.verdicts.delete(item.image_id);
    redraw(item);
    throw problem;
  }
}
