// Addresses and keys of the stack, from the environment variables that pytest sets, and helpers for the tests.
import Replicate from "replicate";

export const { PROXY_URL, PROXY_KEY, STORED_PREDICTIONS_KEY, SIMULATOR_URL, OUTPUTS_URL } = process.env;
export const STORED_PREDICTIONS_COUNT = Number(process.env.STORED_PREDICTIONS_COUNT);

for (const name of [
  "PROXY_URL",
  "PROXY_KEY",
  "STORED_PREDICTIONS_KEY",
  "STORED_PREDICTIONS_COUNT",
  "SIMULATOR_URL",
  "OUTPUTS_URL",
]) {
  if (!process.env[name]) throw new Error(`${name} is not set: run this test with pytest`);
}

export function createClient(auth = PROXY_KEY, fetch = globalThis.fetch) {
  return new Replicate({ auth, baseUrl: `${PROXY_URL}/v1`, fetch });
}

/** Return the predictions that a job created on the local Replicate. */
export async function findReplicatePredictions(jobId) {
  const response = await fetch(`${SIMULATOR_URL}/_control/predictions?webhook=${jobId}`);
  return (await response.json()).results;
}

export function isWebp(bytes) {
  const text = Buffer.from(bytes.subarray(0, 12)).toString("latin1");
  return text.startsWith("RIFF") && text.endsWith("WEBP");
}
