// Makes calls with the official client for JavaScript and prints what came of them, for the tests in this folder's parent.
//
// stdin:  {"kind": "AzureOpenAI" | "OpenAI", "options": {...}, "calls": [{"operation", "params", "request"}]}
//         A file is {"path", "name", "type"} within params. `request` are the client's options of that call.
// stdout: one entry for each call: {"answer", "headers"} or {"events", "headers"}, or what they were before {"error"}.
//         An image is shown as "sha256:" and the hash of its bytes.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { text } from "node:stream/consumers";
import OpenAI, { AzureOpenAI, toFile } from "openai";

const asked = JSON.parse(await text(process.stdin));
const Kind = asked.kind === "AzureOpenAI" ? AzureOpenAI : OpenAI;
const client = new Kind(asked.options);

const results = [];
for (const call of asked.calls) results.push(await resultOf(call));
process.stdout.write(JSON.stringify(results));

async function resultOf({ operation, params, request }) {
  const result = {};
  try {
    const called = client.images[operation](await withFiles(params), request);
    const { data, response } = await called.withResponse();
    result.headers = Object.fromEntries(response.headers);
    if (params.stream) {
      result.events = [];
      for await (const event of data) result.events.push(hashed(event));
    } else {
      result.answer = { ...data, data: data.data.map(hashed) };
    }
  } catch (error) {
    const { name, message, status, code, param, type } = error;
    result.error = { name: error.constructor.name ?? name, message, status, code, param, type };
    result.error.headers = error.headers ? Object.fromEntries(error.headers) : null;
    result.error.isApiError = error instanceof OpenAI.APIError;
  }
  return result;
}

async function withFiles(params) {
  const filled = { ...params };
  if (params.image) filled.image = Array.isArray(params.image) ? await Promise.all(params.image.map(file)) : await file(params.image);
  if (params.mask) filled.mask = await file(params.mask);
  return filled;
}

function file({ path, name, type }) {
  return toFile(createReadStream(path), name, { type });
}

function hashed(item) {
  if (!item.b64_json) return item;
  const bytes = Buffer.from(item.b64_json, "base64");
  return { ...item, b64_json: `sha256:${createHash("sha256").update(bytes).digest("hex")}` };
}
