// Webhooks: what goes out to whom, and what providers sent in; deliveries, replay, test.

import { get, may, path, send } from "/dashboard/api.js";
import { companyChoice, companyOf } from "/dashboard/company.js";
import { ask, reveal } from "/dashboard/dialog.js";
import { button, el, href, link } from "/dashboard/dom.js";
import { factList, pager, table } from "/dashboard/table.js";
import { clock, number, pill, quiet } from "/dashboard/words.js";

/** In place of a company: webhooks of the installation, which get its alerts, and starts and ends of processes. */
const INSTALLATION = "*";
const place = (company) => (company === INSTALLATION ? ["api/v2/installation/hooks"] : ["api/v2/hooks", company]);
const whose = (company) => (company === INSTALLATION ? "the installation" : company);
const placeOf = (company, id) => `/hooks/${encodeURIComponent(company)}/${id}`;
const stateOf = (one) => (one.state === "active" && one.failingSince ? "failing" : one.state);

async function load(route) {
  if (route.parts[0] === "received") return loadReceived(route);
  if (route.parts.length === 2) {
    const [company, id] = route.parts;
    const [hook, page] = await Promise.all([
      get(path(...place(company), id)),
      get(path(...place(company), id, "deliveries"), {
        outcome: route.query.outcome,
        cursor: route.query.cursor,
      }),
    ]);
    return { company, hook, page };
  }
  if (route.parts[0] === INSTALLATION)
    return { chosen: { company: INSTALLATION }, hooks: (await get(path(...place(INSTALLATION)))).hooks };
  const chosen = await companyOf(route);
  return { chosen, hooks: chosen.company ? (await get(path("api/v2/hooks", chosen.company))).hooks : [] };
}

async function loadReceived(route) {
  const [, id] = route.parts;
  if (id) return { raw: await get(path("api/v2/raw-events", id)) };
  return { received: await get("/api/v2/raw-events", { chosen: route.query.chosen, cursor: route.query.cursor }) };
}

const list_ = (text) => text.split(/[\s,]+/).filter(Boolean);

function add(company, context) {
  ask({
    title: `Add a webhook of ${whose(company)}`,
    fields: [
      { name: "url", label: "Address", type: "url", required: true, hint: "Where events are posted to" },
      {
        name: "types",
        label: "Types",
        hint: `Separated by commas, ${company === INSTALLATION ? "alert.*" : "message.*"} for all of a subject; empty: all`,
      },
      ...(company === INSTALLATION
        ? []
        : [{ name: "phoneIndexes", label: "Connections", hint: "Separated by commas; empty: all" }]),
      {
        name: "headers",
        label: "Headers",
        type: "textarea",
        rows: 2,
        hint: "That each delivery has: one Name: value a line. Kept encrypted and never shown",
      },
    ],
    action: "Add",
    run: async ({ url, types, phoneIndexes = "", headers }) => {
      const pairs = headers
        .split("\n")
        .filter((line) => line.trim())
        .map((line) => [line.slice(0, line.indexOf(":")).trim(), line.slice(line.indexOf(":") + 1).trim()]);
      const made = await send("POST", path(...place(company)), {
        url,
        types: list_(types),
        ...(company === INSTALLATION ? {} : { phoneIndexes: list_(phoneIndexes).map(Number) }),
        ...(pairs.length ? { headers: Object.fromEntries(pairs) } : {}),
      });
      return () =>
        reveal(
          "Secret of the webhook",
          "Deliveries are signed with it. It is shown this once.",
          made.secret,
          context.after,
        );
    },
  });
}

function change(company, one, context) {
  ask({
    title: `Change webhook ${one.id}`,
    fields: [
      { name: "url", label: "Address", type: "url", required: true, value: one.url },
      { name: "types", label: "Types", value: one.types.join(", "), hint: "Separated by commas; empty: all" },
    ],
    action: "Change",
    run: async ({ url, types }) => {
      await send("PATCH", path(...place(company), one.id), { url, types: list_(types) });
      return "It is changed";
    },
    after: context.after,
  });
}

