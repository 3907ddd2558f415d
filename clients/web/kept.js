// What the page keeps on this machine between visits: choices of display, never keys, images or cases.

const PREFIX = "peca.";

/** What was kept under `name`, else null; null too where the browser keeps nothing. */
export function kept(name) {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** Keeps `value` under `name`, where the browser keeps anything. */
export function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // A browser that keeps nothing only asks again at the next visit.
  }
}
