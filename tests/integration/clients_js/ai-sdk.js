// What the tests of the AI SDK share.
//
// The SDK fetches images from public host names only. So the tests pass their own `fetch` to it, which sends
// requests for two public names to the API and to the outputs of the stack.
import assert from "node:assert/strict";
import { OUTPUTS_URL, PROXY_KEY, PROXY_URL } from "./environment.js";

const PUBLIC_API_URL = "https://proxy.example.com/local";
export const PUBLIC_OUTPUTS_URL = "https://outputs.example.com";
const POLL_INTERVAL_MS = 250;
const authorization = `Bearer ${PROXY_KEY}`;

/** Return a `fetch` for the public names, and the list of the requests that are made with it. */
export function createPublicFetch() {
  const requests = [];
  async function fetchPublicUrl(url, init) {
    requests.push({ url: String(url), method: init?.method ?? "GET", headers: new Headers(init?.headers) });
    const localUrl = String(url).replace(PUBLIC_API_URL, PROXY_URL).replace(PUBLIC_OUTPUTS_URL, OUTPUTS_URL);
    const response = await fetch(localUrl, init);
    if (!response.headers.get("content-type")?.includes("json")) return response;
    const body = (await response.text())
      .replaceAll(PROXY_URL, PUBLIC_API_URL)
      .replaceAll(OUTPUTS_URL, PUBLIC_OUTPUTS_URL);
    return new Response(body, { status: response.status, headers: { "content-type": "application/json" } });
  }
  return { fetch: fetchPublicUrl, requests };
}

/** Return a provider of the given version of `createReplicate`, and the requests that it makes. */
export function createProvider(createReplicate, apiToken = PROXY_KEY, { fetch, requests } = createPublicFetch()) {
  return { replicate: createReplicate({ baseURL: `${PUBLIC_API_URL}/v1`, apiToken, fetch }), requests };
}

/** Download a video for `generateVideo`, which takes this function as `download`. */
export async function download({ url }) {
  const response = await createPublicFetch().fetch(url);
  assert.equal(response.status, 200);
  return { data: new Uint8Array(await response.arrayBuffer()), mediaType: response.headers.get("content-type") };
}

export function assertMp4(video) {
  assert.equal(video.mediaType, "video/mp4");
  assert.equal(Buffer.from(video.uint8Array.subarray(4, 8)).toString("latin1"), "ftyp");
}

/** Wait until the provider reads a prediction, and return the URL that it reads. */
export async function waitForPoll(requests) {
  const polled = ({ method, url }) => method === "GET" && /\/v1\/predictions\/[0-9a-z]{26}$/.test(url);
  while (!requests.some(polled)) await new Promise((done) => setTimeout(done, POLL_INTERVAL_MS));
  return requests.find(polled).url;
}

/**
 * Cancel the prediction at `/predictions/{id}/cancel`, with the given body or with none, as Replicate's API allows.
 * The SDK does not do it itself when a call is aborted. Return the prediction once it has ended.
 */
export async function cancelAndWait(predictionUrl, body) {
  const { fetch } = createPublicFetch();
  const headers = { authorization, ...(body && { "content-type": "application/json" }) };
  const canceled = await fetch(`${predictionUrl}/cancel`, { method: "POST", headers, body });
  assert.equal(canceled.status, 200);
  for (;;) {
    const prediction = await (await fetch(predictionUrl, { headers: { authorization } })).json();
    if (!["starting", "processing"].includes(prediction.status)) return prediction;
    await new Promise((done) => setTimeout(done, POLL_INTERVAL_MS));
  }
}
