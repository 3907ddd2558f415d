// The watch view: whom the cameras look out for, and what they saw.

import { call, get } from "../api.js";
import { button, el, show } from "../dom.js";
import { score, stamp } from "../format.js";
import { instantField } from "../instant.js";
import { t } from "../language.js";
import { audible, connected, setAudible } from "../live.js";
import { byCamera, cameraChips, failure, field, light, loadInto, notice, say, segments, thumbnail } from "../parts.js";
import { sources, strip } from "../search/queries.js";
import { bind, dialog } from "../shortcuts.js";
import { copyButton } from "./audit.js";
import { hitCard, hitKeys } from "./hits.js";
import { ask } from "./keys.js";

const DEFAULT_THRESHOLD = 0.6;
const RARE = 0.001;
const MOST_SHOWN = 100;
const MOST_IMAGES = 16;
let looked = null;
/** {watchlist_id: its first query image}. */
const sought = new Map();

/** Draws the view into `root`; gives what ends it. */
export function mount(root) {
  const lists = el("section", { class: "watchlists", "aria-label": t("watch.lists") });
  const feed = el("section", { class: "feed", "aria-label": t("watch.hits") });
  const load = () => loadInto(lists, () => cards(lists, feed, load));
  const make = button(t("watch.new"), "plus", () => create(load), { class: "primary", id: "watch-new" });
  show(root, el("header", {}, el("h1", {}, t("view.watch")), el("div", { class: "actions" }, streamState(), soundSwitch(), make)), el("div", { class: "watch" }, lists, feed));
  bind("view", { n: { words: "watch.new", act: () => create(load) }, m: { words: "watch.sound", act: () => document.getElementById("sound").click() }, ...hitKeys() });
  const fresh = ({ detail: hit }) => {
    count(lists, hit);
    if (looked === null || looked === hit.watchlist_id) addHit(feed, hit);
  };
  const tell = () => document.getElementById("stream")?.replaceWith(streamState());
  window.addEventListener("peca-hit", fresh);
  window.addEventListener("peca-stream", tell);
  load();
  drawFeed(feed);
  tellSilence(root);
  return () => {
    window.removeEventListener("peca-hit", fresh);
    window.removeEventListener("peca-stream", tell);
  };
}

function streamState() {
  return el("p", { id: "stream", class: connected() ? "live" : "waiting", role: "status" }, t(connected() ? "watch.live" : "watch.reconnecting"));
}

function soundSwitch() {
  const flip = () => {
    setAudible(!audible());
    made.replaceWith(soundSwitch());
    document.getElementById("sound").focus();
  };
  const made = button(t("watch.sound"), audible() ? "sound" : "mute", flip, { class: "toggle", id: "sound", "aria-pressed": String(audible()) });
  return made;
}

/** Browsers keep a page silent until somebody has acted in it, as when it opens by itself. */
function tellSilence(root) {
  if (!audible() || navigator.userActivation?.hasBeenActive !== false) return;
  const words = el("p", { id: "silence", class: "notice-line", role: "status" }, t("watch.silent"));
  root.querySelector("header").after(words);
  const end = () => words.remove();
  window.addEventListener("pointerdown", end, { once: true });
  window.addEventListener("keydown", end, { once: true });
}

async function cards(lists, feed, load) {
  const { items } = await get("/watchlists");
  if (items.length === 0) return [el("h2", {}, t("watch.lists")), notice(t("watch.none"), t("watch.none.words"), button(t("watch.new"), "plus", () => create(load)))];
  const choose = (id) => {
    looked = looked === id ? null : id;
    lists.querySelectorAll("button[data-watchlist]").forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.watchlist === looked)));
    drawFeed(feed);
  };
  return [el("h2", {}, t("watch.lists")), el("ul", {}, items.map((item) => card(item, choose, () => (load(), drawFeed(feed)))))];
}

function card(item, choose, load) {
  const [query] = item.queries;
  if (query?.thumbnail_url) sought.set(item.watchlist_id, query);
  const facts = [
    t("watch.least", { score: score(item.threshold) }),
    item.camera_ids?.join(", ") ?? t("watch.everywhere"),
    item.expired ? t(`watch.ended.${item.ended_for ?? "time"}`, { time: stamp(item.expires_at) }) : t("keys.until", { time: stamp(item.expires_at) }),
    !item.live && !item.expired && t("watch.stale"),
  ].filter(Boolean);
  const picture = query?.thumbnail_url && thumbnail(query, t("query.nth", { n: 1 }));
  picture?.classList.add("asked-for");
  return el(
    "li",
    { class: item.live ? "watchlist" : "watchlist over", "data-id": item.watchlist_id },
    el(
      "div",
      {},
      picture,
      el("div", {}, el("h2", {}, item.name), item.case && el("p", {}, item.case, item.reason && el("small", {}, ` ${item.reason}`)), el("p", { class: "camera" }, light(item.gallery_modality), el("span", { "data-hits": item.hits }, t("watch.count", { n: item.hits })))),
    ),
    el("p", { class: "hint" }, facts.join(" · ")),
    el(
      "div",
      { class: "row-actions" },
      button(t("watch.only"), "watch", () => choose(item.watchlist_id), { class: "toggle", "aria-pressed": String(looked === item.watchlist_id), "data-watchlist": item.watchlist_id }),
      button(`${t("watch.end")}: ${item.name}`, "trash", () => end(item, load), { bare: true, class: "danger" }),
    ),
  );
}

function end(item, load) {
  ask(t("watch.end.title", { name: item.name }), t("watch.end.words"), t("watch.end"), async () => {
    await call("DELETE", `/watchlists/${encodeURIComponent(item.watchlist_id)}`);
    say(t("watch.ended.said", { name: item.name }));
    if (looked === item.watchlist_id) looked = null;
    load();
  });
}

