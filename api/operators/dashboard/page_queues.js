// Queues: what waits, since when, and how much is sent; by kind and by connection.

import { get, may } from "/dashboard/api.js";
import { chart } from "/dashboard/chart.js";
import { el, href, link } from "/dashboard/dom.js";
import { table } from "/dashboard/table.js";
import { number, pill, span } from "/dashboard/words.js";

async function load(route) {
  const [queues, history] = await Promise.all([
    get("/api/v2/queues"),
    get("/api/v2/processes/history", { span: route.query.span === "day" ? "day" : "hour" }),
  ]);
  return { queues, history };
}

/** Add the points of all slots of a kind. */
function ofKinds(slots, figure) {
  const kinds = {};
  for (const one of slots) {
    const kind = one.slot.slice(0, one.slot.lastIndexOf("-"));
    kinds[kind] ??= one[figure].map(() => null);
    one[figure].forEach((value, at) => {
      if (value !== null) kinds[kind][at] = (kinds[kind][at] ?? 0) + value;
    });
  }
  return Object.entries(kinds)
    .filter(([, points]) => points.some((value) => value !== null))
    .map(([name, points]) => ({ name, points }));
}

function view({ queues, history }, { route }) {
  const chosen = route.query.span === "day" ? "day" : "hour";
  const minutes = history.stepSeconds / 60;
  const each = minutes === 1 ? "a minute" : `in ${minutes} minutes`;
  const within = { since: history.since, until: history.until };
  const kinds = [...new Set(queues.queues.map((row) => row.process))].sort();
  const of = (kind, state) => queues.queues.find((row) => row.process === kind && row.state === state);
  return [
    el(
      "p",
      { className: "choices" },
      "Last ",
      ["hour", "day"].map((one) =>
        el("a", { href: href(route.path, { span: one }), "aria-current": one === chosen ? "true" : undefined }, one),
      ),
    ),
    table({
      name: "Open messages by kind",
      rows: kinds,
      key: (kind) => kind,
      empty: "No message is open: everything that was accepted has been sent.",
      columns: [
        ["kind", (kind) => link("/processes", {}, kind), "lead"],
        ["queued", (kind) => number(of(kind, "queued")?.messages ?? 0), "number"],
        ["being sent", (kind) => number(of(kind, "sending")?.messages ?? 0), "number"],
        ["in doubt", (kind) => number(of(kind, "in_doubt")?.messages ?? 0), "number"],
        [
          "oldest",
          (kind) =>
            span(Math.max(...queues.queues.filter((row) => row.process === kind).map((row) => row.oldestSeconds))),
          "number narrow",
        ],
      ],
    }),
    el(
      "div",
      { className: "charts" },
      chart({
        name: "Waiting, by kind",
        series: history.queues.map((one) => ({ name: one.queue, points: one.waiting })),
        ...within,
      }),
      chart({
        name: "Age of the oldest, by kind",
        series: history.queues.map((one) => ({ name: one.queue, points: one.oldestSeconds })),
        format: span,
        ...within,
      }),
      chart({ name: `Sent ${each}, by kind`, series: ofKinds(history.slots, "sent"), ...within }),
      chart({ name: `Received ${each}, by kind`, series: ofKinds(history.slots, "received"), ...within }),
    ),
    el("h2", {}, "Connections whose messages wait"),
    table({
      name: "Connections whose messages wait",
      rows: queues.connections,
      key: (one) => `${one.companyId}/${one.phoneIndex}`,
      empty: "None.",
      columns: [
        [
          "connection",
          (one) =>
            link(
              `/connections/${encodeURIComponent(one.companyId)}/${one.phoneIndex}`,
              {},
              `${one.companyId} ${one.phoneIndex}`,
            ),
          "lead",
        ],
        ["queue", (one) => pill(one.paused ? "paused" : "active"), "lead"],
        ["type", (one) => one.connectionType],
        [
          "due",
          (one) =>
            one.due
              ? link(
                  "/messages",
                  { company: one.companyId, status: "queued", phoneIndex: one.phoneIndex },
                  number(one.due),
                )
              : "0",
          "number",
        ],
        ["oldest", (one) => span(one.oldestSeconds), "number narrow"],
        [
          "held",
          (one) => (one.held ? link("/letters", { company: one.companyId, held: "true" }, number(one.held)) : "0"),
          "number",
        ],
        [
          "failed in the last hour",
          (one) => (one.dead ? link("/letters", { company: one.companyId, held: "false" }, number(one.dead)) : "0"),
          "number",
        ],
      ],
    }),
  ];
}

export const queues = {
  name: "queues",
  title: () => "Queues",
  allowed: () => may("monitor", true),
  load,
  view,
  every: 4000,
};
