// How states, times and amounts are called, and how they look.

import { el } from "/dashboard/dom.js";

const LOOKS = {
  healthy: "good",
  ready: "good",
  active: "good",
  running: "good",
  reachable: "good",
  sent: "good",
  connected: "good",
  delivered: "good",
  read: "good",
  taken: "good",
  received: "good",
  done: "good",
  indexed: "good",
  human: "good",
  approved: "good",
  linked: "good",
  ended: "good",
  ok: "good",
  degraded: "warn",
  starting: "warn",
  unready: "warn",
  draining: "warn",
  paused: "warn",
  needs_link: "warn",
  syncing: "warn",
  stale: "warn",
  stopping: "warn",
  in_doubt: "warn",
  backing_off: "warn",
  offline: "warn",
  warning: "warn",
  warn: "warn",
  queued: "warn",
  suspended: "warn",
  held: "warn",
  waiting: "warn",
  uploaded: "warn",
  indexing: "warn",
  no_text: "warn",
  pending: "warn",
  notice: "idle",
  deleting: "bad",
  failing: "bad",
  down: "bad",
  missing: "bad",
  unknown: "bad",
  backoff: "bad",
  quarantined: "bad",
  misconfigured: "bad",
  killing: "bad",
  conflict: "bad",
  logged_out: "bad",
  unreachable: "bad",
  failed: "bad",
  fail: "bad",
  critical: "bad",
  on: "bad",
  dead: "bad",
  disabled: "bad",
  rejected: "bad",
  revoked: "idle",
  expired: "idle",
};

export const words = (text) => String(text ?? "").replaceAll("_", " ");

/** A state as a word with a colour; the word alone says it too. */
export const pill = (state, shown = state) =>
  state ? el("span", { className: `pill is-${LOOKS[state] ?? "idle"}` }, words(shown)) : "";
export const looks = (state) => LOOKS[state] ?? "idle";
export const quiet = (text) => (text || text === 0 ? el("span", { className: "quiet" }, String(text)) : "");
export const code = (text) => (text || text === 0 ? el("code", {}, String(text)) : "");

/** A duration of so many seconds, in the two largest units. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** A duration to the nearest unit, for what changes all the time. */
export function about(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

const DAY_AND_TIME = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" };
const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit" };

/** An instant, with its date unless it is today: pages stay open over night. */
export function clock(at) {
  if (!at) return "";
  const instant = new Date(at);
  const today = instant.toDateString() === new Date().toDateString();
  return el("time", { datetime: at, title: at }, instant.toLocaleString(undefined, today ? TIME : DAY_AND_TIME));
}

export const shortTime = (at) => new Date(at).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
export const number = (value) => (value === null || value === undefined ? "" : Number(value).toLocaleString());
export const megabytes = (value) => (value === null || value === undefined ? "" : `${number(Math.round(value))} MB`);

/** One line of text from anything, cut. */
export function cut(value, most = 120) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

// What a process wrote last may be a line of its log, which is JSON: its event and reason are what people read.
export function readable(value) {
  if (typeof value !== "string") return value;
  const text = value.trim();
  if (!text.startsWith("{")) return cut(text);
  try {
    const line = JSON.parse(text);
    return cut([words(line.event), line.reason ?? line.error].filter(Boolean).join(": "));
  } catch {
    return cut(text);
  }
}

/** The facts of an event as words. */
export function facts(detail) {
  return Object.entries(detail ?? {})
    .filter(([, value]) => value !== null && value !== "" && value !== false && typeof value !== "object")
    .map(([name, value]) => [name, readable(value)])
    .filter(([, value]) => value !== "")
    .map(([name, value]) =>
      name.endsWith("_s")
        ? `${words(name.slice(0, -2))} ${value} s`
        : value === true
          ? words(name)
          : `${words(name)} ${value}`,
    )
    .join(", ");
}

/** Commands in backquotes as code. */
export const marked = (text) => text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
