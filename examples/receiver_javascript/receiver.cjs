// Receives webhooks, verifies them with Replicate's own package, and prints each event once.
// npm install replicate && WEBHOOK_SECRET=whsec_… PORT=8000 node receiver.cjs
const { createServer } = require("node:http");
const { validateWebhook } = require("replicate");

const secret = process.env.WEBHOOK_SECRET;
const seen = new Set(); // an application keeps these with what it does about the event, in one transaction

async function verified(request, body) {
  const header = (name) => request.headers[`webhook-${name}`];
  const fresh = Math.abs(Date.now() / 1000 - Number(header("timestamp"))) < 300; // the package does not look
  const signed = { id: header("id"), timestamp: header("timestamp"), signature: header("signature") };
  return fresh && (await validateWebhook({ ...signed, body, secret }));
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString("utf8");
  if (!(await verified(request, body).catch(() => false))) return response.writeHead(400).end();
  if (!seen.has(request.headers["webhook-id"])) { // a retry after a lost answer carries the same id
    seen.add(request.headers["webhook-id"]);
    const { id, status, output, proxy } = JSON.parse(body);
    console.log(JSON.stringify({ event: proxy.event, id, status, output }));
  }
  response.writeHead(204).end();
});

server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
