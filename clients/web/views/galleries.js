// The gallery view: what each camera sent, and the images by time, newest first.

import { call, get } from "../api.js";
import { spark } from "../charts.js";
import { button, el, show } from "../dom.js";
import { ago, brief, bytes, date, day, number, stamp, time } from "../format.js";
import { t } from "../language.js";
import { byCamera, failure, field, further, light, loadInto, notice, say, select, thumbnail } from "../parts.js";
import { may } from "../session.js";
import { dialog } from "../shortcuts.js";
import { span, timeFields } from "../when.js";
import { look } from "./look.js";

const PAGE = 60;
const DAY_MS = 86_400_000;
// A camera that sees by day alone is silent for half a day each night.
const SILENT_MS = DAY_MS;
const SILENT_GAPS = 10;
const ALL = { camera_ids: "", modality: "", person_ids: "", track_ids: "" };
const ALWAYS = { range: "any", after: "", before: "" };
const asked = { ...ALL };
const when = { ...ALWAYS };
// Why a person or a track is listed, which the server records and may ask for; no part of what is chosen.
const why = { case: "", reason: "" };

/** Draws the view into `root`; gives what ends it. */
export function mount(root) {
  const overview = el("div", {});
  const images = el("section", { "aria-label": t("thumbnails") });
  const sieve = el("div", { class: "sieve" });
  const watcher = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && images.querySelector(".more-rows button")?.click(), { rootMargin: "600px" });
  const load = () => loadInto(show(images), () => wall(watcher));
  const remove = may("remove") && button(t("gallery.delete"), "trash", () => sieve.querySelector(":invalid")?.reportValidity() ?? erase(after), { class: "danger", id: "gallery-delete" });
  const stored = el("div", {}, el("div", { class: "view-head" }, el("h2", {}, t("thumbnails")), remove), sieve, images);
  const after = () => {
    // What the fields chose is gone, and with it perhaps its camera.
    Object.assign(asked, ALL);
    Object.assign(when, ALWAYS);
    summarise();
    load();
  };
  const summarise = () => loadInto(overview, () => summary(stored, sieve, load));
  show(root, el("header", {}, el("h1", {}, t("view.galleries"))), overview, stored);
  summarise();
  load();
  return () => watcher.disconnect();
}

async function summary(stored, sieve, load) {
  const stats = await get("/stats");
  const items = stats.cameras;
  show(sieve, filters([...byCamera(items).keys()], load));
  // Where nothing is stored there is nothing to choose from.
  stored.hidden = items.length === 0;
  if (items.length === 0) return notice(t("gallery.empty"), t("gallery.empty.words"));
  const silent = silentCameras(items);
  return [tiles(items, silent, stats), el("div", { class: "table-wrap" }, table(items, silent))];
}

function tiles(items, silent, stats) {
  const tile = (name, value, wide) => el("div", { class: wide ? "tile wide" : "tile" }, el("dt", {}, t(name)), el("dd", {}, value));
  return el(
    "dl",
    { class: "tiles" },
    tile("gallery.count", number(stats.images)),
    tile("gallery.cameras", [number(byCamera(items).size), silent.size > 0 && el("small", { class: "silent" }, ` ${t("gallery.silent.some", { n: silent.size })}`)]),
    tile("gallery.rate", rate(stats.hours.map((one) => one.images))),
    tile("gallery.disk", [bytes(stats.disk_free_bytes), el("small", {}, ` / ${bytes(stats.disk_total_bytes)}`)]),
    tile("gallery.engine", [`${stats.gallery} · ${stats.provider}`, el("small", { title: t("gallery.encoder") }, stats.encoder)], true),
  );
}

function table(items, silent) {
  const titles = ["camera", "count", "daily", "rate", "first", "last"].map((name) => el("th", { scope: "col", class: ["count", "daily"].includes(name) ? "number" : "" }, t(`gallery.${name}`)));
  const row = (item) =>
    el(
      "tr",
      { class: silent.has(item.camera_id) ? "is-silent" : "" },
      el("td", {}, el("span", { class: "camera-name" }, light(item.modality), el("strong", {}, item.camera_id))),
      el("td", { class: "number" }, number(item.count)),
      el("td", { class: "number" }, daily(item)),
      el("td", {}, rate(item.hours)),
      el("td", { class: "when", title: stamp(item.first_captured_at) }, date(item.first_captured_at)),
      el("td", { class: "when" }, stamp(item.last_captured_at), el("small", {}, ` ${ago(item.last_captured_at)}`), silent.has(item.camera_id) && el("small", { class: "silent", title: t("gallery.silent.words") }, ` · ${t("gallery.silent")}`)),
    );
  return el("table", {}, el("caption", { class: "hidden" }, t("gallery.cameras")), el("thead", {}, el("tr", {}, titles)), el("tbody", {}, items.map(row)));
}

/** Images a day, since the first one; of a slow camera with a tenth, so that it is not none. */
function daily(item) {
  const days = Math.max(1, (new Date(item.last_captured_at) - new Date(item.first_captured_at)) / DAY_MS);
  const each = item.count / days;
  return number(each < 10 ? Number(each.toFixed(1)) : Math.round(each));
}

