// What was broken, and what the stack did about it, told from one status to the next.

import { count, millis, percent, rate, span } from "./format.js";

// How long the stack gets to bring an instance back or close its breakers before the result says that it did not.
const PATIENCE_S = 60;
// Quantiles cover the last five seconds, so a result is read that long after its fault ended.
const SETTLE_S = 5;

/** `database: +500 ms`. */
export function faultWords({ kind, target, value }) {
  const amount = {
    latency: `+${count(value)} ms`,
    error: `${percent(value)} of the calls fail`,
    hang: "hangs",
    refuse: "refuses connections",
    flush: "is emptied",
    trickle: `answers at ${count(value)} bytes/s`,
    overload: `${value}× its capacity`,
  }[kind];
  return `${target}: ${amount ?? kind}`;
}

const totals = (view) => ({
  degraded: view.degradedTotal ?? 0,
  shed: view.shedTotal ?? 0,
  failed: view.failedTotal ?? 0,
  p99: view.edge?.p99_ms ?? null,
});

class Experiment {
  constructor(view, now) {
    this.before = totals(view);
    this.begun = now;
    this.state = "running";
    this.data = {};
  }

  since(view) {
    const after = totals(view);
    const grown = (figure) => Math.max(0, after[figure] - this.before[figure]);
    Object.assign(this.data, { degraded: grown("degraded"), shed: grown("shed"), failed: grown("failed") });
    return `${count(this.data.degraded)} degraded, ${count(this.data.shed)} shed, ${count(this.data.failed)} failed`;
  }

  close(state) {
    this.state = state;
  }
}

/** An instance is killed: has it a new process, and what did callers notice? */
export class Kill extends Experiment {
  /** `pressed`: its end is about to come, and is not only noticed now. */
  constructor(target, pid, view, now, pressed) {
    super(view, now);
    this.target = target;
    this.pressed = pressed;
    Object.assign(this.data, { kind: "kill", target, oldPid: pid, newPid: null });
    this.text = `${target} (pid ${pid}) is killed.`;
  }

  update(view, now) {
    const instance = view.instances.get(this.target);
    const noticed = this.since(view);
    const back = instance && instance.pid && instance.pid !== this.data.oldPid;
    const what = `${this.target} (pid ${this.data.oldPid}) ${this.pressed ? "was killed" : "ended"}`;
    if (back && instance.health === "pass") {
      this.data.newPid = instance.pid;
      if (this.pressed) this.data.replacedAfterS = (now - this.begun).toFixed(1);
      const after = this.pressed ? ` after ${this.data.replacedAfterS} s` : "";
      this.text = `${what} and was replaced by pid ${instance.pid}${after}. Meanwhile: ${noticed}.`;
      this.close("done");
    } else if (now - this.begun > PATIENCE_S) {
      this.text = `${what} and was not replaced within ${PATIENCE_S} s: ${noticed}.`;
      this.close("failed");
    } else {
      this.text = `${what}; its replacement has to come. So far: ${noticed}.`;
    }
  }
}

/** A fault with an end: how long it lasts, and which breakers it moved. */
class Lasting extends Experiment {
  constructor(fault, view, now) {
    super(view, now);
    this.id = fault.id;
    this.seconds = fault.remaining_s;
    this.ended = null;
    this.what = faultWords(fault);
    Object.assign(this.data, { kind: fault.kind, target: fault.target });
    this.text = `${this.what}.`;
  }

  progress(view, now) {
    const active = view.faults.find((fault) => fault.id === this.id);
    // The first status after the press may still be from before it.
    if (active) this.seen = true;
    const late = now - this.begun > this.seconds + 2;
    if (!active && (this.seen || late) && this.ended === null) this.ended = now;
    for (const [name, breaker] of view.breakers) {
      if (breaker === "open" && !this.data.breakerOpened) {
        this.data.breakerOpened = name;
        // One that was open at the first look has opened nobody knows when.
        if (now > this.begun) this.data.openedAfterS = (now - this.begun).toFixed(1);
      }
    }
    const allClosed = [...view.breakers.values()].every((state) => state === "closed");
    if (this.data.breakerOpened && this.ended !== null && allClosed && !this.data.breakerClosed) {
      this.data.breakerClosed = this.data.breakerOpened;
      this.data.closedAfterS = Math.max(0, now - this.ended).toFixed(1);
    }
    return { allClosed, left: active?.remaining_s ?? null };
  }

