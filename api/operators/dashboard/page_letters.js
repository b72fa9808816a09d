// Dead letters, and messages in doubt that are held: why, how many, and what to do about one or about all that match.

import { address, get, may, path, send } from "/dashboard/api.js";
import { companyChoice, companyOf } from "/dashboard/company.js";
import { ask } from "/dashboard/dialog.js";
import { button, el, href, link } from "/dashboard/dom.js";
import { pager, table } from "/dashboard/table.js";
import { clock, number, pill, quiet } from "/dashboard/words.js";

export const DECISIONS = {
  redrive: ["Send again", "It is queued again, with another full set of attempts."],
  resend: ["It was not sent: send it", "Nothing proves that it was sent. If it was, the customer gets it twice."],
  sent: ["It was sent", "It counts as sent and is not tried again."],
  failed: ["Give it up", "It counts as failed. It can be sent again later from here."],
};
const LABELS = { redrive: "Send again", resend: "Send it", sent: "Was sent", failed: "Give up" };

async function decide(company, one, decision) {
  const place = ["api/v2/messages", company, one.chatId, one.id];
  if (decision === "redrive") await send("POST", path(...place, "redrive"));
  else await send("POST", path(...place, "resolve"), { as: decision });
}

/** Buttons for what can be done about one letter; `one` has id, chatId and choices. */
export function letterActs(company, one, after) {
  return one.choices.map((decision) =>
    button(
      LABELS[decision],
      () =>
        ask({
          title: `Message ${one.id}: ${DECISIONS[decision][0].toLowerCase()}`,
          text: DECISIONS[decision][1],
          action: LABELS[decision],
          danger: decision === "resend" || decision === "failed",
          run: async () => {
            await decide(company, one, decision);
            return `Message ${one.id}: ${DECISIONS[decision][0].toLowerCase()}`;
          },
          after,
        }),
      { "aria-label": `${LABELS[decision]}: message ${one.id}` },
    ),
  );
}

async function load(route) {
  const chosen = await companyOf(route);
  if (!chosen.company) return { chosen, page: { letters: [], next: null }, reasons: { reasons: [], complete: true } };
  const { code, phoneIndex, held, cursor } = route.query;
  const [page, reasons] = await Promise.all([
    get(path("api/v2/dead-letters", chosen.company), { code, phoneIndex, held, cursor }),
    get(path("api/v2/dead-letters", chosen.company, "reasons")),
  ]);
  return { chosen, page, reasons };
}

const matches = (query) => (row) =>
  (query.held === undefined || query.held === "" || String(row.held) === query.held) &&
  (!query.code || row.code === query.code) &&
  (!query.phoneIndex || String(row.phoneIndex) === query.phoneIndex);

/** Do something about all that match, page by page; the number done so far is shown. */
function actOnAll(company, query, decision, count, after) {
  const among = [query.code && `with the code ${query.code}`, query.phoneIndex && `of connection ${query.phoneIndex}`]
    .filter(Boolean)
    .join(" ");
  ask({
    title: `${LABELS[decision]}: ${number(count)} messages`,
    text: `All ${number(count)} ${decision === "redrive" ? "that failed" : "that are held"} ${among} of ${company}. ${DECISIONS[decision][1]} What comes later is left alone. Each is in the audit.`,
    action: `${LABELS[decision]}: ${number(count)}`,
    danger: decision !== "redrive",
    match: count > 20 ? String(count) : "",
    run: async (_, progress) => {
      // what fails again meanwhile must not be sent again and again
      const failedBefore = new Date().toISOString();
      let done = 0;
      const left = [];
      if (decision === "redrive") {
        for (let more = true; more;) {
          const body = {
            limit: 200,
            failedBefore,
            ...(query.code ? { code: query.code } : {}),
            ...(query.phoneIndex ? { phoneIndex: Number(query.phoneIndex) } : {}),
          };
          const answer = await send("POST", path("api/v2/dead-letters", company, "redrive"), body);
          done += answer.redriven;
          more = answer.more;
          progress(`${number(done)} of ${number(count)} queued again`);
        }
      } else {
        for (let cursor = ""; cursor !== null;) {
          const page = await get(
            address(path("api/v2/dead-letters", company), {
              held: "true",
              code: query.code,
              phoneIndex: query.phoneIndex,
              cursor,
            }),
          );
          for (const one of page.letters) {
            if (!one.choices.includes(decision) || one.heldForHumanAt > failedBefore) continue;
            try {
              await decide(company, one, decision);
              done += 1;
            } catch (error) {
              // another person decided first, or a webhook proved it: the others go on
              if (error.status !== 409) throw error;
              left.push(one.id);
            }
            progress(`${number(done)} of ${number(count)} done`);
          }
          cursor = page.next;
        }
      }
      return `${number(done)} messages: ${LABELS[decision].toLowerCase()}${left.length ? `; ${left.length} had changed meanwhile` : ""}`;
    },
    after,
  });
}

