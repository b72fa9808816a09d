// Companies, the tenants: settings, limits, suspension, export, deletion.

import { address, get, may, own, path, request, send } from "/dashboard/api.js";
import { ask } from "/dashboard/dialog.js";
import { button, el, link } from "/dashboard/dom.js";
import { factList, table } from "/dashboard/table.js";
import { finished } from "/dashboard/tasks.js";
import { clock, number, pill, quiet } from "/dashboard/words.js";
import { troubleCard } from "/dashboard/page_now.js";

const placeOf = (id) => `/companies/${encodeURIComponent(id)}`;

async function load(route) {
  const [id] = route.parts;
  if (!id) return get("/api/v2/companies", { after: route.query.after });
  const [company, health, secrets] = await Promise.all([
    get(path("api/v2/companies", id)),
    may("monitor") ? get(path("api/v2/health", id), { limit: 200 }) : null,
    get(path("api/v2/companies", id, "secrets")),
  ]);
  return { company, health, secrets: secrets.secrets };
}

function list(data, context) {
  return [
    may("manage", true)
      ? el(
          "p",
          {},
          button("Create a company", () => create(context)),
        )
      : null,
    table({
      name: "Companies",
      rows: data.companies,
      key: (one) => one.companyId,
      empty: "There is no company yet.",
      columns: [
        ["company", (one) => (may("manage") ? link(placeOf(one.companyId), {}, one.companyId) : one.companyId), "lead"],
        ["state", (one) => pill(one.state), "lead"],
        ["name", (one) => one.name],
        ["connections", (one) => number(one.connections), "number"],
        ["when in doubt", (one) => one.inDoubtPolicy ?? quiet("as set for all")],
        ["created", (one) => clock(one.createdAt), "narrow"],
        ["why", (one) => quiet(one.stateReason), "seldom"],
      ],
    }),
    data.next ? el("p", { className: "pager" }, link(context.route.path, { after: data.next }, "Next page")) : null,
  ];
}

const POLICIES = [
  ["", "as set for all"],
  ["auto", "auto"],
  ["resend", "resend"],
  ["hold", "hold"],
];

function create(context) {
  ask({
    title: "Create a company",
    fields: [
      {
        name: "companyId",
        label: "Id",
        required: true,
        pattern: "[A-Za-z0-9_\\-]{1,64}",
        rule: "1 to 64 letters, digits, - and _",
        hint: "1 to 64 letters, digits, - and _; never changed",
      },
      { name: "name", label: "Name" },
      { name: "inDoubtPolicy", label: "When it is not known whether a message was sent", options: POLICIES },
    ],
    action: "Create",
    run: async ({ companyId, name, inDoubtPolicy }) => {
      await send("POST", "/api/v2/companies", {
        companyId,
        ...(name ? { name } : {}),
        ...(inDoubtPolicy ? { inDoubtPolicy } : {}),
      });
      return `Company ${companyId} was created`;
    },
    after: context.after,
  });
}

function change(one, context) {
  ask({
    title: `Change ${one.companyId}`,
    wide: true,
    fields: [
      { name: "name", label: "Name", value: one.name },
      {
        name: "inDoubtPolicy",
        label: "When it is not known whether a message was sent",
        options: POLICIES,
        value: one.inDoubtPolicy ?? "",
      },
      {
        name: "settings",
        label: "Settings (JSON)",
        type: "textarea",
        rows: 14,
        value: JSON.stringify(one.settings, null, 2),
        hint: "null gives a setting its default again; docs/companies.md lists them",
      },
    ],
    action: "Change",
    run: async ({ name, inDoubtPolicy, settings }) => {
      let parsed;
      try {
        parsed = JSON.parse(settings);
      } catch (error) {
        throw new Error(`The settings are no JSON: ${error.message}`);
      }
      // refused when somebody else changed it since it was shown
      await send(
        "PATCH",
        path("api/v2/companies", one.companyId),
        { name, inDoubtPolicy: inDoubtPolicy || null, settings: parsed },
        { "If-Match": `"${one.version}"` },
      );
      return `${one.companyId} is changed`;
    },
    after: context.after,
  });
}

export const LIMITS = [
  { name: "requestsPerSecond", label: "Requests a second", type: "number", low: 0 },
  { name: "messagesPerSecond", label: "Messages a second", type: "number", low: 0 },
  { name: "fileMegabytesPerHour", label: "Megabytes of files an hour", type: "number", low: 0 },
  { name: "openWaits", label: "Open waits and streams", type: "number", low: 0 },
];
/** Ask for limits of a key or a company. */
export function limits(title, place, values, after) {
  ask({
    title,
    text: "Empty: the setting decides; 0: no limit.",
    fields: LIMITS.map((one) => ({ ...one, value: values?.[one.name] ?? "" })),
    action: "Set",
    run: async (given) => {
      await send(
        "PUT",
        place,
        Object.fromEntries(
          Object.entries(given)
            .filter(([, value]) => value !== "")
            .map(([name, value]) => [name, Number(value)]),
        ),
      );
      return "The limits hold within a second";
    },
    after,
  });
}

function suspend(one, context) {
  ask({
    title: `Suspend ${one.companyId}`,
    danger: true,
    action: "Suspend",
    match: one.companyId,
    text: "Its keys are refused and nothing is sent for it. What comes in is kept; what waits is sent when it is resumed.",
    fields: [{ name: "reason", label: "Reason", longest: 200, hint: "Shown with the company, also to its keys" }],
    run: async ({ reason }) => {
      await send("POST", path("api/v2/companies", one.companyId, "suspend"), { reason });
      return `${one.companyId} is suspended`;
    },
    after: context.after,
  });
}

