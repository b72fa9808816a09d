// What is wrong, first; then what changed lately.

import { get, may, own } from "/dashboard/api.js";
import { el, href, link } from "/dashboard/dom.js";
import { live } from "/dashboard/live.js";
import { changeRow } from "/dashboard/changes.js";
import { about, clock, cut, marked, pill, quiet } from "/dashboard/words.js";

/** The page from which a trouble can be mended: [path, query, label]. */
function placeOf(trouble) {
  const { code, companyId, phoneIndex, process } = trouble;
  if (code.startsWith("process_") || code === "kind_down" || code === "memory_high")
    return process
      ? [`/processes/${encodeURIComponent(process)}`, {}, `Open ${process}`]
      : ["/processes", {}, "Open processes"];
  if (code === "messages_held") return ["/letters", { company: companyId, held: "true" }, "Decide about them"];
  if (code.startsWith("dead_letters")) return ["/letters", { company: companyId, held: "false" }, "Open dead letters"];
  if (code.startsWith("hook_")) return ["/hooks", { company: companyId }, "Open webhooks"];
  if (code === "company_suspended") return [`/companies/${encodeURIComponent(companyId)}`, {}, "Open the company"];
  if (code.startsWith("session_") || code.startsWith("connection_") || code === "queue_stuck")
    return [
      `/connections/${encodeURIComponent(companyId)}/${phoneIndex}`,
      {},
      code.includes("link") ? "Link it" : "Open the connection",
    ];
  if (code === "customers_waiting") return ["/inbox", { company: companyId }, "Open the inbox"];
  if (code.startsWith("documents_")) return ["/documents", { company: companyId }, "Open documents"];
  if (code.startsWith("installation_hook_")) return ["/hooks/*", {}, "Open webhooks"];
  if (code === "no_sender") return ["/processes", {}, "Open processes"];
  return null;
}

export function troubleCard(trouble) {
  const place = placeOf(trouble);
  const worst = trouble.impact === "notice" ? "idle" : trouble.impact === "down" ? "bad" : "warn";
  return el(
    "li",
    {
      className: `trouble is-edge-${worst}`,
      "data-key": `${trouble.code}-${trouble.process ?? ""}-${trouble.companyId ?? ""}-${trouble.phoneIndex ?? ""}`,
    },
    el(
      "p",
      { className: "sentence" },
      pill(trouble.impact),
      " ",
      el("strong", {}, trouble.sentence),
      " ",
      quiet(trouble.sinceSeconds === null ? "" : `for ${about(trouble.sinceSeconds)}`),
    ),
    el("p", { className: "mend" }, marked(trouble.mend), place && [" ", link(place[0], place[1], place[2])]),
  );
}

function dependency(name, seen) {
  return el(
    "div",
    { className: "tile" },
    quiet(name),
    el("b", {}, pill(seen.reachable ? "reachable" : "unreachable")),
    el("small", {}, seen.reachable ? `wrote in ${seen.tookMs} ms` : cut(seen.reason, 70)),
  );
}

function tiles(health) {
  const up = health.processes.filter((one) => one.status === "healthy" || one.status === "stopped").length;
  const orchestrator = health.orchestrator;
  return el(
    "div",
    { className: "tiles" },
    el(
      "div",
      { className: "tile" },
      quiet("Accepts"),
      el("b", {}, pill(health.canAccept ? "active" : "down", health.canAccept ? "yes" : "no")),
      el("small", {}, "messages by the API"),
    ),
    el(
      "div",
      { className: "tile" },
      quiet("Sends"),
      el("b", {}, pill(health.canSend ? "active" : "down", health.canSend ? "yes" : "no")),
      el("small", {}, "what was accepted"),
    ),
    el(
      "div",
      { className: "tile" },
      quiet("Processes"),
      el("b", {}, el("a", { href: href("/processes") }, `${up} of ${health.processes.length}`)),
      el("small", {}, "as they should be"),
    ),
    dependency("PostgreSQL", health.database),
    dependency("Redis", health.redis),
    el(
      "div",
      { className: "tile" },
      quiet("Orchestrator"),
      el("b", {}, pill(orchestrator.state)),
      el(
        "small",
        {},
        orchestrator.ageSeconds === null ? "no status file can be read" : `wrote ${about(orchestrator.ageSeconds)} ago`,
      ),
    ),
  );
}

