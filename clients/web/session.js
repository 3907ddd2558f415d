// Who is signed in: by a key, once; from then on by a cookie that this page cannot read.

import { call, get, useToken } from "./api.js";
import { button, el, icon } from "./dom.js";
import { keep, kept } from "./kept.js";
import { t } from "./language.js";

let session = null;

/** Who is signed in: name, role, permissions; null before. */
export function who() {
  return session;
}

/** Whether the key's role permits this. */
export function may(permission) {
  return Boolean(session?.permissions.includes(permission));
}

/** Takes up the session of the cookie, if there is one. */
export async function resume() {
  // Without a hint of a session there is none to ask for, and no refusal for the log.
  if (kept("session") !== "yes") return null;
  try {
    take(await get("/session"));
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    take(null);
  }
  return session;
}

/** Signs in by a key. */
export async function enter(key) {
  take(await call("POST", "/session", { json: { key } }));
  return session;
}

/** Signs out, here and on the server; a session that has ended is one signed out of. */
export async function leave() {
  try {
    await call("DELETE", "/session");
  } catch (problem) {
    if (problem.status !== 401) throw problem;
  }
  take(null);
}

function take(next) {
  session = next;
  keep("session", next ? "yes" : "no");
  useToken(next?.csrf_token);
}

/** The sign-in page; `done` is called with who came in, `notice` says why it is asked, `language` changes it. */
export function signIn(root, done, notice, language) {
  // Only for programs that keep passwords.
  const user = el("input", { type: "text", autocomplete: "username", value: "peca", hidden: true });
  const field = el("input", {
    id: "key",
    type: "password",
    autocomplete: "current-password",
    spellcheck: "false",
    required: true,
    placeholder: "peca_…",
  });
  const error = el("p", { class: "error", role: "alert" }, notice);
  const go = button(t("signin.go"), "right", null, { type: "submit", class: "primary" });
  const submit = async (event) => {
    event.preventDefault();
    go.disabled = true;
    error.textContent = "";
    try {
      done(await enter(field.value.trim()));
    } catch (problem) {
      error.textContent = problem.words;
      go.disabled = false;
      field.select();
    }
  };
  root.replaceChildren(
    el(
      "main",
      { class: "signin" },
      el("div", { class: "horizon", "aria-hidden": "true" }, icon("sun"), icon("moon")),
      el("h1", {}, "PECA"),
      el("p", { class: "lead" }, t("signin.lead")),
      el("form", { onsubmit: submit }, user, el("label", { for: "key" }, t("signin.key")), field, go, error),
      el("p", { class: "hint" }, t("signin.hint")),
      language,
    ),
  );
  field.focus();
}
