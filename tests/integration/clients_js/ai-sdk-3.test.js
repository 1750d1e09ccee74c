// npm `@ai-sdk/replicate` 3 with npm `ai` 7, unmodified.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { createReplicate } from "@ai-sdk/replicate";
import {
  experimental_generateVideo as generateVideo,
  experimental_getVideoStatus as getVideoStatus,
  experimental_startVideo as startVideo,
  generateImage,
} from "ai";
import {
  PUBLIC_OUTPUTS_URL,
  assertMp4,
  cancelAndWait,
  createProvider,
  createPublicFetch,
  download,
  waitForPoll,
} from "./ai-sdk.js";
import { PROXY_KEY, PROXY_URL } from "./environment.js";

test("generateImage returns an image", async () => {
  const { replicate } = createProvider(createReplicate);
  const { image } = await generateImage({
    model: replicate.image("black-forest-labs/flux-schnell"),
    prompt: "a lighthouse",
    aspectRatio: "16:9",
  });

  assert.equal(image.mediaType, "image/webp");
  assert.ok(image.uint8Array.length > 1000);
});

test("generateImage polls when a model by version takes longer than it waits", async () => {
  const { replicate, requests } = createProvider(createReplicate);
  const response = await fetch(`${PROXY_URL}/v1/models/stability-ai/sdxl`, {
    headers: { authorization: `Bearer ${PROXY_KEY}` },
  });
  const version = (await response.json()).latest_version.id;

  const { images } = await generateImage({
    model: replicate.image(`stability-ai/sdxl:${version}`),
    prompt: "a fox",
    providerOptions: { replicate: { maxWaitTimeInSeconds: 1, width: 256, height: 256 } },
  });

  assert.equal(images.length, 1);
  const outputs = requests.filter(({ url }) => url.startsWith(PUBLIC_OUTPUTS_URL));
  assert.deepEqual(outputs.map(({ headers }) => headers.get("authorization")), [null]);
});

test("generateImage throws the error of a failed model", async () => {
  const { replicate } = createProvider(createReplicate);
  await assert.rejects(
    generateImage({
      model: replicate.image("local/lab"),
      prompt: "anything",
      maxRetries: 0,
      providerOptions: { replicate: { status: "failed", error: "out of paint" } },
    }),
    /out of paint/,
  );
});

test("a generateImage that is repeated after a failed download is one prediction with an Idempotency-Key", async () => {
  const { fetch, requests } = createPublicFetch();
  let failures = 1;
  async function failFirstDownload(url, init) {
    const response = await fetch(url, init);
    if (!String(url).startsWith(PUBLIC_OUTPUTS_URL) || failures-- <= 0) return response;
    return new Response("", { status: 503 });
  }
  const { replicate } = createProvider(createReplicate, PROXY_KEY, { fetch: failFirstDownload, requests });

  const { images } = await generateImage({
    model: replicate.image("black-forest-labs/flux-schnell"),
    prompt: "a lighthouse",
    headers: { "Idempotency-Key": randomUUID() },
  });

  assert.equal(images.length, 1);
  const outputs = requests.filter(({ url }) => url.startsWith(PUBLIC_OUTPUTS_URL)).map(({ url }) => url);
  // If it sends one create, `ai` repeats the download alone: say so in docs/api.md.
  assert.equal(requests.filter(({ method }) => method === "POST").length, 2);
  assert.deepEqual(outputs, [outputs[0], outputs[0]]);
});

test("generateImage throws 401 for an unknown key", async () => {
  const { replicate } = createProvider(createReplicate, "rp_wrong");

  await assert.rejects(
    generateImage({ model: replicate.image("local/lab"), prompt: "x", maxRetries: 0 }),
    (error) => error.statusCode === 401,
  );
});

test("an aborted generateImage sends no cancel, and its prediction can be canceled by its URL", async () => {
  const { replicate, requests } = createProvider(createReplicate);
  const controller = new AbortController();
  const generation = generateImage({
    model: replicate.image("local/lab"),
    prompt: "a long one",
    maxRetries: 0,
    abortSignal: controller.signal,
    headers: { "Cancel-After": "60s" },
    providerOptions: { replicate: { hold: true, maxWaitTimeInSeconds: 1 } },
  });
  const predictionUrl = await waitForPoll(requests);
  controller.abort();
  await assert.rejects(generation, { name: "AbortError" });

  // If this fails, the SDK has learned to cancel: say so in docs/api.md.
  assert.deepEqual(requests.filter(({ url }) => url.endsWith("/cancel")), []);
  // The header bounds the run where nothing cancels it.
  assert.equal(requests[0].headers.get("cancel-after"), "60s");
  assert.equal((await cancelAndWait(predictionUrl, "{}")).status, "canceled");
});

test("generateVideo starts, polls and returns a video", async () => {
  const { replicate } = createProvider(createReplicate);
  const { video } = await generateVideo({
    model: replicate.video("minimax/video-01"),
    prompt: "waves",
    poll: { intervalMs: 500 },
    download,
  });

  assertMp4(video);
});

test("startVideo and getVideoStatus show a video that runs and is then canceled", async () => {
  const { replicate } = createProvider(createReplicate);
  const model = replicate.video("local/lab");
  const { operation } = await startVideo({
    model,
    prompt: "waves",
    providerOptions: { replicate: { hold: true } },
  });
  assert.equal((await getVideoStatus(model, { operation })).status, "pending");

  await cancelAndWait(operation.getUrl);

  const status = await getVideoStatus(model, { operation });
  assert.deepEqual([status.status, status.error], ["error", "Video generation was canceled"]);
});
