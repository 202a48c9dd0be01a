// A session by the official TypeScript SDK: node call.mjs URL TOKEN. Prints what it saw as one line of JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, token] = process.argv.slice(2);
const packages = createRequire(process.env.MCPCTL_TEST_NODE_MODULES + "/");
const load = (name) => import(pathToFileURL(packages.resolve(name)));
const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = await load("@modelcontextprotocol/sdk/client/streamableHttp.js");

const client = new Client({ name: "acceptance", version: "1" });
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { Authorization: `Bearer ${token}` } },
});
await client.connect(transport);
const tools = [];
let cursor;
do {
  const page = await client.listTools(cursor ? { cursor } : {});
  tools.push(...page.tools.map((tool) => tool.name));
  cursor = page.nextCursor;
} while (cursor);
const echo = await client.callTool({ name: "everything__echo", arguments: { message: "over the SDK" } });
const time = await client.callTool({ name: "time__get_current_time", arguments: { timezone: "Europe/Berlin" } });
const unknown = await client
  .callTool({ name: "everything__no_such_tool", arguments: {} })
  .then((answer) => `answered: ${JSON.stringify(answer)}`, (error) => `refused: ${error.message}`);
console.log(
  JSON.stringify({
    server: client.getServerVersion(),
    tools,
    echo: echo.content[0].text,
    time: time.content[0].text,
    unknown,
  }),
);
await client.close();
