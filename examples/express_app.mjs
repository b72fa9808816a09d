// An Express application with a webhook of Bulkhead: a delivery is verified, and its text gets one reply. Node.js 20 or
// newer.
//
//   npm install express
//   BULKHEAD_URL=http://127.0.0.1:3000 BULKHEAD_KEY=… node express_app.mjs
//
// It adds its own webhook when it starts, and removes it when it ends.

import express from "express";
import { reply, subscribe, verify } from "./bulkhead.mjs";

const app = express();
let secret;

// `express.raw` and not `express.json`, which keeps no bytes to verify: of this route alone, and before any `app.use` that
// reads bodies
app.post("/hook", express.raw({ type: "*/*", limit: "1mb" }), async (request, response) => {
  let event;
  try {
    event = verify(request.headers, request.body, [secret]);
  } catch (error) {
    response.status(400).type("text").send(error.message);
    return;
  }
  // what fails here is a 500, and Bulkhead delivers the event again
  await reply(event);
  response.sendStatus(204);
});

// the rest of the application
app.use(express.json());
app.get("/", (request, response) => response.send("An application with a webhook."));

const server = app.listen(Number(process.env.PORT ?? 5000), "127.0.0.1", async () => {
  secret = await subscribe(`http://127.0.0.1:${server.address().port}/hook`);
});
