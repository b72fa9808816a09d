// Inbox: conversations with customers. Who waits and for how long; read one, reply, assign, hand back, close.

import { attempts, get, may, own, path, send } from "/dashboard/api.js";
import { companyChoice, companyOf } from "/dashboard/company.js";
import { ask } from "/dashboard/dialog.js";
import { announce, button, el, href, link } from "/dashboard/dom.js";
import { factList, pager, table } from "/dashboard/table.js";
import { about, clock, cut, pill, quiet, words } from "/dashboard/words.js";

const PERSON = "bulkhead-person";
// marks of reading and typing say nothing to who reads a conversation
const SILENT = new Set(["read", "typing"]);
const STATES = [
  ["waiting", "waiting"],
  ["human", "with a human"],
  ["bot", "with the assistant"],
  ["closed", "closed"],
  ["all", "all"],
];
const WHY = {
  first_message: "wrote for the first time",
  keyword: "asked for a human",
  no_assistant: "there is no assistant",
  api: "a client of the API replied",
  by_hand: "somebody replied on the phone or in the provider's app",
  put_back: "was given up",
};

const person = () => sessionStorage.getItem(PERSON) ?? own.name ?? "";
const who = (one) => one.contact?.name ?? one.contact?.username ?? one.chatId;
const placeOf = (company, one) => `/inbox/${encodeURIComponent(company)}/${encodeURIComponent(one.id)}`;
const ago = (at) => about((Date.now() - Date.parse(at)) / 1000);

async function load(route) {
  if (route.parts.length === 2) {
    const [company, id] = route.parts;
    return { company, one: await get(path("api/v2/conversations", company, id)) };
  }
  const chosen = await companyOf(route);
  if (!chosen.company) return { chosen, page: { conversations: [], next: null } };
  const { state = "waiting", assignee, cursor } = route.query;
  return {
    chosen,
    page: await get(path("api/v2/conversations", chosen.company), {
      state: state === "all" ? undefined : state,
      assignee,
      cursor,
    }),
  };
}

function assign(company, one, context) {
  ask({
    title: `Assign ${who(one)}`,
    text: "It is this person's from now on, and the assistant is silent.",
    fields: [{ name: "assignee", label: "Who looks after it", value: person(), required: true, longest: 100 }],
    action: "Assign",
    run: async ({ assignee }) => {
      await send("POST", path("api/v2/conversations", company, one.id, "assign"), { assignee: assignee.trim() });
      sessionStorage.setItem(PERSON, assignee.trim());
      return `${who(one)} is assigned to ${assignee.trim()}`;
    },
    after: context.after,
  });
}

function move(company, one, context, { name, body, title, text, action, said }) {
  ask({
    title: `${title} ${who(one)}`,
    text,
    action,
    run: async () => {
      await send("POST", path("api/v2/conversations", company, one.id, name), body);
      return `${who(one)} ${said}`;
    },
    after: context.after,
  });
}

function acts(company, one, context) {
  if (!may("send")) return [];
  const label = (verb) => ({ "aria-label": `${verb} ${who(one)}` });
  return [
    one.state === "closed" ? null : button("Assign", () => assign(company, one, context), label("Assign")),
    one.state === "human"
      ? button(
          "Put back",
          () =>
            move(company, one, context, {
              name: "assign",
              body: { assignee: null },
              title: "Put back",
              text: "No one looks after it any more: the customer waits again.",
              action: "Put back",
              said: "waits again",
            }),
          { ...label("Put back"), className: "quietly" },
        )
      : null,
    one.state === "human" || one.state === "waiting"
      ? button(
          "Hand back",
          () =>
            move(company, one, context, {
              name: "handback",
              title: "Hand back",
              text: "The assistant answers the customer's next message.",
              action: "Hand back",
              said: "is handed back to the assistant",
            }),
          { ...label("Hand back"), className: "quietly" },
        )
      : null,
    one.state === "closed"
      ? null
      : button(
          "Close",
          () =>
            move(company, one, context, {
              name: "close",
              title: "Close",
              text: "It is finished. The customer's next message opens it again.",
              action: "Close",
              said: "is closed",
            }),
          { ...label("Close"), className: "quietly" },
        ),
  ];
}

