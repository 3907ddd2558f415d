// Calls to the server: by the session's cookie, with its CSRF token, errors as problems.

import { has, t } from "./language.js";

let token = "";

/** The CSRF token that the session gave. */
export function useToken(next) {
  token = next ?? "";
}

/** An answer that is an error; `slug` is the last part of the problem's type. */
export class Problem extends Error {
  constructor(status, slug, title, detail, retryAfter) {
    super(detail || title);
    Object.assign(this, { status, slug, title, retryAfter });
  }

  /** The kind of problem in the chosen language, else in the server's words. */
  get words() {
    return has(`problem.${this.slug}`) ? t(`problem.${this.slug}`, { s: this.retryAfter ?? 1 }) : this.title;
  }
}

/** What `path` answers, as JSON. */
export function get(path, parameters = {}, signal = undefined) {
  return call("GET", path + queryOf(parameters), { signal });
}

/** Parameters as a query string; empty ones are left out. */
export function queryOf(parameters) {
  const pairs = Object.entries(parameters).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  const given = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/** Calls the server; `json` or `form` is the body. Throws `Problem`; a 401 is told to the page too. */
export async function call(method, path, { json, form, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = token;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const body = json === undefined ? form : JSON.stringify(json);
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw offline();
  }
  const text = await answer.text();
  if (answer.ok) return text ? JSON.parse(text) : null;
  throw told(answer.status, text, answer.headers.get("Retry-After"), path);
}

/** Posts a form and tells `progress` what share is sent; fetch cannot. `signal` ends it. */
export function upload(path, form, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRF-Token", token);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(told(request.status, request.responseText, request.getResponseHeader("Retry-After"), path));
    };
    request.onerror = () => reject(offline());
    request.onabort = () => reject(new DOMException("", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

function offline() {
  window.dispatchEvent(new Event("peca-offline"));
  return new Problem(0, "offline", "", "");
}

function told(status, text, retryAfter, path) {
  if (status === 401 && path !== "/session") window.dispatchEvent(new Event("peca-signed-out"));
  try {
    const { type, title, detail } = JSON.parse(text);
    return new Problem(status, String(type).split(":").pop(), title, detail, Number(retryAfter) || undefined);
  } catch {
    // A proxy between answers in its own way.
    return new Problem(status, "unreadable", `HTTP ${status}`, text.slice(0, 200));
  }
}
