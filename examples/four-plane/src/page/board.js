// The boxes of the figure, kept up to date in place so that focus and selections survive.

import { History, spark } from "./charts.js";
import { count, mark, millis, outOf, percent, rate, sum, write } from "./format.js";

const BOXES = {
  edge: ["Load balancer", "two processes on one port"],
  gateway: ["API gateway", "timeout, retry, circuit breaker, bulkhead"],
  catalog: ["Catalog service", "cache before database"],
  recommendation: ["Recommendation service", "falls back to popular"],
  database: ["Primary database", ""],
  cache: ["Cache", "TTL 300 s"],
  load: ["Built-in load", "as its callers see the edge"],
  control: ["Metrics", "reads every process once a second"],
};
const FIGURES = {
  rps: rate, p50_ms: millis, p99_ms: millis, error_ratio: percent,
  waiting: count, shed_total: count, retried_total: count, degraded_total: count, cache_hit_ratio: percent,
  up: (value) => value ?? "–", restarts: count,
};
const ALARMING = { error_ratio: 0.01 };
// Planes that have something to put in the place of an answer.
const SERVING = ["edge", "service"];
// Counted since the stack began, among figures of the last seconds.
const TOTALS = ["shed", "retried", "degraded"];
// What these cannot do is shown only where it was done nevertheless.
const NEVER = {
  database: ["degraded_total"],
  cache: ["degraded_total"],
  control: ["degraded_total"],
  load: ["shed_total", "retried_total", "degraded_total"],
};

/** Instances are named `role/number`; the control plane's own parts are not, and nobody kills those. */
export const killable = (instance) => instance.includes("/");

/** Updates a list's children by key: makes what is new, drops what is gone, keeps the rest. */
export function keyed(list, items, key, create, update) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  const shown = new Set();
  items.forEach((item, index) => {
    const name = key(item);
    let child = old.get(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    shown.add(child);
    update(child, item);
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] ?? null);
  });
  for (const child of [...list.children]) if (!shown.has(child)) child.remove();
}

/** A figure that does not exist for a service takes no place in its box. */
function hideMissing(element, value) {
  const cell = element.closest(".figures > div, .totals > div");
  if (cell) cell.hidden = value === null || value === undefined;
}

const span = (className) => Object.assign(document.createElement("span"), { className });

class Box {
  #history = new History();

  constructor(name, slot, choose) {
    this.choose = choose;
    slot.append(document.getElementById("box-template").content.cloneNode(true));
    this.root = slot.lastElementChild;
    this.root.dataset.service = name;
    const [title, note] = BOXES[name] ?? [name, ""];
    this.title = title;
    this.find("h3").textContent = title;
    this.find(".note").textContent = note;
    this.root.setAttribute("aria-label", title);
    this.sparks = [...this.root.querySelectorAll(".sparks svg")];
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  update(service, calls, note, at) {
    if (note) write(this.find(".note"), note);
    for (const [figure, format] of Object.entries(FIGURES)) this.#figure(figure, service[figure], format);
    this.#load(service);
    this.#history.push({ at, rps: service.rps, p99_ms: service.p99_ms });
    this.#spark(0, "rps", 10, rate, "requests per second");
    this.#spark(1, "p99_ms", 5, millis, "99th percentile");
    this.#calls(calls);
    this.#instances(service.instances ?? []);
  }

  #figure(figure, value, format) {
    for (const element of this.root.querySelectorAll(`[data-figure="${figure}"]`)) {
      write(element, format(value));
      const never = value === 0 && NEVER[this.root.dataset.service]?.includes(figure);
      hideMissing(element, never ? null : value);
      element.classList.toggle("zero", value === 0);
      element.classList.toggle("alert", value >= (ALARMING[figure] ?? Infinity));
    }
  }

