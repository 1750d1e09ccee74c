// npm `replicate`, unmodified.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { validateWebhook } from "replicate";
import { CROWD_KEY, CROWD_SIZE, client, isWebp, upstream } from "./surroundings.js";

const FLUX = "black-forest-labs/flux-schnell";
const SMALL = { prompt: "a lighthouse", megapixels: "0.25" };
const replicate = client();

async function until(condition, what) {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; ) {
    const found = await condition();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.fail(`no ${what} within a minute`);
}

test("run by model gives the URL of an image", async () => {
  const [url] = await replicate.run(FLUX, { input: SMALL });

  const image = await fetch(url);
  assert.equal(image.status, 200);
  assert.ok(isWebp(new Uint8Array(await image.arrayBuffer())));
});

test("run by version, with progress told", async () => {
  const { latest_version } = await replicate.models.get("replicate", "hello-world");
  const seen = [];

  const output = await replicate.run(
    `replicate/hello-world:${latest_version.id}`,
    { input: { text: "Alice" }, wait: { mode: "poll", interval: 200 } },
    (prediction) => seen.push(prediction.status),
  );

  assert.equal(output, "hello Alice");
  assert.equal(seen.at(-1), "succeeded");
});

test("create and wait", async () => {
  const created = await replicate.predictions.create({ model: FLUX, input: SMALL });
  const done = await replicate.wait(created, { interval: 200 });

  assert.equal(created.output, null);
  assert.equal(done.status, "succeeded");
  assert.equal(done.output.length, 1);
  assert.deepEqual(await replicate.predictions.get(created.id), done);
});

test("a failed model throws Replicate's words", async () => {
  const input = { status: "failed", error: "CUDA out of memory" };

  await assert.rejects(replicate.run("local/lab", { input }), /Prediction failed: CUDA out of memory/);
});

test("a refused request throws the problem", async () => {
  await assert.rejects(
    replicate.predictions.create({ version: "no version", input: {} }),
    (error) => error.response.status === 422 && /version: must be/.test(error.message),
  );
});

test("cancel reaches Replicate", async () => {
  const created = await replicate.predictions.create({ model: "local/lab", input: { hold: true } });
  await until(async () => (await upstream(created.id))[0]?.status === "processing", "start");

  await replicate.predictions.cancel(created.id);
  const ended = await replicate.wait(created, { interval: 200 });

  assert.equal(ended.status, "canceled");
  assert.deepEqual((await upstream(created.id)).map(({ status }) => status), ["canceled"]);
});

test("paginate follows every cursor", async () => {
  const crowd = client(CROWD_KEY);
  const pages = [];

  for await (const page of crowd.paginate(crowd.predictions.list)) pages.push(page);

  assert.ok(pages.length > 2);
  assert.equal(new Set(pages.flat().map(({ id }) => id)).size, CROWD_SIZE);
});

test("a Blob as input is uploaded and can be read at its address", async () => {
  const words = "words in a file";
  const created = await replicate.predictions.create({
    model: "local/lab",
    input: { file: new Blob([words], { type: "text/plain" }), output: 1 },
  });
  await replicate.wait(created, { interval: 200 });

  const [{ input }] = await upstream(created.id);
  assert.equal(await (await fetch(input.file)).text(), words);
});

describe("webhooks", () => {
  const calls = [];
  let server;

  before(async () => {
    server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      calls.push({ headers: request.headers, body: Buffer.concat(chunks).toString("utf8") });
      response.writeHead(204).end();
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  });

  after(() => server.close());

  test("validateWebhook believes ours and no changed one", async () => {
    const secret = (await replicate.webhooks.default.secret.get()).key;
    const created = await replicate.predictions.create({
      model: "local/lab",
      input: { output: "grüße 🎨" },
      webhook: `http://127.0.0.1:${server.address().port}/hook`,
      webhook_events_filter: ["completed"],
    });
    const { headers, body } = await until(() => calls[0], "webhook");
    const signed = {
      id: headers["webhook-id"],
      timestamp: headers["webhook-timestamp"],
      signature: headers["webhook-signature"],
      secret,
    };

    assert.equal(JSON.parse(body).id, created.id);
    assert.equal(JSON.parse(body).output, "grüße 🎨");
    assert.equal(await validateWebhook({ ...signed, body }), true);
    assert.equal(await validateWebhook({ ...signed, body: body.replace("succeeded", "canceled") }), false);
  });
});
