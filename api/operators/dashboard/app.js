// The shell: sign-in, the list of pages, the router by hash, and the driver that loads a page, shows it and refreshes it.

import { Refusal, forget, hasKey, keep, own, signIn } from "/dashboard/api.js";
import { announce, button, byId, el, href, show } from "/dashboard/dom.js";
import { live, onLive, start, stop } from "/dashboard/live.js";
import { clock, looks, span, words } from "/dashboard/words.js";
import { alerts } from "/dashboard/page_alerts.js";
import { audit } from "/dashboard/page_audit.js";
import { companies } from "/dashboard/page_companies.js";
import { connections } from "/dashboard/page_connections.js";
import { doctor } from "/dashboard/page_doctor.js";
import { documents } from "/dashboard/page_documents.js";
import { hooks } from "/dashboard/page_hooks.js";
import { inbox } from "/dashboard/page_inbox.js";
import { keys } from "/dashboard/page_keys.js";
import { letters } from "/dashboard/page_letters.js";
import { messages } from "/dashboard/page_messages.js";
import { now } from "/dashboard/page_now.js";
import { processes } from "/dashboard/page_processes.js";
import { queues } from "/dashboard/page_queues.js";
import { templates } from "/dashboard/page_templates.js";

/* A page:
 *   name: in the address. title. allowed(): whether the key of this tab may see it.
 *   load(route): what it shows, from the API; every: milliseconds until it is loaded again.
 *   view(data, context): nodes. context: route, reload(), act(…) of the page.
 *   live: whether it is also shown again with each change of health. */
const PAGES = [
  now,
  inbox,
  processes,
  queues,
  connections,
  messages,
  letters,
  templates,
  documents,
  companies,
  keys,
  hooks,
  alerts,
  doctor,
  audit,
];

const CHANGED_MS = 1200;
let current = null;

