// Asks the control plane once a second, one request at a time, and draws what it says.

import { Arrows } from "./arrows.js";
import { Board, keyed, killable } from "./board.js";
import { FaultSpans, History, timeline } from "./charts.js";
import { Kill, faultWords, lasting } from "./experiments.js";
import { count, mark, millis, rate, short, span, wallClock, write } from "./format.js";
import { Answers, View } from "./view.js";

const PERIOD_MS = 1000;
const PATIENCE_MS = 4000;
// Three missed answers: the figures on the page are no longer what is going on.
const STALE_MS = 3500;
const EVENTS = 60;
const EARLIER = 4;

const at = (id) => document.getElementById(id);
const seconds = () => performance.now() / 1000;
const root = document.documentElement;

const target = at("kill-target");
const board = new Board((instance) => {
  target.value = instance;
  board.chosen(target.value);
});
const arrows = new Arrows();
const answers = new Answers();
const history = new History();
const faultSpans = new FaultSpans();

let view = null;
let answeredAt = null;
let experiments = [];
// Of the experiments so far: several may begin with one status.
let experimentsBegun = 0;
let spoken = "";
// Pressed but not answered: by the kind of the fault.
const pressed = new Set();
// Faults by id and ended processes by pid whose result is or was shown, and the processes that were seen last.
const followed = new Set();
const pids = new Map();