  breakerWords() {
    const { breakerOpened, openedAfterS, breakerClosed, closedAfterS } = this.data;
    if (!breakerOpened) return "no breaker opened";
    const opened = `breaker ${breakerOpened} ${openedAfterS ? `opened after ${openedAfterS} s` : "was open"}`;
    return breakerClosed ? `${opened} and closed ${closedAfterS} s after the end` : opened;
  }
}

/** A part fails or is slow: do breakers open, do fallbacks answer, does it come back? */
class Broken extends Lasting {
  update(view, now) {
    const { allClosed, left } = this.progress(view, now);
    const noticed = this.since(view);
    const { what } = this;
    if (this.ended === null) {
      this.text = `${what}, ${span(left ?? this.seconds)} left: ${this.breakerWords()}; ${noticed}.`;
    } else if (allClosed && now - this.ended >= SETTLE_S) {
      this.text = `${what} for ${span(this.ended - this.begun)}: ${this.breakerWords()}; ${noticed}.`;
      this.close("done");
    } else if (now - this.ended > PATIENCE_S) {
      this.text = `${what}: ${this.breakerWords()}, and it has not closed ${PATIENCE_S} s after the end; ${noticed}.`;
      this.close("failed");
    } else {
      this.text = `${what}: it is over, and the breakers have to close: ${this.breakerWords()}; ${noticed}.`;
    }
  }
}

// From here on after the press the rate has risen everywhere and the figures say so.
const RISEN_S = 3;

/** More is sent than the edge can take: is the excess refused at once, do the rest stay fast and fill the capacity? */
class Overload extends Lasting {
  constructor(fault, view, now) {
    super(fault, view, now);
    this.capacity = view.status.edge_capacity_rps ?? null;
    this.most = { rps: 0, p99: 0 };
    this.first = null;
    this.last = null;
  }

  update(view, now) {
    const { left } = this.progress(view, now);
    const noticed = this.since(view);
    if (this.ended === null && now - this.begun > SETTLE_S) {
      this.most.rps = Math.max(this.most.rps, view.edge?.rps ?? 0);
      this.most.p99 = Math.max(this.most.p99, view.edge?.p99_ms ?? 0);
    }
    if (this.ended === null && now - this.begun > RISEN_S) {
      const { ok = 0, degraded = 0 } = view.status.load ?? {};
      this.last = { at: view.status.now_ms / 1000, answered: ok + degraded };
      this.first ??= this.last;
    }
    const seconds = this.last ? this.last.at - this.first.at : 0;
    const goodput = seconds > 0 ? (this.last.answered - this.first.answered) / seconds : null;
    const share = goodput !== null && this.capacity > 0 ? goodput / this.capacity : null;
    const slower = this.before.p99 > 0 && this.most.p99 > 0 ? this.most.p99 / this.before.p99 : null;
    Object.assign(this.data, {
      peakRps: Math.round(this.most.rps),
      peakP99Ms: Math.round(this.most.p99),
      slowerPercent: slower === null ? null : Math.round(slower * 100),
      goodputPercent: share === null ? null : Math.round(share * 100),
    });
    const slow = `their p99 at most ${millis(this.most.p99 || null)} (before ${millis(this.before.p99)})`;
    const answered = `${rate(goodput)}/s answered (${percent(share)} of the capacity), ${slow}`;
    const peak = goodput === null ? "no figures yet" : `up to ${rate(this.most.rps)} requests/s, ${answered}`;
    if (this.ended === null) {
      this.text = `${this.what}, ${span(left ?? this.seconds)} left: ${peak}; ${noticed}.`;
    } else if (now - this.ended >= SETTLE_S) {
      this.text = `${this.what} for ${span(this.ended - this.begun)}: ${peak}; ${noticed}.`;
      this.close("done");
    } else {
      this.text = `${this.what}: it is over, reading the last figures: ${peak}; ${noticed}.`;
    }
  }
}

/** Follows a fault with an end, as it stands in a status. */
export const lasting = (fault, view, now) => new (fault.kind === "overload" ? Overload : Broken)(fault, view, now);
