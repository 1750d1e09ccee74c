// Receive webhooks, verify their signatures with Replicate's own package, and print each event once.
// npm install replicate && WEBHOOK_SECRET=whsec_… PORT=8000 node receiver.cjs
const { createServer } = require("node:http");
const { validateWebhook } = require("replicate");

const secret = process.env.WEBHOOK_SECRET ?? "";
if (!secret.startsWith("whsec_")) {
  console.error("set WEBHOOK_SECRET to the signing secret, which begins with whsec_");
  process.exit(1);
}
const processedIds = new Set(); // an application stores the IDs in the same transaction as the effects of the event

async function isAuthentic(request, body) {
  const header = (name) => request.headers[`webhook-${name}`];
  const signed = { id: header("id"), timestamp: header("timestamp"), signature: header("signature") };
  // The package does not check the age of the timestamp.
  const isRecent = Math.abs(Date.now() / 1000 - Number(signed.timestamp)) < 300;
  return isRecent && (await validateWebhook({ ...signed, body, secret }));
}

const server = createServer(async (request, response) => {
  const chunks = [];
  try {
    for await (const chunk of request) chunks.push(chunk);
  } catch {
    return; // the sender disconnected; it sends the event again
  }
  const body = Buffer.concat(chunks).toString("utf8");
  if (!(await isAuthentic(request, body).catch(() => false))) return response.writeHead(400).end();
  if (!processedIds.has(request.headers["webhook-id"])) { // a retry has the same ID
    processedIds.add(request.headers["webhook-id"]);
    const { id, status, output = null, proxy } = JSON.parse(body);
    console.log(JSON.stringify({ event: proxy.event, id, status, output }));
  }
  response.writeHead(204).end();
});

server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
