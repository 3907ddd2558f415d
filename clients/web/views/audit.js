// The audit view: who did what, newest first, as the log holds it.

import { get } from "../api.js";
import { button, el, show } from "../dom.js";
import { number, stamp } from "../format.js";
import { has, t } from "../language.js";
import { field, further, loadInto, notice, select } from "../parts.js";
import { span, timeFields } from "../when.js";

const ACTIONS = ["search", "verdict", "read", "delete", "watchlist", "hit", "session", "keys", "ingest", "reload", "start", "recovery"];
const PLACED = ["broken", "action", "sequence", "key", "role", "case", "began_at", "ended_at", "previous_sha256", "sha256", "key_id"];
const MOST_NAMED = 3;
const asked = { action: "", key: "", case: "" };
const when = { range: "any", after: "", before: "" };

/** Draws the view into `root`. */
export function mount(root) {
  const rows = el("div", { class: "table-wrap" });
  const load = () => loadInto(show(rows), table);
  const text = (name) => field(t(`audit.${name}`), el("input", { type: "text", value: asked[name], onchange: (event) => ((asked[name] = event.target.value.trim()), load()) }));
  const actions = { "": t("all"), ...Object.fromEntries(ACTIONS.map((name) => [name, actionWords(name)])) };
  const kinds = field(t("audit.action"), select(actions, asked.action, (value) => ((asked.action = value), load())));
  show(
    root,
    el("header", {}, el("h1", {}, t("view.audit")), el("p", { class: "hint", id: "chain-head" })),
    el("div", { class: "sieve" }, kinds, text("key"), text("case"), timeFields(when, load)),
    rows,
  );
  load();
}

const actionWords = (name) => (has(`audit.is.${name}`) ? t(`audit.is.${name}`) : name);

async function table() {
  const body = el("tbody");
  const more = await page(body);
  if (body.childElementCount === 0) return notice(t("audit.none"), t("audit.none.words"));
  const titles = ["sequence", "time", "action", "key", "case", "detail"].map((name) => el("th", { scope: "col" }, t(`audit.${name}`)));
  return [el("table", {}, el("caption", { class: "hidden" }, t("view.audit")), el("thead", {}, el("tr", {}, titles)), body), more];
}

/** Adds a page to `body`; gives what adds the next. */
async function page(body, cursor) {
  const answer = await get("/audit", { ...asked, ...span(when), limit: 50, cursor });
  const head = document.getElementById("chain-head");
  if (head) show(head, `${t("audit.head")} `, el("code", { title: answer.head.sha256 }, `${answer.head.sequence}:${answer.head.sha256.slice(0, 12)}…`), " ", copyButton(`${answer.head.sequence}:${answer.head.sha256}`));
  body.append(...answer.items.map(row));
  return answer.next_cursor && further(() => page(body, answer.next_cursor));
}

function row(record) {
  const detail = Object.entries(record).filter(([name, value]) => !PLACED.includes(name) && value !== null);
  return el(
    "tr",
    {},
    el("td", { class: "number" }, record.sequence === undefined ? "–" : number(record.sequence)),
    el("td", { class: "when" }, stamp(record.ended_at ?? record.at)),
    el("td", { class: "when" }, actionWords(record.action ?? "–")),
    el("td", {}, record.key ?? "–", record.role && el("small", { class: "when" }, ` ${has(`role.${record.role}`) ? t(`role.${record.role}`) : record.role}`)),
    el("td", { class: isShort(record.case) ? "when" : "" }, record.case ?? "–"),
    el("td", {}, el("details", {}, el("summary", { class: record.broken ? "error" : "" }, brief(record)), el("pre", { tabindex: "0" }, JSON.stringify(Object.fromEntries(detail), null, 1)))),
  );
}

// A case number is not broken at its dashes; a sentence may be.
const isShort = (text) => (text?.length ?? 0) < 20;

/** What a record is about, in a few words. */
function brief(record) {
  if (record.broken) return `${t("audit.broken")}: ${record.broken}`;
  if (record.action === "search") return t("audit.searched", { n: record.results?.length ?? 0, reason: record.reason ?? "–" });
  if (record.action === "verdict") return `${t(`verdict.${record.verdict}`)} · ${record.image_id}`;
  if (record.action === "ingest" && record.image_ids) return t("audit.ingested", { n: record.image_ids.length, cameras: record.camera_ids.join(", ") });
  if (record.action === "hit" && record.hits) return t("watch.count", { n: record.hits.length });
  if (record.action === "read") return read(record);
  if (record.change) return changed(record);
  return record.image_id ?? record.encoder ?? t("audit.detail");
}

/** What became of which keys, watchlists or session. */
function changed({ change, keys, name }) {
  const words = `audit.change.${change}`;
  const names = keys?.map((key) => key.name) ?? [name].filter(Boolean);
  return [has(words) ? t(words) : change, ...names.slice(0, MOST_NAMED), ...(names.length > MOST_NAMED ? ["…"] : [])].join(" · ");
}

/** What was read. */
function read({ listed, stream, search_id: search, watchlist_id: watchlist, export: packed, filters }) {
  if (search) return `${t(packed ? "export" : "audit.listed.searches")} · ${search}`;
  if (watchlist) return `${t("audit.listed.hits")} · ${watchlist}`;
  const words = `audit.listed.${listed ?? (stream ? "stream" : filters ? "log" : "")}`;
  return t(has(words) ? words : "audit.detail");
}

/** A button that copies `text`, and says so; where the browser refuses, the text stands there to be copied by hand. */
export function copyButton(text) {
  const made = button(t("copy"), null, async () => {
    try {
      // There is no clipboard for scripts but over https and on this machine.
      if (navigator.clipboard) await navigator.clipboard.writeText(text);
      else copySelected(text, made);
      made.querySelector("span").textContent = t("copied");
    } catch {
      made.replaceWith(el("span", { class: "by-hand" }, byHand(text), t("copy.by-hand")));
      document.querySelector(".by-hand textarea").select();
    }
  }, { class: "quiet" });
  return made;
}

const byHand = (text) => el("textarea", { readonly: true, rows: 1, value: text, "aria-label": t("copy") });

function copySelected(text, beside) {
  const area = byHand(text);
  beside.after(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser does not copy");
  beside.focus();
}