function readRoute() {
  const [path, query = ""] = (location.hash.slice(1) || "/now").split("?");
  const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  return {
    path,
    name: parts[0] ?? "now",
    parts: parts.slice(1),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

class View {
  constructor(page, route) {
    this.page = page;
    this.route = route;
    this.data = undefined;
    this.error = null;
    this.loadedAt = 0;
    this.timer = 0;
    this.ended = false;
    this.loading = false;
    this.again = false;
    this.box = el("div", { className: "page" });
    byId("content").replaceChildren(this.box);
    this.render();
    this.reload();
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
  }

  reload = async () => {
    clearTimeout(this.timer);
    // what was asked before something was done does not show it
    if (this.loading) this.again = true;
    if (this.loading || this.ended) return;
    this.loading = true;
    try {
      const data = await this.page.load(this.route);
      if (this.ended) return;
      this.data = data;
      this.error = null;
      this.loadedAt = Date.now();
    } catch (error) {
      if (this.ended) return;
      if (!(error instanceof Refusal)) console.error(error);
      if (error.status === 401) return leave("This key is not valid any more.");
      this.error = error;
    } finally {
      this.loading = false;
    }
    this.render();
    if (this.again) {
      this.again = false;
      return this.reload();
    }
    // a page in a hidden tab asks nothing until it is looked at again
    if (this.page.every && !document.hidden) this.timer = setTimeout(this.reload, this.page.every);
  };

  render() {
    const title = this.page.title(this.route);
    document.title = `${title} – Bulkhead`;
    const context = { route: this.route, reload: this.reload, after: () => this.reload() };
    const parts = [el("h1", { tabindex: "-1" }, title)];
    if (this.error) {
      const since = this.loadedAt
        ? [" Shown is what was known at ", clock(new Date(this.loadedAt).toISOString()), "."]
        : "";
      parts.push(el("p", { className: "note is-bad", role: "alert" }, this.error.message, since));
    }
    if (this.data !== undefined) parts.push(...[this.page.view(this.data, context)].flat());
    else if (!this.error) parts.push(el("p", { className: "quiet" }, "Loading…"));
    this.box.classList.toggle("is-old", Boolean(this.error && this.loadedAt));
    show(this.box, parts);
  }
}

function route() {
  if (!own) return;
  const next = readRoute();
  const page = PAGES.find((one) => one.name === next.name);
  const first = PAGES.find((one) => one.allowed());
  if (!page || !page.allowed()) {
    // a key that may see nothing here still learns so; without a wish it begins with what it may see
    if (!first || (page && location.hash)) return refuse(page);
    location.replace(`#/${first.name}`);
    return;
  }
  const moved = current?.page !== page || current.route.path !== next.path;
  current?.end();
  current = new View(page, next);
  nav();
  if (moved) {
    announce(page.title(next));
    scrollTo(0, 0);
  }
  // focus moves with the page, so that keyboard and screen reader begin at its heading
  if (started) byId("content").querySelector("h1")?.focus({ preventScroll: true });
  started = true;
}
let started = false;

function refuse(page) {
  current?.end();
  current = null;
  const first = PAGES.find((one) => one.allowed());
  byId("content").replaceChildren(
    el("h1", { tabindex: "-1" }, page ? page.title({ parts: [], query: {} }) : "Bulkhead"),
    el(
      "p",
      { className: "note" },
      first
        ? "The key of this tab may not see this page."
        : "The key of this tab may see none of these pages: it has only the scopes ",
      first ? "" : el("code", {}, own.scopes.join(", ")),
      first ? " " : ".",
      first && el("a", { href: href(`/${first.name}`) }, "Open what it may see"),
    ),
  );
  nav();
}

function nav() {
  const shown = PAGES.filter((page) => page.allowed());
  show(
    byId("nav"),
    el(
      "ul",
      {},
      shown.map((page) =>
        el(
          "li",
          {},
          el(
            "a",
            {
              href: href(`/${page.name}`),
              "aria-current": current?.page === page ? "page" : undefined,
              "data-key": page.name,
            },
            page.title({ parts: [], query: {} }),
          ),
        ),
      ),
    ),
  );
  byId("nav").hidden = byId("menu").hidden = false;
  closeMenu();
  const foot = byId("foot");
  foot.hidden = false;
  show(
    foot,
    "Signed in as ",
    el("strong", {}, own.name),
    own.companyId ? [" of ", own.companyId] : "",
    " (",
    own.scopes.join(", "),
    ") · ",
    el("a", { href: "/docs" }, "API"),
    " · ",
    button("Forget the key", () => leave(""), { className: "plain" }),
  );
}

function closeMenu() {
  byId("menu").setAttribute("aria-expanded", "false");
  document.body.classList.remove("menu-open");
}

// ---- what is always in sight: status, and whether what is shown is true

let lastStatus = "";
function top(what) {
  const status = live.broken ? "" : (live.health?.status ?? live.company?.status ?? "");
  const overall = byId("overall");
  overall.className = `pill is-${live.broken ? "bad" : looks(status)}`;
  overall.textContent = live.broken ? "no answer" : words(status);
  const age = (Date.now() - live.at) / 1000;
  byId("stream").textContent = live.broken ? "" : live.health || live.company ? "live" : "";
  const stale = byId("stale");
  stale.hidden = !live.broken;
  stale.textContent = !live.broken
    ? ""
    : `${live.broken} What is shown is ${span(age)} old, of ${new Date(live.at).toLocaleTimeString()}. It is tried again all the time.`;
  const heard = live.broken ? "no answer" : status;
  if (what !== "tick" && heard && heard !== lastStatus) {
    if (lastStatus) announce(live.broken ? live.broken : `The installation is ${words(status)}`);
    lastStatus = heard;
  }
  document.body.classList.toggle("is-broken", Boolean(live.broken));
}

onLive((what) => {
  if (what === "refused") return leave("This key is not valid any more.");
  top(what);
  if (what === "tick" || !current?.page.live) return;
  current.render();
  // what changed is written by the recorder a moment later
  if (what === "processes") setTimeout(current.reload, CHANGED_MS);
});

// ---- sign-in

function askForKey(refusal) {
  stop();
  current?.end();
  current = null;
  started = false;
  lastStatus = "";
  byId("nav").hidden = byId("menu").hidden = byId("foot").hidden = true;
  byId("overall").textContent = byId("stream").textContent = "";
  byId("stale").hidden = true;
  document.title = "Sign in – Bulkhead";
  const input = el("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    required: true,
    "aria-describedby": "key-hint",
  });
  const problem = el("p", { id: "refused", className: "bad", role: "alert" }, refusal);
  const form = el(
    "form",
    { id: "sign-in", className: "card" },
    el("h1", {}, "Sign in"),
    el("p", {}, el("label", { for: "key" }, "API key"), input),
    el(
      "p",
      { id: "key-hint", className: "quiet" },
      "The content of ",
      el("code", {}, "BULKHEAD_HOME/api_key"),
      ", or a key made by ",
      el("code", {}, "bulkhead keys add"),
      ". Its scopes decide what is shown. It is kept in this tab until you close it or forget it.",
    ),
    problem,
    el("p", { className: "buttons" }, el("button", { type: "submit", className: "primary" }, "Sign in")),
  );
  form.onsubmit = async (event) => {
    event.preventDefault();
    keep(input.value.trim());
    input.value = "";
    // what had the focus goes: it moves to the page
    started = true;
    await enter(problem);
  };
  byId("content").replaceChildren(form);
  input.focus();
}

async function enter(problem = null) {
  try {
    await signIn();
  } catch (error) {
    const refused = error.status === 401;
    const said = refused ? "This key is wrong." : error.message;
    if (refused) forget();
    // an API that is away must not cost the key: it is tried again
    if (!problem && !refused) {
      byId("content").replaceChildren(
        el("h1", {}, "Bulkhead"),
        el("p", { className: "note is-bad", role: "alert" }, `${said} It is tried again in a moment.`),
      );
      setTimeout(enter, 2000);
      return;
    }
    if (problem?.isConnected) problem.textContent = said;
    else askForKey(said);
    return;
  }
  start();
  top("start");
  route();
}

function leave(why) {
  forget();
  askForKey(why);
}

byId("menu").onclick = () => {
  const open = byId("menu").getAttribute("aria-expanded") !== "true";
  byId("menu").setAttribute("aria-expanded", String(open));
  document.body.classList.toggle("menu-open", open);
};
document.querySelector(".skip").onclick = (event) => {
  event.preventDefault();
  byId("content").querySelector("h1")?.focus();
};
addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeMenu();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) current?.reload();
});
if (hasKey()) enter();
else askForKey("");
