// Elements are made by name and text, never from markup: what a server sends stays text.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `on...` are listeners, booleans toggle, `class`, `aria-*` and the rest are attributes. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in the SVG namespace. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** Puts `children` in place of what `node` holds. */
export function show(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

const ICONS = {
  search: "M10.5 4a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13M15.5 15.5L21 21",
  cases: "M3 6h6l2 2h10v11H3zM3 11h18",
  galleries: "M3 5h18v14H3zM3 15l5-4 4 3 3-2 6 4M15.5 9.5h.01",
  watch: "M6 17v-6a6 6 0 0 1 12 0v6l2 2H4zM10 21h4",
  quality: "M4 4v16h16M7 16c2-8 6-9 13-10",
  audit: "M6 3h12v18H6zM9 8h6M9 12h6M9 16h4",
  keys: "M8 15a4 4 0 1 0 0-8a4 4 0 0 0 0 8M12 11h9v4M17 11v3",
  sun: "M12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8M12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
  moon: "M19 14.5A8 8 0 0 1 9.5 5A8 8 0 1 0 19 14.5",
  auto: "M12 4a8 8 0 1 0 0 16M12 4a8 8 0 0 1 0 16M12 2v20M9 5.5v13M6.5 7v10",
  check: "M4 13l5 5L20 6",
  cross: "M6 6l12 12M18 6L6 18",
  unsure: "M8.5 9a3.5 3.5 0 1 1 5 3.2c-1.2.6-1.5 1.3-1.5 2.6M12 19h.01",
  plus: "M12 5v14M5 12h14",
  photo: "M4 8h4l2-3h4l2 3h4v11H4zM12 10a3.5 3.5 0 1 0 0 7a3.5 3.5 0 0 0 0-7",
  crop: "M6 2v16h16M2 6h16v16",
  tracks: "M4 7h11v11H4zM8 4h12v11",
  rerank: "M7 4v16M4 17l3 3 3-3M17 20V4M14 7l3-3 3 3",
  export: "M12 3v12M7 11l5 5 5-5M4 20h16",
  refine: "M4 12a8 8 0 0 1 14-5l2 2M20 4v5h-5M20 12a8 8 0 0 1-14 5l-2-2M4 20v-5h5",
  sound: "M4 9v6h4l5 4V5L8 9zM16 9a4 4 0 0 1 0 6M18.5 6.5a8 8 0 0 1 0 11",
  mute: "M4 9v6h4l5 4V5L8 9zM16 10l5 5M21 10l-5 5",
  help: "M9 9a3 3 0 1 1 4 2.8c-.8.4-1 .9-1 2.2M12 17.5h.01M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18",
  out: "M10 4H5v16h5M9 12h12M17 8l4 4-4 4",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13",
  lamp: "M9 21h6M9.5 17h5M12 3a6 6 0 0 0-3 11v3h6v-3a6 6 0 0 0-3-11",
  bright: "M12 4a8 8 0 1 0 0 16a8 8 0 0 0 0-16M12 8v8M9 9.5v5M6.5 11v2",
  calendar: "M4 6h16v14H4zM4 10.5h16M8.5 3v5M15.5 3v5",
  time: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18M12 7v5l3.5 2",
};

/** A line drawing of the page's set; decoration beside a text or a label. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/** A button with an icon; the label is its text, or, where it is bare, its name and title. */
export function button(label, name, onclick, attributes = {}) {
  const { bare, ...rest } = attributes;
  return el(
    "button",
    { type: "button", onclick, ...(bare ? { "aria-label": label, title: label } : {}), ...rest },
    name && icon(name),
    bare ? null : el("span", {}, label),
  );
}
