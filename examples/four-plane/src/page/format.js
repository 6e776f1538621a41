// Figures as an operator reads them. A figure that does not exist is a dash, never a zero.

const NONE = "–";
const known = (value) => typeof value === "number" && Number.isFinite(value);

export const count = (value) => known(value) ? Math.round(value).toLocaleString("en") : NONE;

/** A count that has little room. */
export const short = (value) => {
  if (!known(value) || value < 99_950) return count(value);
  return value < 999_500 ? `${Math.round(value / 1000)} k` : `${(value / 1_000_000).toFixed(1)} M`;
};

export const rate = (value) => {
  if (!known(value)) return NONE;
  return value > 0 && value < 9.95 ? value.toFixed(1) : count(value);
};

export const millis = (value) => {
  if (!known(value)) return NONE;
  if (value >= 995) return `${(value / 1000).toFixed(2)} s`;
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ms`;
};

export const percent = (ratio) => {
  if (!known(ratio)) return NONE;
  const percents = ratio * 100;
  return `${percents > 0 && percents < 9.95 ? percents.toFixed(1) : Math.round(percents)} %`;
};

export const outOf = (used, limit) =>
  known(limit) && limit > 0 ? `${count(used)} / ${count(limit)}` : count(used);

export const span = (seconds) => {
  if (!known(seconds)) return NONE;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
};

export const wallClock = (date) => date.toLocaleTimeString("en-GB");

/** Sum of the figures that exist; null when none does. */
export const sum = (values) => {
  const present = values.filter(known);
  return present.length ? present.reduce((left, right) => left + right, 0) : null;
};

/** Writes only what changed, so that screen readers and selections are left alone. */
export const write = (element, text) => {
  if (element && element.textContent !== text) element.textContent = text;
};

/** Sets a data attribute, or removes it when the value is null. */
export const mark = (element, name, value) => {
  if (value === null || value === undefined) delete element.dataset[name];
  else if (element.dataset[name] !== String(value)) element.dataset[name] = String(value);
};
