// The client of the API. The key is kept in this tab alone, and never stands in an address.

const KEPT = "bulkhead-api-key";
const ANSWER_MS = 12000;
const UPLOAD_MS = 900000;

/** What the key of this tab is: name, companyId (null: all), scopes, expiresAt, sandbox; null: not signed in. */
export let own = null;

/** A refusal of the API, or no answer at all (`status` 0). */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? "no answer");
    this.status = status;
    this.type = String(problem.type ?? "").replace("urn:bulkhead:problem:", "");
    this.problem = problem;
  }
}

export const hasKey = () => Boolean(sessionStorage.getItem(KEPT));
export const keep = (key) => sessionStorage.setItem(KEPT, key);
export function forget() {
  own = null;
  sessionStorage.removeItem(KEPT);
  for (const name of ["bulkhead-company", "bulkhead-person"]) sessionStorage.removeItem(name);
}

/** Whether the key has a scope, everywhere (`true`) or at least for its company. */
export function may(scope, everywhere = false) {
  if (!own || (everywhere && own.companyId !== null)) return false;
  return own.scopes.includes(scope) || (scope === "monitor" && own.scopes.includes("operate"));
}

/** Make a request; returns the response. Throws `Refusal`. */
export async function request(method, path, { body, headers = {}, signal = AbortSignal.timeout(ANSWER_MS) } = {}) {
  const all = { Authorization: `Bearer ${sessionStorage.getItem(KEPT)}`, ...headers };
  // a form brings its own type, with the border between its parts
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) all["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: all,
      body: body === undefined || isForm ? body : JSON.stringify(body),
      cache: "no-store",
      signal,
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    throw new Refusal(0, {
      detail: error.name === "TimeoutError" ? "The API did not answer in time." : "The API does not answer.",
    });
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  // health that is down is an answer
  if (response.status === 503 && problem.troubles) return { json: async () => problem };
  throw new Refusal(response.status, problem);
}

export const get = async (path, query = {}) => (await request("GET", address(path, query))).json();
export const send = async (method, path, body, headers) => (await request(method, path, { body, headers })).json();

/** Upload one file with fields; it may take as long as a slow line needs. */
export const upload = async (path, file, fields = {}, headers = {}) => {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  body.append("file", file);
  return (await request("POST", path, { body, headers, signal: AbortSignal.timeout(UPLOAD_MS) })).json();
};

/** Keys for the header `Idempotency-Key`: `key(what)` is the same as long as `what` is, so that another try after no
 *  answer sends nothing twice; `done()` begins anew. */
export function attempts() {
  let last = null;
  return {
    key(what) {
      const text = JSON.stringify(what);
      // without a secure origin there is no randomUUID
      if (last?.text !== text) last = { text, key: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` };
      return last.key;
    },
    done() {
      last = null;
    },
  };
}

/** A path with a query of what is given. */
export function address(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return text ? `${path}?${text}` : path;
}

/** A path of texts, each escaped: `path("api/v2/messages", company, chat)`. */
export const path = (beginning, ...parts) =>
  `/${[beginning, ...parts.map((part) => encodeURIComponent(part))].join("/")}`;

/** Learn what the kept key may do. Throws `Refusal`. */
export async function signIn() {
  own = await get("/api/v2/whoami");
}

/** Follow a stream of server-sent events until it ends; `take(name, data)` gets each. An EventSource could send no key. */
export async function follow(path_, take, signal) {
  const response = await request("GET", path_, { headers: { Accept: "text/event-stream" }, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const frames = text.split("\n\n");
    text = frames.pop();
    for (const frame of frames) {
      const fields = Object.fromEntries(
        frame.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]),
      );
      if (fields.data) take(fields.event ?? "message", JSON.parse(fields.data));
    }
  }
}
