// Drawing a box around one person on a whole frame: by dragging, by two clicks on its corners, or with the arrow keys.

import { button, el } from "../dom.js";
import { t } from "../language.js";
import { dialog } from "../shortcuts.js";

const LEAST = 0.02;
const STEP = 0.01;
// A hand that clicks trembles.
const STILL_PX = 6;
const WHOLE = { x: 0, y: 0, w: 1, h: 1 };

/** Asks for a box on `frame` (a Blob); the cut image, `frame` itself where all of it is meant, null where it was given up. */
export async function drawBox(frame) {
  const picture = await createImageBitmap(frame);
  const box = await new Promise((resolve) => open(frame, picture, resolve));
  const cut = box === WHOLE ? frame : box && (await crop(picture, box));
  picture.close();
  return cut;
}

function open(frame, picture, resolve) {
  const url = URL.createObjectURL(frame);
  const image = el("img", { src: url, alt: t("box.frame"), draggable: "false" });
  const mark = el("div", { class: "box" });
  const field = el("div", { class: "box-field", tabindex: "0", role: "application", "aria-label": t("box.label") }, image, mark);
  let box = { x: 0.4, y: 0.15, w: Math.min(0.5, (0.35 * picture.height) / picture.width), h: 0.7 };
  let chosen = null;
  const place = (next) => {
    box = { w: clamp(next.w, LEAST, 1), h: clamp(next.h, LEAST, 1) };
    box.x = clamp(next.x, 0, 1 - box.w);
    box.y = clamp(next.y, 0, 1 - box.h);
    Object.assign(mark.style, { left: `${100 * box.x}%`, top: `${100 * box.y}%`, width: `${100 * box.w}%`, height: `${100 * box.h}%` });
  };
  place(box);
  field.style.aspectRatio = `${picture.width} / ${picture.height}`;
  field.style.setProperty("--aspect", picture.width / picture.height);
  drawable(field, place);
  field.addEventListener("keydown", (event) => nudge(event, box, place));
  const use = (taken) => {
    chosen = taken;
    window_.close();
  };
  const window_ = dialog(
    t("box.title"),
    el("p", { class: "hint" }, t("box.hint")),
    field,
    el("footer", {}, button(t("box.whole"), null, () => use(WHOLE)), button(t("box.use"), "check", () => use(box), { class: "primary" })),
  );
  window_.classList.add("wide");
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    // Else the key would also press what has the focus once the dialog is gone.
    event.preventDefault();
    use(box);
  });
  window_.addEventListener("close", () => {
    URL.revokeObjectURL(url);
    resolve(chosen);
  });
  field.focus();
}

/** A box from corner to corner: dragged, or clicked one after the other. */
function drawable(field, place) {
  let corner = null;
  let dragged = false;
  const between = (to) => place({ x: Math.min(corner.x, to.x), y: Math.min(corner.y, to.y), w: Math.abs(to.x - corner.x), h: Math.abs(to.y - corner.y) });
  const end = () => {
    corner = null;
    field.classList.remove("half");
  };
  field.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    field.focus();
    field.setPointerCapture(event.pointerId);
    const at = { ...share(event, field), clientX: event.clientX, clientY: event.clientY };
    dragged = false;
    if (corner) between(at);
    else corner = at;
  });
  field.addEventListener("pointermove", (event) => {
    if (!corner) return;
    if (event.buttons && Math.hypot(event.clientX - corner.clientX, event.clientY - corner.clientY) > STILL_PX) dragged = true;
    if (dragged || field.classList.contains("half")) between(share(event, field));
  });
  field.addEventListener("pointerup", () => {
    if (dragged || field.classList.contains("half")) end();
    else if (corner) {
      field.classList.add("half");
      place({ x: corner.x, y: corner.y, w: LEAST, h: LEAST });
    }
  });
  field.addEventListener("pointercancel", end);
}

function share(event, field) {
  const area = field.getBoundingClientRect();
  return { x: clamp((event.clientX - area.left) / area.width, 0, 1), y: clamp((event.clientY - area.top) / area.height, 0, 1) };
}

/** Arrows move the box, with Shift they size it. */
function nudge(event, box, place) {
  const way = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
  if (!way) return;
  event.preventDefault();
  const [dx, dy] = way;
  place(event.shiftKey ? { ...box, w: box.w + dx, h: box.h + dy } : { ...box, x: box.x + dx, y: box.y + dy });
}

function crop(picture, box) {
  const [x, y, w, h] = [box.x * picture.width, box.y * picture.height, box.w * picture.width, box.h * picture.height].map(Math.round);
  const canvas = el("canvas", { width: Math.max(1, w), height: Math.max(1, h) });
  canvas.getContext("2d").drawImage(picture, x, y, w, h, 0, 0, w, h);
  // PNG, since a second JPEG would soften what the encoder sees.
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

const clamp = (value, least, most) => Math.max(least, Math.min(most, value));
