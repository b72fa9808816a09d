// What a user would build instead, as the documents of its parts show it: Express takes messages, PostgreSQL keeps them,
// BullMQ queues a job for each, and a worker posts it to Meta. `node stack.mjs PACKAGES api|worker`, settings as JSON in
// the environment variable STACK.
import cluster from "node:cluster";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [packages, role] = process.argv.slice(2);
const set = JSON.parse(process.env.STACK);
// the packages are installed in the virtual environment and not beside this file, where `import` would look
const find = createRequire(`${packages}/package.json`);
const load = async (name) => import(pathToFileURL(find.resolve(name)));

const QUEUE = "messages";
const { default: Redis } = await load("ioredis");
const connection = new Redis({ path: set.redisSocket, db: set.redisDb, maxRetriesPerRequest: null });

async function openPool() {
  const { default: pg } = await load("pg");
  return new pg.Pool({ ...set.postgres, max: 20 });
}

async function api() {
  if (cluster.isPrimary) {
    connection.disconnect();
    for (let number = 0; number < set.apis; number += 1) cluster.fork();
    cluster.on("exit", () => cluster.fork());
    return;
  }
  const { default: express } = await load("express");
  const { Queue } = await load("bullmq");
  const pool = await openPool();
  const queue = new Queue(QUEUE, { connection });
  const app = express();
  app.use(express.json({ limit: "1mb" }));
  app.use((request, response, next) => {
    if (request.headers.authorization === `Bearer ${set.apiKey}`) return next();
    response.status(401).json({ title: "unauthorized" });
  });
  app.get("/health", (_, response) => response.json({ status: "ok" }));
  app.post("/api/v2/messages/text/:company/:chat", async (request, response) => {
    const { message, phoneIndex } = request.body ?? {};
    if (typeof message !== "string" || !message || message.length > 4096 || !/^\d{5,15}$/.test(request.params.chat)) {
      response.status(422).json({ title: "invalid" });
      return;
    }
    const { rows } = await pool.query({
      name: "accept",
      text: `INSERT INTO messages(company_id, phone_index, chat_id, body, state)
             VALUES ($1, $2, $3, $4, 'queued') RETURNING id, created_at`,
      values: [request.params.company, phoneIndex ?? 0, request.params.chat, message],
    });
    const { id, created_at: createdAt } = rows[0];
    await queue.add(
      "send",
      { id, chat: request.params.chat, message },
      { attempts: 10, backoff: { type: "exponential", delay: 1000 }, removeOnComplete: true, removeOnFail: 1000 },
    );
    response.status(202).json({ id: String(id), state: "queued", createdAt });
  });
  app.listen(set.apiPort, "127.0.0.1");
}

async function worker() {
  const { createServer } = await import("node:http");
  const { Worker } = await load("bullmq");
  const pool = await openPool();
  let sent = 0;
  const sending = new Worker(
    QUEUE,
    async (job) => {
      const { id, chat, message } = job.data;
      const answer = await fetch(set.graph, {
        method: "POST",
        headers: { authorization: `Bearer ${set.token}`, "content-type": "application/json" },
        body: JSON.stringify({
          messaging_product: "whatsapp",
          recipient_type: "individual",
          to: chat,
          type: "text",
          text: { body: message },
          // the form that the benchmark reads from the sandbox's ledger: a word, the row, the attempt
          biz_opaque_callback_data: `stack:0:${id}:${job.attemptsMade + 1}:0`,
        }),
      });
      const body = await answer.json();
      if (!answer.ok) throw new Error(`${answer.status} ${JSON.stringify(body.error ?? {})}`);
      await pool.query({
        name: "sent",
        text: "UPDATE messages SET state = 'sent', provider_id = $2, sent_at = now() WHERE id = $1",
        values: [id, body.messages[0].id],
      });
      sent += 1;
    },
    { connection, concurrency: set.inFlight },
  );
  sending.on("error", (error) => console.error(error));
  // the load generator reads how many were sent here, as it does from Bulkhead's processes
  createServer((_, response) => {
    const body = JSON.stringify({ messagesSent: sent });
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    response.end(body);
  }).listen(Number(process.env.HEALTH_PORT), "127.0.0.1");
}

await (role === "api" ? api() : worker());
