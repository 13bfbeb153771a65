// Requests to the server: functions of the Gradio API, the session's state, and uploads.

export class RequestError extends Error {
  constructor(message, code = "") { super(message); this.code = code; }
}

/** Call a function of the Gradio API and return its result. */
export async function call(name, ...data) {
  const response = await fetch(`/gradio_api/call/${name}`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ data }),
  });
  if (!response.ok) throw new RequestError(`${name}: ${response.status}`);
  const { event_id: id } = await response.json();
  const stream = await fetch(`/gradio_api/call/${name}/${id}`);
  const blocks = (await stream.text()).split("\n\n");
  for (const block of blocks) {
    const event = /^event: (\w+)/m.exec(block)?.[1];
    const body = /^data: (.*)$/ms.exec(block)?.[1];
    if (event === "complete") return JSON.parse(body)[0];
    if (event === "error") {
      const found = JSON.parse(body ?? "null");
      const message = (typeof found === "string" ? found : found?.error) ?? "unknown error";
      const match = /^(.*) \[([a-z-]+)\]$/s.exec(message);
      throw new RequestError(match ? match[1] : message, match ? match[2] : "");
    }
  }
  throw new RequestError("the server sent no answer");
}

export async function getJson(path) {
  const response = await fetch(path);
  const data = await response.json().catch(() => ({}));
  if (!response.ok) throw new RequestError(data.message ?? String(response.status), data.code ?? String(response.status));
  return data;
}

/** Upload a file. `progress` receives the sent fraction. */
export function upload(kind, file, name, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/files?kind=${kind}&name=${encodeURIComponent(name)}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => progress(event.loaded / Math.max(event.total, 1));
    request.onload = () => {
      const data = request.response ?? {};
      if (request.status === 200) resolve(data);
      else reject(new RequestError(data.message ?? String(request.status), data.code ?? ""));
    };
    request.onerror = () => reject(new RequestError("the connection was closed", "connection"));
    request.setRequestHeader("content-type", "application/octet-stream");
    request.send(file);
  });
}
