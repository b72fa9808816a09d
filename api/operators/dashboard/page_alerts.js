// Alerts and silences.

import { get, may, path, send } from "/dashboard/api.js";
import { ask } from "/dashboard/dialog.js";
import { button, el, href } from "/dashboard/dom.js";
import { pager, table } from "/dashboard/table.js";
import { clock, pill, quiet, span } from "/dashboard/words.js";

async function load(route) {
  const { state, cursor } = route.query;
  const [page, silences] = await Promise.all([
    get("/api/v2/alerts", { state, cursor, limit: 50 }),
    get("/api/v2/alerts/silences"),
  ]);
  return { page, silences: silences.silences };
}

const labels = (one) =>
  Object.entries(one.labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");

function silence(one, context) {
  ask({
    title: one ? `Silence ${one.name}` : "Silence alerts",
    text: "No events are written and no webhook is sent; they are listed all the same. What is still on when it ends gets its event then.",
    fields: [
      ...(one ? [] : [{ name: "name", label: "Alert", hint: "For example ProcessDown; empty: all" }]),
      {
        name: "labels",
        label: "Only with these labels",
        value: one ? labels(one) : "",
        hint: "For example slot=meta-0; empty: whatever they are about",
      },
      { name: "minutes", label: "Minutes", type: "number", value: "60", low: 1, high: 43200, required: true },
      { name: "reason", label: "Reason", required: true, longest: 500 },
    ],
    action: "Silence",
    run: async ({ name = one?.name, labels: given, minutes, reason }) => {
      const pairs = given
        .split(/\s+/)
        .filter(Boolean)
        .map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]);
      await send("POST", "/api/v2/alerts/silences", {
        ...(name ? { name } : {}),
        ...(pairs.length ? { labels: Object.fromEntries(pairs) } : {}),
        seconds: Number(minutes) * 60,
        reason,
      });
      return "It is silenced";
    },
    after: context.after,
  });
}

function view({ page, silences }, context) {
  const { route } = context;
  const chosen = route.query.state ?? "";
  const mayAct = may("operate", true);
  return [
    el(
      "p",
      { className: "choices" },
      [
        ["", "all"],
        ["on", "on"],
        ["ended", "ended"],
      ].map(([value, label]) =>
        el(
          "a",
          { href: href(route.path, { state: value }), "aria-current": value === chosen ? "true" : undefined },
          label,
        ),
      ),
      mayAct ? button("Silence alerts", () => silence(null, context)) : null,
    ),
    table({
      name: "Alerts",
      rows: page.alerts,
      key: (one) => one.id,
      empty: "No alert has fired.",
      columns: [
        ["alert", (one) => one.name, "lead"],
        ["state", (one) => [pill(one.state), one.silenced ? [" ", pill("notice", "silenced")] : ""], "lead"],
        ["severity", (one) => pill(one.severity)],
        ["what", (one) => one.summary, "text"],
        ["about", (one) => quiet(labels(one))],
        ["fired", (one) => clock(one.firedAt), "narrow"],
        [
          "lasted",
          (one) => (one.endedAt ? span((Date.parse(one.endedAt) - Date.parse(one.firedAt)) / 1000) : ""),
          "narrow seldom",
        ],
        ["runbook", (one) => (one.runbook ? el("code", {}, one.runbook) : ""), "seldom"],
        [
          "",
          (one) =>
            mayAct && one.state === "on"
              ? button("Silence", () => silence(one, context), { "aria-label": `Silence ${one.name} ${labels(one)}` })
              : null,
          "acts",
        ],
      ],
    }),
    pager(route, page.next),
    el("h2", {}, "Silences"),
    table({
      name: "Silences",
      rows: silences,
      key: (one) => one.id,
      empty: "Nothing is silenced.",
      columns: [
        ["alert", (one) => one.name ?? "all", "lead"],
        ["until", (one) => clock(one.until), "narrow lead"],
        ["about", (one) => quiet(labels(one)), "seldom"],
        ["reason", (one) => one.reason, "text"],
        ["by", (one) => one.createdBy],
        [
          "",
          (one) =>
            mayAct
              ? button("End", () =>
                  ask({
                    title: `End the silence of ${one.name ?? "all alerts"}`,
                    text: "What is still on gets its event now.",
                    action: "End it",
                    run: async () => {
                      await send("DELETE", path("api/v2/alerts/silences", one.id));
                      return "The silence is ended";
                    },
                    after: context.after,
                  }),
                )
              : null,
          "acts",
        ],
      ],
    }),
  ];
}

export const alerts = {
  name: "alerts",
  title: () => "Alerts",
  allowed: () => may("monitor", true),
  load,
  view,
  every: 5000,
};
