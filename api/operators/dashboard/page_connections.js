// Connections and sessions: state and number of each; link, pause, test, restart, change and remove one.

import { address, get, may, own, path, request, send } from "/dashboard/api.js";
import { companyChoice, companyOf } from "/dashboard/company.js";
import { ask } from "/dashboard/dialog.js";
import { button, el, link } from "/dashboard/dom.js";
import { factList, pager, table } from "/dashboard/table.js";
import { clock, megabytes, pill, quiet, words } from "/dashboard/words.js";
import { finished } from "/dashboard/tasks.js";

const placeOf = (one) => `/connections/${encodeURIComponent(one.companyId)}/${one.phoneIndex}`;
const named = (one) => `${one.companyId} ${one.phoneIndex}`;
const isSession = (one) => one.connectionType === "wwebjs";
const details = (one) => [...new Set([one.statusReason, one.warning, one.detail].filter(Boolean))].join("; ");

async function load(route) {
  if (route.parts.length === 2) return loadOne(route);
  if (may("operate", true)) return { all: await get("/api/v2/connections", { cursor: route.query.cursor }) };
  const chosen = await companyOf(route);
  const { connections } = chosen.company ? await get(path("api/v2/connections", chosen.company)) : { connections: [] };
  return {
    chosen,
    all: {
      connections: connections.map((one) => ({
        ...one,
        companyId: chosen.company,
        name: one.options.name,
        quality: null,
        tier: null,
        browser: null,
      })),
      next: null,
    },
  };
}

async function loadOne(route) {
  const [companyId, phoneIndex] = route.parts;
  const connection = await get(path("api/v2/connections", companyId, phoneIndex));
  const found = { companyId, connection: { ...connection, companyId } };
  if (!isSession(connection)) return found;
  const [session, events] = await Promise.all([
    get(path("api/v2/sessions", companyId, phoneIndex)),
    get(address(path("api/v2/sessions", companyId, phoneIndex, "events"), { limit: 20 })),
  ]);
  const qr = session.qr && may("manage") ? await picture(companyId, phoneIndex) : null;
  return { ...found, session, events: events.events, qr };
}

let shown = { drawing: "", url: "" };
async function picture(companyId, phoneIndex) {
  try {
    const drawing = await (
      await request("GET", address(path("api/v2/sessions", companyId, phoneIndex, "qr"), { format: "svg" }))
    ).text();
    if (drawing !== shown.drawing) {
      URL.revokeObjectURL(shown.url);
      shown = { drawing, url: URL.createObjectURL(new Blob([drawing], { type: "image/svg+xml" })) };
    }
    return shown.url;
  } catch (error) {
    // between two codes there is none for a moment
    if (error.type === "code_absent") return null;
    throw error;
  }
}

function acts(one, context) {
  if (!may("operate")) return [];
  const place = ["api/v2/connections", one.companyId, one.phoneIndex];
  return [
    one.status === "paused"
      ? button(
          "Resume",
          () =>
            ask({
              title: `Resume ${named(one)}`,
              text: `Its queue is paused: ${one.statusReason ?? "no reason given"}. What waits is sent, in its order.`,
              action: "Resume",
              run: async () => {
                await send("POST", path(...place, "resume"));
                return `${named(one)} is resumed`;
              },
              after: context.after,
            }),
          { "aria-label": `Resume ${named(one)}` },
        )
      : button(
          "Pause",
          () =>
            ask({
              title: `Pause ${named(one)}`,
              text: "Messages are accepted and wait until it is resumed.",
              fields: [
                { name: "reason", label: "Reason", required: true, value: "an operator paused it", longest: 200 },
              ],
              action: "Pause",
              run: async ({ reason }) => {
                await send("POST", path(...place), { status: "paused", reason });
                return `${named(one)} is paused`;
              },
              after: context.after,
            }),
          { "aria-label": `Pause ${named(one)}` },
        ),
    button("Test", () => test(one, context), { "aria-label": `Test ${named(one)}` }),
  ];
}

function test(one, context) {
  ask({
    title: `Test ${named(one)}`,
    text: "Asks the provider about number, token and webhooks, or the page of the session whether it works. Nothing is sent to anybody.",
    action: "Test",
    run: async (_, progress) => {
      progress("Asking…");
      const task = await finished(
        one.companyId,
        await send("POST", path("api/v2/connections", one.companyId, one.phoneIndex, "test")),
      );
      results.set(named(one), task.result ?? {});
      return `${named(one)} answered`;
    },
    after: context.after,
  });
}
const results = new Map();

