// API keys: who uses which, what each may do; make, limit, rotate, revoke.

import { get, may, own, path, send } from "/dashboard/api.js";
import { ask, reveal } from "/dashboard/dialog.js";
import { button, el, link } from "/dashboard/dom.js";
import { table } from "/dashboard/table.js";
import { clock, pill, quiet } from "/dashboard/words.js";
import { limits } from "/dashboard/page_companies.js";

const SCOPES = {
  send: "send, edit, delete and react; upload files",
  read: "messages, files, connections, sessions",
  manage: "change what is configured",
  operate: "intervene: pause, restart, redrive; health and metrics",
  monitor: "health and metrics, nothing else",
};

const load = (route) => get("/api/v2/keys", { companyId: route.query.company, after: route.query.after });
const stateOf = (one) =>
  one.revokedAt ? "revoked" : one.expiresAt && new Date(one.expiresAt) < new Date() ? "expired" : "active";

function make(context) {
  ask({
    title: "Make a key",
    fields: [
      { name: "name", label: "Who uses it", required: true, longest: 200 },
      ...(own.companyId
        ? []
        : [
            {
              name: "companyId",
              label: "Company",
              value: context.route.query.company ?? "",
              hint: "The only company that it reaches; empty: all of them",
            },
          ]),
      {
        name: "scopes",
        label: "What it may do",
        type: "checks",
        choices: Object.entries(SCOPES)
          .filter(([name]) => may(name))
          .map(([name, what]) => [name, `${name}: ${what}`]),
        value: ["send", "read"],
      },
      { name: "expiresAt", label: "Until", type: "datetime-local", hint: "Empty: it does not expire" },
    ],
    action: "Make it",
    run: async ({ name, companyId = own.companyId, scopes, expiresAt }) => {
      const made = await send("POST", "/api/v2/keys", {
        name,
        companyId: companyId || null,
        scopes,
        ...(expiresAt ? { expiresAt: new Date(expiresAt).toISOString() } : {}),
      });
      return () => reveal(`Key for ${made.name}`, "It is shown this once and kept nowhere.", made.key, context.after);
    },
  });
}

function rotate(one, context) {
  ask({
    title: `Rotate the key of ${one.name}`,
    text: "A new text for the same key. The old one is taken for a while longer.",
    fields: [
      {
        name: "minutes",
        label: "Minutes for which the old one is taken",
        type: "number",
        value: "60",
        low: 0,
        high: 43200,
        required: true,
      },
    ],
    action: "Rotate",
    run: async ({ minutes }) => {
      const made = await send("POST", path("api/v2/keys", one.id, "rotate"), { overlapSeconds: Number(minutes) * 60 });
      return () =>
        reveal(`New key for ${made.name}`, "It is shown this once and kept nowhere.", made.key, context.after);
    },
  });
}

function revoke(one, context) {
  ask({
    title: `Revoke the key of ${one.name}`,
    danger: true,
    action: "Revoke",
    match: one.prefix,
    text: "Within a second no process takes it any more, for good.",
    run: async () => {
      await send("DELETE", path("api/v2/keys", one.id));
      return `The key of ${one.name} is revoked`;
    },
    after: context.after,
  });
}

function acts(one, context) {
  if (stateOf(one) === "revoked") return [];
  return [
    button("Rotate", () => rotate(one, context), { "aria-label": `Rotate ${one.name}` }),
    may("manage", true)
      ? button(
          "Limits",
          () =>
            limits(
              `Limits of the key of ${one.name}`,
              path("api/v2/keys", one.id, "limits"),
              one.limits,
              context.after,
            ),
          { "aria-label": `Limits of ${one.name}`, className: "quietly" },
        )
      : null,
    button("Revoke", () => revoke(one, context), { "aria-label": `Revoke ${one.name}`, className: "quietly" }),
  ];
}

const limited = (one) =>
  Object.entries(one.limits)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} ${value || "none"}`)
    .join(", ");

function view(data, context) {
  return [
    context.route.query.company
      ? el("p", {}, "Of company ", el("strong", {}, context.route.query.company), " · ", link("/keys", {}, "All keys"))
      : null,
    el(
      "p",
      {},
      button("Make a key", () => make(context)),
    ),
    table({
      name: "API keys",
      rows: data.keys,
      key: (one) => one.id,
      empty: "There is no key beside the first one, which is the setting API_KEY or the file api_key.",
      columns: [
        ["name", (one) => one.name, "lead"],
        ["state", (one) => pill(stateOf(one)), "lead"],
        ["begins with", (one) => el("code", {}, one.prefix), "narrow"],
        ["company", (one) => one.companyId ?? quiet("all")],
        ["scopes", (one) => one.scopes.join(", ")],
        ["used", (one) => clock(one.lastUsedAt) || quiet("never"), "narrow"],
        ["until", (one) => clock(one.expiresAt), "narrow seldom"],
        ["old one until", (one) => clock(one.previousUntil), "narrow seldom"],
        ["limits", (one) => quiet(limited(one)), "seldom"],
        ["", (one) => acts(one, context), "acts"],
      ],
    }),
    data.next
      ? el(
          "p",
          { className: "pager" },
          link(context.route.path, { ...context.route.query, after: data.next }, "Next page"),
        )
      : null,
  ];
}

export const keys = { name: "keys", title: () => "Keys", allowed: () => may("manage"), load, view, every: 10000 };