async function poll() {
  const begun = performance.now();
  try {
    const response = await fetch("control/status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const status = await response.json();
    answeredAt = performance.now();
    draw(new View(status));
  } catch (error) {
    // A drawing mistake must be seen; silence of the control plane is told by freshness().
    if (!(error instanceof TypeError && /fetch/i.test(error.message)) && error.name !== "TimeoutError") console.error(error);
  }
  freshness();
  setTimeout(poll, Math.max(100, PERIOD_MS - (performance.now() - begun)));
}

function draw(next) {
  const last = view;
  view = next;
  const now = seconds();
  notice(last, now);
  answers.update(view, now);
  board.update(view, now);
  arrows.update(view.links, (from, to) => view.breakers.get(`${from}→${to}`) ?? null);
  drawTop(view.status);
  drawAnswers(now);
  drawTargets();
  drawFaults();
  drawEvents();
  for (const experiment of experiments) if (experiment.state === "running") experiment.update(view, now);
  drawResults();
}

function drawTop(status) {
  write(at("edge-url"), (status.edge ?? "–").replace(/^https?:\/\//, ""));
  write(at("state-database"), status.state?.database ?? "–");
  write(at("state-cache"), status.state?.cache ?? "–");
  write(at("load-target"), `${rate(status.load?.target_rps)}/s`);
  write(at("uptime"), span(status.uptime_s));
  const [level, words] = verdict();
  mark(at("verdict"), "level", level);
  write(at("verdict"), words);
}

function verdict() {
  const down = [...view.instances.values()].filter((instance) => instance.health !== "pass").map((instance) => instance.instance);
  const breakers = [...view.breakers].filter(([, state]) => state !== "closed").map(([name, state]) => `${name} ${state}`);
  const { failed, shed, degraded } = view.answers;
  // No rates here: the line is spoken when it changes.
  if (failed >= 0.2) return ["bad", "Answers fail at the edge"];
  const trouble = [
    breakers.length && `breaker ${breakers.join(", ")}`,
    shed >= 0.2 && "shedding load",
    degraded >= 0.2 && "degraded answers",
    down.length && `${down.join(", ")} down`,
  ].filter(Boolean);
  return trouble.length ? ["warn", trouble.join(" · ")] : ["good", "All planes well"];
}

function drawAnswers(now) {
  const { edge, answers: kinds } = view;
  write(at("answer-rate"), rate(kinds.total));
  write(at("answer-p50"), millis(edge?.p50_ms));
  write(at("answer-p99"), millis(edge?.p99_ms));
  write(at("capacity"), rate(view.status.edge_capacity_rps));
  const totals = { degraded: view.degradedTotal, shed: view.shedTotal, failed: view.failedTotal };
  for (const [kind, total] of Object.entries(totals)) {
    write(at(`${kind}-rate`), rate(kinds[kind]));
    write(at(`${kind}-total`), short(total));
    document.querySelector(`[data-answer="${kind}"]`).classList.toggle("now", kinds[kind] >= 0.05);
  }
  history.push({ at: now, ...kinds });
  const most = timeline(history, faultSpans.update(view.faults, now), now);
  write(at("timeline-top"), rate(most));
}

function drawTargets() {
  const names = [...view.instances.keys()].filter(killable);
  const shown = [...target.options].map((option) => option.value);
  if (names.length && names.join() !== shown.join()) {
    const chosen = target.value;
    target.replaceChildren(...names.map((name) => new Option(name, name)));
    target.value = names.includes(chosen) ? chosen : names.find((name) => name === "catalog/1") ?? names[0];
  }
  board.chosen(target.value);
}

function drawFaults() {
  write(at("fault-count"), String(view.faults.length));
  at("no-faults").hidden = view.faults.length > 0;
  keyed(at("faults"), view.faults, (fault) => String(fault.id), (fault) => {
    const item = document.createElement("li");
    mark(item, "fault", fault.id);
    const [words, left] = [document.createElement("span"), document.createElement("span")];
    left.className = "left";
    const cancel = Object.assign(document.createElement("button"), { type: "button", textContent: "Cancel" });
    cancel.setAttribute("aria-label", `Cancel ${fault.kind} of ${fault.target}`);
    cancel.addEventListener("click", () => send(`control/faults/${fault.id}`, "DELETE").catch(refused));
    const meter = Object.assign(document.createElement("i"), { className: "meter" });
    meter.append(document.createElement("i"));
    meter.setAttribute("aria-hidden", "true");
    item.append(words, left, cancel, meter);
    item.longest = fault.remaining_s;
    return item;
  }, (item, fault) => {
    write(item.children[0], faultWords(fault));
    write(item.children[1], span(fault.remaining_s));
    item.longest = Math.max(item.longest, fault.remaining_s);
    item.lastElementChild.firstElementChild.style.width = `${item.longest > 0 ? (100 * fault.remaining_s) / item.longest : 100}%`;
  });
  for (const [id, kind, words] of [["slow-button", "latency", "Slow"], ["overload-button", "overload", "Overload"]]) {
    const fault = view.faults.find((one) => one.kind === kind);
    const busy = Boolean(fault) || pressed.has(kind);
    at(id).setAttribute("aria-disabled", String(busy));
    write(at(id), fault ? `${span(fault.remaining_s)} left` : words);
  }
}

function drawEvents() {
  const { now_ms: now, events = [] } = view.status;
  at("no-events").hidden = events.length > 0;
  const newest = [...events].sort((left, right) => right.at_ms - left.at_ms).slice(0, EVENTS);
  const nth = new Map();
  keyed(at("events"), newest.map((event) => {
    const name = `${event.at_ms} ${event.text}`;
    nth.set(name, (nth.get(name) ?? 0) + 1);
    return { ...event, key: `${name} ${nth.get(name)}` };
  }), (event) => event.key, (event) => {
    const item = document.createElement("li");
    mark(item, "severity", event.severity);
    const time = document.createElement("time");
    time.textContent = wallClock(new Date(Date.now() - (now - event.at_ms)));
    const severity = Object.assign(document.createElement("span"), { className: "sev", title: event.severity });
    const words = Object.assign(document.createElement("span"), { textContent: event.text });
    item.append(time, severity, words);
    return item;
  }, () => {});
}

function drawResults() {
  const [last, ...earlier] = experiments;
  if (!last) return;
  drawResult(at("last-fault-result"), last);
  // Spoken when it begins and when it is known, not at every count in between.
  if (spoken !== last.key + last.state) write(at("spoken-result"), last.text);
  spoken = last.key + last.state;
  keyed(at("earlier-results"), earlier, (one) => one.key, () => document.createElement("li"), drawResult);
}

function drawResult(element, experiment) {
  mark(element, "state", experiment.state);
  for (const [name, value] of Object.entries(experiment.data)) mark(element, name, value);
  write(element, experiment.text);
}

function begin(experiment) {
  const element = at("last-fault-result");
  for (const name of Object.keys(experiments[0]?.data ?? {})) mark(element, name, null);
  followed.add(experiment.id ?? experiment.data.oldPid);
  experimentsBegun += 1;
  experiment.key = String(experimentsBegun);
  experiments = [experiment, ...experiments].slice(0, 1 + EARLIER);
  drawResults();
}

function refused(error) {
  begin({ state: "failed", begun: seconds(), data: { kind: "refused" }, text: `The control plane did not take it: ${error.message}`, update() {} });
}

async function send(path, method, body) {
  const response = await fetch(path, {
    method,
    headers: body ? { "content-type": "application/json" } : {},
    body: body ? JSON.stringify(body) : undefined,
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const text = await response.text();
  let answer = {};
  try {
    answer = JSON.parse(text);
  } catch {
    answer = { detail: text };
  }
  if (!response.ok) throw new Error(answer.detail ?? answer.title ?? `status ${response.status}`);
  return answer;
}

/** What was broken from elsewhere, by `curl` or by itself, is followed like what was broken from here. */
function notice(last, now) {
  for (const fault of view.faults) {
    // What is being pressed has no id here yet.
    if (!pressed.has(fault.kind) && !followed.has(fault.id)) begin(lasting(fault, last ?? view, now));
  }
  for (const [name, { pid }] of view.instances) {
    if (!pid || !killable(name)) continue;
    const old = pids.get(name);
    pids.set(name, pid);
    if (old && old !== pid && !pressed.has("kill") && !followed.has(old)) begin(new Kill(name, old, last, now, false));
  }
}

async function press(kind, fault) {
  if (!view || pressed.has(kind) || (kind !== "kill" && view.faults.some((one) => one.kind === kind))) return;
  pressed.add(kind);
  try {
    // Before the request: the old pid may be gone by the time that it is answered.
    const before = view;
    const pressedAt = seconds();
    const pid = view.instances.get(fault.target)?.pid ?? null;
    const kill = kind === "kill" ? new Kill(fault.target, pid, before, pressedAt, true) : null;
    const { id } = await send("control/faults", "POST", { kind, ...fault });
    begin(kill ?? lasting({ id, kind, ...fault, remaining_s: fault.seconds }, before, pressedAt));
  } catch (error) {
    refused(error);
  } finally {
    pressed.delete(kind);
  }
}

at("kill-form").addEventListener("submit", (event) => {
  event.preventDefault();
  press("kill", { target: target.value });
});
target.addEventListener("change", () => board.chosen(target.value));
at("slow-button").addEventListener("click", () => press("latency", { target: "database", value: 500, seconds: 30 }));
at("overload-button").addEventListener("click", () => press("overload", { target: "edge", value: 5, seconds: 20 }));

function freshness() {
  const age = answeredAt === null ? Infinity : performance.now() - answeredAt;
  const stale = age > STALE_MS && (answeredAt !== null || performance.now() > STALE_MS);
  const link = stale ? "stale" : answeredAt === null ? "connecting" : "live";
  if (root.dataset.link !== link) root.dataset.link = link;
  write(at("freshness"), answeredAt === null ? "none yet" : stale ? `${span(age / 1000)} old` : "live");
  at("stale").hidden = !stale;
  if (stale) {
    const since = answeredAt === null ? "It has not answered yet." : `Everything below is from ${wallClock(new Date(Date.now() - age))}.`;
    write(at("stale"), `The control plane does not answer. ${since}`);
    mark(at("verdict"), "level", "bad");
    write(at("verdict"), "Control plane gone");
  }
  document.title = stale ? "(no answer) four-plane" : "four-plane";
}

setInterval(freshness, PERIOD_MS);
poll();
