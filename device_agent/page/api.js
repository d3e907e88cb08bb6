// What the page asks of the agent. Errors carry the agent's own words.

export class AgentError extends Error {}

const SILENT_MS = 15000;

async function answerOf(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  throw new AgentError(worded(await response.text(), response.status));
}

function worded(text, status) {
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text || `the agent answered with status ${status}`;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(SILENT_MS), ...options });
  } catch (error) {
    throw new AgentError(`no answer from the agent (${error.message})`);
  }
  return answerOf(response);
}

export const overview = () => ask("/v1/overview", { cache: "no-store" });
export const measurement = (id) => ask(`/v1/measurements/${encodeURIComponent(id)}`);
export const samples = (id) => ask(`/v1/measurements/${encodeURIComponent(id)}/samples`);
export const cancel = (id) => ask(`/v1/measurements/${encodeURIComponent(id)}`, { method: "DELETE" });
export const openapi = () => ask("/openapi.json");

export const measure = (request) =>
  ask("/v1/measurements", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request),
  });

// XMLHttpRequest, since fetch does not tell how much has been sent.
export function upload(file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/artifacts");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new AgentError("the upload broke off: no answer from the agent"));
    request.onload = () => {
      const isFine = request.status === 200 || request.status === 201;
      if (isFine) resolve(JSON.parse(request.responseText));
      else reject(new AgentError(worded(request.responseText, request.status)));
    };
    request.send(file);
  });
}
