// npm `@ai-sdk/replicate` with `generateImage` of npm `ai`, unmodified.
//
// The SDK fetches images from public host names only. So the test passes its own `fetch` to the SDK, which
// sends requests for two public names to the API and to the outputs of the stack.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createReplicate } from "@ai-sdk/replicate";
import { generateImage } from "ai";
import { OUTPUTS_URL, PROXY_KEY, PROXY_URL } from "./environment.js";

const PUBLIC_API_URL = "https://proxy.example.com/local";
const PUBLIC_OUTPUTS_URL = "https://outputs.example.com";
const requests = [];

async function fetchPublicUrl(url, init) {
  requests.push({ url: String(url), authorization: new Headers(init?.headers).get("authorization") });
  const localUrl = String(url).replace(PUBLIC_API_URL, PROXY_URL).replace(PUBLIC_OUTPUTS_URL, OUTPUTS_URL);
  const response = await fetch(localUrl, init);
  if (!response.headers.get("content-type")?.includes("json")) return response;
  const body = (await response.text())
    .replaceAll(PROXY_URL, PUBLIC_API_URL)
    .replaceAll(OUTPUTS_URL, PUBLIC_OUTPUTS_URL);
  return new Response(body, { status: response.status, headers: { "content-type": "application/json" } });
}

function createProvider(apiToken) {
  return createReplicate({ baseURL: `${PUBLIC_API_URL}/v1`, apiToken, fetch: fetchPublicUrl });
}

const replicate = createProvider(PROXY_KEY);

test("generateImage returns an image", async () => {
  const { image } = await generateImage({
    model: replicate.image("black-forest-labs/flux-schnell"),
    prompt: "a lighthouse",
    aspectRatio: "16:9",
  });

  assert.equal(image.mediaType, "image/webp");
  assert.ok(image.uint8Array.length > 1000);
});

test("generateImage polls when a model by version takes longer than it waits", async () => {
  const response = await fetch(`${PROXY_URL}/v1/models/stability-ai/sdxl`, {
    headers: { authorization: `Bearer ${PROXY_KEY}` },
  });
  const version = (await response.json()).latest_version.id;
  requests.length = 0;

  const { images } = await generateImage({
    model: replicate.image(`stability-ai/sdxl:${version}`),
    prompt: "a fox",
    providerOptions: { replicate: { maxWaitTimeInSeconds: 1, width: 256, height: 256 } },
  });

  assert.equal(images.length, 1);
  const outputs = requests.filter(({ url }) => url.startsWith(PUBLIC_OUTPUTS_URL));
  assert.deepEqual(outputs.map(({ authorization }) => authorization), [null]);
});

test("generateImage throws the error of a failed model", async () => {
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

test("generateImage throws 401 for an unknown key", async () => {
  const unauthorized = createProvider("rp_wrong");

  await assert.rejects(
    generateImage({ model: unauthorized.image("local/lab"), prompt: "x", maxRetries: 0 }),
    (error) => error.statusCode === 401,
  );
});

// The SDK sends no cancel when its call is aborted (3.0.46), so the caller bounds the run by a header.
test("an aborted generateImage ends by its Cancel-After", async () => {
  const controller = new AbortController();
  requests.length = 0;
  const generation = generateImage({
    model: replicate.image("local/lab"),
    prompt: "a long one",
    maxRetries: 0,
    abortSignal: controller.signal,
    headers: { "Cancel-After": "10s" },
    providerOptions: { replicate: { latency: 120, maxWaitTimeInSeconds: 1 } },
  });
  const polled = /\/v1\/predictions\/[0-9a-z]{26}$/;
  while (!requests.some(({ url }) => polled.test(url))) await new Promise((done) => setTimeout(done, 100));
  controller.abort();
  await assert.rejects(generation, { name: "AbortError" });

  const { url } = requests.find((request) => polled.test(request.url));
  let prediction;
  do {
    await new Promise((done) => setTimeout(done, 500));
    const response = await fetchPublicUrl(url, { headers: { authorization: `Bearer ${PROXY_KEY}` } });
    prediction = await response.json();
  } while (["starting", "processing"].includes(prediction.status));
  assert.equal(prediction.status, "canceled");
});
