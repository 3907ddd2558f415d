// The page's frame: signing in, the rail of views, the language, the lamp, and what is said of the connection.

import { button, el, icon, show } from "./dom.js";
import { keep, kept } from "./kept.js";
import { choose, current, LANGUAGES, t, tag } from "./language.js";
import { follow, signedIn, sound, unfollow, unseen } from "./live.js";
import { failure, say } from "./parts.js";
import { may, leave, resume, signIn, who } from "./session.js";
import { bind, dialog, showHelp, unbind } from "./shortcuts.js";

// The first view needs no other view's style.
const dressed = (load) => () => Promise.all([load(), style()]).then(([view]) => view);
const VIEWS = [
  ["search", "search", () => import("./views/search.js")],
  ["cases", "search-record", dressed(() => import("./views/cases.js"))],
  ["galleries", "view", dressed(() => import("./views/galleries.js"))],
  ["watch", "watch", dressed(() => import("./views/watch.js"))],
  ["quality", "view", dressed(() => import("./views/quality.js"))],
  ["audit", "audit", dressed(() => import("./views/audit.js"))],
  ["keys", "keys", dressed(() => import("./views/keys.js"))],
];
const RETRY_MS = 3000;
const USE_MS = 30_000;
const root = document.getElementById("app");
let leaveView = () => {};
let signedInAs = null;
let dressing = null;
let usedAt = Date.now();

document.documentElement.dataset.theme = kept("theme") ?? "dark";

function views() {
  return VIEWS.filter(([, permission]) => may(permission));
}

/** The shell, and in it the view that the address names. */
function draw() {
  if (views().length === 0) return drawNothing();
  const main = el("main", { id: "view", tabindex: "-1" });
  show(root, el("a", { class: "skip", href: "#view", onclick: (event) => (event.preventDefault(), main.focus()) }, t("skip")), rail(), el("p", { id: "connection", role: "status" }), main);
  bind("frame", {
    "?": { words: "help.help", act: showHelp },
    ...Object.fromEntries(views().map(([name], at) => [String(at + 1), { words: `view.${name}`, act: () => goTo(name) }])),
  });
  return openView();
}

function rail() {
  const links = views().map(([name]) =>
    el("a", { href: `#/${name}`, "data-view": name }, icon(name), el("span", {}, t(`view.${name}`)), name === "watch" && el("b", { class: "count", id: "unseen", hidden: true })),
  );
  return el(
    "nav",
    { class: "rail", "aria-label": t("views") },
    el("a", { class: "mark", href: "#/search", "aria-label": "PECA" }, el("img", { src: "web/icon.svg", alt: "", width: 32, height: 32 })),
    links,
    el("div", { class: "rail-end" }, el("p", { class: "who" }, who().name, el("small", {}, t(`role.${who().role}`))), languageSwitch(draw), button(t("lamp"), "lamp", switchLamp, { bare: true }), button(t("help.help"), "help", showHelp, { bare: true, class: "across" }), button(t("signout"), "out", signOut, { class: "across" })),
  );
}

function languageSwitch(redraw) {
  const other = current() === "en" ? "zh" : "en";
  const act = async () => {
    try {
      await choose(other);
    } catch {
      say(t("problem.offline"), "error");
      return;
    }
    redraw();
    document.getElementById("language").focus();
  };
  return el("button", { type: "button", id: "language", lang: other === "zh" ? "zh-CN" : "en", onclick: act, "aria-label": LANGUAGES[other] }, other === "zh" ? "中" : "EN");
}

function switchLamp() {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  keep("theme", next);
}

async function signOut() {
  try {
    await leave();
  } catch (problem) {
    dialog(t("signout.failed"), el("p", {}, problem.words));
    return;
  }
  location.hash = "";
  location.reload();
}

function goTo(name) {
  location.hash = `#/${name}`;
}

