// editor.mjs FILE LINE COLUMN: what an editor with the YAML language server shows of FILE: its diagnostics, what is offered
// at LINE and COLUMN (from 0), and what is told of the first word. Prints {"diagnostics": [...], "offered": [...], "told": "..."}.
import { spawn } from "node:child_process";
import { readFileSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";

const [file, line, column] = [realpathSync(process.argv[2]), Number(process.argv[3]), Number(process.argv[4])];
const uri = pathToFileURL(file).href;
const server = spawn(
  process.execPath,
  [`${process.env.MCPCTL_TEST_NODE_MODULES}/yaml-language-server/bin/yaml-language-server`, "--stdio"],
  { stdio: ["pipe", "pipe", "inherit"] },
);
process.on("exit", () => server.kill());

const settings = { yaml: { validate: true, completion: true, hover: true, schemaStore: { enable: false }, keyOrdering: false } };
const waiting = new Map();
let number = 0;
let published;
const diagnostics = new Promise((resolve) => (published = resolve));

const send = (message) => {
  const body = Buffer.from(JSON.stringify({ jsonrpc: "2.0", ...message }));
  server.stdin.write(`Content-Length: ${body.length}\r\n\r\n`);
  server.stdin.write(body);
};
const ask = (method, params) =>
  new Promise((resolve) => {
    number += 1;
    waiting.set(number, resolve);
    send({ id: number, method, params });
  });

const heard = (message) => {
  if (message.method === "textDocument/publishDiagnostics" && message.params.uri === uri) published(message.params.diagnostics);
  else if (message.method === "workspace/configuration")
    send({ id: message.id, result: message.params.items.map(({ section }) => (section === "yaml" ? settings.yaml : {})) });
  else if (message.method && message.id !== undefined) send({ id: message.id, result: null });
  else if (message.id !== undefined) waiting.get(message.id)?.(message.result);
};

let buffer = Buffer.alloc(0);
server.stdout.on("data", (chunk) => {
  buffer = Buffer.concat([buffer, chunk]);
  for (;;) {
    const end = buffer.indexOf("\r\n\r\n");
    if (end < 0) return;
    const length = Number(/Content-Length: (\d+)/i.exec(buffer.subarray(0, end).toString())[1]);
    if (buffer.length < end + 4 + length) return;
    const body = buffer.subarray(end + 4, end + 4 + length).toString();
    buffer = buffer.subarray(end + 4 + length);
    heard(JSON.parse(body));
  }
});

const root = pathToFileURL(dirname(file)).href;
await ask("initialize", {
  processId: process.pid,
  rootUri: root,
  workspaceFolders: [{ uri: root, name: "root" }],
  capabilities: {
    workspace: { configuration: true },
    textDocument: { completion: { completionItem: { documentationFormat: ["markdown"] } }, publishDiagnostics: {} },
  },
});
send({ method: "initialized", params: {} });
send({ method: "workspace/didChangeConfiguration", params: { settings } });
send({
  method: "textDocument/didOpen",
  params: { textDocument: { uri, languageId: "yaml", version: 1, text: readFileSync(file, "utf8") } },
});
const found = await diagnostics;
const offered = await ask("textDocument/completion", { textDocument: { uri }, position: { line, character: column } });
const lines = readFileSync(file, "utf8").split("\n");
const first = lines.findIndex((text) => text !== "" && !text.startsWith("#"));
const told = await ask("textDocument/hover", { textDocument: { uri }, position: { line: first, character: 0 } });
console.log(
  JSON.stringify({
    diagnostics: found.map((one) => ({ line: one.range.start.line, column: one.range.start.character, message: one.message })),
    offered: (offered.items ?? offered).map((item) => item.label),
    told: told?.contents?.value ?? "",
  }),
);
process.exit(0);
