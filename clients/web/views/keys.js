// The keys view: who may do what, for those who decide it.

import { call, get } from "../api.js";
import { button, el, icon, show } from "../dom.js";
import { stamp } from "../format.js";
import { instantField } from "../instant.js";
import { t } from "../language.js";
import { byCamera, cameraChips, failure, field, loadInto, say, segments } from "../parts.js";
import { who } from "../session.js";
import { bind, dialog } from "../shortcuts.js";
import { copyButton } from "./audit.js";

const ROLES = ["operator", "auditor", "camera", "admin"];
// Only these may be limited to cameras.
const LIMITED = ["operator", "camera"];

/** Draws the view into `root`. */
export function mount(root) {
  const rows = el("div", { class: "table-wrap" });
  const load = () => loadInto(rows, () => table(load));
  const make = button(t("keys.new"), "plus", () => create(load), { class: "primary", id: "key-new" });
  show(root, el("header", {}, el("h1", {}, t("view.keys")), make), el("p", { class: "hint" }, t("keys.hint")), rows);
  bind("view", { n: { words: "keys.new", act: () => create(load) } });
  load();
}

async function table(load) {
  const { items } = await get("/keys");
  const sorted = [...items].sort((one, two) => Number(over(one)) - Number(over(two)));
  const titles = ["name", "role", "limits", "since", "state", ""].map((name) => el("th", { scope: "col" }, name && t(`keys.${name}`)));
  return el("table", {}, el("caption", { class: "hidden" }, t("view.keys")), el("thead", {}, el("tr", {}, titles)), el("tbody", {}, sorted.map((key) => row(key, load))));
}

const over = (key) => Boolean(key.revoked_at) || (key.expires_at && new Date(key.expires_at) < new Date());

function row(key, load) {
  const limits = [key.camera_ids?.join(", "), key.requests_per_minute && t("keys.rate", { n: key.requests_per_minute })].filter(Boolean);
  const state = key.revoked_at ? [t("keys.revoked"), stamp(key.revoked_at)] : over(key) ? [t("keys.expired"), stamp(key.expires_at)] : [t("keys.valid"), key.expires_at ? t("keys.until", { time: stamp(key.expires_at) }) : ""];
  const actions = over(key) ? [] : [button(t("keys.rotate"), "refine", () => rotate(key, load)), button(t("keys.revoke"), "trash", () => revoke(key, load), { class: "danger" })];
  return el(
    "tr",
    { class: over(key) ? "over" : "" },
    el("td", {}, el("strong", {}, key.name), key.name === who().name && el("small", {}, ` ${t("keys.you")}`)),
    el("td", { class: "when" }, t(`role.${key.role}`)),
    el("td", {}, limits.join(" · ") || t("keys.unlimited")),
    el("td", { class: "when" }, stamp(key.created_at)),
    el("td", {}, state[0], state[1] && el("small", { class: "when" }, ` ${state[1]}`)),
    el("td", {}, el("div", { class: "row-actions" }, actions)),
  );
}

async function create(load) {
  const wanted = { role: "operator", camera_ids: new Set() };
  const name = el("input", { type: "text", maxlength: 200, required: true, autocomplete: "off" });
  let ends = "";
  const expires = instantField(t("keys.expires"), "", (value) => (ends = value), undefined, true);
  const rate = el("input", { type: "number", min: 1, inputmode: "numeric" });
  const cameras = el("fieldset", {}, el("legend", {}, t("cameras")));
  const others = el("input", { type: "text", autocomplete: "off" });
  const warning = el("p", { class: "error", role: "status" });
  const named = () => [...new Set([...wanted.camera_ids, ...others.value.split(",").map((one) => one.trim()).filter(Boolean)])];
  const warn = () => (warning.textContent = wanted.role === "camera" && named().length === 0 ? t("keys.unlimited.warning") : "");
  others.addEventListener("input", warn);
  const error = el("div");
  const roles = segments(t("keys.role"), ROLES.map((role) => [role, t(`role.${role}`)]), wanted.role, (role) => {
    wanted.role = role;
    limits.hidden = !LIMITED.includes(role);
    warn();
  });
  roles.classList.add("four");
  const submit = async (event) => {
    event.preventDefault();
    go.disabled = true;
    const limited = LIMITED.includes(wanted.role) && named().length > 0;
    const json = { name: name.value.trim(), role: wanted.role, camera_ids: limited ? named() : null, expires_at: ends || null, requests_per_minute: Number(rate.value) || null };
    try {
      showOnce(await call("POST", "/keys", { json }), box);
      load();
    } catch (problem) {
      show(error, failure(problem));
      go.disabled = false;
    }
  };
  const go = button(t("keys.make"), "keys", null, { type: "submit", class: "primary" });
  const limits = el("div", { class: "form" }, cameras, field(t("keys.cameras.other"), others, t("keys.cameras.other.hint")), warning);
  const fields = [field(t("keys.name"), name, t("keys.name.hint")), roles, limits, el("div", { class: "pair" }, expires, field(t("keys.per-minute"), rate))];
  const box = dialog(t("keys.new"), el("form", { class: "form", onsubmit: submit }, fields, error, el("footer", {}, go)));
  name.focus();
  try {
    cameras.append(cameraChips(byCamera((await get("/cameras")).items), wanted.camera_ids, warn));
  } catch (problem) {
    cameras.append(el("p", { class: "error" }, problem.words));
  }
}

/** A key is shown this once; the server keeps only its hash. */
function showOnce(made, before) {
  before?.close();
  dialog(
    t("keys.made", { name: made.name }),
    el("p", { class: "once" }, icon("keys"), t("keys.once")),
    el("p", { class: "secret" }, el("code", { id: "new-key" }, made.key), copyButton(made.key)),
  );
}

function rotate(key, load) {
  const overlap = el("input", { type: "number", min: 0, max: 8784, step: "any", value: 0, inputmode: "decimal" });
  const words = [el("p", {}, t("keys.rotate.words")), field(t("keys.overlap"), overlap, t("keys.overlap.hint"))];
  ask(t("keys.rotate.title", { name: key.name }), words, t("keys.rotate"), async () => {
    showOnce(await call("POST", `/keys/${encodeURIComponent(key.key_id)}/rotate`, { json: { overlap_hours: Number(overlap.value) } }));
    load();
  });
}

function revoke(key, load) {
  ask(t("keys.revoke.title", { name: key.name }), t("keys.revoke.words"), t("keys.revoke"), async () => {
    await call("DELETE", `/keys/${encodeURIComponent(key.key_id)}`);
    say(t("keys.revoked.said", { name: key.name }));
    load();
  });
}

/** Asks before what cannot be undone; a failure is told in the dialog. */
export function ask(title, words, act, work) {
  const error = el("div");
  const go = button(act, "check", async () => {
    go.disabled = true;
    try {
      await work();
      box.close();
    } catch (problem) {
      show(error, failure(problem));
      go.disabled = false;
    }
  }, { class: "danger" });
  const box = dialog(title, ...(Array.isArray(words) ? words : [el("p", {}, words)]), error, el("footer", {}, button(t("cancel"), null, () => box.close()), go));
}
