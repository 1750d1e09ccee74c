// npm `@ai-sdk/replicate` under `generateImage` of npm `ai`, unmodified.
//
// The SDK fetches images from public host names only, as they have in production. So the test plays the name
// server: by the SDK's own `fetch` option two public names lead to the API and to the outputs of the stack.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createReplicate } from "@ai-sdk/replicate";
import { generateImage } from "ai";
import { OUTPUTS_URL, PROXY_KEY, PROXY_URL } from "./surroundings.js";

const API = "https://proxy.example.com/local";
const OUTPUTS = "https://outputs.example.com";
const asked = [];

async function throughPublicNames(url, init) {
  asked.push({ url: String(url), authorization: new Headers(init?.headers).get("authorization") });
  const local = String(url).replace(API, PROXY_URL).replace(OUTPUTS, OUTPUTS_URL);
  const answer = await fetch(local, init);
  if (!answer.headers.get("content-type")?.includes("json")) return answer;
  const body = (await answer.text()).replaceAll(PROXY_URL, API).replaceAll(OUTPUTS_URL, OUTPUTS);
  return new Response(body, { status: answer.status, headers: { "content-type": "application/json" } });
}

const replicate = createReplicate({ baseURL: `${API}/v1`, apiToken: PROXY_KEY, fetch: throughPublicNames });

test("generateImage gives an image", async () => {
  const { image } = await generateImage({
    model: replicate.image("black-forest-labs/flux-schnell"),
    prompt: "a lighthouse",
    aspectRatio: "16:9",
  });

  assert.equal(image.mediaType, "image/webp");
  assert.ok(image.uint8Array.length > 1000);
});

test("a model by version whose output is slow is polled for", async () => {
  const answer = await fetch(`${PROXY_URL}/v1/models/stability-ai/sdxl`, {
    headers: { authorization: `Bearer ${PROXY_KEY}` },
  });
  const version = (await answer.json()).latest_version.id;
  asked.length = 0;

  const { images } = await generateImage({
    model: replicate.image(`stability-ai/sdxl:${version}`),
    prompt: "a fox",
    providerOptions: { replicate: { maxWaitTimeInSeconds: 1, width: 256, height: 256 } },
  });

  assert.equal(images.length, 1);
  const outputs = asked.filter(({ url }) => url.startsWith(OUTPUTS));
  assert.deepEqual(outputs.map(({ authorization }) => authorization), [null]);
});

test("a failed model throws its words", async () => {
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

test("a wrong key throws our problem's words", async () => {
  const stranger = createReplicate({ baseURL: `${API}/v1`, apiToken: "rp_wrong", fetch: throughPublicNames });

  await assert.rejects(
    generateImage({ model: stranger.image("local/lab"), prompt: "x", maxRetries: 0 }),
    (error) => error.statusCode === 401,
  );
});
