// The query images: dropped, pasted, picked, photographed or stored ones, each cut to its person.

import { button, el } from "../dom.js";
import { t } from "../language.js";
import { drawBox } from "./box.js";
import { takePhoto } from "./photo.js";
import { state } from "./state.js";

const MOST = 8;
// A person fills an upright picture; one that is wider is likely a whole frame.
const FRAME_ASPECT = 0.9;
const TYPES = "image/jpeg,image/png,image/webp,image/bmp,image/tiff";

/** Takes image files as queries; a whole frame asks for a box first. `changed` is called with each. */
export async function addFiles(files, changed) {
  for (const file of [...files].filter((one) => one.type.startsWith("image/")).slice(0, MOST - state.queries.length)) {
    const picture = await createImageBitmap(file).catch(() => null);
    const query = { name: file.name || "query", blob: file, frame: picture ? file : null, url: picture ? URL.createObjectURL(file) : null };
    if (picture && picture.width > FRAME_ASPECT * picture.height) await cut(query);
    picture?.close();
    state.queries.push(query);
    changed();
  }
}

/** Takes an image of the gallery as a query. */
export async function addStored(image) {
  const answer = await fetch(image.thumbnail_url);
  if (!answer.ok) throw new Error(t("problem.image-file-missing"));
  const blob = await answer.blob();
  state.queries.push({ name: `${image.image_id}.jpg`, blob, frame: null, url: URL.createObjectURL(blob), imageId: image.image_id, modality: image.modality });
}

/** Takes a query away. */
export function remove(query) {
  state.queries = state.queries.filter((one) => one !== query);
  if (query.url) URL.revokeObjectURL(query.url);
}

/** Takes all queries away. */
export function clear() {
  [...state.queries].forEach(remove);
}

async function cut(query) {
  const boxed = await drawBox(query.frame);
  if (!boxed) return;
  if (query.url) URL.revokeObjectURL(query.url);
  Object.assign(query, { blob: boxed, url: URL.createObjectURL(boxed) });
}

/** The strip of query images with what can be done to each. */
export function strip(changed) {
  const figures = state.queries.map((query, at) => {
    const label = t("query.nth", { n: at + 1 });
    const recut = async () => {
      await cut(query);
      changed();
    };
    const tools = el(
      "div",
      { class: "query-tools" },
      query.frame && button(`${t("query.box")}: ${label}`, "crop", recut, { bare: true }),
      button(`${t("query.remove")}: ${label}`, "cross", () => (remove(query), changed()), { bare: true }),
    );
    const picture = query.url ? el("img", { src: query.url, alt: label }) : el("p", { class: "no-preview" }, query.name);
    return el("figure", { class: "query" }, picture, tools);
  });
  return el("div", { class: "query-strip" }, figures);
}

/** The ways to bring an image in. */
export function sources(changed) {
  const input = el("input", { type: "file", accept: TYPES, multiple: true, hidden: true, id: "pick", "aria-label": t("query.pick") });
  input.addEventListener("change", async () => {
    await addFiles(input.files, changed);
    input.value = "";
  });
  const photo = async () => {
    const taken = await takePhoto();
    if (taken) await addFiles([taken], changed);
  };
  const cameras = Boolean(navigator.mediaDevices?.getUserMedia);
  return el(
    "div",
    { class: "query-sources" },
    input,
    button(t("query.pick"), "plus", () => input.click(), { id: "pick-button" }),
    cameras && button(t("query.photo"), "photo", photo),
  );
}

/** Listens for images dropped on `place` or pasted anywhere; gives what ends it. */
export function receive(place, changed) {
  const paste = (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length && !document.querySelector("dialog[open]")) {
      event.preventDefault();
      addFiles(files, changed);
    }
  };
  const over = (event) => {
    event.preventDefault();
    place.classList.add("dropping");
  };
  const out = (event) => !place.contains(event.relatedTarget) && place.classList.remove("dropping");
  const drop = (event) => {
    event.preventDefault();
    place.classList.remove("dropping");
    addFiles(event.dataTransfer.files, changed);
  };
  document.addEventListener("paste", paste);
  place.addEventListener("dragover", over);
  place.addEventListener("dragleave", out);
  place.addEventListener("drop", drop);
  return () => document.removeEventListener("paste", paste);
}