function firing(alerts) {
  if (!alerts) return el("p", { className: "note" }, "Alerts cannot be read while PostgreSQL does not answer.");
  if (!alerts.length) return el("p", { className: "empty" }, "No alert is on.");
  return el(
    "ul",
    { className: "plain-list" },
    alerts.map((one) =>
      el(
        "li",
        { "data-key": one.id },
        pill(one.severity),
        " ",
        one.summary,
        " ",
        quiet("since "),
        clock(one.firedAt),
        one.silenced && [" ", pill("notice", "silenced")],
      ),
    ),
  );
}

async function load() {
  if (own.companyId) return {};
  const [alerts, changes] = await Promise.allSettled([
    get("/api/v2/alerts", { state: "on", limit: 20 }),
    may("operate", true) ? get("/api/v2/changes", { limit: 25 }) : Promise.resolve(null),
  ]);
  // each is null while the database is away: what the status file says is shown all the same
  return {
    alerts: alerts.value?.alerts ?? null,
    changes: changes.value?.changes ?? null,
    mayChanges: may("operate", true),
  };
}

function view(data) {
  const { health, company } = live;
  if (own.companyId) {
    if (!company) return el("p", { className: "quiet" }, "Asking for the state of the company…");
    const troubles = [...company.troubles, ...company.connections.flatMap((one) => one.troubles)];
    return [
      el("p", { className: "big" }, pill(company.status), " ", el("strong", {}, own.companyId)),
      section("What is wrong", troubles),
    ];
  }
  if (!health) return el("p", { className: "quiet" }, live.broken || "Asking for the state of the installation…");
  const wrong = health.troubles.filter((one) => one.impact !== "notice");
  const notices = health.troubles.filter((one) => one.impact === "notice");
  return [
    section("What is wrong", wrong, health),
    tiles(health),
    el("h2", {}, "Alerts that are on"),
    firing(data.alerts),
    notices.length ? [el("h2", {}, "To know"), el("ul", { className: "troubles" }, notices.map(troubleCard))] : null,
    data.mayChanges ? [el("h2", {}, "What changed lately"), changes(data.changes)] : null,
  ];
}

/** Troubles of processes that lack the database, while it is known to be away: they say nothing new. */
function consequences(troubles) {
  if (!troubles.some((one) => one.code === "database_unavailable")) return [];
  return troubles.filter((one) => one.about === "process" && one.sentence.includes("database"));
}

function section(title, troubles, health) {
  if (!troubles.length) {
    const said = health ? [": messages are accepted and sent. ", quiet(`Seen by ${health.answeredBy}.`)] : ".";
    return el("p", { className: "calm" }, pill("healthy", "all is well"), " Nothing is wrong", said);
  }
  const follows = consequences(troubles);
  const count = `(${troubles.length}${health?.troublesLeftOff ? ` and ${health.troublesLeftOff} more` : ""})`;
  return el(
    "section",
    { "aria-label": title },
    el("h2", { className: "first" }, title, " ", quiet(count)),
    el("ul", { className: "troubles" }, troubles.filter((one) => !follows.includes(one)).map(troubleCard)),
    follows.length
      ? el(
          "details",
          {},
          el("summary", {}, `What follows from it (${follows.length})`),
          el("ul", { className: "troubles" }, follows.map(troubleCard)),
        )
      : null,
  );
}

function changes(rows) {
  if (!rows) return el("p", { className: "note" }, "The database does not answer.");
  if (!rows.length) return el("p", { className: "empty" }, "Nothing has happened yet.");
  return [el("ol", { className: "changes" }, rows.map(changeRow)), el("p", {}, link("/audit", {}, "All changes"))];
}

export const now = {
  name: "now",
  title: () => "Now",
  allowed: () => may("monitor"),
  load,
  view,
  every: 5000,
  live: true,
};
