"use strict";
// The operators' page: polls /dashboard/data every two seconds and shows it. Nothing is ever parsed as HTML.

const EVERY_MS = 2000;
const ANSWER_MS = 5000; // longest wait for one answer
const OLD_MS = 10000; // what is shown counts as old after this, whatever the requests are doing
const LONGEST_VALUE = 120; // characters of one value of an event
const KEPT = "bulkhead-api-key";
const LOOKS = {
  healthy: "good", ready: "good", active: "good", running: "good", reachable: "good", sent: "good", connected: "good",
  degraded: "warn", starting: "warn", unready: "warn", draining: "warn", paused: "warn", needs_link: "warn", syncing: "warn", stale: "warn", stopping: "warn",
  in_doubt: "warn", backing_off: "warn", offline: "warn",
  down: "bad", missing: "bad", unknown: "bad", backoff: "bad", quarantined: "bad", misconfigured: "bad", killing: "bad", conflict: "bad", logged_out: "bad",
  unreachable: "bad",
};
const byId = (id) => document.getElementById(id);
const pictures = new Map();
let timer = 0;
let answeredAt = 0;

function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

function pill(word, shown = word) {
  return word ? element("span", { className: `pill is-${LOOKS[word] ?? "idle"}` }, String(shown).replaceAll("_", " ")) : "";
}

