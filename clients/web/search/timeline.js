// Where and when: a lane a camera, a mark a result, and the way of the confirmed ones through both.

import { el, show, svg } from "../dom.js";
import { brief, date, day, minute, stamp, time } from "../format.js";
import { t } from "../language.js";
import { confirmed, state } from "./state.js";

const LANE = 26;
// Of many cameras the lanes are narrower, so that more of them are seen at once.
const NARROW_LANE = 18;
const MANY_LANES = 7;
// The dates stand on top: below many lanes they would be out of sight.
const TOP = 24;
const FOOT = 8;
const LEFT = 14;
const RIGHT = 18;
const FOLD = 26;
// A night is never narrower than its date; where there are too many, the timeline scrolls sideways.
const DAY_WIDTH = 96;
const TICK_WIDTH = 90;
// Words stand in the middle of their tick: they keep clear of those of the date before and of the night behind.
const TICK_AIR = 24;
const MINUTE_MS = 60_000;
const LEAST_MS = 30 * MINUTE_MS;
// Nights lie further apart than this, sightings of one night do not.
const SILENCE_MS = 6 * 60 * MINUTE_MS;

/** The timeline of `items`; `pick` is called with the position of a mark that was clicked. */
export function timeline(items, pick) {
  const names = [...new Set(items.map((item) => item.camera_id))].sort((one, two) => one.localeCompare(two, undefined, { numeric: true }));
  const lane = names.length > MANY_LANES ? NARROW_LANE : LANE;
  const lanes = el("ul", { class: "lanes", "aria-hidden": "true" }, names.map((camera) => el("li", { title: camera }, brief(camera))));
  lanes.style.setProperty("--lane", `${lane}px`);
  const drawing = el("div", {});
  const words = el("div", {});
  const place = el("div", { class: "timeline", tabindex: "0", role: "group", "aria-label": t("timeline") }, el("div", { class: "axis" }, lanes, drawing), words);
  const draw = () => {
    show(drawing, drawn(items, names, lane, place.clientWidth - lanes.offsetWidth - 36, pick));
    show(words, way());
  };
  const watcher = new ResizeObserver(draw);
  watcher.observe(place);
  place.addEventListener("peca-marks", draw);
  return place;
}

function drawn(items, names, lane, room, pick) {
  const spans = folded(items.map(instantOf), room);
  const x = (item) => placed(instantOf(item), spans);
  const y = (item) => TOP + lane * (names.indexOf(item.camera_id) + 0.5);
  const bottom = TOP + lane * names.length;
  const width = spans.at(-1).right + RIGHT;
  const year = (instant) => new Date(instant).getFullYear();
  const dated = year(spans[0].from) === year(spans.at(-1).to) ? day : date;
  const marks = items.map((item, at) => mark(item, x(item), y(item), at, pick)).reverse();
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${bottom + FOOT}`, width, height: bottom + FOOT, role: "img", "aria-label": t("timeline.words", { n: items.length, cameras: names.length }) },
    spans.map((span, at) => [axis(span, dated, bottom), at > 0 && fold(span.left - FOLD / 2, bottom)]),
    names.map((_, at) => svg("path", { class: "lane", d: `M0 ${TOP + lane * (at + 0.5)}H${width - RIGHT}` })),
    path(x, y),
    marks,
  );
}

const instantOf = (item) => new Date(item.captured_at).getTime();

/** The times in which something was seen, each with its place on the axis; long silences are folded away. */
function folded(instants, room) {
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
    Object.assign(span, { first: span.from, from: span.from - air, to: span.to + air });
  });
  const total = spans.reduce((sum, span) => sum + span.to - span.from, 0);
  // What is left when each has its least, by the length of each.
  const spare = Math.max(0, room - LEFT - RIGHT - FOLD * (spans.length - 1) - DAY_WIDTH * spans.length);
  let left = LEFT;
  for (const span of spans) {
    Object.assign(span, { left, right: left + DAY_WIDTH + (spare * (span.to - span.from)) / total });
    left = span.right + FOLD;
  }
  return spans;
}

function placed(instant, spans) {
  const { from, to, left, right } = spans.find((span) => instant <= span.to);
  return left + ((instant - from) / (to - from)) * (right - left);
}

const DAY_MIN = 1440;
const STEPS_MIN = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, ...[1, 2, 7, 14, 30, 91, 365].map((days) => days * DAY_MIN)];

/** The date that a span begins with, or that of the midnight soon after, and the ticks behind it. */
function axis(span, dated, bottom) {
  const midnight = new Date(span.first).setHours(24, 0, 0, 0);
  const soon = span.right - span.left > 2 * DAY_WIDTH && midnight < span.to && placed(midnight, [span]) < span.left + DAY_WIDTH;
  const x = soon ? placed(midnight, [span]) : span.left;
  const found = ticks(span, x - span.left + DAY_WIDTH + TICK_AIR, dated);
  return [svg("text", { class: "begin", x, y: TOP - 8 }, dated(soon ? midnight : span.first)), found.map(([instant, words]) => tick(placed(instant, [span]), bottom, words))];
}

/** Instants of a span, each with its words: the time, at midnight the day; none `clear` pixels from its beginning on. */
function ticks({ from, to, left, right }, clear, dated) {
  const most = Math.floor((right - left) / TICK_WIDTH);
  const step = STEPS_MIN.find((minutes) => (to - from) / (MINUTE_MS * minutes) <= most);
  if (!step) return [];
  const instantAt = (x) => from + (x / (right - left)) * (to - from);
  const [begin, end] = [clear, right - left - TICK_AIR / 2].map(instantAt);
  const found = [];
  // By the clock of this machine, which may be changed within: days are not all of 24 hours.
  for (const at = new Date(new Date(from).setHours(0, 0, 0, 0)); at <= to; step < DAY_MIN ? at.setMinutes(at.getMinutes() + step) : at.setDate(at.getDate() + step / DAY_MIN)) {
    const words = at.getHours() + at.getMinutes() ? minute(at) : dated(at);
    if (at > from) found.push([at.getTime(), at >= begin && at <= end ? words : ""]);
  }
  return found;
}

function tick(x, bottom, words) {
  return svg("g", { class: "tick" }, svg("path", { d: `M${x} ${TOP - 4}V${bottom}` }), words !== "" && svg("text", { x, y: TOP - 8, "text-anchor": "middle" }, words));
}

/** The sign that time was left out. */
function fold(x, bottom) {
  return svg("path", { class: "fold", d: `M${x - 4} ${bottom}L${x} ${TOP}M${x + 1} ${bottom}L${x + 5} ${TOP}` });
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
  const points = confirmed().map((item) => `${x(item)} ${y(item)}`);
  return points.length > 1 && svg("path", { class: "way", d: `M${points.join("L")}` });
}

/** The way of the confirmed ones in words. */
function way() {
  const found = confirmed();
  if (found.length === 0) return el("p", { class: "hint" }, t("timeline.hint"));
  const stops = found.map((item) => el("li", {}, el("strong", {}, item.camera_id), ` ${day(item.captured_at)} ${time(item.captured_at)}`));
  return el("ol", { class: "stops", "aria-label": t("timeline.way") }, stops);
}
