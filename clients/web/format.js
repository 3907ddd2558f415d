// Numbers and instants as people read them, in the chosen language and this machine's time zone.

import { t, tag } from "./language.js";

const FORMS = {
  time: { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
  minute: { hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  day: { weekday: "short", day: "numeric", month: "short" },
  date: { day: "numeric", month: "short", year: "numeric" },
};
const made = new Map();

function formatter(form) {
  const name = `${tag()} ${form}`;
  if (!made.has(name)) made.set(name, new Intl.DateTimeFormat(tag(), FORMS[form]));
  return made.get(name);
}

export const time = (instant) => formatter("time").format(new Date(instant));
export const minute = (instant) => formatter("minute").format(new Date(instant));
export const day = (instant) => formatter("day").format(new Date(instant));
export const date = (instant) => formatter("date").format(new Date(instant));

/** Year to second, in the one order that every language reads alike. */
export function stamp(instant) {
  if (!instant) return "–";
  const at = new Date(instant);
  const two = (part) => String(part).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time(at)}`;
}

export const score = (value) => value.toFixed(2).replace("-", "−");
export const percent = (value) => `${(100 * value).toFixed(1)}%`;
export const number = (value) => value.toLocaleString(tag());

/** A name that fits a card, whole where it does: names of a site often begin alike, or end alike. */
export function brief(name) {
  const most = /[\u2e80-\uffff]/.test(name) ? 8 : 14;
  return name.length > most ? `${name.slice(0, most / 2 - 2)}…${name.slice(-most / 2 - 1)}` : name;
}

/** Bytes in the largest unit that leaves at least 1. */
export function bytes(count) {
  const power = Math.min(4, Math.floor(Math.log(Math.max(1, count)) / Math.log(1000)));
  return `${(count / 1000 ** power).toLocaleString(tag(), { maximumFractionDigits: power > 2 ? 1 : 0 })}\u00a0${["B", "kB", "MB", "GB", "TB"][power]}`;
}

/** How long ago, in words. */
export function ago(instant) {
  const seconds = (Date.now() - new Date(instant)) / 1000;
  if (Math.abs(seconds) < 60) return t("just-now");
  const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60]].find(([, size]) => Math.abs(seconds) >= size);
  return new Intl.RelativeTimeFormat(tag(), { numeric: "always" }).format(-Math.round(seconds / size), unit);
}