function span(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

// with the date: a page that was left open, and events of yesterday, look like those of today otherwise
const clock = (at) => (at ? element("time", { dateTime: at, title: at },
  new Date(at).toLocaleString(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" })) : "");
const quiet = (text) => (text ? element("span", { className: "quiet" }, text) : "");

function fill(id, all, rows, nothing) {
  // a column marked so is left out while it has nothing to say
  const columns = all.filter(([, cell, kind]) => !(kind ?? "").includes("seldom") || rows.some((row) => ![null, undefined, ""].includes(cell(row))));
  const head = element("tr", {}, ...columns.map(([name, , kind]) => element("th", { className: kind ?? "", scope: "col" }, name)));
  const body = rows.length
    ? rows.map((row) => element("tr", {}, ...columns.map(([name, cell, kind]) => {
      const made = element("td", { className: kind ?? "" }, cell(row) ?? "");
      made.dataset.name = name; // on a narrow screen each row is a card, and its cells name themselves
      return made;
    })))
    : [element("tr", {}, element("td", { colSpan: columns.length, className: "quiet" }, nothing))];
  byId(id).replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
}

function tile(name, content, note) {
  return element("div", { className: "tile" }, quiet(name), element("b", {}, content), element("small", {}, note ?? ""));
}

function neighbour(name, seen) {
  const word = seen.reachable ? "reachable" : "unreachable";
  return tile(name, pill(word), seen.reachable ? `answered in ${seen.tookMs} ms` : seen.reason);
}

function showHealth(health) {
  byId("overall").className = `pill is-${LOOKS[health.status]}`;
  byId("overall").textContent = health.status;
  const keeper = health.orchestrator;
  const note = keeper.ageSeconds === null ? "no status file can be read" : `wrote ${keeper.ageSeconds} s ago`;
  fill("processes", [
    ["process", (one) => element("strong", {}, `${one.process}-${one.instance}`), "narrow lead"],
    ["status", (one) => pill(one.status), "lead"],
    ["state", (one) => quiet(String(one.state ?? "").replaceAll("_", " "))],
    ["up for", (one) => span(one.uptimeSeconds), "number narrow"],
    ["restarts", (one) => one.restarts, "number"],
    ["memory", (one) => (one.memoryMb === null ? "" : `${Math.round(one.memoryMb)} MB`), "number narrow"],
    ["errors", (one) => one.errorCount, "number"],
    ["pid", (one) => one.pid, "number"],
    ["last heartbeat", (one) => (one.silentSeconds === null ? "" : `${Math.round(one.silentSeconds)} s ago`), "number narrow"],
    ["why", (one) => quiet(one.reason), "seldom"],
  ], health.processes, "Nothing is known about any process.");
  return [neighbour("PostgreSQL", health.database), neighbour("Redis", health.redis), tile("Orchestrator", pill(keeper.state), note)];
}

function showQueue(queue) {
  const open = queue === null ? null : queue.reduce((sum, row) => sum + row.messages, 0);
  fill("queue", [
    ["process", (row) => row.process, "lead"],
    ["state", (row) => pill(row.state), "lead"],
    ["messages", (row) => row.messages.toLocaleString(), "number"],
    ["oldest", (row) => span(row.oldestSeconds), "number narrow"],
  ], queue ?? [], queue === null ? "The database does not answer." : "No message waits.");
  const oldest = queue?.length ? `oldest ${span(Math.max(...queue.map((row) => row.oldestSeconds)))}` : "";
  return tile("Open messages", open === null ? "?" : open.toLocaleString(), oldest);
}

function showConnections(connections) {
  fill("connections", [
    ["connection", (one) => element("strong", {}, `${one.companyId} ${one.phoneIndex}`), "narrow lead"],
    ["state", (one) => pill(one.state), "lead"],
    ["queue", (one) => pill(one.status)],
    ["type", (one) => one.connectionType],
    ["number", (one) => one.account, "narrow seldom"],
    ["process", (one) => quiet(one.process)],
    ["desired", (one) => quiet(one.connectionType === "wwebjs" ? one.desired.replaceAll("_", " ") : ""), "seldom"],
    ["proved", (one) => clock(one.provedAt), "narrow seldom"],
    ["quality", (one) => quiet([one.quality, one.tier].filter(Boolean).join(" ").toLowerCase().replaceAll("_", " ")), "narrow seldom"],
    ["memory", (one) => (one.browser?.pssMb === undefined ? "" : `${Math.round(one.browser.pssMb)} MB`), "number narrow"],
    ["CPU", (one) => (one.browser ? `${Math.round(one.browser.cpu * 100)} %` : ""), "number narrow"],
    ["detail", (one) => quiet([...new Set([one.statusReason, one.warning, one.detail].filter(Boolean))].join("; ")), "seldom"],
  ], connections ?? [], connections === null ? "The database does not answer." : "There is no connection yet.");
  return showCodes((connections ?? []).filter((one) => one.state === "needs_link"));
}

async function showCodes(waiting) {
  const names = new Set(waiting.map((one) => `${one.companyId}/${one.phoneIndex}`));
  for (const [name, card] of pictures) if (!names.has(name)) { URL.revokeObjectURL(card.url); card.shown.remove(); pictures.delete(name); }
  for (const one of waiting) {
    const name = `${one.companyId}/${one.phoneIndex}`;
    const answer = await ask(`/api/v2/sessions/${encodeURIComponent(one.companyId)}/${one.phoneIndex}/qr?format=svg`);
    const drawing = answer.ok ? await answer.text() : "";
    const card = pictures.get(name) ?? { drawing: "", url: "", shown: null };
    if (!drawing || drawing === card.drawing) continue;
    URL.revokeObjectURL(card.url);
    card.url = URL.createObjectURL(new Blob([drawing], { type: "image/svg+xml" }));
    card.drawing = drawing;
    const fresh = element("div", { className: "code" },
      element("img", { src: card.url, alt: `Code to link ${name}` }),
      element("div", {}, element("p", {}, element("strong", {}, `Link ${name}`)),
        element("p", { className: "quiet" }, "On the phone: WhatsApp, Linked devices, Link a device. The code changes by itself.")));
    if (card.shown) card.shown.replaceWith(fresh); else byId("codes").append(fresh);
    card.shown = fresh;
    pictures.set(name, card);
  }
}

// What a process wrote last may be a line of its log, which is JSON: its event and reason are what people read.
function readable(value) {
  if (typeof value !== "string") return value;
  let text = value.trim();
  if (text.startsWith("{")) {
    try {
      const line = JSON.parse(text);
      text = [line.event?.replaceAll("_", " "), line.reason ?? line.error].filter(Boolean).join(": ");
    } catch {
      text = text.slice(0, LONGEST_VALUE);
    }
  }
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
}

function showEvents(events) {
  const words = (detail) => Object.entries(detail ?? {}).filter(([, value]) => value !== null && value !== "" && value !== false && typeof value !== "object")
    .map(([name, value]) => [name, readable(value)]).filter(([, value]) => value !== "")
    .map(([name, value]) => (name.endsWith("_s") ? `${name.slice(0, -2).replaceAll("_", " ")} ${value} s` : `${name.replaceAll("_", " ")} ${value}`)).join(", ");
  fill("events", [
    ["at", (one) => clock(one.at), "narrow"],
    ["process", (one) => (one.process ? `${one.process}-${one.instance ?? 0}` : ""), "narrow"],
    ["event", (one) => one.event.replaceAll("_", " "), "narrow"],
    ["detail", (one) => quiet(words(one.detail))],
  ], events ?? [], events === null ? "The database does not answer." : "Nothing has happened yet.");
}

function ask(path) {
  return fetch(path, { headers: { Authorization: `Bearer ${sessionStorage.getItem(KEPT)}` }, cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
}

function showSilence(reason) {
  byId("overall").className = "pill is-bad";
  byId("overall").textContent = "no answer";
  byId("freshness").textContent = answeredAt ? `${reason}; shown is what was known at ${new Date(answeredAt).toLocaleString()}` : reason;
  byId("content").classList.add("is-old");
}

function openDoor(refusal) {
  clearTimeout(timer);
  byId("content").hidden = true;
  byId("forget").hidden = true;
  byId("overall").textContent = "";
  byId("freshness").textContent = "";
  byId("refused").textContent = refusal;
  byId("door").hidden = false;
  byId("key").focus();
}

async function refresh() {
  clearTimeout(timer);
  try {
    const answer = await ask(`/dashboard/data${after ? `?cursor=${encodeURIComponent(after)}` : ""}`);
    if (answer.status === 401) {
      sessionStorage.removeItem(KEPT);
      openDoor("This key is wrong.");
      return;
    }
    if (!answer.ok) throw new Error(`answer ${answer.status}`);
    const data = await answer.json();
    answeredAt = Date.now();
    byId("content").classList.remove("is-old");
    byId("door").hidden = true;
    byId("content").hidden = false;
    byId("forget").hidden = false;
    const tiles = showHealth(data.health);
    byId("tiles").replaceChildren(showQueue(data.queue), ...tiles);
    showEvents(data.events);
    byId("freshness").textContent = `${data.health.answeredBy}, ${new Date(data.health.at).toLocaleString()}`;
    next = data.nextConnections ?? "";
    byId("first").hidden = !after;
    byId("next").hidden = !next;
    await showConnections(data.connections);
  } catch (error) {
    showSilence(error.message);
  }
  timer = setTimeout(refresh, EVERY_MS);
}

// connections are shown a page at a time
let after = "", next = "";
function turn(to) { after = to; refresh(); }
byId("first").addEventListener("click", () => turn(""));
byId("next").addEventListener("click", () => turn(next));
byId("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEPT, byId("key").value.trim());
  byId("key").value = "";
  refresh();
});
byId("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEPT);
  openDoor("");
});
// a request that hangs, or a tab that the browser slowed down, must not leave the page green
setInterval(() => {
  if (answeredAt && !byId("content").hidden && Date.now() - answeredAt > OLD_MS) showSilence(`no answer for ${span((Date.now() - answeredAt) / 1000)}`);
}, 1000);
if (sessionStorage.getItem(KEPT)) refresh(); else openDoor("");
