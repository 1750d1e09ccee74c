// What the tests know of the stack, from the environment that pytest gives them.
import Replicate from "replicate";

export const { PROXY_URL, PROXY_KEY, CROWD_KEY, SIMULATOR_URL, OUTPUTS_URL } = process.env;
export const CROWD_SIZE = Number(process.env.CROWD_SIZE);

for (const name of ["PROXY_URL", "PROXY_KEY", "CROWD_KEY", "CROWD_SIZE", "SIMULATOR_URL", "OUTPUTS_URL"]) {
  if (!process.env[name]) throw new Error(`${name} is not set: run this through pytest`);
}

export function client(auth = PROXY_KEY) {
  return new Replicate({ auth, baseUrl: `${PROXY_URL}/v1` });
}

/** The predictions that the local Replicate holds for one of our jobs. */
export async function upstream(jobId) {
  const answer = await fetch(`${SIMULATOR_URL}/_control/predictions?webhook=${jobId}`);
  return (await answer.json()).results;
}

export function isWebp(bytes) {
  const text = Buffer.from(bytes.subarray(0, 12)).toString("latin1");
  return text.startsWith("RIFF") && text.endsWith("WEBP");
}
