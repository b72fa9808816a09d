// Messages: search, one with its whole history, and what can be done about it.

import { attempts, get, may, path, send, upload } from "/dashboard/api.js";
import { companyChoice, companyOf } from "/dashboard/company.js";
import { ask } from "/dashboard/dialog.js";
import { button, el, href, link } from "/dashboard/dom.js";
import { factList, pager, table } from "/dashboard/table.js";
import { clock, cut, pill, quiet, words } from "/dashboard/words.js";
import { letterActs } from "/dashboard/page_letters.js";

const STATES = ["queued", "sending", "in_doubt", "sent", "delivered", "read", "failed", "deleted", "received"];
const placeOf = (company, one) =>
  `/messages/${encodeURIComponent(company)}/${encodeURIComponent(one.chatId)}/${encodeURIComponent(one.id)}`;

/** What a message says, in one line. */
export function gist(one) {
  if (one.deleted) return quiet("deleted");
  const text = one.message ?? one.caption ?? one.text ?? one.emoji ?? one.name ?? one.filename ?? "";
  return [one.type === "text" ? "" : quiet(`${words(one.type)} `), cut(String(text), 100)];
}

// a field of a form has the time of this machine
const instant = (local) => (local ? new Date(local).toISOString() : undefined);

async function load(route) {
  if (route.parts.length === 3) return loadOne(route);
  const chosen = await companyOf(route);
  if (!chosen.company) return { chosen, page: { messages: [], next: null } };
  const { q, type, status, direction, phoneIndex, chatId, since, until, cursor } = route.query;
  try {
    return {
      chosen,
      page: await get(path("api/v2/messages", chosen.company), {
        q,
        type,
        status,
        direction,
        phoneIndex,
        chatId,
        since: instant(since),
        until: instant(until),
        cursor,
        limit: 50,
      }),
    };
  } catch (error) {
    // a search for what is no word, or for a chat that is none, has an answer: the reason
    if (error.status === 400 || error.status === 422 || error.status === 404)
      return { chosen, page: { messages: [], next: null }, refused: error.message };
    throw error;
  }
}

async function loadOne(route) {
  const [company, chatId, id] = route.parts;
  const place = path("api/v2/messages", company, chatId, id);
  const message = await get(place);
  // what came in has the raw event of the provider; a company's key does not see it, since others may stand in it
  const raw =
    message.direction === "in" && may("operate", true)
      ? await get(`${place}/raw`).catch((error) => ({ refused: error.message }))
      : null;
  return { company, message, raw };
}

function filters(route, chosen) {
  const { q = "", type = "", status = "", direction = "", chatId = "", phoneIndex = "" } = route.query;
  const { since = "", until = "" } = route.query;
  const option = (value, label, now) => el("option", { value, selected: value === now }, label);
  const form = el(
    "form",
    { className: "filters", role: "search", "data-keep": `filters-${JSON.stringify(route.query)}` },
    el("label", {}, "Words ", el("input", { name: "q", type: "search", value: q })),
    el("label", {}, "Chat ", el("input", { name: "chatId", value: chatId, placeholder: "number or id" })),
    el(
      "label",
      {},
      "State ",
      el(
        "select",
        { name: "status" },
        option("", "any", status),
        STATES.map((one) => option(one, words(one), status)),
      ),
    ),
    el(
      "label",
      {},
      "Direction ",
      el(
        "select",
        { name: "direction" },
        option("", "both", direction),
        option("in", "in", direction),
        option("out", "out", direction),
      ),
    ),
    el(
      "label",
      {},
      "Connection ",
      el("input", {
        name: "phoneIndex",
        value: phoneIndex,
        inputmode: "numeric",
        pattern: "[0-9]{0,4}",
        className: "short",
      }),
    ),
    el("label", {}, "Type ", el("input", { name: "type", value: type, placeholder: "image", className: "short" })),
    el("label", {}, "Since ", el("input", { name: "since", type: "datetime-local", value: since })),
    el("label", {}, "Until ", el("input", { name: "until", type: "datetime-local", value: until })),
    el("button", { type: "submit", className: "primary" }, "Search"),
  );
  form.onsubmit = (event) => {
    event.preventDefault();
    location.hash = href("/messages", {
      company: chosen.company,
      ...Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()])),
    });
  };
  return form;
}