/** The newest hits of all watchlists, those of the night before too, or all of the chosen one. */
function drawFeed(feed) {
  const list = (items) => [el("h2", {}, t("watch.hits")), items.length === 0 ? notice(t("watch.quiet"), t("watch.quiet.words")) : el("ol", { class: "hits" }, items.map((hit) => hitCard(hit, sought)))];
  const path = looked === null ? "/hits" : `/watchlists/${encodeURIComponent(looked)}/hits`;
  loadInto(show(feed), async () => list((await get(path, { limit: MOST_SHOWN })).items));
}

function count(lists, hit) {
  const place = [...lists.querySelectorAll(".watchlist")].find((one) => one.dataset.id === hit.watchlist_id)?.querySelector("[data-hits]");
  if (!place) return;
  place.dataset.hits = Number(place.dataset.hits) + 1;
  place.textContent = t("watch.count", { n: Number(place.dataset.hits) });
}

function addHit(feed, hit) {
  const list = feed.querySelector(".hits");
  if (!list) drawFeed(feed);
  else list.prepend(hitCard(hit, sought));
}

async function create(load) {
  const wanted = { modality: "auto", cameras: new Set() };
  const name = el("input", { type: "text", maxlength: 200, required: true, autocomplete: "off" });
  const held = { queries: [], most: MOST_IMAGES };
  const images = el("fieldset", { class: "of-person" });
  const nameField = field(t("keys.name"), name);
  const drawImages = () => show(images, el("legend", {}, t("watch.images")), strip(drawImages, held), el("div", {}, sources(drawImages, held, "watch-pick"), nameField));
  drawImages();
  const cause = el("input", { type: "text", maxlength: 200, autocomplete: "off" });
  const reason = el("input", { type: "text", maxlength: 1000, autocomplete: "off" });
  let ends = "";
  const expires = instantField(t("keys.expires"), "", (value) => (ends = value), undefined, true);
  const hook = el("input", { type: "url", autocomplete: "off", placeholder: "https://" });
  const told = el("output", {}, score(DEFAULT_THRESHOLD));
  let chosen = false;
  const threshold = el("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: DEFAULT_THRESHOLD, oninput: () => ((chosen = true), (told.textContent = score(Number(threshold.value)))) });
  const thresholdField = field(t("threshold"), threshold, t("watch.threshold.hint"));
  thresholdField.querySelector("label").append(told);
  suggest(thresholdField.querySelector("small"), (value) => !chosen && ((threshold.value = value), (told.textContent = score(value))));
  const cameras = el("fieldset", {}, el("legend", {}, t("cameras")));
  const error = el("div");
  const submit = async (event) => {
    event.preventDefault();
    if (held.queries.length === 0) {
      say(t("query.needed"), "error");
      document.getElementById("watch-pick-button").focus();
      return;
    }
    go.disabled = true;
    const form = new FormData();
    const add = (field_, value) => value !== "" && form.append(field_, value);
    held.queries.forEach((query, at) => form.append("image", query.blob, `query-${at + 1}`));
    const said = { name: name.value.trim(), query_modality: wanted.modality, threshold: threshold.value, case: cause.value.trim(), reason: reason.value.trim(), expires_at: ends, webhook_url: hook.value.trim() };
    Object.entries(said).forEach(([field_, value]) => add(field_, value));
    wanted.cameras.forEach((camera) => add("camera_ids", camera));
    try {
      const made = await call("POST", "/watchlists", { form });
      box.close();
      say(t("watch.made", { name: said.name }));
      if (made.webhook_secret) showSecret(made);
      load();
    } catch (problem) {
      show(error, failure(problem));
      go.disabled = false;
    }
  };
  const go = button(t("watch.make"), "watch", null, { type: "submit", class: "primary" });
  const lights = segments(t("query.light"), [["auto", t("auto"), "auto"], ["visible", t("visible"), "sun"], ["infrared", t("infrared"), "moon"]], "auto", (value) => (wanted.modality = value));
  const box = dialog(
    t("watch.new"),
    el(
      "form",
      { class: "form", onsubmit: submit },
      images,
      lights,
      el("div", { class: "pair" }, field(t("case"), cause), field(t("reason"), reason)),
      thresholdField,
      cameras,
      el("div", { class: "pair" }, expires, field(t("watch.webhook"), hook)),
      error,
      el("footer", {}, go),
    ),
  );
  try {
    cameras.append(cameraChips(byCamera((await get("/cameras")).items), wanted.cameras));
  } catch (problem) {
    cameras.append(el("p", { class: "error" }, problem.words));
  }
}

/** Says what score others reach on this site, where it is labelled, and begins with that. */
async function suggest(hint, use) {
  try {
    const { cosines } = await get("/quality");
    const counts = cosines.across.different.histogram;
    const total = counts.reduce((sum, count) => sum + count, 0);
    let above = 0;
    let bin = counts.length;
    while (bin > 0 && above + counts[bin - 1] <= RARE * total) above += counts[--bin];
    const value = Math.max(0, cosines.bin_edges[bin]);
    use(value);
    hint.textContent = `${hint.textContent} ${t("watch.rare", { score: score(value) })}`;
  } catch (problem) {
    // Without labels there is nothing to go by; the hint stands as it is.
    if (problem.slug !== "not-labelled") say(problem.words ?? problem.message, "error");
  }
}

/** The secret that signs a watchlist's webhooks; it is shown this once. */
function showSecret(made) {
  dialog(t("watch.secret"), el("p", { class: "once" }, t("watch.secret.words")), el("p", { class: "secret" }, el("code", {}, made.webhook_secret), copyButton(made.webhook_secret)));
}
