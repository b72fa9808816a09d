// Health as it is now: the stream of the API, or for a key of one company its health every few seconds.

import { Refusal, follow, get, may, own, path } from "/dashboard/api.js";

const SILENT_MS = 6000; // a stream that says nothing for so long is broken, whatever the connection says
const POLL_MS = 4000;
const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 5000;

/** `health`: of `GET /health/all`, or null. `processes`: those of it, or null. `at`: when something came last (ms). `broken`: why nothing comes; empty: it does. */
export const live = { health: null, processes: null, at: 0, broken: "", company: null };
const listeners = new Set();
let stopped = null;

export function onLive(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const tell = (what) => listeners.forEach((listener) => listener(what));

function take(name, data) {
  live.at = Date.now();
  live.broken = "";
  // the first ones come before health, which takes seconds while PostgreSQL is away
  if (name === "processes" || name === "health") live.processes = data.processes;
  if (name === "processes" && live.health) live.health = { ...live.health, ...data };
  if (name === "health") live.health = data;
  if (name === "company") live.company = data;
  tell(name);
}

function fail(reason) {
  if (live.broken === reason) return;
  live.broken = reason;
  tell("broken");
}

const wait = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });

async function streamOnce(signal) {
  // a stream that hangs is ended and opened again
  const silent = new AbortController();
  let timer = setTimeout(() => silent.abort(), SILENT_MS);
  try {
    await follow(
      "/health/all",
      (name, data) => {
        clearTimeout(timer);
        timer = setTimeout(() => silent.abort(), SILENT_MS);
        take(name, data);
      },
      AbortSignal.any([signal, silent.signal]),
    );
  } finally {
    clearTimeout(timer);
  }
}

async function run(signal) {
  let pause = FIRST_WAIT_MS;
  while (!signal.aborted) {
    const before = live.at;
    try {
      if (may("monitor", true)) await streamOnce(signal);
      else if (may("monitor")) {
        take("company", await get(path("api/v2/health", own.companyId)));
        await wait(POLL_MS, signal);
        continue;
      } else {
        await get("/api/v2/whoami");
        take("alive");
        await wait(POLL_MS * 2, signal);
        continue;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refusal && error.status === 401) {
        tell("refused");
        return;
      }
      fail(error instanceof Refusal && error.status ? error.message : "The API does not answer.");
    }
    // a stream ends whenever the process that answers is replaced: the next one is asked at once
    pause = live.at > before ? FIRST_WAIT_MS : Math.min(LONGEST_WAIT_MS, pause * 2);
    await wait(pause, signal);
  }
}

export function start() {
  stop();
  stopped = new AbortController();
  live.health = live.processes = live.company = null;
  live.at = Date.now();
  live.broken = "";
  run(stopped.signal);
}

export function stop() {
  stopped?.abort();
  stopped = null;
}

// also while a request hangs, or the browser slowed this tab down
setInterval(() => {
  if (stopped && !live.broken && Date.now() - live.at > SILENT_MS + 1500 && !document.hidden)
    fail("Nothing came from the API lately.");
  if (stopped) tell("tick");
}, 1000);
