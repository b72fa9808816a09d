// The company that a page is about: of the address, of the key, the one that was chosen last, or the first.

import { get, may, own } from "/dashboard/api.js";
import { el, href } from "/dashboard/dom.js";

const CHOSEN = "bulkhead-company";
let known = { at: 0, ids: [], more: false };

/** Ids of companies, at most one page; asked at most every ten seconds. */
async function ids() {
  if (own.companyId) return { ids: [own.companyId], more: false };
  if (!may("read")) return { ids: [], more: true };
  if (Date.now() - known.at > 10000) {
    const page = await get("/api/v2/companies");
    known = { at: Date.now(), ids: page.companies.map((one) => one.companyId), more: Boolean(page.next) };
  }
  return known;
}

/** Return {company, ids, more} for a route; company is empty when there is none. */
export async function companyOf(route) {
  const listed = await ids();
  const company =
    own.companyId ??
    route.query.company ??
    (listed.ids.includes(sessionStorage.getItem(CHOSEN)) ? sessionStorage.getItem(CHOSEN) : listed.ids[0]) ??
    "";
  if (company) sessionStorage.setItem(CHOSEN, company);
  return { company, ...listed };
}

/** The choice of a company, as a part of a page. */
export function companyChoice(route, { company, ids: listed, more }) {
  if (own.companyId) return null;
  const go = (value) => {
    location.hash = href(route.path, { company: value });
  };
  const options = listed.includes(company) || !company ? listed : [company, ...listed];
  if (!more) {
    return el(
      "p",
      { className: "choice", "data-keep": `company-${company}-${listed.length}` },
      el(
        "label",
        {},
        "Company ",
        el(
          "select",
          { onchange: (event) => go(event.target.value) },
          options.map((one) => el("option", { value: one, selected: one === company }, one)),
        ),
      ),
    );
  }
  const form = el(
    "form",
    { className: "choice", "data-keep": `company-${company}` },
    el(
      "label",
      {},
      "Company ",
      el("input", { name: "company", value: company, list: "companies", autocomplete: "off" }),
    ),
    el(
      "datalist",
      { id: "companies" },
      options.map((one) => el("option", { value: one })),
    ),
    el("button", { type: "submit" }, "Open"),
  );
  form.onsubmit = (event) => {
    event.preventDefault();
    go(new FormData(form).get("company").trim());
  };
  return form;
}
