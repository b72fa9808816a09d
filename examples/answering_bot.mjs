// A bot that answers each text: gets events by webhook, verifies them, and replies once. Node.js 22 or newer, no packages.
//
//   BULKHEAD_URL=http://127.0.0.1:3000 BULKHEAD_KEY=… node answering_bot.mjs
//
// It adds its own webhook when it starts, and removes it when it ends. With Express: `express.raw({type: "*/*"})`, and the
// body of the handler below as a route.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const url = process.env.BULKHEAD_URL ?? "http://127.0.0.1:3000";
const key = process.env.BULKHEAD_KEY;
const company = process.env.BULKHEAD_COMPANY ?? "demo";
const port = Number(process.env.PORT ?? 5000);

// Returns the event of a delivery; throws for one that no secret signed, or that is older than five minutes.
export function verify(headers, body, secrets, toleranceSeconds = 300) {
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) => headers[`webhook-${name}`]);
  if (!id || !signatures || !(Math.abs(Date.now() / 1000 - Number(timestamp)) <= toleranceSeconds))
    throw new Error("a header is missing, or the delivery is old");
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
  const keys = secrets.map((secret) => Buffer.from(secret.replace("whsec_", ""), "base64"));
  // a setting that is missing is an empty key, with which anyone can sign
  if (keys.some((key) => key.length < 16)) throw new Error("a secret is missing or cut off");
  const known = keys.map((key) => createHmac("sha256", key).update(signed).digest());
  const given = signatures.split(" ").map((one) => Buffer.from(one.replace("v1,", ""), "base64"));
  if (!known.some((one) => given.some((other) => other.length === one.length && timingSafeEqual(one, other))))
    throw new Error("no secret fits the signature");
  return JSON.parse(body);
}

async function call(method, path, body, headers = {}) {
  const answer = await fetch(`${url}/api/v2/${path}`, {
    method,
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json", ...headers },
    body: body && JSON.stringify(body),
  });
  const result = await answer.json();
  if (!answer.ok) throw new Error(`${result.type}: ${result.detail}`);
  return result;
}

let secret;
const seen = new Set();

async function receive(request) {
  const body = Buffer.concat(await Array.fromAsync(request));
  const event = verify(request.headers, body, [secret]);
  const message = event.data.message;
  // the same event may come twice
  if (!seen.has(event.id) && message?.type === "text") {
    const reply = { message: `You wrote: ${message.message}`, phoneIndex: message.phoneIndex };
    // also after a crash between sending and answering: the same event never causes two replies
    const once = { "Idempotency-Key": `reply-${event.id}` };
    await call("POST", `messages/text/${company}/${encodeURIComponent(message.chatId)}`, reply, once);
  }
  seen.add(event.id);
}

const server = createServer((request, response) => {
  // 2xx only when the event is dealt with: anything else makes Bulkhead deliver it again
  receive(request).then(
    () => response.writeHead(204).end(),
    (error) => response.writeHead(400).end(error.message),
  );
});

server.listen(port, "127.0.0.1", async () => {
  const hook = await call("POST", `hooks/${company}`, {
    url: `http://127.0.0.1:${server.address().port}/hook`,
    types: ["message.received"],
  });
  secret = hook.secret;
  console.log(`answering; webhook ${hook.id}`);
  for (const signal of ["SIGINT", "SIGTERM"])
    process.on(signal, async () => {
      await call("DELETE", `hooks/${company}/${hook.id}`);
      process.exit(0);
    });
});