function list(data, context) {
  const rows = data.all.connections;
  return [
    data.chosen ? companyChoice(context.route, data.chosen) : null,
    may("manage")
      ? el(
          "p",
          {},
          button("Add a connection", () => add(data, context)),
          " ",
          button("Embedded signup", () => signUp(data, context)),
        )
      : null,
    table({
      name: "Connections",
      rows,
      key: named,
      empty: "There is no connection yet.",
      columns: [
        ["connection", (one) => link(placeOf(one), {}, named(one)), "narrow lead"],
        ["state", (one) => pill(one.state), "lead"],
        ["queue", (one) => pill(one.status)],
        ["name", (one) => one.name, "seldom"],
        ["type", (one) => one.connectionType],
        ["number", (one) => one.account, "narrow seldom"],
        ["desired", (one) => quiet(isSession(one) && one.desired !== "linked" ? words(one.desired) : ""), "seldom"],
        ["proved", (one) => clock(one.provedAt), "narrow seldom"],
        [
          "quality",
          (one) =>
            quiet(
              [one.quality, one.tier]
                .filter(Boolean)
                .map((text) => words(text.toLowerCase()))
                .join(" "),
            ),
          "narrow seldom",
        ],
        ["memory", (one) => megabytes(one.browser?.pssMb), "number narrow seldom"],
        ["detail", (one) => quiet(details(one)), "seldom"],
        [
          "",
          (one) => [
            one.state === "needs_link" || one.state === "logged_out" ? link(placeOf(one), {}, "Link") : null,
            acts(one, context),
          ],
          "acts",
        ],
      ],
    }),
    pager(context.route, data.all.next),
  ];
}

const TYPES = [
  ["meta_direct", "Meta Cloud API"],
  ["meta_embedded", "Meta, by embedded signup"],
  ["360dialog", "360dialog"],
  ["wwebjs", "WhatsApp Web session"],
  ["messenger", "Messenger"],
  ["instagram", "Instagram"],
];
const CREDENTIALS = [
  { name: "accountId", label: "Account id", hint: "Of the number, the Page or the account; none for a session" },
  { name: "wabaId", label: "WABA id", hint: "Of Meta's numbers" },
  { name: "accessToken", label: "Access token", type: "password", hint: "Kept encrypted and never shown" },
  { name: "apiKey", label: "360dialog API key", type: "password" },
];
const OPTIONS = {
  name: "options",
  label: "Options (JSON)",
  hint: 'For example {"messagesPerSecond": 40}; docs/connections.md lists them',
};
/** What was filled in. Throws when the options are no JSON. */
function given({ options = "", ...values }) {
  const filled = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ""));
  if (!options.trim()) return filled;
  try {
    return { ...filled, options: JSON.parse(options) };
  } catch (error) {
    throw new Error(`The options are no JSON: ${error.message}`);
  }
}

function add(data, context) {
  ask({
    title: "Add a connection",
    fields: [
      {
        name: "companyId",
        label: "Company",
        required: true,
        value: own.companyId ?? data.chosen?.company ?? data.all.connections[0]?.companyId ?? "",
      },
      { name: "connectionType", label: "Type", options: TYPES },
      ...CREDENTIALS,
      OPTIONS,
    ],
    action: "Add",
    run: async ({ companyId, ...values }) => {
      const made = await send("POST", path("api/v2/connections", companyId), given(values));
      location.hash = `#/connections/${encodeURIComponent(companyId)}/${made.phoneIndex}`;
      return `Connection ${made.phoneIndex} of ${companyId} was added`;
    },
    after: context.after,
  });
}

function change(one, context) {
  ask({
    title: `Change ${named(one)}`,
    text: "Only what is filled in changes. New credentials resume a connection that was paused for the old ones.",
    fields: [...CREDENTIALS, OPTIONS],
    action: "Change",
    run: async (values) => {
      await send("PATCH", path("api/v2/connections", one.companyId, one.phoneIndex), given(values));
      return `${named(one)} is changed`;
    },
    after: context.after,
  });
}

