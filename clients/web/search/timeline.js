// Where and when: a lane a camera, a mark a result, and the way of the confirmed ones through both.

import { el, show, svg } from "../dom.js";
import { day, minute, stamp, time } from "../format.js";
import { t } from "../language.js";
import { confirmed, state } from "./state.js";

const LANE = 26;
const TOP = 8;
const FOOT = 24;
const LEFT = 92;
const RIGHT = 18;
const FOLD = 26;
const DAY_WIDTH = 84;
const TICK_WIDTH = 90;
const LEAST_MS = 30 * 60_000;
// Nights lie further apart than this, sightings of one night do not.
const SILENCE_MS = 6 * 3_600_000;

/** The timeline of `items`; `pick` is called with the position of a mark that was clicked. */
export function timeline(items, pick) {
  const place = el("div", { class: "timeline" });
  const draw = () => show(place, drawn(items, Math.max(320, place.clientWidth), pick), way());
  const watcher = new ResizeObserver(draw);
  watcher.observe(place);
  place.addEventListener("peca-marks", draw);
  return place;
}

function drawn(items, width, pick) {
  const cameras = [...new Set(items.map((item) => item.camera_id))].sort((one, two) => one.localeCompare(two, undefined, { numeric: true }));
  const spans = folded(items.map((item) => new Date(item.captured_at).getTime()), width);
  const x = (instant) => placed(instant, spans);
  const y = (camera) => TOP + LANE * (cameras.indexOf(camera) + 0.5);
  const bottom = TOP + LANE * cameras.length;
  const marks = items.map((item, at) => mark(item, x(new Date(item.captured_at).getTime()), y(item.camera_id), at, pick)).reverse();
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${bottom + FOOT}`, width, height: bottom + FOOT, role: "img", "aria-label": t("timeline.words", { n: items.length, cameras: cameras.length }) },
    spans.map((span, at) => [ticks(span, spans.length > 1).map(([instant, words]) => tick(x(instant), bottom, words)), at > 0 && fold(span.left - FOLD / 2, bottom)]),
    cameras.map((camera) => lane(camera, y(camera), width)),
    path(x, y),
    marks,
  );
}

/** The times in which something was seen, each with its place on the axis; long silences are folded away. */
function folded(instants, width) {
  const sorted = instants.toSorted((one, two) => one - two);
  const spans = [];
  for (const instant of sorted) {
    const last = spans.at(-1);
    if (last && instant - last.to <= SILENCE_MS) last.to = instant;
    else spans.push({ from: instant, to: instant });
  }
  // A little air on both sides, and half an hour where all is one instant.
  spans.forEach((span) => {
    const air = Math.max(0.03 * (span.to - span.from), LEAST_MS / 2);
    Object.assign(span, { from: span.from - air, to: span.to + air });
  });
  const total = spans.reduce((sum, span) => sum + span.to - span.from, 0);
  const room = width - LEFT - RIGHT - FOLD * (spans.length - 1);
  let left = LEFT;
  for (const span of spans) {
    Object.assign(span, { left, right: left + (room * (span.to - span.from)) / total });
    left = span.right + FOLD;
  }
  return spans;
}

function placed(instant, spans) {
  const { from, to, left, right } = spans.find((span) => instant <= span.to);
  return left + ((instant - from) / (to - from)) * (right - left);
}

const STEPS_MIN = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720];

/** Instants of a span with their words; of several spans each begins with its day. */
function ticks({ from, to, left, right }, dated) {
  const begin = dated ? [[from, right - left > DAY_WIDTH ? day(from) : ""]] : [];
  const most = Math.floor((right - left - (dated ? DAY_WIDTH : 0)) / TICK_WIDTH);
  const step = 60_000 * STEPS_MIN.find((minutes) => (to - from) / (60_000 * minutes) <= most + 1);
  if (most < 1 || !step) return begin;
  // Whole hours are those of this machine's zone.
  const zone = new Date(from).getTimezoneOffset() * 60_000;
  const first = Math.ceil((from - zone) / step) * step + zone;
  const found = Array.from({ length: Math.max(0, Math.floor((to - first) / step) + 1) }, (_, at) => first + at * step);
  const clear = dated ? from + (DAY_WIDTH / (right - left)) * (to - from) : from;
  return [...begin, ...found.filter((instant) => instant > clear).map((instant) => [instant, minute(instant)])];
}

function tick(x, bottom, words) {
  return svg("g", { class: "tick" }, svg("path", { d: `M${x} ${TOP}V${bottom + 4}` }), svg("text", { x, y: bottom + 18, "text-anchor": "middle" }, words));
}

/** The sign that time was left out. */
function fold(x, bottom) {
  return svg("path", { class: "fold", d: `M${x - 4} ${bottom}L${x} ${TOP}M${x + 1} ${bottom}L${x + 5} ${TOP}` });
}

function lane(camera, y, width) {
  const shown = camera.length > 11 ? `${camera.slice(0, 10)}…` : camera;
  return svg("g", { class: "lane" }, svg("path", { d: `M${LEFT} ${y}H${width - RIGHT}` }), svg("text", { x: LEFT - 12, y: y + 4, "text-anchor": "end" }, svg("title", {}, camera), shown));
}

function mark(item, x, y, at, pick) {
  const verdict = state.verdicts.get(item.image_id) ?? "open";
  const size = verdict === "confirmed" ? 7 : verdict === "rejected" ? 3 : 3 + 4 * Math.max(0, item.score);
  const words = `#${item.rank} · ${item.camera_id} · ${stamp(item.captured_at)}`;
  const made = svg("circle", { class: `mark ${verdict}`, cx: x, cy: y, r: size, onclick: () => pick(at) }, svg("title", {}, words));
  if (verdict === "open") made.style.opacity = String(0.5 + 0.5 * Math.max(0, Math.min(1, item.score)));
  return made;
}

function path(x, y) {
  const points = confirmed().map((item) => `${x(new Date(item.captured_at).getTime())} ${y(item.camera_id)}`);
  return points.length > 1 && svg("path", { class: "way", d: `M${points.join("L")}` });
}

/** The way of the confirmed ones in words. */
function way() {
  const found = confirmed();
  if (found.length === 0) return el("p", { class: "hint" }, t("timeline.hint"));
  const stops = found.map((item) => el("li", {}, el("strong", {}, item.camera_id), ` ${day(item.captured_at)} ${time(item.captured_at)}`));
  return el("ol", { class: "stops", "aria-label": t("timeline.way") }, stops);
}
