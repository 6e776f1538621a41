// The arrows of the figure: width and pace show the rate, colour and dashes the breaker.

import { mark, rate, write } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const LANE = 5;
// Ten steps a second: smooth enough to read, and a quarter of what a frame-by-frame animation costs the machine that the
// stack itself runs on.
const STEP_MS = 100;
const DASH_PERIOD = 32;

/** Arrows that the figure always has; the rest come from the status. */
const FIXED = [
  { from: "cdn", to: "edge", kind: "planned" },
  { from: "recommendation", to: "catalog", kind: "fallback" },
  { from: "load", to: "edge", kind: "load" },
  { from: "control", to: "gateway", kind: "scrape" },
  { from: "control", to: "recommendation", kind: "scrape" },
];
const PLANE_OF = { edge: "edge", gateway: "service", catalog: "service", recommendation: "service", control: "control", load: "control" };

const make = (name, attributes = {}) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

export class Arrows {
  #figure = document.getElementById("figure");
  #lines = document.getElementById("arrow-lines");
  #labels = document.getElementById("arrow-labels");
  #arrows = new Map();

  constructor() {
    for (const link of FIXED) this.#arrow(link);
    const observer = new ResizeObserver(() => this.#place());
    observer.observe(this.#figure);
    for (const slot of this.#figure.querySelectorAll(".slot")) observer.observe(slot);
    const calm = matchMedia("(prefers-reduced-motion: reduce)");
    setInterval(() => calm.matches || document.hidden || this.#step(), STEP_MS);
  }

  #step() {
    for (const arrow of this.#arrows.values()) {
      if (arrow.pace === 0) continue;
      arrow.phase = (arrow.phase + (arrow.pace * STEP_MS) / 1000) % DASH_PERIOD;
      arrow.flow.style.strokeDashoffset = `${(-arrow.phase).toFixed(1)}`;
    }
  }

  /** Takes the links of a status; `breakerOf(from, to)` tells the state of the breaker between. */
  update(links, breakerOf) {
    const seen = new Set();
    let added = false;
    for (const link of links) {
      const known = this.#arrows.size;
      const arrow = this.#arrow(link);
      if (!arrow) continue;
      added ||= this.#arrows.size > known;
      seen.add(arrow);
      this.#show(arrow, link.rps ?? null, breakerOf(link.from, link.to));
    }
    for (const arrow of this.#arrows.values()) {
      if (!seen.has(arrow) && !["planned", "scrape"].includes(arrow.kind)) this.#show(arrow, 0, null);
    }
    if (added) this.#place();
  }

  #arrow({ from, to, kind = null }) {
    const key = `${from}→${to}`;
    const found = this.#arrows.get(key);
    if (found) return found;
    if (!this.#end(from) || !this.#end(to)) return null;
    const line = make("path", { class: `arrow ${kind ?? ""}`, "marker-end": "url(#tip)" });
    mark(line, "plane", kind === "planned" ? null : PLANE_OF[from] ?? "state");
    mark(line, "arrow", key);
    const flow = make("path", { class: "flow still" });
    const label = make("g", { class: "label" });
    label.append(make("rect", { rx: "9", height: "18", y: "-9" }), make("text"));
    label.setAttribute("visibility", "hidden");
    this.#lines.append(line, flow);
    this.#labels.append(label);
    const arrow = { from, to, kind, line, flow, label, pace: 0, phase: 0 };
    this.#arrows.set(key, arrow);
    return arrow;
  }

  #show(arrow, perSecond, breaker) {
    // A rate that nobody counts is not a rate of zero: such an arrow stays thin, still and unlabelled.
    const width = perSecond > 0 ? Math.min(6.5, 1.4 + Math.log10(1 + perSecond) * 1.35) : 1.4;
    arrow.line.setAttribute("stroke-width", width.toFixed(1));
    arrow.flow.setAttribute("stroke-width", Math.max(1.2, width * 0.5).toFixed(1));
    const state = breaker && breaker !== "closed" ? breaker : null;
    arrow.line.classList.toggle("idle", perSecond === 0);
    mark(arrow.line, "state", state);
    mark(arrow.label, "state", state);
    // Pixels per second: 1/s crawls, 1,000/s hurries.
    arrow.pace = perSecond > 0 && state !== "open" ? Math.min(95, 10 + 28 * Math.log10(1 + perSecond)) : 0;
    arrow.flow.classList.toggle("still", arrow.pace === 0);
    const name = arrow.kind === "fallback" ? "fallback " : "";
    const words = [perSecond === null ? null : `${rate(perSecond)}/s`, state].filter(Boolean).join(" ");
    this.#write(arrow.label, words && name + words);
  }

  #write(label, text) {
    const [rect, words] = label.children;
    if (words.textContent === text) return;
    write(words, text);
    const width = text ? words.getComputedTextLength() + 16 : 0;
    rect.setAttribute("width", width.toFixed(0));
    rect.setAttribute("x", (-width / 2).toFixed(0));
  }

  #end(name) {
    return this.#figure.querySelector(`[data-slot="${name}"], [data-box="${name}"]`);
  }

