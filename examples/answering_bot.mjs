// A bot that answers each text: gets events by webhook, verifies them, and replies once. Node.js 22 or newer, no packages.
//
//   BULKHEAD_URL=http://127.0.0.1:3000 BULKHEAD_KEY=… node answering_bot.mjs
//
// It adds its own webhook when it starts, and removes it when it ends. With Express: express_app.mjs.

import { createServer } from "node:http";
import { reply, subscribe, verify } from "./bulkhead.mjs";

let secret;

async function receive(request) {
  const body = Buffer.concat(await Array.fromAsync(request));
  await reply(verify(request.headers, body, [secret]));
}

const server = createServer((request, response) => {
  // 2xx only when the event is dealt with: anything else makes Bulkhead deliver it again
  receive(request).then(
    () => response.writeHead(204).end(),
    (error) => response.writeHead(400).end(error.message),
  );
});

server.listen(Number(process.env.PORT ?? 5000), "127.0.0.1", async () => {
  secret = await subscribe(`http://127.0.0.1:${server.address().port}/hook`);
});
