// Processes: each slot with its timeline, memory and restarts; its log; restart and drain, which ask first.

import { get, may, path, send } from "/dashboard/api.js";
import { chart, timeline } from "/dashboard/chart.js";
import { ask } from "/dashboard/dialog.js";
import { button, el, href, link } from "/dashboard/dom.js";
import { live } from "/dashboard/live.js";
import { factList, table } from "/dashboard/table.js";
import { clock, megabytes, number, pill, quiet, span, words } from "/dashboard/words.js";
import { troubleCard } from "/dashboard/page_now.js";

const nameOf = (one) => `${one.process}-${one.instance}`;

const SAID = {
  restart: (target) =>
    `Replace ${target}? It finishes what it has in hand, and a new process takes over. Of a kind with several processes one is replaced after the other; connections and accepted messages are kept.`,
  drain: (target) =>
    `Drain ${target}? It finishes what it has in hand and stays stopped until it is restarted. What only it does waits until then.`,
};

function command(name, target, after) {
  ask({
    title: `${words(name)[0].toUpperCase()}${name.slice(1)} ${target}`,
    text: SAID[name](target),
    action: name === "restart" ? "Restart" : "Drain",
    danger: name === "drain",
    run: async () => {
      const { slots } = await send("POST", path("api/v2/processes", target, name), undefined);
      return `${name === "restart" ? "Restarting" : "Draining"} ${Object.keys(slots).join(", ")}`;
    },
    after,
  });
}

// the orchestrator is replaced by what keeps it running
const isOurs = (name) => !name.startsWith("orchestrator");
const acts = (target, context) =>
  may("operate", true) &&
  isOurs(target) && [
    button("Restart", () => command("restart", target, context.after), { "aria-label": `Restart ${target}` }),
    button("Drain", () => command("drain", target, context.after), {
      "aria-label": `Drain ${target}`,
      className: "quietly",
    }),
  ];

function spans(route) {
  const chosen = route.query.span === "day" ? "day" : "hour";
  return el(
    "p",
    { className: "choices" },
    "Last ",
    ["hour", "day"].map((one) =>
      el(
        "a",
        { href: href(route.path, { ...route.query, span: one }), "aria-current": one === chosen ? "true" : undefined },
        one,
      ),
    ),
  );
}

async function load(route) {
  const span_ = route.query.span === "day" ? "day" : "hour";
  const [slot] = route.parts;
  const [history, log] = await Promise.allSettled([
    get("/api/v2/processes/history", { span: span_ }),
    slot && may("operate", true)
      ? get(path("api/v2/processes", slot, "log"), { stream: route.query.stream ?? "err", limit: 200 })
      : Promise.resolve(null),
  ]);
  const known = slot && slot.includes("-");
  if (known && log.reason) throw log.reason;
  return { history: history.value ?? null, log: log.value ?? null };
}

const bar = (history, name, current) => {
  const seen = history?.slots.find((one) => one.slot === name);
  return history
    ? timeline({
        name,
        states: seen?.states ?? [],
        since: history.since,
        until: history.until,
        before: seen?.states.length ? "unknown" : (current ?? "unknown"),
      })
    : "";
};

function all(data, context) {
  if (!live.processes) return el("p", { className: "quiet" }, live.broken || "Asking for the processes…");
  const rows = live.processes;
  const kinds = [...new Set(rows.map((one) => one.process))].filter(isOurs);
  const exits = (data.history?.slots ?? [])
    .flatMap((one) => one.exits.map((exit) => ({ ...exit, slot: one.slot })))
    .sort((a, b) => b.at.localeCompare(a.at));
  return [
    spans(context.route),
    table({
      name: "Processes",
      rows,
      key: nameOf,
      empty: "Nothing is known about any process.",
      columns: [
        ["process", (one) => link(`/processes/${nameOf(one)}`, {}, nameOf(one)), "narrow lead"],
        ["status", (one) => pill(one.status, one.state && one.status !== "healthy" ? one.state : one.status), "lead"],
        ["timeline", (one) => bar(data.history, nameOf(one), one.state), "wide"],
        ["up for", (one) => span(one.uptimeSeconds), "number narrow"],
        ["restarts", (one) => number(one.restarts), "number"],
        ["memory", (one) => megabytes(one.memoryMb), "number narrow"],
        ["errors", (one) => number(one.errorCount), "number"],
        ["why", (one) => quiet(one.reason), "seldom"],
        ["", (one) => acts(nameOf(one), context), "acts"],
      ],
    }),
    el(
      "p",
      { className: "quiet" },
      "Timeline: low and green is ready; high is amber while it starts or drains, red while it is down, grey where nothing is known or nothing runs.",
    ),
    kinds.length && may("operate", true)
      ? el(
          "p",
          { className: "choices" },
          "Replace all processes of a kind: ",
          kinds.map((kind) =>
            button(kind, () => command("restart", kind, context.after), {
              "aria-label": `Restart all ${kind}`,
              className: "quietly",
            }),
          ),
        )
      : null,
    data.history
      ? [
          el("h2", {}, "Memory"),
          chart({
            name: "Memory of each process",
            unit: "MB",
            series: data.history.slots.map((one) => ({ name: one.slot, points: one.memoryMb })),
            since: data.history.since,
            until: data.history.until,
            format: (value) => number(Math.round(value)),
          }),
          el("h2", {}, "What ended without being asked to"),
          table({
            name: "Exits",
            rows: exits.slice(0, 50),
            key: (one) => `${one.slot}${one.at}`,
            empty: "Nothing did in this time.",
            columns: [
              ["at", (one) => clock(one.at), "narrow"],
              ["process", (one) => one.slot, "lead narrow"],
              ["event", (one) => words(one.event)],
              ["reason", (one) => quiet(one.reason)],
            ],
          }),
        ]
      : el(
          "p",
          { className: "note" },
          "The history cannot be read while PostgreSQL does not answer. What is shown comes from the orchestrator.",
        ),
  ];
}

