// One status of the control plane, read into what the page asks for.

const stateOf = (text) => String(text ?? "unknown").toLowerCase().replace("_", "-");

/** `gateway` and `catalog` make `gateway→catalog`; a name that tells both ends stays. */
const breakerName = (service, name) => name.includes("→") ? name : `${service}→${name}`;

export class View {
  constructor(status) {
    this.status = status;
    this.planes = new Map((status.planes ?? []).map((plane) => [plane.plane, plane]));
    this.services = new Map();
    this.instances = new Map();
    this.breakers = new Map();
    for (const plane of this.planes.values()) {
      for (const service of plane.services ?? []) {
        this.services.set(service.service, service);
        for (const instance of service.instances ?? []) this.instances.set(instance.instance, instance);
        for (const breaker of service.breakers ?? []) {
          this.breakers.set(breakerName(service.service, breaker.name), stateOf(breaker.state));
        }
      }
    }
    this.links = status.links ?? [];
    for (const link of this.links) {
      const name = `${link.from}→${link.to}`;
      if (link.breaker && !this.breakers.has(name)) this.breakers.set(name, stateOf(link.breaker));
    }
    this.faults = status.faults ?? [];
    this.edge = this.services.get("edge") ?? null;
    this.degradedTotal = this.edge?.degraded_total ?? status.load?.degraded ?? null;
    this.shedTotal = this.edge?.shed_total ?? status.load?.shed ?? null;
    this.failedTotal = status.load?.failed ?? null;
    this.answers = { full: 0, degraded: 0, shed: 0, failed: 0, total: 0 };
  }

  /** What one service calls: target, rate, failures and breaker, each at most once. */
  callsOf(service) {
    const calls = new Map();
    for (const { from, to, rps, error_ratio } of this.links) {
      if (from === service) calls.set(to, { to, rps, errorRatio: error_ratio });
    }
    for (const { name, failure_ratio } of this.services.get(service)?.breakers ?? []) {
      const to = name.includes("→") ? name.split("→")[1] : name;
      calls.set(to, { to, rps: null, ...calls.get(to), errorRatio: calls.get(to)?.errorRatio ?? failure_ratio });
    }
    return [...calls.values()].map((call) => {
      const name = `${service}→${call.to}`;
      return { ...call, name, breaker: this.breakers.get(name) ?? null };
    });
  }
}

// As long as the control plane's own rates look back.
const LOOK_BACK_S = 2;

/** Answers per second by kind, from the growth of the totals over the last two seconds. */
export class Answers {
  #seen = [];

  update(view, at) {
    const totals = { at, degraded: view.degradedTotal ?? 0, shed: view.shedTotal ?? 0 };
    const last = this.#seen.at(-1);
    // A restarted edge process starts counting again: so does this.
    if (last && (totals.degraded < last.degraded || totals.shed < last.shed)) this.#seen = [];
    this.#seen.push(totals);
    while (this.#seen.length > 2 && this.#seen[1].at <= at - LOOK_BACK_S) this.#seen.shift();
    const first = this.#seen[0];
    const seconds = at - first.at;
    const growth = (figure) => seconds > 0 ? (totals[figure] - first[figure]) / seconds : 0;
    const total = view.edge?.rps ?? 0;
    const failed = Math.min(total, view.planes.get("edge")?.errors_per_s ?? 0);
    const shed = Math.min(total - failed, growth("shed"));
    const degraded = Math.min(total - failed - shed, growth("degraded"));
    view.answers = { total, failed, shed, degraded, full: total - failed - shed - degraded };
  }
}
