// npm `@ai-sdk/replicate` 2 with npm `ai` 6, unmodified.
import assert from "node:assert/strict";
import { test } from "node:test";
import { experimental_generateVideo as generateVideo, generateImage } from "ai-6";
import { createReplicate } from "ai-sdk-replicate-2";
import { assertMp4, cancelAndWait, createProvider, download, waitForPoll } from "./ai-sdk.js";

test("generateImage returns an image", async () => {
  const { replicate } = createProvider(createReplicate);
  const { image } = await generateImage({
    model: replicate.image("black-forest-labs/flux-schnell"),
    prompt: "a lighthouse",
    providerOptions: { replicate: { megapixels: "0.25" } },
  });

  assert.equal(image.mediaType, "image/webp");
});

// This version does not poll images; docs/api.md says so.
test("generateImage throws when the model takes longer than it waits", async () => {
  const { replicate } = createProvider(createReplicate);
  await assert.rejects(
    generateImage({
      model: replicate.image("local/lab"),
      prompt: "a long one",
      maxRetries: 0,
      headers: { "Cancel-After": "5s" },
      providerOptions: { replicate: { hold: true, maxWaitTimeInSeconds: 1 } },
    }),
    /Invalid JSON response/,
  );
});

test("generateVideo polls and returns a video", async () => {
  const { replicate } = createProvider(createReplicate);
  const { video } = await generateVideo({
    model: replicate.video("minimax/video-01"),
    prompt: "waves",
    providerOptions: { replicate: { maxWaitTimeInSeconds: 1, pollIntervalMs: 500 } },
    download,
  });

  assertMp4(video);
});

test("generateVideo throws the error of a failed model", async () => {
  const { replicate } = createProvider(createReplicate);
  await assert.rejects(
    generateVideo({
      model: replicate.video("local/lab"),
      prompt: "anything",
      maxRetries: 0,
      providerOptions: { replicate: { status: "failed", error: "out of film" } },
    }),
    /out of film/,
  );
});

test("an aborted generateVideo sends no cancel, and its prediction can be canceled by its URL", async () => {
  const { replicate, requests } = createProvider(createReplicate);
  const controller = new AbortController();
  const generation = generateVideo({
    model: replicate.video("local/lab"),
    prompt: "a long one",
    maxRetries: 0,
    abortSignal: controller.signal,
    providerOptions: { replicate: { hold: true, maxWaitTimeInSeconds: 1, pollIntervalMs: 250 } },
  });
  const predictionUrl = await waitForPoll(requests);
  controller.abort();
  await assert.rejects(generation);

  assert.deepEqual(requests.filter(({ url }) => url.endsWith("/cancel")), []);
  assert.equal((await cancelAndWait(predictionUrl)).status, "canceled");
});
