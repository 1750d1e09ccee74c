// npm `replicate`, unmodified.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { validateWebhook } from "replicate";
import {
  STORED_PREDICTIONS_COUNT,
  STORED_PREDICTIONS_KEY,
  createClient,
  findReplicatePredictions,
  isWebp,
} from "./environment.js";

const FLUX = "black-forest-labs/flux-schnell";
const SMALL_IMAGE_INPUT = { prompt: "a lighthouse", megapixels: "0.25" };
const TIMEOUT_MS = 60_000;
const replicate = createClient();

/** Poll until the condition returns a truthy value, and return it. */
async function waitFor(condition, description) {
  for (const deadline = Date.now() + TIMEOUT_MS; Date.now() < deadline; ) {
    const value = await condition();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.fail(`timed out waiting for ${description}`);
}

test("run by model returns the URL of an image", async () => {
  const [url] = await replicate.run(FLUX, { input: SMALL_IMAGE_INPUT });

  const response = await fetch(url);
  assert.equal(response.status, 200);
  assert.ok(isWebp(new Uint8Array(await response.arrayBuffer())));
});

test("run by version reports progress", async () => {
  const { latest_version } = await replicate.models.get("replicate", "hello-world");
  const statuses = [];

  const output = await replicate.run(
    `replicate/hello-world:${latest_version.id}`,
    { input: { text: "Alice" }, wait: { mode: "poll", interval: 200 } },
    (prediction) => statuses.push(prediction.status),
  );

  assert.equal(output, "hello Alice");
  assert.equal(statuses.at(-1), "succeeded");
});

test("wait returns the finished prediction", async () => {
  const created = await replicate.predictions.create({ model: FLUX, input: SMALL_IMAGE_INPUT });
  const finished = await replicate.wait(created, { interval: 200 });

  assert.equal(created.output, undefined);
  assert.equal(finished.status, "succeeded");
  assert.equal(finished.output.length, 1);
  assert.deepEqual(await replicate.predictions.get(created.id), finished);
});

test("run throws Replicate's error when a model fails", async () => {
  const input = { status: "failed", error: "CUDA out of memory" };

  await assert.rejects(replicate.run("local/lab", { input }), /Prediction failed: CUDA out of memory/);
});

test("create throws the problem document when the request is invalid", async () => {
  await assert.rejects(
    replicate.predictions.create({ version: "no version", input: {} }),
    (error) => error.response.status === 422 && /version: must be/.test(error.message),
  );
});

test("cancel cancels the prediction on Replicate", async () => {
  const created = await replicate.predictions.create({ model: "local/lab", input: { hold: true } });
  const isRunning = async () => (await findReplicatePredictions(created.id))[0]?.status === "processing";
  await waitFor(isRunning, "the start of the prediction");

  await replicate.predictions.cancel(created.id);
  const finished = await replicate.wait(created, { interval: 200 });

  assert.equal(finished.status, "canceled");
  const replicatePredictions = await findReplicatePredictions(created.id);
  assert.deepEqual(replicatePredictions.map(({ status }) => status), ["canceled"]);
});

test("paginate returns all pages", async () => {
  const client = createClient(STORED_PREDICTIONS_KEY);
  const pages = [];

  for await (const page of client.paginate(client.predictions.list)) pages.push(page);

  assert.ok(pages.length > 2);
  assert.equal(new Set(pages.flat().map(({ id }) => id)).size, STORED_PREDICTIONS_COUNT);
});

test("create uploads a Blob and the model can read it at its URL", async () => {
  const text = "text of a file";
  const created = await replicate.predictions.create({
    model: "local/lab",
    input: { file: new Blob([text], { type: "text/plain" }), output: 1 },
  });
  await replicate.wait(created, { interval: 200 });

  const [{ input }] = await findReplicatePredictions(created.id);
  assert.equal(await (await fetch(input.file)).text(), text);
});

describe("webhooks", () => {
  const requests = [];
  let server;

  before(async () => {
    server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      requests.push({ headers: request.headers, body: Buffer.concat(chunks).toString("utf8") });
      response.writeHead(204).end();
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  });

  after(() => server.close());

  test("validateWebhook accepts our signature and rejects a changed body", async () => {
    const secret = (await replicate.webhooks.default.secret.get()).key;
    const created = await replicate.predictions.create({
      model: "local/lab",
      input: { output: "grüße 🎨" },
      webhook: `http://127.0.0.1:${server.address().port}/hook`,
      webhook_events_filter: ["completed"],
    });
    const { headers, body } = await waitFor(() => requests[0], "the webhook");
    const signature = {
      id: headers["webhook-id"],
      timestamp: headers["webhook-timestamp"],
      signature: headers["webhook-signature"],
      secret,
    };

    assert.equal(JSON.parse(body).id, created.id);
    assert.equal(JSON.parse(body).output, "grüße 🎨");
    assert.equal(await validateWebhook({ ...signature, body }), true);
    assert.equal(await validateWebhook({ ...signature, body: body.replace("succeeded", "canceled") }), false);
  });
});
