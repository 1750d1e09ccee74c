// npm `replicate`, unmodified.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import Replicate, { validateWebhook } from "replicate";
import {
  OUTPUTS_URL,
  PROXY_KEY,
  PROXY_URL,
  STORED_PREDICTIONS_COUNT,
  STORED_PREDICTIONS_KEY,
  createClient,
  findReplicatePredictions,
  isWebp,
} from "./environment.js";

const FLUX = "black-forest-labs/flux-schnell";
const LLAMA = "meta/meta-llama-3-8b-instruct";
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

test("stream yields the text of a language model", async () => {
  const input = { prompt: "a poem", max_tokens: 30 };
  // The first prediction of a model may have to wait until the functions have started.
  await replicate.run(LLAMA, { input });
  const events = [];

  for await (const event of replicate.stream(LLAMA, { input })) events.push(event);

  assert.deepEqual(events.map(({ event }) => event), [...Array(30).fill("output"), "done"]);
  assert.ok(events.every(({ id }) => id && !id.startsWith("stored:")));
});

test("stream yields files of this stack", async () => {
  await replicate.run(FLUX, { input: SMALL_IMAGE_INPUT });

  for await (const { event, data } of replicate.stream(FLUX, { input: SMALL_IMAGE_INPUT })) {
    if (event !== "output") continue;
    // A FileOutput, by the path of the stream.
    assert.ok(data.url().href.startsWith(`${OUTPUTS_URL}/outputs/`));
    assert.ok(isWebp(new Uint8Array(await (await data.blob()).arrayBuffer())));
  }
});

test("stream fails with the error of the model", async () => {
  const input = { partial: [["a"]], status: "failed", error: "no paint" };
  await replicate.run("local/stream-lab", { input: {} });

  await assert.rejects(async () => {
    for await (const _ of replicate.stream("local/stream-lab", { input, stream: true }));
  }, /no paint/);
});

test("stream says that a model does not stream", async () => {
  await assert.rejects(async () => {
    const input = { prompt: "a lighthouse" };
    for await (const _ of replicate.stream("black-forest-labs/flux-1.1-pro", { input }));
  }, /does not support streaming/);
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

/** Return a client whose connection breaks after its first three creates, and a function that lists what they made. */
function createClientWithBrokenConnection(prepare) {
  const order = randomUUID();
  let breaks = 3;
  const client = createClient(PROXY_KEY, async (url, init = {}) => {
    if (init.method !== "POST") return fetch(url, init);
    prepare(init);
    const headers = { ...init.headers, "X-Metadata": `order=${order}` };
    const response = await fetch(url, { ...init, headers });
    if (breaks-- > 0) throw new TypeError("fetch failed");
    return response;
  });
  const headers = { authorization: `Bearer ${PROXY_KEY}` };
  const listUrl = `${PROXY_URL}/v1/predictions?metadata.order=${order}`;
  return { client, list: async () => (await (await fetch(listUrl, { headers })).json()).results };
}

test("a create that the client repeats by itself is one prediction with an Idempotency-Key", async () => {
  const { client, list } = createClientWithBrokenConnection((init) => {
    init.headers["Idempotency-Key"] ??= randomUUID();
  });

  assert.equal(await client.run("local/lab", { input: { output: "done" } }), "done");
  assert.equal((await list()).length, 1);
});

test("a create that the client repeats by itself is several predictions without a key", async () => {
  const { client, list } = createClientWithBrokenConnection(() => {});

  await client.predictions.create({ model: "local/lab", input: {} });

  // If this fails, the client repeats no creates any more: say so in docs/api.md.
  await waitFor(async () => (await list()).length === 4, "the predictions of all repetitions");
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

test("create with inline files sends the options of the client instead of the input", async () => {
  const bodies = [];
  const client = new Replicate({
    auth: "secret",
    fileEncodingStrategy: "data-uri",
    fetch: async (_, { body }) => {
      bodies.push(JSON.parse(body));
      return Response.json({});
    },
  });

  await client.predictions.create({ model: "local/lab", input: { file: new Blob(["text"]) } });

  // If this fails, the client is repaired: say so in docs/api.md.
  assert.equal(bodies[0].input.auth, "secret");
});

test("create by deployment succeeds", async () => {
  const [owner, name] = ["local", "lab-deployment"];
  const deployment = await replicate.deployments.get(owner, name);
  const created = await replicate.deployments.predictions.create(owner, name, { input: { output: 1 } });

  assert.equal(deployment.current_release.model, "local/lab");
  assert.equal((await replicate.wait(created, { interval: 200 })).output, 1);
});

test("catalog, account and files are readable", async () => {
  const { id } = (await replicate.models.get("stability-ai", "sdxl")).latest_version;
  const file = await replicate.files.create(Buffer.from("text"), { origin: "test" });

  assert.equal((await replicate.models.versions.get("stability-ai", "sdxl", id)).id, id);
  assert.equal((await replicate.models.versions.list("stability-ai", "sdxl")).results[0].id, id);
  assert.ok((await replicate.models.list()).results.length > 1);
  assert.equal((await replicate.deployments.list()).results.length, 2);
  assert.ok((await replicate.collections.list()).results.length > 0);
  assert.equal((await replicate.collections.get("official")).slug, "official");
  assert.ok((await replicate.hardware.list()).length > 0);
  assert.equal((await replicate.accounts.current()).type, "organization");
  assert.deepEqual((await replicate.files.get(file.id)).metadata, { origin: "test" });
  assert.ok((await replicate.files.list()).results.some(({ id }) => id === file.id));
  assert.equal(await replicate.files.delete(file.id), true);
});

test("refused methods throw an error that says what to use", async () => {
  const calls = [
    () => replicate.trainings.list(),
    () => replicate.trainings.get("abc"),
    () => replicate.trainings.cancel("abc"),
    () => replicate.trainings.create("acme", "base", "0".repeat(64), { destination: "acme/mine", input: {} }),
    () => replicate.models.create("acme", "mine", { visibility: "private", hardware: "cpu" }),
    () => replicate.deployments.create({ name: "mine" }),
    () => replicate.deployments.update("acme", "mine", { max_instances: 2 }),
    () => replicate.deployments.delete("acme", "mine"),
  ];

  for (const call of calls) {
    await assert.rejects(call, (error) => error.response.status === 405 && /POST \/v1\//.test(error.message));
  }
});

// API Gateway has no method QUERY, see docs/api.md; GET /v1/search is there instead.
test("models.search throws an error", async () => {
  await assert.rejects(
    replicate.models.search("image"),
    (error) => error.response.status === 404 && /GET \/v1\/search/.test(error.message),
  );
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