function resume(one, context) {
  ask({
    title: `Resume ${one.companyId}`,
    text: "What waits is sent, in its order.",
    action: "Resume",
    run: async () => {
      await send("POST", path("api/v2/companies", one.companyId, "resume"));
      return `${one.companyId} is resumed`;
    },
    after: context.after,
  });
}

function exported(one) {
  ask({
    title: `Export ${one.companyId}`,
    text: "Everything of it but its secrets, as one archive. A large company takes a while; it goes on when this is closed.",
    action: "Export",
    run: async (_, progress) => {
      const task = await finished(
        one.companyId,
        await send("POST", path("api/v2/companies", one.companyId, "export")),
        (now) => progress(`${now.status} ${now.progress ? JSON.stringify(now.progress) : ""}`),
      );
      progress("Downloading…");
      // by a request with the key: an address alone must not open it
      const blob = await (await request("GET", task.result.url, { signal: AbortSignal.timeout(3600000) })).blob();
      const url = URL.createObjectURL(blob);
      el("a", { href: url, download: `${one.companyId}.tar.gz` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60000);
      return "The archive is downloaded";
    },
  });
}

function remove(one, context) {
  ask({
    title: `Delete ${one.companyId}`,
    danger: true,
    action: "Delete everything of it",
    match: one.companyId,
    text: "Its connections, messages, contacts, files, keys and webhooks are deleted. There is no way back; an export may be made first.",
    run: async () => {
      await send("DELETE", address(path("api/v2/companies", one.companyId), { confirm: one.companyId }));
      location.hash = "#/companies";
      return `${one.companyId} is being deleted`;
    },
    after: context.after,
  });
}

function secret(one, context, name = "") {
  ask({
    title: name ? `Set ${name} anew` : `Add a secret of ${one.companyId}`,
    text: "Kept encrypted and never shown.",
    fields: [
      ...(name ? [] : [{ name: "name", label: "Name", required: true }]),
      { name: "value", label: "Value", type: "password", required: true },
    ],
    action: "Set",
    run: async (given) => {
      await send("PUT", path("api/v2/companies", one.companyId, "secrets", name || given.name), { value: given.value });
      return "The secret is set";
    },
    after: context.after,
  });
}

function single({ company: one, health, secrets }, context) {
  const troubles = health ? [...health.troubles, ...health.connections.flatMap((row) => row.troubles)] : [];
  return [
    el("p", {}, link("/companies", {}, "All companies")),
    el(
      "p",
      { className: "big" },
      pill(one.state),
      " ",
      health ? pill(health.status) : "",
      " ",
      button("Change", () => change(one, context)),
      may("manage", true)
        ? [
            one.state === "suspended"
              ? button("Resume", () => resume(one, context))
              : one.state === "active"
                ? button("Suspend", () => suspend(one, context))
                : null,
            button("Limits", () =>
              limits(
                `Limits of all keys of ${one.companyId} together`,
                path("api/v2/companies", one.companyId, "limits"),
                null,
                context.after,
              ),
            ),
          ]
        : null,
      may("read") ? button("Export", () => exported(one)) : null,
      may("manage", true) && one.state !== "deleting"
        ? button("Delete", () => remove(one, context), { className: "danger" })
        : null,
    ),
    one.stateReason ? el("p", { className: "note" }, one.stateReason) : null,
    troubles.length ? el("ul", { className: "troubles" }, troubles.map(troubleCard)) : null,
    factList([
      ["name", one.name],
      ["when in doubt", one.inDoubtPolicy ?? "as set for all"],
      ["connections", number(one.connections)],
      ["in this state since", clock(one.stateAt)],
      ["created", clock(one.createdAt)],
      ["version", String(one.version)],
    ]),
    el(
      "p",
      {},
      may("read") ? [link("/messages", { company: one.companyId }, "Messages"), " · "] : "",
      may("operate") ? [link("/letters", { company: one.companyId }, "Dead letters"), " · "] : "",
      link("/hooks", { company: one.companyId }, "Webhooks"),
      " · ",
      link("/keys", { company: one.companyId }, "Keys"),
    ),
    el("h2", {}, "Settings"),
    el("pre", { tabindex: "0", "aria-label": "Settings" }, JSON.stringify(one.settings, null, 2)),
    el("h2", {}, "Secrets"),
    el(
      "p",
      {},
      button("Add a secret", () => secret(one, context)),
    ),
    table({
      name: "Secrets",
      rows: secrets,
      key: (row) => row.name,
      empty: "It has none.",
      columns: [
        ["name", (row) => row.name, "lead"],
        ["set", (row) => clock(row.updatedAt), "narrow"],
        [
          "",
          (row) => [
            button("Set anew", () => secret(one, context, row.name)),
            button(
              "Remove",
              () =>
                ask({
                  title: `Remove ${row.name}`,
                  danger: true,
                  action: "Remove",
                  text: "What uses it stops working.",
                  run: async () => {
                    await send("DELETE", path("api/v2/companies", one.companyId, "secrets", row.name));
                    return `${row.name} is removed`;
                  },
                  after: context.after,
                }),
              { className: "quietly" },
            ),
          ],
          "acts",
        ],
      ],
    }),
  ];
}

function view(data, context) {
  return data.company ? single(data, context) : list(data, context);
}

export const companies = {
  name: "companies",
  title: (route) => (route.parts?.[0] ? `Company ${route.parts[0]}` : own?.companyId ? "Company" : "Companies"),
  allowed: () => may("read") || may("manage", true),
  load,
  view,
  every: 10000,
};
