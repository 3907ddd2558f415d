// Keys that act without a mouse: each view says its own, and `?` shows them all.

import { button, el } from "./dom.js";
import { keep, kept } from "./kept.js";
import { t } from "./language.js";

const scopes = new Map();

/** Binds `keys` ({key: {words, act, hidden}}) under `scope`, in place of what it bound before. */
export function bind(scope, keys) {
  scopes.set(scope, keys);
}

/** Takes the keys of `scope` away. */
export function unbind(scope) {
  scopes.delete(scope);
}

const typing = (target) => target.closest?.("input:not([type=checkbox],[type=range],[type=radio]), textarea, select");

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.metaKey || event.altKey || event.isComposing) return;
  const name = (event.ctrlKey ? "Ctrl+" : "") + (event.key.length === 1 ? event.key.toLowerCase() : event.key);
  if (event.key.length === 1 && !event.ctrlKey && !single()) return;
  if (typing(event.target) && !event.ctrlKey && event.key !== "Escape") return;
  const open = document.querySelector("dialog[open]");
  // What was bound last stands before what was bound first; under a dialog only its own keys act.
  for (const [scope, keys] of [...scopes].reverse()) {
    if (open && open.dataset.scope !== scope) continue;
    const key = keys[name];
    if (key && key.act(event) !== false) {
      event.preventDefault();
      return;
    }
  }
});

/** Whether letters, figures and signs act by themselves; who speaks to the machine turns them off. */
function single() {
  return kept("keys") !== "off";
}

/** The keys in force, each once. */
function listed() {
  return [...scopes.values()].flatMap((keys) =>
    Object.entries(keys)
      .filter(([, key]) => key.words)
      .map(([name, key]) => [key.shown ?? name, key.words]),
  );
}

const CAPS = { ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", Enter: "↵", "Ctrl+Enter": "Ctrl ↵" };

/** A key as it stands on a keyboard. */
export function cap(name) {
  return el("kbd", {}, CAPS[name] ?? (name.length === 1 ? name.toUpperCase() : name));
}

/** Shows the keys in force. */
export function showHelp() {
  const rows = listed().map(([name, words]) => el("div", { class: "key-row" }, el("dt", {}, cap(name)), el("dd", {}, t(words))));
  const flip = (event) => keep("keys", event.target.checked ? "on" : "off");
  const choice = el("label", { class: "choice" }, el("input", { type: "checkbox", id: "single-keys", checked: single(), onchange: flip }), t("help.single"));
  dialog(t("help.title"), el("dl", { class: "key-list" }, rows), choice);
}

/** A dialog with a heading and a way out: beside it too, but where something would be lost. */
export function dialog(title, ...content) {
  const box = el("dialog", { "aria-labelledby": "dialog-title" });
  const close = button(t("close"), "cross", () => box.close(), { bare: true, class: "quiet" });
  box.append(el("header", {}, el("h2", { id: "dialog-title" }, title), close), ...content);
  box.addEventListener("close", () => box.remove());
  const beside = (event) => {
    const { left, right, top, bottom } = box.getBoundingClientRect();
    return event.target === box && (event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom);
  };
  let pressed = false;
  box.addEventListener("pointerdown", (event) => (pressed = beside(event)));
  box.addEventListener("click", (event) => pressed && beside(event) && !box.querySelector("form, .form, .secret") && box.close());
  document.body.append(box);
  box.showModal();
  return box;
}
