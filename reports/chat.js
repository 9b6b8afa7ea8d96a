// Shows in a chat what render_report answered. Speaks JSON-RPC with the host of the frame (MCP Apps, 2026-01-26).
"use strict";
const PAGE_ID = 2;
let session = null;
let shown = false;

const send = (message) => window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
const told = document.getElementById("told");

function size() {
  const { scrollWidth: width, scrollHeight: height } = document.documentElement;
  send({ method: "ui/notifications/size-changed", params: { width, height } });
}

function theme(context) {
  const dark = context?.theme ? context.theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

// The server's own markup; parsed as a document of its own, in which no script runs.
function show(markup) {
  const main = new DOMParser().parseFromString(markup, "text/html").querySelector("main");
  if (!main) return;
  told.replaceChildren(document.importNode(main, true));
  shown = true;
  size();
}

function result(answer) {
  const card = answer?._meta?.["edgeopt/card"];
  if (card) return show(card);
  const text = document.createElement("pre");
  const data = answer?.structuredContent;
  text.textContent = data?.markdown ?? data?.refusal?.message ?? data?.message ?? "Nothing to show yet.";
  told.replaceChildren(text);
  size();
  // A host that keeps _meta to itself may still hand out the page.
  if (data?.markdown && session) {
    send({ id: PAGE_ID, method: "resources/read", params: { uri: `edgeopt://sessions/${session}/report.html` } });
  }
}

window.addEventListener("message", (event) => {
  const message = event.data;
  if (event.source !== window.parent || message?.jsonrpc !== "2.0") return;
  if (message.id === 1 && message.result) {
    theme(message.result.hostContext);
    send({ method: "ui/notifications/initialized", params: {} });
  } else if (message.id === PAGE_ID && !message.method) {
    const page = message.result?.contents?.[0]?.text;
    if (page && !shown) show(page);
  } else if (message.method === "ui/notifications/tool-input") {
    session = message.params?.arguments?.session_id ?? null;
  } else if (message.method === "ui/notifications/tool-result") {
    result(message.params);
  } else if (message.method === "ui/notifications/host-context-changed") {
    theme(message.params);
  } else if (message.method !== undefined && message.id !== undefined) {
    send({ id: message.id, result: {} }); // a teardown, a ping: there is nothing to save
  }
});

theme(null);
send({
  id: 1,
  method: "ui/initialize",
  params: { protocolVersion: "2026-01-26", appInfo: { name: "edgeopt", version: "1" }, appCapabilities: {} },
});