function acts(company, one, context) {
  const at = [...place(company), one.id];
  return [
    button(
      "Test",
      () =>
        ask({
          title: `Test webhook ${one.id}`,
          text: `A test event is delivered to ${one.url}.`,
          action: "Deliver a test",
          run: async () => {
            await send("POST", path(...at, "test"));
            return "The test is delivered";
          },
          after: context.after,
        }),
      { "aria-label": `Test webhook ${one.id}` },
    ),
    one.state === "active"
      ? button(
          "Pause",
          () =>
            ask({
              title: `Pause webhook ${one.id}`,
              text: "Events wait until it is active again.",
              action: "Pause",
              run: async () => {
                await send("PATCH", path(...at), { state: "paused" });
                return "It is paused";
              },
              after: context.after,
            }),
          { "aria-label": `Pause webhook ${one.id}`, className: "quietly" },
        )
      : button(
          "Activate",
          () =>
            ask({
              title: `Activate webhook ${one.id}`,
              text: "It gets what waits, then what comes.",
              action: "Activate",
              run: async () => {
                await send("PATCH", path(...at), { state: "active" });
                return "It is active";
              },
              after: context.after,
            }),
          { "aria-label": `Activate webhook ${one.id}` },
        ),
  ];
}

function tabs(shown) {
  const offered = [
    ["", "to subscribers", true],
    [INSTALLATION, "of the installation", may("manage", true)],
    ["received", "received from providers", may("operate", true)],
  ].filter(([, , allowed]) => allowed);
  return offered.length > 1
    ? el(
        "p",
        { className: "choices" },
        offered.map(([part, label]) =>
          el(
            "a",
            { href: href(part ? `/hooks/${part}` : "/hooks"), "aria-current": part === shown ? "true" : undefined },
            label,
          ),
        ),
      )
    : null;
}

function list({ chosen, hooks: rows }, context) {
  const { company } = chosen;
  return [
    tabs(company === INSTALLATION ? INSTALLATION : ""),
    company === INSTALLATION
      ? el("p", { className: "quiet" }, "They get alerts, and starts and ends of processes.")
      : companyChoice(context.route, chosen),
    company
      ? el(
          "p",
          {},
          button("Add a webhook", () => add(company, context)),
        )
      : null,
    table({
      name: "Webhooks",
      rows,
      key: (one) => one.id,
      empty:
        company === INSTALLATION
          ? "No alert leaves this installation: the installation has no webhook."
          : "The company has no webhook.",
      columns: [
        ["webhook", (one) => link(placeOf(company, one.id), {}, one.id), "lead narrow"],
        ["state", (one) => pill(stateOf(one)), "lead"],
        ["address", (one) => one.url, "text"],
        ["types", (one) => one.types.join(", ") || quiet("all")],
        ["waiting", (one) => number(one.waiting), "number"],
        ["given up", (one) => number(one.deadLetters), "number"],
        ["fails since", (one) => clock(one.failingSince), "narrow seldom"],
        ["why", (one) => quiet(one.stateReason), "seldom"],
        ["", (one) => acts(company, one, context), "acts"],
      ],
    }),
  ];
}

function replay(company, one, context) {
  ask({
    title: `Replay to webhook ${one.id}`,
    text: "The subscriber gets these events once more, with the same ids.",
    fields: [
      {
        name: "what",
        label: "What",
        options: [
          ["deadLetters", `what was given up (${one.deadLetters})`],
          ["since", "everything since an instant"],
          ["eventIds", "these events"],
        ],
      },
      { name: "since", label: "Since", type: "datetime-local" },
      { name: "eventIds", label: "Events", hint: "Their ids, separated by commas" },
    ],
    action: "Replay",
    run: async ({ what, since, eventIds }) => {
      if (what === "since" && !since) throw new Error("Choose the instant.");
      if (what === "eventIds" && !eventIds.trim()) throw new Error("Name the events.");
      const answer = await send(
        "POST",
        path(...place(company), one.id, "replay"),
        what === "since"
          ? { since: new Date(since).toISOString() }
          : what === "eventIds"
            ? { eventIds: list_(eventIds) }
            : { deadLetters: true },
      );
      return answer.events === null
        ? "It goes back and delivers from there"
        : `${number(answer.events)} events are delivered again`;
    },
    after: context.after,
  });
}

