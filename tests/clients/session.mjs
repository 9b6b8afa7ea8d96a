// One session with the TypeScript SDK: node session.mjs '{"sdk": "v1" | "v2", "negotiation": "legacy" | "auto",
// "url": ... | "command": [...], "answer": null | {...}, "requests": [[METHOD, PARAMS], ...]}'.
// Prints what came back of each request, as JSON: {result} or {error}, then what the person was asked.
// `answer`: what the person behind this client answers every question with; null: this client cannot ask anybody.

import { encode } from "gpt-tokenizer/encoding/o200k_base";

const plan = JSON.parse(process.argv[2]);
const asked = [];
const me = { name: "typescript-sdk-" + plan.sdk, version: "1" };
const capabilities = plan.answer ? { elicitation: {} } : {};

const [command, ...args] = plan.command ?? [];
const answering = async (request) => {
  asked.push(request.params.message);
  return plan.answer;
};

async function earlier() {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StdioClientTransport } = await import("@modelcontextprotocol/sdk/client/stdio.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { ElicitRequestSchema } = await import("@modelcontextprotocol/sdk/types.js");
  const client = new Client(me, { capabilities });
  if (plan.answer) client.setRequestHandler(ElicitRequestSchema, answering);
  const transport = plan.url
    ? new StreamableHTTPClientTransport(new URL(plan.url))
    : new StdioClientTransport({ command, args });
  await client.connect(transport);
  return client;
}

async function later() {
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
  const options = plan.negotiation === "auto" ? { versionNegotiation: { mode: "auto" } } : {};
  const client = new Client(me, { capabilities, ...options });
  if (plan.answer) client.setRequestHandler("elicitation/create", answering);
  const transport = plan.url
    ? new StreamableHTTPClientTransport(new URL(plan.url))
    : new StdioClientTransport({ command, args });
  await client.connect(transport);
  return client;
}

const client = await (plan.sdk === "v1" ? earlier() : later());
const methods = {
  "tools/list": () => client.listTools(),
  "tools/call": (params) => client.callTool(params),
  "prompts/list": () => client.listPrompts(),
  "prompts/get": (params) => client.getPrompt(params),
  "resources/templates/list": () => client.listResourceTemplates(),
  "resources/read": (params) => client.readResource(params),
  "completion/complete": (params) => client.complete(params),
};
const came = [];
for (const [method, params] of plan.requests) {
  try {
    came.push({ result: await methods[method](params) });
  } catch (error) {
    came.push({ error: `${error} ${error.cause ?? ""}`.trim() });
  }
}
const { tools } = await client.listTools();
const shown = tools.map(({ name, description, inputSchema }) => ({ name, description, inputSchema }));
console.log(JSON.stringify({
  came,
  asked,
  instructions: client.getInstructions(),
  tokens: shown.reduce((sum, tool) => sum + encode(JSON.stringify(tool)).length, 0),
}));
await client.close();
