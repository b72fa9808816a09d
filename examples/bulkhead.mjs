// What the bots in JavaScript share: requests to Bulkhead, and verification of what it delivers. No packages.

import { createHmac, timingSafeEqual } from "node:crypto";

const url = process.env.BULKHEAD_URL ?? "http://127.0.0.1:3000";
const key = process.env.BULKHEAD_KEY;
export const company = process.env.BULKHEAD_COMPANY ?? "demo";

// Returns the event of a delivery; throws for one that no secret signed, or that is older than five minutes.
// `body`: the bytes as they came, not parsed and written again.
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

// Makes a request and returns its answer; throws for a problem.
export async function call(method, path, body, headers = {}) {
  const answer = await fetch(`${url}/api/v2/${path}`, {
    method,
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json", ...headers },
    body: body && JSON.stringify(body),
  });
  const result = await answer.json();
  if (!answer.ok) throw new Error(`${result.type}: ${result.detail}`);
  return result;
}

const seen = new Set();

// Replies to the text of an event, once.
export async function reply(event) {
  const message = event.data.message;
  // the same event may come twice
  if (!seen.has(event.id) && message?.type === "text") {
    const text = { message: `You wrote: ${message.message}`, phoneIndex: message.phoneIndex };
    // also after a crash between sending and answering: the same event never causes two replies
    const once = { "Idempotency-Key": `reply-${event.id}` };
    await call("POST", `messages/text/${company}/${encodeURIComponent(message.chatId)}`, text, once);
  }
  seen.add(event.id);
}

// Adds a webhook for what customers write, which is removed when the program ends, and returns its secret.
export async function subscribe(address) {
  const hook = await call("POST", `hooks/${company}`, { url: address, types: ["message.received"] });
  for (const signal of ["SIGINT", "SIGTERM"])
    process.on(signal, async () => {
      await call("DELETE", `hooks/${company}/${hook.id}`);
      process.exit(0);
    });
  console.log(`answering; webhook ${hook.id}`);
  return hook.secret;
}
