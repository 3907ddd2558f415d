// The page's words: two dictionaries, chosen by the operator and kept.

import { kept, keep } from "./kept.js";

export const LANGUAGES = { en: "English", zh: "中文" };

let language = kept("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");
let words = await load(language);
document.documentElement.lang = tag();

async function load(name) {
  return (await import(`./lang/${name}.js`)).default;
}

/** The language in use: `en` or `zh`. */
export function current() {
  return language;
}

/** Its tag for dates and numbers. */
export function tag() {
  return language === "zh" ? "zh-CN" : "en-GB";
}

/** Use `next` from here on. */
export async function choose(next) {
  words = await load(next);
  language = next;
  keep("language", next);
  document.documentElement.lang = tag();
}

/** The words for `key`; `{name}` is replaced by that value, and of a pair [one, other] `n` decides. */
export function t(key, values = {}) {
  const found = words[key] ?? key;
  const chosen = Array.isArray(found) ? found[values.n === 1 ? 0 : 1] : found;
  return chosen.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? shown(values[name]) : whole));
}

/** Whether there are words for `key`. */
export function has(key) {
  return key in words;
}

function shown(value) {
  return typeof value === "number" ? value.toLocaleString(tag()) : String(value);
}