function list({ chosen, page }, context) {
  const { route } = context;
  const { company } = chosen;
  const { state = "waiting", assignee = "" } = route.query;
  const filter = (changed) => href(route.path, { company, state, assignee, ...changed });
  return [
    companyChoice(route, chosen),
    el(
      "p",
      { className: "choices" },
      STATES.map(([value, label]) =>
        el("a", { href: filter({ state: value }), "aria-current": value === state ? "true" : undefined }, label),
      ),
      assignee
        ? [quiet(` of ${assignee} `), el("a", { href: filter({ assignee: "" }) }, "of anybody")]
        : person() && el("a", { href: filter({ assignee: person(), state: "human" }) }, "mine"),
    ),
    table({
      name: "Conversations",
      rows: page.conversations,
      key: (one) => one.id,
      empty:
        state === "waiting"
          ? "Nobody waits."
          : "There is none. Conversations are kept for a company whose settings have enableHumanHandoff or enableAssistant.",
      columns: [
        ["customer", (one) => [link(placeOf(company, one), {}, who(one))], "lead"],
        ["state", (one) => pill(one.state), "lead"],
        [state === "waiting" ? "waits" : "since", (one) => about(one.waitingS) || clock(one.stateAt), "narrow"],
        ["with", (one) => one.assignee ?? "", "seldom"],
        ["why", (one) => quiet(WHY[one.reason] ?? words(one.reason)), "text"],
        ["wrote last", (one) => (one.lastInboundAt ? `${ago(one.lastInboundAt)} ago` : ""), "narrow"],
        ["connection", (one) => (one.phoneIndex === null ? quiet("removed") : String(one.phoneIndex)), "number"],
        ["", (one) => acts(company, one, context), "acts"],
      ],
    }),
    pager(route, page.next),
  ];
}

/** What one message says, whole. */
function said(one) {
  if (one.deleted) return quiet("deleted");
  const text = one.message ?? one.caption ?? one.text ?? one.emoji ?? one.name ?? one.filename ?? "";
  return [one.type === "text" ? "" : quiet(`${words(one.type)} `), String(text)];
}

function line(company, one) {
  const isOut = one.direction === "out";
  return el(
    "li",
    { className: `said is-${one.direction}`, "data-key": one.id },
    el("span", { className: "hidden" }, isOut ? "We: " : `${one.senderName ?? "Customer"}: `),
    el("span", { className: "words" }, said(one)),
    " ",
    el(
      "small",
      { className: "quiet" },
      link(`/messages/${encodeURIComponent(company)}/${encodeURIComponent(one.chatId)}/${one.id}`, {}, clock(one.at)),
      isOut ? [" ", one.status === "failed" ? pill("failed") : words(one.status)] : "",
      one.errorCode ? [" ", el("code", {}, one.errorCode)] : "",
    ),
  );
}

function replyForm(company, one, context) {
  const tried = attempts();
  const text = el("textarea", { id: "reply", name: "message", rows: 3, required: true });
  const problem = el("p", { className: "bad", role: "alert" });
  const go = el("button", { type: "submit", className: "primary" }, "Reply");
  const form = el(
    "form",
    { className: "reply", "data-keep": `reply-${company}-${one.id}` },
    el("label", { for: "reply" }, "Reply"),
    text,
    problem,
    el("p", { className: "buttons start" }, go, quiet("Ctrl+Enter sends. From then on the conversation is a human's.")),
  );
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.onsubmit = async (event) => {
    event.preventDefault();
    const message = text.value.trim();
    if (!message || go.disabled) return;
    go.disabled = true;
    problem.textContent = "";
    try {
      await send(
        "POST",
        path("api/v2/conversations", company, one.id, "reply"),
        { message },
        { "Idempotency-Key": tried.key(message) },
      );
      tried.done();
      // what was typed meanwhile stays
      if (text.value.trim() === message) text.value = "";
      announce("The reply is on its way");
      context.after();
    } catch (error) {
      problem.textContent = error.message;
    }
    go.disabled = false;
  };
  return form;
}

function single({ company, one }, context) {
  const messages = one.messages.filter((each) => !SILENT.has(each.type)).reverse();
  return [
    el(
      "p",
      {},
      link("/inbox", { company }, "Inbox"),
      " · ",
      link("/messages", { company, chatId: one.chatId }, "All messages of this chat"),
    ),
    el(
      "p",
      { className: "big" },
      el("strong", {}, who(one)),
      pill(one.state),
      one.waitingS === null ? null : quiet(`waits for ${about(one.waitingS)}`),
      one.assignee ? quiet(`with ${one.assignee}`) : null,
      acts(company, one, context),
    ),
    factList([
      ["chat", one.chatId],
      ["why", WHY[one.reason] ?? words(one.reason)],
      ["since", clock(one.stateAt)],
      ["wrote last", one.lastInboundAt && `${ago(one.lastInboundAt)} ago`],
      ["back to the assistant or closed at", one.humanUntil && clock(one.humanUntil)],
      [
        "connection",
        one.phoneIndex === null
          ? "removed"
          : link(
              `/connections/${encodeURIComponent(company)}/${one.phoneIndex}`,
              {},
              `${company} ${one.phoneIndex} (${one.connectionType})`,
            ),
      ],
    ]),
    el("h2", {}, "The last messages"),
    messages.length
      ? el(
          "ol",
          { className: "talk" },
          messages.map((each) => line(company, each)),
        )
      : el("p", { className: "empty" }, "There is no message any more."),
    may("send") && one.phoneIndex !== null ? replyForm(company, one, context) : null,
  ];
}

function view(data, context) {
  return data.one ? single(data, context) : list(data, context);
}

export const inbox = {
  name: "inbox",
  title: (route) => (route.parts?.length === 2 ? `Conversation ${cut(route.parts[1], 20)}` : "Inbox"),
  allowed: () => may("read"),
  load,
  view,
  every: 2000,
};
