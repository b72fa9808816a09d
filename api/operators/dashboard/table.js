// Tables that are read by people, by keyboard and by screen readers; on a narrow screen each row is a card.

import { el, link } from "/dashboard/dom.js";

/**
 * A table.
 *   name: what it is, for screen readers. rows. key(row): a text that stays with the row.
 *   columns: [title, cell(row), kind]; of `kind` these words mean something: `number` (to the right), `narrow` (no line
 *   break), `seldom` (left out while no row has it), `lead` (in sight on a card without its name), `acts` (buttons).
 *   The first column is the row's heading. empty: what is said when there are no rows.
 */
export function table({ name, rows, columns, key, empty }) {
  if (!rows.length) return el("p", { className: "empty" }, empty);
  const cells = rows.map((row) => columns.map(([, cell]) => cell(row)));
  const bare = (value) =>
    value === null || value === undefined || value === "" || value === false || (Array.isArray(value) && !value.length);
  const kept = columns.map(([, , kind = ""], at) => !/seldom|acts/.test(kind) || cells.some((row) => !bare(row[at])));
  const shown = columns.filter((_, at) => kept[at]);
  const head = el(
    "tr",
    {},
    shown.map(([title, , kind = ""]) =>
      title ? el("th", { className: kind, scope: "col" }, title) : el("td", { className: kind }),
    ),
  );
  const body = rows.map((row, at) =>
    el(
      "tr",
      { "data-key": key(row, at) },
      cells[at]
        .filter((_, column) => kept[column])
        .map((cell, column) => {
          const [title, , kind = ""] = shown[column];
          const attributes = { className: `${kind}${bare(cell) ? " bare" : ""}`, "data-name": title };
          return column === 0
            ? el("th", { ...attributes, scope: "row" }, cell ?? "")
            : el("td", attributes, cell ?? "");
        }),
    ),
  );
  return el(
    "div",
    { className: "scroll", role: "region", tabindex: "0", "aria-label": name },
    el("table", {}, el("caption", { className: "hidden" }, name), el("thead", {}, head), el("tbody", {}, body)),
  );
}

/** Links to the first and the next page of a list. */
export function pager(route, next) {
  if (!next && !route.query.cursor) return null;
  const { cursor, ...others } = route.query;
  return el(
    "p",
    { className: "pager" },
    cursor && link(route.path, others, "First page"),
    next && link(route.path, { ...others, cursor: next }, "Next page"),
  );
}

/** A list of facts: [name, value], those without a value left out. */
export function factList(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el(
    "dl",
    { className: "facts" },
    known.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}