  #load({ in_flight, limit }) {
    write(this.find('[data-figure="in_flight"]'), outOf(in_flight, limit));
    hideMissing(this.find('[data-figure="in_flight"]'), in_flight);
    const used = limit > 0 ? Math.min(1, in_flight / limit) : 0;
    this.find(".load .meter").hidden = !(limit > 0);
    this.find(".load .meter").classList.toggle("full", used >= 0.9);
    this.find(".load .meter i").style.width = `${(used * 100).toFixed(0)}%`;
  }

  #spark(index, figure, least, format, words) {
    const most = spark(this.sparks[index], this.#history.runs(figure), least);
    this.sparks[index].parentElement.hidden = most === null;
    write(this.find(`[data-top="${figure}"]`), `at most ${format(most)}`);
    this.sparks[index].setAttribute("aria-label", `${this.title}: ${words} over the last two minutes, at most ${format(most)}`);
  }

  #calls(calls) {
    keyed(this.find(".calls"), calls, (call) => call.name, () => {
      const item = document.createElement("li");
      item.append(span("to"), span("amount"), span("state"));
      return item;
    }, (item, call) => {
      const [to, amount, state] = item.children;
      write(to, BOXES[call.to]?.[0] ?? call.to);
      const perSecond = call.rps === null ? null : `${rate(call.rps)}/s`;
      const failing = call.errorRatio > 0 ? `${percent(call.errorRatio)} failing` : null;
      write(amount, [perSecond, failing].filter(Boolean).join(", "));
      state.hidden = call.breaker === null;
      if (call.breaker === null) return;
      mark(state, "breaker", call.name);
      mark(state, "state", call.breaker);
      if (!state.title) state.title = `circuit breaker ${call.name}`;
      write(state, call.breaker);
    });
  }

  #instances(instances) {
    keyed(this.find(".instances"), instances, (instance) => instance.instance, (instance) => {
      const item = document.createElement("li");
      const chip = Object.assign(document.createElement("button"), { type: "button", className: "chip" });
      chip.append(span("dot"), span("name"), " ", span("pid"), " ", span("restarts"));
      mark(chip, "instance", instance.instance);
      chip.disabled = !killable(instance.instance);
      chip.addEventListener("click", () => this.choose(instance.instance));
      item.append(chip);
      return item;
    }, (item, instance) => this.#chip(item.firstElementChild, instance, this.root.dataset.service));
    const states = instances.map((instance) => instance.health);
    const worst = ["fail", "unknown", "warn", "pass"].find((state) => states.includes(state)) ?? "unknown";
    const some = worst !== "pass" && states.includes("pass");
    // The control plane has no instance of its own: that there is a status says that it is up.
    mark(this.find("header .dot"), "health", !instances.length ? "pass" : some ? "warn" : worst);
  }

  #chip(chip, { instance, pid, health, restarts, rps, p99_ms, in_flight, limit, url }, service) {
    const [dot, name, process, again] = chip.children;
    const replaced = chip.dataset.pid && pid && chip.dataset.pid !== String(pid);
    mark(dot, "health", health);
    mark(chip, "health", health);
    mark(chip, "pid", pid);
    mark(chip, "restarts", restarts);
    write(name, instance.startsWith(`${service}/`) ? `#${instance.slice(service.length + 1)}` : instance);
    write(process, health === "pass" ? `pid ${pid ?? "–"}` : `${health}${pid ? ` · pid ${pid}` : ""}`);
    write(again, restarts > 0 ? `↻ ${restarts}` : "");
    again.hidden = !(restarts > 0);
    chip.title = `${url ?? instance}\n${rate(rps)} req/s, p99 ${millis(p99_ms)}, in flight ${outOf(in_flight, limit)}, ${count(restarts)} restarts${chip.disabled ? "" : "\nPress to choose it for the kill button"}`;
    const shown = [name, process, again].map((part) => part.textContent).filter(Boolean).join(" ");
    chip.setAttribute("aria-label", `${shown}: ${instance}, health ${health}, ${restarts ?? 0} restarts.${chip.disabled ? "" : " Choose it for the kill button"}`);
    if (replaced) {
      chip.classList.remove("fresh");
      requestAnimationFrame(() => chip.classList.add("fresh"));
    }
  }
}

export class Board {
  #boxes = new Map();

  constructor(choose) {
    for (const slot of document.querySelectorAll(".slot")) {
      const name = slot.dataset.slot;
      this.#boxes.set(name, new Box(name, slot, choose));
    }
  }

  update(view, at) {
    for (const [name, box] of this.#boxes) {
      const service = name === "control" ? controlService(view) : view.services.get(name);
      if (service) box.root.parentElement.hidden = false;
      if (service) box.update(service, view.callsOf(name), noteOf(name, view), at);
    }
    for (const [name, plane] of view.planes) this.#plane(name, plane);
  }

  /** Shows which instance the kill button would take. */
  chosen(target) {
    for (const chip of document.querySelectorAll(".chip")) chip.classList.toggle("chosen", chip.dataset.instance === target);
  }

  #plane(name, plane) {
    const list = document.querySelector(`[data-plane="${name}"] .sum`);
    if (!list) return;
    // The closed ones go without saying while one is not.
    const { open = 0, half_open: halfOpen = 0, closed = 0 } = plane.breakers ?? {};
    const words = [[open, "open"], [halfOpen, "half-open"], [closed, "closed"]].find(([some]) => some > 0);
    const rows = [
      ["rate", "req/s", rate(plane.rps)],
      ["p50", "p50", millis(plane.p50_ms)],
      ["p99", "p99", millis(plane.p99_ms)],
      ["errors", "errors/s", rate(plane.errors_per_s), plane.errors_per_s > 0],
      ["in-flight", "in flight", outOf(plane.in_flight, plane.limit)],
      ["waiting", "waiting", count(plane.waiting)],
      ["breakers", "breakers", words ? words.join(" ") : "–", open + halfOpen > 0],
      ["shed", "shed", count(plane.shed_total)],
      ["retried", "retried", count(plane.retried_total)],
      ["degraded", "degraded", SERVING.includes(name) ? count(plane.degraded_total) : "–"],
    ].filter(([, , value]) => value !== "–");
    keyed(list, rows, ([key]) => key, ([key, label]) => {
      const row = document.createElement("div");
      row.classList.toggle("total", TOTALS.includes(key));
      row.append(Object.assign(document.createElement("dt"), { textContent: label }), document.createElement("dd"));
      return row;
    }, (row, [key, , value, alarming]) => {
      mark(row, "sum", key);
      write(row.lastElementChild, value);
      row.lastElementChild.classList.toggle("alert", Boolean(alarming));
    });
  }
}

function noteOf(name, { status }) {
  const part = { database: status.state?.database, cache: status.state?.cache }[name];
  if (!part) return null;
  return name === "cache" ? `${part}, ${BOXES.cache[1]}` : part;
}

/** What the control plane knows: how many processes of the stack are up. */
function controlService(view) {
  const [service] = view.planes.get("control")?.services ?? [];
  const watched = [...view.instances.values()].filter((one) => killable(one.instance));
  const up = watched.filter((one) => one.health === "pass").length;
  return { ...service, up: `${up} / ${watched.length}`, restarts: sum(watched.map((one) => one.restarts)) };
}