/** A line of a log: JSON is shown as time, level, event and the rest; anything else as it is. */
function logLine(text) {
  try {
    const { at, level, event, logger, ...rest } = JSON.parse(text);
    for (const name of ["process", "process_name", "instance", "incarnation"]) delete rest[name];
    return el(
      "li",
      { className: level === "error" || level === "critical" ? "is-error" : "" },
      clock(at),
      " ",
      el("b", {}, words(event)),
      " ",
      quiet(
        Object.entries(rest)
          .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
          .join(" "),
      ),
    );
  } catch {
    return el("li", {}, text);
  }
}

function one(name, data, context) {
  const { route } = context;
  const seen = live.processes?.find((row) => nameOf(row) === name);
  const past = data.history?.slots.find((row) => row.slot === name);
  const troubles = (live.health?.troubles ?? []).filter(
    (row) => row.process === name || (seen && row.process === seen.process),
  );
  const stream = route.query.stream ?? "err";
  const { since, until } = data.history ?? {};
  const figure = (title, unit, points) => chart({ name: title, unit, series: [{ name: title, points }], since, until });
  return [
    el("p", {}, link("/processes", {}, "All processes")),
    troubles.length ? el("ul", { className: "troubles" }, troubles.map(troubleCard)) : null,
    seen
      ? [
          el(
            "p",
            { className: "big" },
            pill(seen.status),
            " ",
            seen.state && pill(seen.state),
            " ",
            acts(name, context),
          ),
          factList([
            ["why", seen.reason],
            ["up for", span(seen.uptimeSeconds)],
            ["in this state for", span(seen.stateSeconds)],
            ["restarts", number(seen.restarts)],
            [
              "memory",
              seen.memoryMb === null
                ? ""
                : `${megabytes(seen.memoryMb)}${seen.memoryLimitMb ? ` of ${megabytes(seen.memoryLimitMb)}` : ""}`,
            ],
            ["errors", number(seen.errorCount)],
            ["last error", seen.lastError],
            ["process id", seen.pid && String(seen.pid)],
            ["host", seen.host],
            ["last heartbeat", seen.lastHeartbeatAt && clock(seen.lastHeartbeatAt)],
            ["known from", seen.sources.join(", ")],
          ]),
        ]
      : live.processes && name.includes("-")
        ? el("p", { className: "note" }, "No such process is listed now.")
        : null,
    past
      ? [
          el("h2", {}, "Over time"),
          spans(route),
          bar(data.history, name, seen?.state),
          el(
            "div",
            { className: "charts" },
            figure("Memory", "MB", past.memoryMb),
            figure("Sent", "", past.sent),
            figure("Received", "", past.received),
            figure("Errors", "", past.errors),
          ),
          past.exits.length
            ? el(
                "ul",
                { className: "changes" },
                past.exits.map((exit) =>
                  el(
                    "li",
                    { className: "change is-dot-bad", "data-key": exit.at },
                    clock(exit.at),
                    " ",
                    el("strong", {}, words(exit.event)),
                    " ",
                    quiet(exit.reason),
                  ),
                ),
              )
            : null,
        ]
      : null,
    data.log
      ? [
          el("h2", {}, "Log"),
          el(
            "p",
            { className: "choices" },
            [
              ["err", "warnings and errors"],
              ["out", "everything else"],
            ].map(([key, label]) =>
              el(
                "a",
                {
                  href: href(route.path, { ...route.query, stream: key }),
                  "aria-current": key === stream ? "true" : undefined,
                },
                label,
              ),
            ),
          ),
          data.log.lines.length
            ? el(
                "ol",
                { className: "log", tabindex: "0", "aria-label": `Log of ${name}` },
                data.log.lines.map(logLine).reverse(),
              )
            : el("p", { className: "empty" }, "Nothing was written there."),
        ]
      : null,
  ];
}

function view(data, context) {
  const [name] = context.route.parts;
  return name ? one(name, data, context) : all(data, context);
}

export const processes = {
  name: "processes",
  title: (route) => (route.parts?.[0] ? `Process ${route.parts[0]}` : "Processes"),
  allowed: () => may("monitor", true),
  load,
  view,
  every: 5000,
  live: true,
};