function list({ chosen, page, refused }, context) {
  const { route } = context;
  const { company } = chosen;
  return [
    companyChoice(route, chosen),
    filters(route, chosen),
    el(
      "p",
      { className: "choices" },
      may("send") && company ? button("Send a message", () => write(company, context)) : null,
      link("/messages", { company, status: "queued" }, "Waiting"),
      link("/messages", { company, status: "failed" }, "Failed"),
      link("/messages", { company, status: "in_doubt" }, "In doubt"),
    ),
    refused ? el("p", { className: "note" }, refused) : null,
    table({
      name: "Messages",
      rows: page.messages,
      key: (one) => one.id,
      empty: page.next ? "None on this page; go on." : "No message is like that.",
      columns: [
        ["message", (one) => link(placeOf(company, one), {}, one.id), "narrow lead"],
        ["state", (one) => [one.direction === "in" ? quiet("in ") : "", pill(one.status)], "lead narrow"],
        ["chat", (one) => [one.chatId, one.senderName ? quiet(` ${one.senderName}`) : ""], "chat"],
        ["text", (one) => gist(one), "text"],
        ["connection", (one) => String(one.phoneIndex), "number"],
        ["error", (one) => (one.errorCode ? el("code", {}, one.errorCode) : ""), "seldom"],
        ["at", (one) => clock(one.at), "narrow"],
      ],
    }),
    pager(route, page.next),
  ];
}

// types of messages that are called as the main type of their files; other files are documents
const FILES = ["image", "video", "audio"];

function write(company, context) {
  const { key } = attempts();
  ask({
    title: `Send a message for ${company}`,
    fields: [
      { name: "chatId", label: "To", required: true, hint: "A number with its country code, or the id of a chat" },
      { name: "phoneIndex", label: "Connection", type: "number", low: 0, high: 9999, value: "0", required: true },
      { name: "message", label: "Text", type: "textarea", rows: 4 },
      { name: "files", label: "File", type: "file", hint: "The text is its caption" },
    ],
    action: "Send",
    run: async ({ chatId, phoneIndex, message, files }) => {
      const [file] = files.filter((one) => one.size);
      if (!file && !message.trim()) throw new Error("Write a text, or choose a file.");
      const main = file?.type.split("/")[0];
      const type = file ? (FILES.includes(main) ? main : "document") : "text";
      const place = path("api/v2/messages", type, company, chatId);
      const headers = { "Idempotency-Key": key([chatId, phoneIndex, message, file?.name, file?.size]) };
      const sent = file
        ? await upload(place, file, { phoneIndex, ...(message.trim() ? { caption: message } : {}) }, headers)
        : await send("POST", place, { message, phoneIndex: Number(phoneIndex) }, headers);
      location.hash = `#${placeOf(company, sent)}`;
      return `Message ${sent.id} is ${words(sent.status)}`;
    },
    after: context.after,
  });
}

function step(one) {
  const extra = Object.entries(one.extra ?? {})
    .map(([name, value]) => `${words(name)} ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ");
  return el(
    "li",
    { className: "change" },
    clock(one.at),
    " ",
    pill(one.state),
    " ",
    quiet(
      [
        one.attempt ? `attempt ${one.attempt}` : "",
        one.code,
        one.detail,
        one.incarnation && `by ${one.incarnation}`,
        one.providerAt && `provider's clock ${new Date(one.providerAt).toLocaleTimeString()}`,
        extra,
      ]
        .filter(Boolean)
        .join(", "),
    ),
  );
}