function single({ company, hook: one, page }, context) {
  const { route } = context;
  const at = [...place(company), one.id];
  const chosen = route.query.outcome ?? "";
  return [
    el("p", {}, company === INSTALLATION ? link(`/hooks/${company}`, {}, "All of the installation") : link("/hooks", { company }, "All webhooks")),
    el(
      "p",
      { className: "big" },
      pill(stateOf(one)),
      " ",
      acts(company, one, context),
      // alerts that were missed are rows: the page Alerts has them
      company === INSTALLATION ? null : button("Replay", () => replay(company, one, context)),
      button("Change", () => change(company, one, context)),
      button("New secret", () =>
        ask({
          title: `New secret for webhook ${one.id}`,
          text: "For a day the one before also signs.",
          action: "Make it",
          run: async () => {
            const made = await send("POST", path(...at, "rotate"));
            return () => reveal("Secret of the webhook", "It is shown this once.", made.secret, context.after);
          },
        }),
      ),
      button(
        "Remove",
        () =>
          ask({
            title: `Remove webhook ${one.id}`,
            danger: true,
            action: "Remove",
            text: "It gets nothing any more; what waits for it is dropped.",
            match: one.id,
            run: async () => {
              await send("DELETE", path(...at));
              location.hash = company === INSTALLATION ? href(`/hooks/${company}`) : href("/hooks", { company });
              return "It is removed";
            },
            after: context.after,
          }),
        { className: "quietly" },
      ),
    ),
    one.stateReason ? el("p", { className: "note" }, one.stateReason) : null,
    factList([
      ["address", one.url],
      ["types", one.types.join(", ") || "all"],
      ["connections", company === INSTALLATION ? null : one.phoneIndexes.join(", ") || "all"],
      ["headers", one.headers.join(", ")],
      ["waiting", number(one.waiting)],
      ["given up", number(one.deadLetters)],
      ["fails since", one.failingSince && clock(one.failingSince)],
      ["former secret until", one.formerSecretUntil && clock(one.formerSecretUntil)],
    ]),
    el("h2", {}, "Attempts"),
    el(
      "p",
      { className: "choices" },
      [
        ["", "all"],
        ["taken", "taken"],
        ["failed", "failed"],
        ["dead", "given up"],
      ].map(([value, label]) =>
        el(
          "a",
          { href: href(route.path, { outcome: value }), "aria-current": value === chosen ? "true" : undefined },
          label,
        ),
      ),
    ),
    table({
      name: "Attempts of deliveries",
      rows: page.deliveries,
      key: (row, at) => `${row.eventId}-${row.attempt}-${at}`,
      empty: "None.",
      columns: [
        ["at", (row) => clock(row.at), "narrow lead"],
        ["outcome", (row) => pill(row.outcome), "lead"],
        ["event", (row) => [row.type, " ", quiet(row.eventId)]],
        ["attempt", (row) => String(row.attempt), "number"],
        ["answer", (row) => (row.statusCode === null ? "" : String(row.statusCode)), "number"],
        ["took", (row) => (row.tookMs === null ? "" : `${row.tookMs} ms`), "number narrow"],
        ["error", (row) => quiet(row.error), "seldom"],
        [
          "",
          (row) =>
            row.outcome === "taken" || company === INSTALLATION
              ? null
              : button("Deliver again", () =>
                  ask({
                    title: `Deliver ${row.eventId} again`,
                    text: `To ${one.url}.`,
                    action: "Deliver",
                    run: async () => {
                      await send("POST", path(...at, "replay"), { eventIds: [row.eventId] });
                      return "It is delivered again";
                    },
                    after: context.after,
                  }),
                ),
          "acts",
        ],
      ],
    }),
    pager(route, page.next),
  ];
}

