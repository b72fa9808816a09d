// What a developer does with the types that openapi-typescript generates; checked by tsc before Node.js runs it.
// Arguments: the installation's address, a key, a chat, the application's address. Standard output: results as JSON.

import type { components, paths } from "./api.ts";

declare const process: { argv: string[] };

type Schemas = components["schemas"];
type Page = paths["/api/v2/messages/{companyId}/{chatId}"]["get"]["responses"][200]["content"]["application/json"];

const [url, key, chat, application] = process.argv.slice(2) as [string, string, string, string];

async function call<T>(method: string, path: string, body?: BodyInit, type?: string): Promise<T> {
  const headers: Record<string, string> = { "X-API-Key": key, Prefer: "wait=30" };
  if (type) headers["Content-Type"] = type;
  const answer = await fetch(url + path, { method, headers, body });
  return (await answer.json()) as T;
}

const json = <T>(path: string, body: object): Promise<T> => call<T>("POST", path, JSON.stringify(body), "application/json");

const text: Schemas["SendText"] = { message: "generated" };
const image: Schemas["SendImage"] = { url: `${application}/picture.png` };
const place: Schemas["SendMessage"] = { type: "location", latitude: 52.5, longitude: 13.4 };
const sent = [
  await json<Schemas["AcceptedMessage"]>(`/api/v2/messages/text/demo/${chat}`, text),
  await json<Schemas["AcceptedMessage"]>(`/api/v2/messages/image/demo/${chat}`, image),
  await json<Schemas["AcceptedMessage"]>(`/api/v2/messages/demo/${chat}`, place),
];

const form = new FormData();
form.append("file", new Blob(["%PDF-1.4\n%%EOF\n"], { type: "application/pdf" }), "a.pdf");
const stored = await call<Schemas["StoredFile"]>("POST", "/api/v2/media/demo", form);

const page = await call<Page>("GET", `/api/v2/messages/demo/${chat}?limit=10`);
const refused = await json<Schemas["Problem"]>(`/api/v2/messages/text/demo/${chat}`, { message: "" });

const wish: Schemas["AddHook"] = { url: `${application}/hook`, types: ["hook.test"] };
const hook = await json<Schemas["NewHook"]>("/api/v2/hooks/demo", wish);
const tested = await call<Schemas["HookTest"]>("POST", `/api/v2/hooks/demo/${hook.id}/test`);

const statuses: Schemas["MessageStatus"][] = sent.map((one) => one.status);
console.log(
  JSON.stringify({
    statuses,
    mimetype: stored.mimetype,
    listed: page.messages.map((message) => message.type),
    refused: refused.type,
    hook: hook.id,
    secret: hook.secret,
    event: tested.eventId,
  }),
);