const HIDDEN = new Set([
  "history",
  "id",
  "direction",
  "status",
  "companyId",
  "chatId",
  "phoneIndex",
  "connectionType",
  "type",
  "attempt",
  "sender",
  "senderName",
  "senderUsername",
  "providerMessageId",
  "error",
  "sendAt",
  "notBefore",
  "inDoubtPolicy",
  "heldForHumanAt",
  "createdAt",
  "sentAt",
  "updatedAt",
  "requestId",
  "traceparent",
  "held",
]);

function single({ company, message, raw }, context) {
  const content = Object.fromEntries(
    Object.entries(message).filter(([name, value]) => !HIDDEN.has(name) && value !== null && value !== false),
  );
  const after = context.after;
  const cancel =
    message.status === "queued" && may("send")
      ? button(
          "Cancel",
          () =>
            ask({
              title: `Cancel message ${message.id}`,
              text: "It is not sent, ever.",
              action: "Cancel the message",
              danger: true,
              run: async () => {
                await send("DELETE", path("api/v2/messages", company, message.chatId, message.id));
                return `Message ${message.id} is cancelled`;
              },
              after,
            }),
          { className: "danger" },
        )
      : null;
  const choices =
    message.status === "failed" ? ["redrive"] : message.heldForHumanAt ? ["sent", "resend", "failed"] : [];
  return [
    el(
      "p",
      {},
      link("/messages", { company }, "All messages"),
      " · ",
      link("/messages", { company, chatId: message.chatId }, "This chat"),
    ),
    el(
      "p",
      { className: "big" },
      pill(message.status),
      " ",
      message.held ? pill("held", "waits: paused") : "",
      message.heldForHumanAt ? pill("held", "a person decides") : "",
      " ",
      cancel,
      may("operate") ? letterActs(company, { ...message, choices }, after) : null,
    ),
    message.error
      ? el("p", { className: "note is-bad" }, el("code", {}, message.error.code), " ", message.error.detail)
      : null,
    el("h2", {}, "Content"),
    message.message !== undefined ? el("blockquote", {}, message.message) : null,
    Object.keys(content).some((name) => name !== "message")
      ? el("pre", { tabindex: "0", "aria-label": "Content" }, JSON.stringify(content, null, 2))
      : null,
    factList([
      ["chat", message.chatId],
      ["from", [message.sender, message.senderName].filter(Boolean).join(", ")],
      ["direction", message.direction],
      ["type", words(message.type)],
      [
        "connection",
        link(
          `/connections/${encodeURIComponent(company)}/${message.phoneIndex}`,
          {},
          `${company} ${message.phoneIndex} (${message.connectionType})`,
        ),
      ],
      ["provider's id", message.providerMessageId],
      ["attempts", String(message.attempt)],
      ["accepted", clock(message.createdAt)],
      ["sent", message.sentAt && clock(message.sentAt)],
      ["to be sent at", message.sendAt && clock(message.sendAt)],
      ["next attempt", message.notBefore && clock(message.notBefore)],
      ["in doubt", message.inDoubtPolicy],
      ["held since", message.heldForHumanAt && clock(message.heldForHumanAt)],
      ["request", message.requestId],
    ]),
    message.history.length
      ? [el("h2", {}, "History"), el("ol", { className: "changes" }, message.history.map(step))]
      : null,
    raw
      ? [
          el("h2", {}, "Raw event"),
          raw.refused
            ? el("p", { className: "quiet" }, raw.refused)
            : [
                factList([
                  ["from", raw.source],
                  ["received", clock(raw.receivedAt)],
                  ["outcome", raw.outcome],
                ]),
                el("pre", { tabindex: "0", "aria-label": "Raw event" }, raw.body),
              ],
        ]
      : null,
  ];
}

function view(data, context) {
  return data.message ? single(data, context) : list(data, context);
}

export const messages = {
  name: "messages",
  title: (route) => (route.parts?.length === 3 ? `Message ${route.parts[2]}` : "Messages"),
  allowed: () => may("read"),
  load,
  view,
  every: 5000,
};
