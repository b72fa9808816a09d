// What changed: by keys (the audit), and everything that happened to the installation.

import { get, may, own } from "/dashboard/api.js";
import { changeRow } from "/dashboard/changes.js";
import { el, href, link } from "/dashboard/dom.js";
import { pager, table } from "/dashboard/table.js";
import { clock, cut, quiet, words } from "/dashboard/words.js";

const PAGE = 50;
const SUBJECTS = ["process", "connection", "session", "alert", "hook"];

/** What is shown: the audit, or changes of a subject (or all). */
const chosenOf = (route) => route.query.show ?? (may("manage") ? "audit" : "all");

async function load(route) {
  const chosen = chosenOf(route);
  if (chosen === "audit")
    return {
      audit: await get("/api/v2/audit", {
        order: "newest",
        after: route.query.cursor,
        limit: PAGE,
        companyId: route.query.company,
      }),
    };
  return {
    page: await get("/api/v2/changes", {
      subject: chosen === "all" ? "" : chosen,
      cursor: route.query.cursor,
      limit: PAGE,
    }),
  };
}

const flat = (values) =>
  Object.entries(values ?? {})
    .map(([name, value]) => `${words(name)} ${cut(value ?? "none", 60)}`)
    .join(", ");

function audited(page, context) {
  const next = page.events.length === PAGE ? page.next : null;
  return [
    table({
      name: "Audit",
      rows: page.events,
      key: (one) => one.id,
      empty: "No key has changed anything.",
      columns: [
        ["at", (one) => clock(one.at), "narrow lead"],
        ["what", (one) => el("strong", {}, words(one.type.replace("audit.", "").replace(".", " "))), "lead"],
        ["key", (one) => one.data.key.name],
        ["company", (one) => one.companyId ?? quiet("none"), "narrow"],
        ["about", (one) => quiet(flat(one.data.subject))],
        [
          "change",
          (one) => [
            one.data.before ? [quiet(`was ${flat(one.data.before)}`), " "] : "",
            one.data.after ? flat(one.data.after) : "",
          ],
          "text",
        ],
        ["from", (one) => quiet(one.data.address), "narrow seldom"],
      ],
    }),
    pager(context.route, next),
  ];
}

function view(data, context) {
  const { route } = context;
  const chosen = chosenOf(route);
  const shown = [
    ...(may("manage") ? [["audit", "by keys"]] : []),
    ...(may("operate", true) ? [["all", "everything"], ...SUBJECTS.map((one) => [one, one])] : []),
  ];
  return [
    shown.length > 1
      ? el(
          "p",
          { className: "choices" },
          shown.map(([value, label]) =>
            el(
              "a",
              { href: href(route.path, { show: value }), "aria-current": value === chosen ? "true" : undefined },
              label,
            ),
          ),
        )
      : null,
    data.audit
      ? audited(data.audit, context)
      : [
          data.page.changes.length
            ? el("ol", { className: "changes" }, data.page.changes.map(changeRow))
            : el("p", { className: "empty" }, "Nothing has happened."),
          pager(route, data.page.next),
        ],
    own.companyId
      ? null
      : el(
          "p",
          { className: "quiet" },
          "Reading and sending are not audited: messages have a history of their own. ",
          link("/keys", {}, "Keys"),
        ),
  ];
}

export const audit = {
  name: "audit",
  title: () => "Changes",
  allowed: () => may("manage") || may("operate", true),
  load,
  view,
  every: 6000,
};
