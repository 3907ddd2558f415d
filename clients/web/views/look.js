// One stored image with all that is known of it, and a search from it.

import { button, el } from "../dom.js";
import { score, stamp } from "../format.js";
import { t } from "../language.js";
import { light, say, thumbnail } from "../parts.js";
import { enlarged, stored } from "../search/queries.js";
import { cancel } from "../search/run.js";
import { other, putAway, state } from "../search/state.js";
import { may } from "../session.js";
import { dialog } from "../shortcuts.js";

/** Shows `image`, beside what was `sought` and with what was `judged` where that is given; its dialog. */
export function look(image, sought, judged) {
  const fact = (words, value) => value && el("div", {}, el("dt", {}, words), el("dd", {}, value));
  const facts = el(
    "dl",
    { class: "facts-list" },
    fact(t("score"), image.score !== undefined && score(image.score)),
    fact(t("gallery.camera"), [light(image.modality), " ", image.camera_id]),
    fact(t("audit.time"), stamp(image.captured_at)),
    fact(t("gallery.track"), image.track_id),
    fact(t("gallery.person"), image.person_id),
    fact(t("image.source"), image.source),
    fact(t("image.id"), image.image_id),
  );
  const beside = sought && el("figure", {}, thumbnail(sought, t("query.nth", { n: 1 })), el("figcaption", {}, t("query")));
  const shown = el("figure", {}, enlarged(image, t("image.title")), beside && el("figcaption", {}, t("watch.hit")));
  const go = button(t("search.from"), "search", () => searchFrom(image, box), { class: "primary" });
  const box = dialog(sought ? image.name : t("image.title"), el("div", { class: sought ? "look two" : "look" }, beside, shown, el("div", { class: "known" }, facts, judged)), el("footer", {}, may("search") && go));
  if (sought) box.classList.add("wide");
  return box;
}

async function searchFrom(image, box) {
  try {
    const query = await stored(image);
    cancel();
    putAway([query]);
    state.gallery = other(image.modality);
    box.close();
    location.hash = "#/search";
  } catch (problem) {
    say(problem.words ?? problem.message, "error");
  }
}