/** Cameras of which nothing was captured, in any light, for much longer than between their images so far. */
function silentCameras(items) {
  const silent = [...byCamera(items).keys()].filter((camera) => {
    const its = items.filter((item) => item.camera_id === camera);
    const last = Math.max(...its.map((item) => new Date(item.last_captured_at)));
    const first = Math.min(...its.map((item) => new Date(item.first_captured_at)));
    const count = its.reduce((sum, item) => sum + item.count, 0);
    return count > 1 && Date.now() - last > Math.max(SILENT_MS, (SILENT_GAPS * (last - first)) / (count - 1));
  });
  return new Set(silent);
}

/** Images an hour of the last day, as bars and in sum. */
function rate(hours) {
  const sum = hours.reduce((total, images) => total + images, 0);
  const words = t("gallery.per-day", { n: sum });
  return el("div", { class: "rate", title: words }, spark(hours, words), el("span", { "aria-hidden": "true" }, number(sum)));
}

function filters(cameras, load) {
  const change = (name, where = asked) => (value) => {
    where[name] = value;
    load();
  };
  const text = (name, words, where = asked) => field(t(words), el("input", { type: "text", value: where[name], onchange: (event) => change(name, where)(event.target.value.trim()) }));
  const choices = { "": t("gallery.camera.any"), ...Object.fromEntries(cameras.map((camera) => [camera, camera])) };
  return [
    field(t("gallery.camera"), select(choices, asked.camera_ids, change("camera_ids"))),
    field(t("query.light"), select({ "": t("gallery.light.any"), visible: t("visible"), infrared: t("infrared") }, asked.modality, change("modality"))),
    timeFields(when, load),
    text("person_ids", "gallery.person"),
    text("track_ids", "gallery.track"),
    text("case", "case", why),
    text("reason", "reason", why),
  ];
}

/** The fields as the server takes them. */
function wanted() {
  return { ...asked, ...span(when) };
}

async function wall(watcher) {
  const list = el("ol", { class: "wall" });
  const more = await page(list, watcher);
  return list.childElementCount === 0 ? notice(t("gallery.none"), t("gallery.none.words")) : [list, more];
}

/** Adds a page to `list`; gives what adds the next, once it is near. */
async function page(list, watcher, cursor) {
  const answer = await get("/images", { ...wanted(), ...why, limit: PAGE, cursor });
  list.append(...answer.items.map(tile));
  if (!answer.next_cursor) return null;
  const more = further(() => {
    watcher.unobserve(more);
    return page(list, watcher, answer.next_cursor);
  });
  setTimeout(() => watcher.observe(more));
  return more;
}

function tile(image) {
  const words = `${image.camera_id}, ${stamp(image.captured_at)}`;
  return el(
    "li",
    {},
    el("button", { type: "button", onclick: () => look(image), "aria-label": words }, thumbnail(image, "")),
    el("p", { class: "camera", title: image.camera_id }, light(image.modality), el("span", {}, brief(image.camera_id))),
    el("p", { class: "clock" }, time(image.captured_at), el("small", {}, day(image.captured_at))),
  );
}

/** Deletes what the fields choose: first the server counts, then a person types the count. */
async function erase(done) {
  if (Object.values(wanted()).every((value) => value === "")) {
    say(t("gallery.delete.first"), "error");
    return;
  }
  const chosen = { ...wanted() };
  const place = el("div", { class: "form" });
  const box = dialog(t("gallery.delete.title"), place);
  await loadInto(place, async () => {
    const [preview, some] = await Promise.all([remove(chosen, true), get("/images", { ...chosen, ...why, limit: 8 })]);
    if (preview.count === 0) return el("p", {}, t("gallery.delete.none"));
    return confirmation(chosen, preview, some.items, box, done);
  });
}

function confirmation(chosen, preview, some, box, done) {
  const typed = el("input", { type: "text", inputmode: "numeric", autocomplete: "off", oninput: () => (go.disabled = typed.value.trim() !== String(preview.count)) });
  const error = el("div");
  const go = button(t("gallery.delete.go"), "trash", async () => {
    go.disabled = true;
    try {
      const { count } = await remove(chosen, false);
      box.close();
      say(t("gallery.deleted", { n: count }));
      done();
    } catch (problem) {
      show(error, failure(problem));
    }
  }, { class: "danger", disabled: true });
  const cameras = [...byCamera(preview.cameras).keys()].join(", ");
  return [
    el("p", {}, t("gallery.delete.words", { n: preview.count, cameras })),
    el("div", { class: "few" }, some.map((image) => thumbnail(image, `${image.camera_id}, ${stamp(image.captured_at)}`))),
    field(t("gallery.delete.type", { n: String(preview.count) }), typed),
    error,
    el("footer", {}, button(t("cancel"), null, () => box.close()), go),
  ];
}

function remove(chosen, dryRun) {
  const pairs = Object.entries({ ...chosen, dry_run: dryRun }).filter(([, value]) => value !== "");
  return call("DELETE", `/images?${new URLSearchParams(pairs)}`);
}