function again(context, count) {
  ask({
    title: "Process failed webhooks again",
    text: `What is already known does not change.${count ? ` At least ${count} failed.` : ""}`,
    action: "Process them again",
    run: async (_, progress) => {
      let done = 0;
      let before = null;
      do {
        const answer = await send("POST", "/api/v2/raw-events/replay", {
          chosen: "failed",
          ...(before ? { before } : {}),
        });
        done += answer.replayed;
        before = answer.next;
        progress(`${number(done)} wait to be processed`);
      } while (before);
      return `${number(done)} webhooks are processed again`;
    },
    after: context.after,
  });
}

function received({ received: page }, context) {
  const { route } = context;
  const chosen = route.query.chosen ?? "";
  return [
    tabs("received"),
    el(
      "p",
      { className: "choices" },
      [
        ["", "all"],
        ["failed", "failed"],
        ["named", "not fully understood"],
        ["waiting", "waiting"],
      ].map(([value, label]) =>
        el(
          "a",
          { href: href(route.path, { chosen: value }), "aria-current": value === chosen ? "true" : undefined },
          label,
        ),
      ),
    ),
    chosen === "failed" && page.events.length
      ? el(
          "p",
          {},
          button("Process all that failed again", () => again(context, page.events.length)),
        )
      : null,
    table({
      name: "Webhooks received",
      rows: page.events,
      key: (one) => one.id,
      empty: "None.",
      columns: [
        ["event", (one) => link(`/hooks/received/${one.id}`, {}, one.id), "lead narrow"],
        [
          "state",
          (one) =>
            pill(
              one.processedAt === null ? "queued" : one.outcome?.startsWith("failed") ? "failed" : "done",
              one.processedAt === null ? "waiting" : undefined,
            ),
          "lead",
        ],
        ["from", (one) => one.source],
        ["received", (one) => clock(one.receivedAt), "narrow"],
        ["attempts", (one) => String(one.attempts), "number"],
        ["bytes", (one) => number(one.bytes), "number"],
        ["outcome", (one) => quiet(one.outcome), "seldom text"],
      ],
    }),
    pager(route, page.next),
  ];
}

function rawEvent({ raw: one }, context) {
  let body = one.body;
  try {
    body = JSON.stringify(JSON.parse(one.body), null, 2);
  } catch {
    /* shown as it came */
  }
  return [
    el("p", {}, link("/hooks/received", {}, "All that were received")),
    el(
      "p",
      { className: "big" },
      button("Process it again", () =>
        ask({
          title: `Process ${one.id} again`,
          text: "What is already known does not change.",
          action: "Process it",
          run: async () => {
            await send("POST", path("api/v2/raw-events", one.id, "replay"));
            return "It is processed again";
          },
          after: context.after,
        }),
      ),
    ),
    factList([
      ["from", one.source],
      ["received", clock(one.receivedAt)],
      ["processed", one.processedAt && clock(one.processedAt)],
      ["attempts", String(one.attempts)],
      ["outcome", one.outcome],
    ]),
    el("pre", { tabindex: "0", "aria-label": "Body" }, body),
  ];
}

function view(data, context) {
  if (data.raw) return rawEvent(data, context);
  if (data.received) return received(data, context);
  return data.hook ? single(data, context) : list(data, context);
}

export const hooks = {
  name: "hooks",
  title: (route) =>
    route.parts?.[0] === "received"
      ? `Received ${route.parts[1] ?? "webhooks"}`
      : route.parts?.length === 2
        ? `Webhook ${route.parts[1]} of ${whose(route.parts[0])}`
        : "Webhooks",
  allowed: () => may("manage"),
  load,
  view,
  every: 6000,
};