function signUp(data, context) {
  ask({
    title: "Continue an embedded signup",
    text: "What the browser's signup at Meta returned. The code lives for 30 seconds; without one, a signup goes on where it stopped.",
    fields: [
      {
        name: "companyId",
        label: "Company",
        required: true,
        value: own.companyId ?? data.chosen?.company ?? data.all.connections[0]?.companyId ?? "",
      },
      { name: "code", label: "Code", hint: "Of FB.login" },
      { name: "wabaId", label: "WABA id", required: true, pattern: "[0-9]+", rule: "digits" },
      { name: "phoneNumberId", label: "Phone number id", required: true, pattern: "[0-9]+", rule: "digits" },
      { name: "pin", label: "Two-step PIN", pattern: "[0-9]{6}", rule: "six digits", hint: "Empty: one is made" },
      {
        name: "coexistence",
        label: "The number",
        type: "checks",
        choices: [["true", "stays on the WhatsApp Business app"]],
      },
    ],
    action: "Sign up",
    run: async ({ companyId, coexistence, ...values }, progress) => {
      const asked = { ...given(values), ...(coexistence.length ? { coexistence: true } : {}) };
      const task = await finished(companyId, await send("POST", path("api/v2/signup", companyId), asked), (now) =>
        progress(`${words(now.status)} ${now.progress ? JSON.stringify(now.progress) : ""}`),
      );
      if (task.result?.phoneIndex !== undefined)
        location.hash = `#/connections/${encodeURIComponent(companyId)}/${task.result.phoneIndex}`;
      return "The number is connected";
    },
    after: context.after,
  });
}

function subscribe(one, context) {
  ask({
    title: `Subscribe ${named(one)}`,
    text: "The provider posts its webhooks to this installation from then on.",
    action: "Subscribe",
    run: async (_, progress) => {
      progress("Asking the provider…");
      await finished(
        one.companyId,
        await send("POST", path("api/v2/connections", one.companyId, one.phoneIndex, "webhook")),
      );
      return `The webhooks of ${named(one)} come here`;
    },
    after: context.after,
  });
}

function rename(one, context) {
  ask({
    title: `Rename ${named(one)}`,
    text: "What people call it; its index stays.",
    fields: [{ name: "name", label: "Name", value: one.options.name ?? "", longest: 100 }],
    action: "Rename",
    run: async ({ name }) => {
      await send("PATCH", path("api/v2/connections", one.companyId, one.phoneIndex), { options: { name } });
      return `${named(one)} is renamed`;
    },
    after: context.after,
  });
}

function remove(one, context) {
  ask({
    title: `Remove ${named(one)}`,
    danger: true,
    action: "Remove",
    match: named(one),
    text: "Its credentials are deleted; its messages keep their history. It is refused while messages wait there, unless they are failed.",
    fields: [
      { name: "force", label: "Fail what is not finished", type: "checks", choices: [["true", "Yes, fail it"]] },
    ],
    run: async ({ force }) => {
      const answer = await send(
        "DELETE",
        address(path("api/v2/connections", one.companyId, one.phoneIndex), { force: force.length ? "true" : "" }),
      );
      location.hash = "#/connections";
      return `${named(one)} was removed; ${answer.failedMessages} messages failed`;
    },
    after: context.after,
  });
}

const SESSION_ACTS = {
  restart: [
    "Restart the browser",
    "operate",
    "A fresh browser on the same profile. The link to the phone stays; messages wait meanwhile.",
  ],
  logout: ["Log out", "manage", "Ends the link to the phone and removes the profile. It must be linked again."],
  wipe: ["Wipe", "manage", "Removes the profile without the phone's consent. It must be linked again."],
};

function sessionActs(one, session, context) {
  const place = ["api/v2/sessions", one.companyId, one.phoneIndex];
  const made = Object.entries(SESSION_ACTS)
    .filter(([, [, scope]]) => may(scope))
    .map(([name, [label, , text]]) =>
      button(
        label,
        () =>
          ask({
            title: `${label}: session ${named(one)}`,
            text,
            action: label,
            danger: name !== "restart",
            match: name === "wipe" ? named(one) : "",
            run: async (_, progress) => {
              progress("The process of the session does it…");
              const answer = await send("POST", path(...place, name));
              if (answer.operation) await finished(one.companyId, answer);
              return `${label}: done`;
            },
            after: context.after,
          }),
        { className: name === "restart" ? "" : "quietly" },
      ),
    );
  if (!may("manage")) return made;
  if (session.desired !== "linked") made.push(button("Start it", () => desire("linked")));
  else made.push(button("Stop it", () => desire("paused"), { className: "quietly" }));
  return made;

  function desire(desired) {
    ask({
      title: desired === "linked" ? `Start session ${named(one)}` : `Stop session ${named(one)}`,
      text:
        desired === "linked"
          ? "A browser is started, and linked if it has to be."
          : "Its browser is ended; the link to the phone stays, and messages wait.",
      action: desired === "linked" ? "Start" : "Stop",
      run: async () => {
        await send("POST", path(...place), { desired });
        return "The session follows";
      },
      after: context.after,
    });
  }
}

