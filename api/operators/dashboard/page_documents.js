// Documents: what the assistant answers from. State and reason of each; upload, index anew, remove; search with sources.

import { get, may, path, send, upload } from "/dashboard/api.js";
import { companyChoice, companyOf } from "/dashboard/company.js";
import { ask } from "/dashboard/dialog.js";
import { button, el, href } from "/dashboard/dom.js";
import { pager, table } from "/dashboard/table.js";
import { clock, number, pill, quiet, words } from "/dashboard/words.js";

const TAKEN = ".pdf,.docx,.txt,.md";
const LEGS = { keyword: "words", vector: "meaning" };
// a search is made once for each time that it is asked, and not with every refresh of the page
const searches = new WeakMap();

const size = (bytes) => (bytes < 1e6 ? `${number(Math.ceil(bytes / 1e3))} kB` : `${number(Math.round(bytes / 1e6))} MB`);

async function search(route, company) {
  const question = route.query.q?.trim();
  if (!question) return null;
  if (!searches.has(route)) {
    try {
      searches.set(route, await get(path("api/v2/search", company), { q: question }));
    } catch (error) {
      if (error.status !== 400 && error.status !== 422) throw error;
      searches.set(route, { refused: error.message });
    }
  }
  return searches.get(route);
}

async function load(route) {
  const chosen = await companyOf(route);
  if (!chosen.company) return { chosen, page: { documents: [], next: null }, found: null };
  const [page, found] = await Promise.all([
    get(path("api/v2/documents", chosen.company), { cursor: route.query.cursor }),
    search(route, chosen.company),
  ]);
  return { chosen, page, found };
}

function add(company, context) {
  ask({
    title: `Upload documents of ${company}`,
    text: "PDF, DOCX, plain text or Markdown in UTF-8, each of at most 32 MiB. The same bytes are one document.",
    fields: [{ name: "files", label: "Files", type: "file", accept: TAKEN, multiple: true, required: true }],
    action: "Upload",
    run: async ({ files }, progress) => {
      let done = 0;
      for (const file of files) {
        progress(`${done} of ${files.length} uploaded: ${file.name} …`);
        try {
          await upload(path("api/v2/documents", company), file);
        } catch (error) {
          // those before it are uploaded; a second try uploads them again, and finds them there
          error.message = `${file.name}: ${error.message}`;
          if (done) context.after();
          throw error;
        }
        done += 1;
      }
      return `${done === 1 ? "1 document is" : `${done} documents are`} uploaded`;
    },
    after: context.after,
  });
}

function acts(company, one, context) {
  if (!may("manage")) return [];
  const place = ["api/v2/documents", company, one.id];
  return [
    one.status === "indexing"
      ? null
      : button(
          "Index anew",
          () =>
            ask({
              title: `Index ${one.title} anew`,
              text: "By the settings and the model of now. Until it is done, it is searched as it is.",
              action: "Index anew",
              run: async () => {
                await send("POST", path(...place, "reindex"));
                return `${one.title} will be indexed anew`;
              },
              after: context.after,
            }),
          { "aria-label": `Index anew: ${one.title}` },
        ),
    button(
      "Remove",
      () =>
        ask({
          title: `Remove ${one.title}`,
          text: "With its file and its passages. It is found no more, and the assistant answers without it.",
          action: "Remove",
          danger: true,
          run: async () => {
            await send("DELETE", path(...place));
            return `${one.title} is removed`;
          },
          after: context.after,
        }),
      { "aria-label": `Remove: ${one.title}`, className: "quietly" },
    ),
  ];
}

function searchForm(route, company) {
  const form = el(
    "form",
    { className: "filters", role: "search", "data-keep": `search-${company}-${route.query.q ?? ""}` },
    el(
      "label",
      { className: "long" },
      "Question, or words ",
      el("input", { name: "q", type: "search", value: route.query.q ?? "", required: true, maxlength: 1000 }),
    ),
    el("button", { type: "submit", className: "primary" }, "Search"),
  );
  form.onsubmit = (event) => {
    event.preventDefault();
    location.hash = href("/documents", { company, q: new FormData(form).get("q").trim() });
  };
  return form;
}

function results(route, company, found) {
  if (!found) return null;
  return el(
    "section",
    { "aria-label": "Results" },
    el("h2", {}, "Found"),
    found.refused
      ? el("p", { className: "note" }, found.refused)
      : [
          el(
            "p",
            { className: "quiet" },
            found.legs.length ? `Searched by ${found.legs.map((leg) => LEGS[leg] ?? leg).join(" and ")}. ` : "",
            found.why ? `${found.why}. ` : "",
            el("a", { href: href(route.path, { company }) }, "Clear the search"),
          ),
          found.results.length
            ? el(
                "ol",
                { className: "passages" },
                found.results.map((one) =>
                  el(
                    "li",
                    { className: "card" },
                    el("p", {}, el("strong", {}, one.source), " ", quiet(`score ${one.score.toFixed(2)}`)),
                    el("blockquote", {}, one.text),
                  ),
                ),
              )
            : el("p", { className: "empty" }, "No passage is near enough to the question."),
        ],
  );
}

function view({ chosen, page, found }, context) {
  const { route } = context;
  const { company } = chosen;
  return [
    companyChoice(route, chosen),
    company ? searchForm(route, company) : null,
    results(route, company, found),
    company && may("manage")
      ? el(
          "p",
          {},
          button("Upload documents", () => add(company, context)),
        )
      : null,
    table({
      name: "Documents",
      rows: page.documents,
      key: (one) => one.id,
      empty: "The company has no document.",
      columns: [
        ["document", (one) => one.title, "lead text"],
        ["state", (one) => pill(one.status), "lead"],
        ["why", (one) => (one.code ? [el("code", {}, words(one.code)), " ", quiet(one.reason)] : ""), "seldom text"],
        ["passages", (one) => number(one.chunks), "number"],
        ["pages", (one) => number(one.pages), "number seldom"],
        ["size", (one) => size(one.size), "number narrow"],
        ["uploaded", (one) => clock(one.createdAt), "narrow"],
        ["indexed", (one) => clock(one.indexedAt), "narrow"],
        ["", (one) => acts(company, one, context), "acts"],
      ],
    }),
    pager(route, page.next),
  ];
}

export const documents = {
  name: "documents",
  title: () => "Documents",
  allowed: () => may("read"),
  load,
  view,
  every: 3000,
};
