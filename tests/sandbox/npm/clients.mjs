// Two clients of WhatsApp's API, driven by tests/sandbox/test_npm_clients.py: one JSON command a line on standard input,
// one JSON answer a line on standard output.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [packages, base, token, secret, phoneId, to] = process.argv.slice(2);
// the packages are installed in the virtual environment and not beside this file, where `import` would look
const find = createRequire(`${packages}/package.json`);
const load = async (name) => import(pathToFileURL(find.resolve(name)));

const { WhatsAppClient } = await load("@kapso/whatsapp-cloud-api");
const { normalizeWebhook, verifySignature } = await load("@kapso/whatsapp-cloud-api/server");
const { WhatsAppAPI } = await load("whatsapp-api-js");
const parts = await load("whatsapp-api-js/messages");

const VERSION = "v23.0";
const picture = "https://example.com/a.png";
const kapso = new WhatsAppClient({ accessToken: token, baseUrl: `${base}/graph`, graphVersion: VERSION });
const k = { phoneNumberId: phoneId, to };

// whatsapp-api-js has Meta's address in it; what leaves goes to the sandbox instead
const toSandbox = (url, options) => fetch(String(url).replace("https://graph.facebook.com", `${base}/graph`), options);
const api = new WhatsAppAPI({ token, appSecret: secret, v: VERSION, ponyfill: { fetch: toSandbox } });
const send = (message, context, tracker) => api.sendMessage(phoneId, { phone: to }, message, context, tracker);

const CLIENTS = {
  kapso: {
    sends: {
      text: () => kapso.messages.sendText({ ...k, body: "Hello", previewUrl: false }),
      image: () => kapso.messages.sendImage({ ...k, image: { link: picture, caption: "Look" } }),
      document: () => kapso.messages.sendDocument({ ...k, document: { link: picture, filename: "a.png" } }),
      location: () =>
        kapso.messages.sendLocation({ ...k, location: { latitude: 52.5, longitude: 13.3, name: "Here", address: "1 Main St" } }),
      contacts: () =>
        kapso.messages.sendContacts({
          ...k,
          contacts: [{ name: { formattedName: "Ann Lee", firstName: "Ann" }, phones: [{ phone: "+15550100999", type: "WORK" }] }],
        }),
      interactive: () =>
        kapso.messages.sendInteractiveButtons({ ...k, bodyText: "Which?", buttons: [{ id: "yes", title: "Yes" }] }),
      template: () =>
        kapso.messages.sendTemplate({ ...k, template: { name: "hello_world", language: { code: "en_US" } } }),
      reaction: (target) => kapso.messages.sendReaction({ ...k, reaction: { messageId: target, emoji: "👍" } }),
    },
    idOf: (answer) => answer.messages[0].id,
    read: (id) => kapso.messages.markRead({ phoneNumberId: phoneId, messageId: id }),
    parse: (body, signature) => {
      const found = normalizeWebhook(JSON.parse(body));
      const proved = verifySignature({ appSecret: secret, rawBody: body, signatureHeader: signature });
      return {
        proved,
        phoneId: found.phoneNumberId,
        messages: found.messages.map((one) => ({ id: one.id, type: one.type, user: one.fromUserId, direction: one.kapso?.direction })),
        statuses: found.statuses.map((one) => ({ id: one.id, status: one.status, to: one.recipientId })),
      };
    },
  },
  "whatsapp-api-js": {
    sends: {
      text: () => send(new parts.Text("Hello"), undefined, "t-1"),
      image: () => send(new parts.Image(picture, false, "Look")),
      document: () => send(new parts.Document(picture, false, undefined, "a.png")),
      location: () => send(new parts.Location(13.3, 52.5, "Here", "1 Main St")),
      contacts: () => send(new parts.Contacts([new parts.Name("Ann Lee", "Ann"), new parts.Phone("+15550100999", "WORK")])),
      interactive: () =>
        send(new parts.Interactive(new parts.ActionButtons(new parts.Button("yes", "Yes")), new parts.Body("Which?"))),
      template: () => send(new parts.Template("hello_world", "en_US")),
      reaction: (target) => send(new parts.Reaction(target, "👍")),
    },
    idOf: (answer) => answer.messages[0].id,
    read: (id) => api.markAsRead(phoneId, id),
    parse: async (body, signature) => {
      const found = { proved: false, phoneId: "", messages: [], statuses: [] };
      api.on.message = ({ phoneID, contact, message }) => {
        found.phoneId = phoneID;
        found.messages.push({ id: message.id, type: message.type, user: contact.user_id, direction: "inbound" });
      };
      api.on.status = ({ phoneID, id, status, contact }) => {
        found.phoneId = phoneID;
        found.statuses.push({ id, status, to: contact.wa_id });
      };
      // it throws when the signature is not right
      await api.post(JSON.parse(body), body, signature);
      return { ...found, proved: true };
    },
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { client, call, args } = JSON.parse(line);
  const chosen = CLIENTS[client];
  let answer;
  try {
    if (call === "send") {
      const sent = await chosen.sends[args[0]](args[1]);
      answer = sent.error ? { failed: JSON.stringify(sent) } : { id: chosen.idOf(sent) };
    } else {
      answer = { result: await chosen[call](...args) };
    }
  } catch (error) {
    answer = { failed: String(error?.stack ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