function linking(one, data, context) {
  if (!data.session || !["needs_link", "logged_out"].includes(data.session.state)) return null;
  return el(
    "section",
    { className: "card link", "aria-label": "Link the phone" },
    el("h2", {}, "Link the phone"),
    data.qr
      ? el("img", { src: data.qr, alt: `Code to link ${named(one)}`, width: 220, height: 220 })
      : el(
          "p",
          { className: "quiet" },
          data.session.state === "logged_out"
            ? "It was logged out: start it, and a code will come."
            : "The next code comes in a moment.",
        ),
    el("p", {}, "On the phone: WhatsApp, Linked devices, Link a device. The code changes by itself."),
    may("manage")
      ? button("Use a code of eight letters instead", () =>
          ask({
            title: `Pairing code for ${named(one)}`,
            text: "Enter the phone's number; the code is then entered on the phone.",
            fields: [
              {
                name: "phone",
                label: "Number of the phone",
                type: "tel",
                required: true,
                hint: "With the country code, for example 15550100999",
              },
            ],
            action: "Ask for a code",
            run: async ({ phone }, progress) => {
              progress("Asking the page…");
              const task = await finished(
                one.companyId,
                await send("POST", path("api/v2/sessions", one.companyId, one.phoneIndex, "pairing-code"), { phone }),
              );
              codes.set(named(one), task.result.code);
              return `The code is ${task.result.code}`;
            },
            after: context.after,
          }),
        )
      : null,
    codes.has(named(one))
      ? el("p", { className: "big" }, "Code: ", el("output", { className: "secret" }, codes.get(named(one))))
      : null,
  );
}
const codes = new Map();

function single(data, context) {
  const { connection: one, session } = data;
  const number = one.facts?.number ?? {};
  const answered = results.get(named(one));
  return [
    el("p", {}, link("/connections", may("operate", true) ? {} : { company: one.companyId }, "All connections")),
    el(
      "p",
      { className: "big" },
      pill(session?.state ?? one.state),
      " ",
      pill(one.status, one.status === "paused" ? "queue paused" : "queue active"),
      " ",
      acts(one, context),
      may("manage")
        ? [
            button("Rename", () => rename(one, context)),
            button("Change", () => change(one, context)),
            isSession(one) ? null : button("Subscribe webhooks", () => subscribe(one, context)),
            button("Remove", () => remove(one, context), { className: "quietly" }),
          ]
        : null,
    ),
    details(one) ? el("p", { className: "note" }, details(one)) : null,
    linking(one, data, context),
    factList([
      ["name", one.options.name],
      ["type", one.connectionType],
      ["number", one.account ?? number.displayPhoneNumber],
      ["name at the provider", number.verifiedName],
      ["account id", one.accountId],
      ["WABA id", one.wabaId],
      ["process", one.process],
      ["quality", number.qualityRating && words(number.qualityRating.toLowerCase())],
      ["tier", number.messagingLimitTier && words(number.messagingLimitTier.toLowerCase())],
      ["proved", one.provedAt && clock(one.provedAt)],
      ["provider asked", one.checkedAt && clock(one.checkedAt)],
      ["answered by", one.sandbox ? "the sandbox, not the provider" : "the provider"],
      ["desired", session && words(session.desired)],
      ["memory of its browser", megabytes(session?.browser?.pssMb)],
    ]),
    answered
      ? el(
          "section",
          { className: "card", "aria-label": "Result of the test" },
          el("h2", {}, "Result of the test"),
          el("pre", { tabindex: "0" }, JSON.stringify(answered, null, 2)),
        )
      : null,
    el(
      "p",
      {},
      link("/messages", { company: one.companyId, phoneIndex: one.phoneIndex }, "Its messages"),
      " · ",
      may("operate")
        ? link("/letters", { company: one.companyId, phoneIndex: one.phoneIndex }, "Its dead letters")
        : null,
    ),
    session
      ? [
          el("h2", {}, "Session"),
          el("p", { className: "buttons" }, sessionActs(one, session, context)),
          el(
            "ol",
            { className: "changes" },
            data.events.map((event) =>
              el(
                "li",
                { className: "change", "data-key": event.id },
                clock(event.at),
                " ",
                el("strong", {}, words(event.event.replace(".", " "))),
                " ",
                pill(event.state),
                " ",
                quiet(event.detail),
              ),
            ),
          ),
        ]
      : null,
  ];
}

function view(data, context) {
  return data.connection ? single(data, context) : list(data, context);
}

export const connections = {
  name: "connections",
  title: (route) => (route.parts?.length === 2 ? `Connection ${route.parts.join(" ")}` : "Connections"),
  allowed: () => may("read") || may("operate", true),
  load,
  view,
  every: 4000,
};
