// Message templates of a connection: what the provider decided about each; read anew, submit, remove.

import { address, get, may, path, send } from "/dashboard/api.js";
import { companyChoice, companyOf } from "/dashboard/company.js";
import { ask } from "/dashboard/dialog.js";
import { button, el, href } from "/dashboard/dom.js";
import { pager, table } from "/dashboard/table.js";
import { finished } from "/dashboard/tasks.js";
import { clock, cut, pill, quiet, words } from "/dashboard/words.js";

const EXAMPLE = [{ type: "BODY", text: "Parcel {{1}} is on its way.", example: { body_text: [["1001"]] } }];

async function load(route) {
  const chosen = await companyOf(route);
  if (!chosen.company) return { chosen, connections: [], index: null, page: null };
  const { connections } = await get(path("api/v2/connections", chosen.company));
  // by what each connection can do, and not by its type
  const able = connections.filter((one) => one.capabilities.template.supported);
  const wished = able.find((one) => String(one.phoneIndex) === route.query.phoneIndex) ?? able[0];
  if (!wished) return { chosen, connections: able, index: null, page: null };
  return {
    chosen,
    connections: able,
    index: wished.phoneIndex,
    page: await get(path("api/v2/templates", chosen.company, wished.phoneIndex), { cursor: route.query.cursor }),
  };
}

/** Ask for something that the process of the connection does at its provider, and wait until it is done. */
function order({ company, title, text, fields, action, danger, begin, said, after }) {
  ask({
    title,
    text,
    fields,
    action,
    danger,
    wide: Boolean(fields),
    run: async (values, progress) => {
      const task = await begin(values);
      progress("Asked the provider…");
      await finished(company, task);
      return said(values);
    },
    after,
  });
}

function add(company, index, context) {
  order({
    company,
    title: "Submit a template",
    text: "The provider reviews it; its answer is shown here.",
    fields: [
      { name: "name", label: "Name", required: true, pattern: "[a-z0-9_]{1,512}", rule: "a to z, digits and _" },
      { name: "language", label: "Language", required: true, value: "en_US", hint: "For example en or en_US" },
      {
        name: "category",
        label: "Category",
        options: ["UTILITY", "MARKETING", "AUTHENTICATION"].map((one) => [one, words(one.toLowerCase())]),
      },
      {
        name: "components",
        label: "Components (JSON)",
        type: "textarea",
        rows: 10,
        value: JSON.stringify(EXAMPLE, null, 2),
        hint: "As the provider describes them",
      },
    ],
    action: "Submit",
    begin: ({ name, language, category, components }) => {
      let parsed;
      try {
        parsed = JSON.parse(components);
      } catch (error) {
        throw new Error(`The components are no JSON: ${error.message}`);
      }
      return send("POST", path("api/v2/templates", company, index), { name, language, category, components: parsed });
    },
    said: ({ name }) => `${name} is submitted`,
    after: context.after,
  });
}

const body = (one) => one.components.find((part) => String(part.type).toUpperCase() === "BODY")?.text ?? "";

function acts(company, index, one, context) {
  if (!may("manage")) return null;
  return button(
    "Remove",
    () =>
      order({
        company,
        title: `Remove ${one.name}`,
        text: "At the provider, in all its languages. What is sent with it from then on fails.",
        action: "Remove",
        danger: true,
        begin: () => send("DELETE", address(path("api/v2/templates", company, index, one.name))),
        said: () => `${one.name} is removed`,
        after: context.after,
      }),
    { "aria-label": `Remove ${one.name} ${one.language}`, className: "quietly" },
  );
}

function view({ chosen, connections, index, page }, context) {
  const { route } = context;
  const { company } = chosen;
  if (!page)
    return [
      companyChoice(route, chosen),
      el("p", { className: "empty" }, "The company has no connection with templates."),
    ];
  return [
    companyChoice(route, chosen),
    el(
      "p",
      { className: "choices" },
      "Connection ",
      connections.map((one) =>
        el(
          "a",
          {
            href: href(route.path, { company, phoneIndex: one.phoneIndex }),
            "aria-current": one.phoneIndex === index ? "true" : undefined,
          },
          `${one.phoneIndex} ${one.connectionType}`,
        ),
      ),
    ),
    el(
      "p",
      { className: "choices" },
      may("manage")
        ? [
            button("Submit a template", () => add(company, index, context)),
            button("Read anew", () =>
              order({
                company,
                title: "Read all templates anew",
                text: "From the provider, as they are now.",
                action: "Read anew",
                begin: () => send("POST", path("api/v2/templates", company, index, "sync")),
                said: () => "The templates are read",
                after: context.after,
              }),
            ),
          ]
        : null,
      quiet(page.syncedAt ? "read " : "never read"),
      page.syncedAt ? clock(page.syncedAt) : null,
    ),
    table({
      name: "Templates",
      rows: page.templates,
      key: (one) => `${one.name} ${one.language}`,
      empty: page.syncedAt ? "There is none." : "None is known yet: read them from the provider.",
      columns: [
        ["template", (one) => one.name, "lead"],
        ["state", (one) => pill(one.status.toLowerCase()), "lead"],
        ["language", (one) => one.language],
        ["category", (one) => words((one.category ?? "").toLowerCase())],
        ["text", (one) => quiet(cut(body(one), 160)), "text"],
        ["why", (one) => quiet(one.reason), "seldom text"],
        ["quality", (one) => quiet(words((one.quality ?? "").toLowerCase())), "seldom"],
        ["changed", (one) => clock(one.updatedAt), "narrow"],
        ["", (one) => acts(company, index, one, context), "acts"],
      ],
    }),
    pager(route, page.next),
  ];
}

export const templates = {
  name: "templates",
  title: () => "Templates",
  allowed: () => may("read"),
  load,
  view,
  every: 5000,
};