function view({ chosen, page, reasons }, context) {
  const { route } = context;
  const { company } = chosen;
  const { query } = route;
  const matching = reasons.reasons.filter(matches(query));
  const count = (held) => matching.filter((row) => row.held === held).reduce((sum, row) => sum + row.letters, 0);
  const failed = count(false);
  const held = count(true);
  const filter = (changed) =>
    href(route.path, { company, held: query.held, code: query.code, phoneIndex: query.phoneIndex, ...changed });
  const chosenHeld = query.held ?? "";
  return [
    companyChoice(route, chosen),
    el(
      "p",
      { className: "choices" },
      [
        ["", "all"],
        ["false", "failed"],
        ["true", "in doubt, held"],
      ].map(([value, label]) =>
        el(
          "a",
          { href: filter({ held: value, code: "" }), "aria-current": value === chosenHeld ? "true" : undefined },
          label,
        ),
      ),
      query.code
        ? [quiet(" code "), el("code", {}, query.code), " ", el("a", { href: filter({ code: "" }) }, "any code")]
        : null,
      query.phoneIndex
        ? [quiet(` connection ${query.phoneIndex} `), el("a", { href: filter({ phoneIndex: "" }) }, "any connection")]
        : null,
    ),
    el("h2", {}, "By reason"),
    table({
      name: "Letters by reason",
      rows: matching,
      key: (row) => `${row.held}${row.code}${row.phoneIndex}`,
      empty: "There is nothing that a person must decide.",
      columns: [
        [
          "reason",
          (row) =>
            el(
              "a",
              { href: filter({ code: row.code, held: String(row.held), phoneIndex: row.phoneIndex }) },
              el("code", {}, row.code || "none"),
            ),
          "lead",
        ],
        ["state", (row) => pill(row.held ? "held" : "failed"), "lead"],
        ["connection", (row) => String(row.phoneIndex), "number"],
        ["messages", (row) => number(row.letters), "number"],
        ["first", (row) => clock(row.firstAt), "narrow"],
        ["last", (row) => clock(row.lastAt), "narrow"],
      ],
    }),
    reasons.complete ? null : el("p", { className: "note" }, "There are more than were counted."),
    el(
      "p",
      { className: "buttons start" },
      failed && query.held !== "true"
        ? button(
            `Send all ${number(failed)} failed again`,
            () => actOnAll(company, query, "redrive", failed, context.after),
            { className: "primary" },
          )
        : null,
      held && query.held !== "false"
        ? ["sent", "resend", "failed"].map((decision) =>
            button(`${LABELS[decision]}: all ${number(held)} held`, () =>
              actOnAll(company, query, decision, held, context.after),
            ),
          )
        : null,
    ),
    el("h2", {}, "Each"),
    table({
      name: "Dead letters and held messages",
      rows: page.letters,
      key: (one) => one.id,
      empty: "None.",
      columns: [
        [
          "message",
          (one) =>
            link(`/messages/${encodeURIComponent(company)}/${encodeURIComponent(one.chatId)}/${one.id}`, {}, one.id),
          "narrow lead",
        ],
        ["state", (one) => pill(one.heldForHumanAt ? "held" : one.status), "lead"],
        ["chat", (one) => one.chatId, "chat"],
        ["type", (one) => one.type],
        ["connection", (one) => String(one.phoneIndex), "number"],
        ["attempts", (one) => String(one.attempt), "number"],
        ["why", (one) => [el("code", {}, one.error.code), " ", quiet(one.reason)], "text"],
        ["at", (one) => clock(one.updatedAt), "narrow"],
        ["", (one) => letterActs(company, one, context.after), "acts"],
      ],
    }),
    pager(route, page.next),
  ];
}

export const letters = {
  name: "letters",
  title: () => "Dead letters",
  allowed: () => may("operate"),
  load,
  view,
  every: 6000,
};