  #place() {
    const lanes = getComputedStyle(this.#figure).getPropertyValue("--arrows").trim() === "lanes";
    const origin = this.#figure.getBoundingClientRect();
    const boxes = new Map();
    for (const { from, to } of this.#arrows.values()) {
      for (const name of [from, to]) {
        const { left, right, top, bottom } = this.#end(name).getBoundingClientRect();
        boxes.set(name, { left: left - origin.left, right: right - origin.left, top: top - origin.top, bottom: bottom - origin.top });
      }
    }
    const arrows = [...this.#arrows.values()];
    arrows.forEach((arrow, index) => {
      const from = boxes.get(arrow.from);
      const to = boxes.get(arrow.to);
      if (lanes) this.#draw(arrow, laneShape(from, to, arrow, index), null);
      else {
        const { d, label } = figureShape(from, to, arrow, arrows, boxes, this.#figure);
        this.#draw(arrow, d, label);
      }
    });
  }

  #draw(arrow, d, label) {
    arrow.line.setAttribute("d", d);
    arrow.flow.setAttribute("d", d);
    const shown = label && (!arrow.kind || arrow.kind === "fallback");
    arrow.label.setAttribute("visibility", shown ? "visible" : "hidden");
    if (shown) arrow.label.setAttribute("transform", `translate(${label[0].toFixed(1)} ${label[1].toFixed(1)})`);
  }
}

// Nearer to where it comes from: two arrows that cross do so in the middle.
const LABEL_AT = 0.38;
const along = (a, b, c, d) => {
  const [t, rest] = [LABEL_AT, 1 - LABEL_AT];
  return rest ** 3 * a + 3 * rest ** 2 * t * b + 3 * rest * t ** 2 * c + t ** 3 * d;
};

const middle = (box) => (box.left + box.right) / 2;

/** Where along a side an arrow ends, so that several arrows on one side do not meet. */
function port(box, end, arrow, arrows, boxes) {
  const other = end === "from" ? "to" : "from";
  const sharing = arrows
    .filter((peer) => peer[end] === arrow[end] && !peer.kind)
    .sort((left, right) => middle(boxes.get(left[other])) - middle(boxes.get(right[other])));
  const index = Math.max(0, sharing.indexOf(arrow));
  return box.left + ((box.right - box.left) * (index + 1)) / (Math.max(1, sharing.length) + 1);
}

function figureShape(from, to, arrow, arrows, boxes, figure) {
  if (arrow.kind === "scrape" || arrow.kind === "load") {
    const plane = figure.querySelector(".control").getBoundingClientRect().left - figure.getBoundingClientRect().left;
    // Below the other planes instead of beside them, where nothing would lead straight to a box.
    if (plane < to.right) return { d: "", label: null };
    const y = (to.top + to.bottom) / 2;
    return { d: `M${plane} ${y}H${to.right + 2}`, label: null };
  }
  const sameRow = from.top < to.bottom && to.top < from.bottom;
  if (sameRow) {
    const y = arrow.kind === "planned" ? (from.top + from.bottom) / 2 : Math.max(from.top, to.top) + 40;
    const [x0, x1] = from.left > to.left ? [from.left, to.right + 2] : [from.right, to.left - 2];
    return { d: `M${x0} ${y}H${x1}`, label: [(x0 + x1) / 2, y - 16] };
  }
  const x0 = port(from, "from", arrow, arrows, boxes);
  const x1 = port(to, "to", arrow, arrows, boxes);
  const [y0, y1] = [from.bottom, to.top - 2];
  const bend = (y1 - y0) * 0.55;
  return { d: `M${x0} ${y0}C${x0} ${y0 + bend} ${x1} ${y1 - bend} ${x1} ${y1}`, label: [along(x0, x0, x1, x1), along(y0, y0 + bend, y1 - bend, y1)] };
}

/** One column: down a lane of its own left of the boxes, then in from the left. */
function laneShape(from, to, arrow, index) {
  if (arrow.kind === "planned") return `M${middle(from)} ${from.bottom}V${to.top - 2}`;
  if (arrow.kind === "scrape" || arrow.kind === "load") return "";
  const lane = Math.min(from.left, to.left) - 9 - (index % 6) * LANE;
  const y0 = (from.top + from.bottom) / 2 + (index % 5) * 4;
  const y1 = to.top + 16 + (index % 5) * 7;
  return `M${from.left} ${y0}H${lane}V${y1}H${to.left - 2}`;
}
