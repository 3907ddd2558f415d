// Curves and bars, drawn as SVG of the page's own.

import { el, svg } from "./dom.js";
import { number, percent, score } from "./format.js";

const W = 560;
const H = 300;
const PAD = { left: 52, right: 16, top: 12, bottom: 40 };

/** Bars of a short series, as high as a line of text. */
export function spark(values, words) {
  const most = Math.max(1, ...values);
  const bars = values.map((value, at) => {
    const height = value ? Math.max(2, (22 * value) / most) : 1;
    return svg("rect", { x: at * 4, y: 24 - height, width: 3, height, class: value ? "" : "none" });
  });
  return svg("svg", { class: "spark", viewBox: `0 0 ${Math.max(1, values.length) * 4} 24`, width: Math.max(1, values.length) * 4, height: 24, role: "img", "aria-label": words }, bars);
}

/** Lines over ranks: [{name, kind, values}] with values in [0, 1], the first at rank 1. */
export function curves(lines, title, across) {
  const length = Math.max(2, ...lines.map((line) => line.values.length));
  // Early ranks are what an operator sees, so the scale is logarithmic.
  const x = (rank) => PAD.left + (Math.log(rank) / Math.log(length)) * (W - PAD.left - PAD.right);
  const y = (value) => PAD.top + (1 - value) * (H - PAD.top - PAD.bottom);
  const ranks = [1, 2, 5, 10, 20, 50, 100, 200, 500].filter((rank) => rank <= length);
  const path = (line) => svg("path", { class: `curve ${line.kind}`, d: `M${line.values.map((value, at) => `${x(at + 1).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}` });
  return chart(title, lines, across, [
    [0, 0.25, 0.5, 0.75, 1].map((value) => across_(y(value), percent(value).replace(".0", ""))),
    ranks.map((rank) => down(x(rank), number(rank))),
    lines.map(path),
  ]);
}

/** Overlaid histograms: [{name, kind, counts}] over equal bins from `from` to `to`, each as a share of its own; drawn where there are any. */
export function histograms(series, from, to, title, across) {
  const shares = series.map((one) => {
    const total = Math.max(1, one.counts.reduce((sum, count) => sum + count, 0));
    return { ...one, shares: one.counts.map((count) => count / total) };
  });
  const most = Math.max(0.01, ...shares.flatMap((one) => one.shares));
  const bins = Math.max(...shares.map((one) => one.shares.length));
  const filled = shares.flatMap((one) => one.shares.flatMap((share, bin) => (share > 0 ? [bin] : [])));
  const first = filled.length ? Math.max(0, Math.min(...filled) - 1) : 0;
  const end = filled.length ? Math.min(bins, Math.max(...filled) + 2) : bins;
  const x = (bin) => PAD.left + ((bin - first) / (end - first)) * (W - PAD.left - PAD.right);
  const y = (share) => PAD.top + (1 - share / most) * (H - PAD.top - PAD.bottom);
  const outline = (one) => {
    const steps = one.shares.slice(first, end).map((share, at) => `L${x(first + at).toFixed(1)} ${y(share).toFixed(1)}L${x(first + at + 1).toFixed(1)} ${y(share).toFixed(1)}`);
    return svg("path", { class: `area ${one.kind}`, d: `M${x(first)} ${y(0)}${steps.join("")}L${x(end)} ${y(0)}Z` });
  };
  const width = (to - from) / bins;
  const step = [0.05, 0.1, 0.2, 0.5].find((one) => ((end - first) * width) / one <= 8);
  const [least, last] = [Math.ceil((from + first * width) / step - 1e-9), Math.floor((from + end * width) / step + 1e-9)];
  const ticks = Array.from({ length: last - least + 1 }, (_, at) => (least + at) * step).map((value) => down(x((value - from) / width), score(value).replace("−0.00", "0.00")));
  return chart(title, series, across, [across_(y(0), "0"), across_(y(most), percent(most)), ticks, shares.map(outline)]);
}

function across_(y, words) {
  return svg("g", { class: "rule" }, svg("path", { d: `M${PAD.left} ${y}H${W - PAD.right}` }), svg("text", { x: PAD.left - 8, y: y + 4, "text-anchor": "end" }, words));
}

function down(x, words) {
  return svg("g", { class: "rule" }, svg("path", { d: `M${x} ${PAD.top}V${H - PAD.bottom}` }), svg("text", { x, y: H - PAD.bottom + 18, "text-anchor": "middle" }, words));
}

function chart(title, lines, across, parts) {
  const axis = svg("text", { x: (PAD.left + W - PAD.right) / 2, y: H - 3, "text-anchor": "middle", class: "axis" }, across);
  const legend = el("ul", { class: "legend" }, lines.map((line) => el("li", { class: line.kind }, line.name)));
  return el("figure", { class: "chart" }, el("figcaption", {}, el("h2", {}, title), legend), svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title }, parts.flat(Infinity), axis));
}