async function openView() {
  leaveView();
  leaveView = () => {};
  unbind("view");
  const [asked, argument] = location.hash.replace(/^#\//, "").split("/");
  const [name, , load] = views().find(([one]) => one === asked) ?? views()[0];
  document.querySelectorAll(".rail a[data-view]").forEach((link) => {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  document.title = `${t(`view.${name}`)} · PECA`;
  const main = document.getElementById("view");
  main.className = `view view-${name}`;
  // What scrolls as a whole must scroll by keyboard too.
  main.tabIndex = name === "search" ? -1 : 0;
  main.replaceChildren();
  const here = () => main.isConnected && main.classList.contains(`view-${name}`);
  const waiting = setTimeout(() => here() && show(main, el("p", { class: "waiting", role: "status" }, t("loading"))), 250);
  let view;
  try {
    view = await load();
  } catch {
    if (here()) show(main, failure({ slug: "offline", words: t("problem.offline") }, openView));
    return;
  } finally {
    clearTimeout(waiting);
  }
  if (here()) leaveView = view.mount(main, argument) ?? (() => {});
  tellUnseen();
}

/** The style of all views but the first, once it has come. */
function style() {
  dressing ??= new Promise((resolve, reject) => {
    const sheet = el("link", { rel: "stylesheet", href: "web/style/views.css", onload: resolve, onerror: () => (sheet.remove(), (dressing = null), reject()) });
    document.head.append(sheet);
  });
  return dressing;
}

function drawNothing() {
  const words = el("p", {}, t("nothing-permitted", { role: t(`role.${who().role}`) }));
  show(root, el("main", { class: "signin" }, el("h1", {}, "PECA"), words, button(t("signout"), "out", signOut)));
}

function tellUnseen() {
  const count = document.getElementById("unseen");
  if (!count) return;
  const looking = document.getElementById("view").classList.contains("view-watch");
  if (looking) unseen.clear();
  count.hidden = unseen.size === 0;
  count.textContent = String(unseen.size);
  count.setAttribute("aria-label", t("watch.unseen", { n: unseen.size }));
}

function enterShell(session) {
  // Another person must not find what the one before looked at.
  if (signedInAs !== null && signedInAs !== session.name) {
    location.reload();
    return;
  }
  signedInAs = session.name;
  if (may("watch")) follow();
  draw();
}

function askToSignIn(ended) {
  leaveView();
  leaveView = () => {};
  unfollow();
  document.querySelectorAll("dialog[open]").forEach((one) => one.close());
  const again = () => signIn(root, enterShell, ended ? t(may("watch") ? "signin.ended.watch" : "signin.ended") : "", languageSwitch(again));
  again();
  if (!ended) return;
  // Who watches must see and hear it from across the room.
  document.title = `⚠ ${t("signin.go")} · PECA`;
  if (may("watch")) sound();
}

/** A page that is looked at and moved over is in use, though it asks for nothing. */
function use() {
  if (!document.getElementById("view") || Date.now() - usedAt < USE_MS) return;
  usedAt = Date.now();
  signedIn();
}

/** Says that the server cannot be reached, until it can. */
async function waitForServer() {
  const place = document.getElementById("connection");
  if (!place || place.textContent) return;
  place.textContent = t("offline.banner");
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    try {
      await fetch("/healthz", { cache: "no-store" });
      break;
    } catch {
      continue;
    }
  }
  document.getElementById("connection")?.replaceChildren();
  document.querySelectorAll(".failed.offline button").forEach((again) => again.click());
}

async function start() {
  document.documentElement.lang = tag();
  try {
    const session = await resume();
    if (session) enterShell(session);
    else askToSignIn(false);
  } catch (problem) {
    show(root, el("main", { class: "signin" }, el("h1", {}, "PECA"), el("p", { class: "error", role: "alert" }, problem.words), button(t("retry"), "refine", start, { class: "primary" })));
  }
}

window.addEventListener("hashchange", () => document.getElementById("view") && openView());
window.addEventListener("peca-signed-out", () => document.getElementById("view") && askToSignIn(true));
window.addEventListener("pointermove", use, { passive: true });
window.addEventListener("keydown", use);
window.addEventListener("peca-offline", waitForServer);
window.addEventListener("peca-hit", tellUnseen);
start();
