// The query images: dropped, pasted, picked, photographed or stored ones, each cut to its person.

import { button, el } from "../dom.js";
import { t } from "../language.js";
import { thumbnail } from "../parts.js";
import { state } from "./state.js";

export const MOST = 8;
// A person fills an upright picture; one that is wider is likely a whole frame.
const FRAME_ASPECT = 0.9;
const TYPES = "image/jpeg,image/png,image/webp,image/bmp,image/tiff";
const addresses = new FinalizationRegistry((url) => URL.revokeObjectURL(url));

/** A query of `blob`; the address of its picture is given up when nothing holds the query any more. */
async function made(name, blob, more) {
  const picture = await createImageBitmap(blob).catch(() => null);
  const query = { name, blob, url: picture && URL.createObjectURL(blob), aspect: picture && picture.width / picture.height, ...more };
  if (picture) addresses.register(query, query.url);
  picture?.close();
  return query;
}

/** Takes image files as queries of `held`; a whole frame asks for a box first. `changed` is called with each. */
async function addFiles(files, changed, held) {
  for (const file of [...files].filter((one) => one.type.startsWith("image/"))) {
    if (held.queries.length >= (held.most ?? MOST)) return;
    const whole = await made(file.name || "query", file, { frame: file });
    const query = (whole.aspect > FRAME_ASPECT && (await cut(whole))) || whole;
    held.queries.push(query);
    changed();
  }
}

/** An image of the gallery as a query: the file as it is stored. Throws where it cannot be had. */
export async function stored(image) {
  const answer = await fetch(fileOf(image)).catch(() => null);
  if (!answer?.ok) throw new Error(t(answer ? "problem.image-file-missing" : "problem.offline"));
  const blob = await answer.blob();
  const query = await made(image.image_id, blob, { imageId: image.image_id, modality: image.modality });
  // Some kinds of files are stored that a browser cannot draw.
  query.url ??= image.thumbnail_url;
  return query;
}

const fileOf = (image) => `/images/${encodeURIComponent(image.image_id)}/file`;

/** An image as it is stored, and not its thumbnail; the thumbnail where a browser cannot draw the file. */
export function enlarged(image, words) {
  const picture = thumbnail(image, words);
  if (picture.tagName !== "IMG") return picture;
  const whole = el("img", { src: fileOf(image), alt: words, decoding: "async" });
  whole.addEventListener("error", () => whole.replaceWith(picture), { once: true });
  return whole;
}

/** The query cut anew from its frame; null where that was given up. */
async function cut(query) {
  const { drawBox } = await import("./box.js");
  const boxed = await drawBox(query.frame);
  return boxed && made(query.name, boxed, { frame: query.frame });
}

/** The strip of the query images of `held` with what can be done to each. */
export function strip(changed, held = state) {
  const exchange = (query, ...next) => {
    held.queries = held.queries.flatMap((one) => (one === query ? next : [one]));
    changed();
  };
  const figures = held.queries.map((query, at) => {
    const label = t("query.nth", { n: at + 1 });
    const recut = async () => {
      const next = await cut(query);
      if (next) exchange(query, next);
    };
    const tools = el(
      "div",
      { class: "query-tools" },
      query.frame && query.url && button(`${t("query.box")}: ${label}`, "crop", recut, { bare: true }),
      button(`${t("query.remove")}: ${label}`, "cross", () => exchange(query), { bare: true }),
    );
    const picture = query.url ? el("img", { src: query.url, alt: label }) : el("p", { class: "no-preview" }, query.name);
    return el("figure", { class: "query" }, picture, tools);
  });
  return el("div", { class: "query-strip" }, figures);
}

/** The ways to bring an image in, for `held`; their button and field are named after `id`. */
export function sources(changed, held = state, id = "pick") {
  const input = el("input", { type: "file", accept: TYPES, multiple: true, hidden: true, id, "aria-label": t("query.pick") });
  input.addEventListener("change", async () => {
    await addFiles(input.files, changed, held);
    input.value = "";
  });
  const photo = async () => {
    const { takePhoto } = await import("./photo.js");
    const taken = await takePhoto();
    if (taken) await addFiles([taken], changed, held);
  };
  const cameras = Boolean(navigator.mediaDevices?.getUserMedia);
  return el(
    "div",
    { class: "query-sources" },
    input,
    button(t("query.pick"), "plus", () => input.click(), { id: `${id}-button` }),
    cameras ? button(t("query.photo"), "photo", photo) : el("small", { id: "no-photo" }, t(isSecureContext ? "photo.refused" : "photo.insecure")),
  );
}

const dialogIsOpen = () => document.querySelector("dialog[open]");

const takesItself = ({ target, dataTransfer }) => target.closest?.(dataTransfer?.types.includes("Files") ? "input[type=file]" : "input, textarea");

// Whatever view is open: a browser shows a file that is dropped beside its place, and the page is gone.
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => takesItself(event) ?? event.preventDefault());

/** Listens for images that are dropped or pasted anywhere in this view, drawn in `place`; gives what ends it. */
export function receive(place, changed) {
  const mark = (on) => place.classList.toggle("dropping", on);
  const listeners = {
    paste: (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length === 0 || dialogIsOpen()) return;
      event.preventDefault();
      addFiles(files, changed, state);
    },
    dragover: () => dialogIsOpen() || mark(true),
    dragleave: (event) => event.relatedTarget || mark(false),
    drop: (event) => {
      mark(false);
      if (!dialogIsOpen()) addFiles(event.dataTransfer.files, changed, state);
    },
  };
  const each = (act) => Object.entries(listeners).forEach(([kind, listener]) => window[act](kind, listener));
  each("addEventListener");
  return () => (mark(false), each("removeEventListener"));
}
