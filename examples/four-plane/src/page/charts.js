// Two minutes of history, drawn as plain SVG paths.

const WINDOW_S = 120;
// Without a sample for this long the line breaks instead of bridging the gap.
const GAP_S = 3.5;

/** Samples of the last two minutes: `{at, …figures}`, `at` in seconds. */
export class History {
  #samples = [];

  push(sample) {
    this.#samples.push(sample);
    while (this.#samples.length && this.#samples[0].at < sample.at - WINDOW_S - 2) this.#samples.shift();
  }

  /** Points of one figure, in runs without gaps; x in seconds of the window, y the figure. */
  runs(figure) {
    const end = this.#samples.at(-1)?.at ?? 0;
    const runs = [];
    let before = -Infinity;
    for (const sample of this.#samples) {
      const y = sample[figure];
      if (typeof y !== "number" || !Number.isFinite(y)) continue;
      if (sample.at - before > GAP_S) runs.push([]);
      runs.at(-1).push([WINDOW_S - (end - sample.at), y]);
      before = sample.at;
    }
    return runs;
  }
}

const top = (runs, least) => runs.flat().reduce((most, [, y]) => Math.max(most, y), least);
const draw = (points, height, most) =>
  points.map(([x, y]) => `${x.toFixed(1)} ${(height - (y / most) * height).toFixed(2)}`).join("L");

/** Draws one figure into a spark's svg; returns the top of its scale, or null when there is nothing to draw. */
export function spark(svg, runs, least) {
  const most = top(runs, least);
  const [fill, line] = svg.children;
  const lines = runs.map((points) => `M${draw(points, 30, most)}`);
  line.setAttribute("d", lines.join(""));
  fill.setAttribute("d", runs.map((points, index) => `${lines[index]}L${points.at(-1)[0].toFixed(1)} 30L${points[0][0].toFixed(1)} 30Z`).join(""));
  return runs.length ? most : null;
}

const LAYERS = ["full", "degraded", "shed", "failed"];

/** Draws the answers stacked, and the spans in which a fault was active behind them. */
export function timeline(history, faultSpans, now) {
  const totals = history.runs("total");
  const most = top(totals, 10) * 1.06;
  const below = new Map();
  for (const layer of LAYERS) {
    const shapes = history.runs(layer).map((points) => {
      const stacked = points.map(([x, y]) => [x, y + (below.get(x) ?? 0)]);
      const floor = points.map(([x]) => [x, below.get(x) ?? 0]).reverse();
      for (const [x, y] of stacked) below.set(x, y);
      return `M${draw(stacked, 60, most)}L${draw(floor, 60, most)}Z`;
    });
    document.getElementById(`area-${layer}`).setAttribute("d", shapes.join(""));
  }
  document.getElementById("timeline-faults").replaceChildren(...faultSpans.map(({ from, to }) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const left = Math.max(0, WINDOW_S - (now - from));
    rect.setAttribute("class", "fault-span");
    rect.setAttribute("x", left.toFixed(1));
    rect.setAttribute("y", "0");
    rect.setAttribute("height", "60");
    rect.setAttribute("width", Math.max(0.6, WINDOW_S - (now - (to ?? now)) - left).toFixed(1));
    return rect;
  }));
  return most;
}

/** Keeps the spans of active faults for the timeline. */
export class FaultSpans {
  #spans = new Map();

  update(faults, now) {
    const active = new Set(faults.map((fault) => fault.id));
    for (const id of active) if (!this.#spans.has(id)) this.#spans.set(id, { from: now, to: null });
    for (const [id, span] of this.#spans) {
      if (span.to === null && !active.has(id)) span.to = now;
      if (span.to !== null && span.to < now - WINDOW_S) this.#spans.delete(id);
    }
    return [...this.#spans.values()];
  }
}
