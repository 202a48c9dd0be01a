// Resources and prompts by the official TypeScript SDK: node resources.mjs URL TOKEN. Prints what it saw as one line of
// JSON. The project has the servers `everything` and `fixture`.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, token] = process.argv.slice(2);
const packages = createRequire(process.env.MCPCTL_TEST_NODE_MODULES + "/");
const load = (name) => import(pathToFileURL(packages.resolve(name)));
const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = await load("@modelcontextprotocol/sdk/client/streamableHttp.js");
const types = await load("@modelcontextprotocol/sdk/types.js");

// Only there to end a test that would hang.
const patience = 60_000;
const touchable = "fixture://item/touched";

const client = new Client({ name: "acceptance", version: "1" });
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { Authorization: `Bearer ${token}` } },
});

const told = [];
const waiting = [];
const note = (what) => {
  told.push(what);
  waiting.splice(0).forEach((wake) => wake());
};
client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ({ params }) => note(`updated ${params.uri}`));
client.setNotificationHandler(types.ToolListChangedNotificationSchema, () => note("tools changed"));
/** Until `what` was told more often than so many times. */
const hear = async (what, times = 0) => {
  const end = Date.now() + patience;
  while (told.filter((it) => it === what).length <= times) {
    const left = end - Date.now();
    if (left <= 0) throw new Error(`never told: ${what}; told was: ${JSON.stringify(told)}`);
    let timer;
    await new Promise((wake) => {
      waiting.push(wake);
      timer = setTimeout(wake, left);
    });
    clearTimeout(timer);
  }
};
const times = (what) => told.filter((it) => it === what).length;
/** Every page of a list. */
const all = async (page, of) => {
  const items = [];
  let cursor;
  do {
    const result = await page(cursor ? { cursor } : {});
    items.push(...result[of]);
    cursor = result.nextCursor;
  } while (cursor);
  return items;
};
/** The JSON-RPC error that a request must end with. */
const refused = (request) =>
  request.then(
    (answer) => ({ answered: answer }),
    (error) => ({ code: error.code, message: error.message }),
  );
const call = async (name, args = {}) => {
  const answer = await client.callTool({ name, arguments: args });
  if (answer.isError) throw new Error(`${name}: ${JSON.stringify(answer)}`);
  return answer.content[0].text;
};
const read = async (uri) => (await client.readResource({ uri })).contents[0];
const toolNames = async () => (await all((page) => client.listTools(page), "tools")).map((tool) => tool.name);

await client.connect(transport);
const seen = { capabilities: client.getServerCapabilities() };

seen.resources = (await all((page) => client.listResources(page), "resources")).map((it) => it.uri);
seen.templates = (await all((page) => client.listResourceTemplates(page), "resourceTemplates")).map((it) => it.uriTemplate);
seen.prompts = (await all((page) => client.listPrompts(page), "prompts")).map((it) => it.name);

seen.text = await read("fixture://greeting");
seen.binary = await read("fixture://pixel");
seen.document = await read("demo://resource/static/document/features.md");
seen.made = await read("fixture://item/of-mine");
seen.madeText = await read("demo://resource/dynamic/text/7");
seen.madeBinary = await read("demo://resource/dynamic/blob/7");

seen.plain = await client.getPrompt({ name: "everything__simple-prompt" });
seen.weather = await client.getPrompt({ name: "everything__args-prompt", arguments: { city: "Oslo", state: "Norway" } });
seen.embedded = await client.getPrompt({
  name: "everything__resource-prompt",
  arguments: { resourceType: "Text", resourceId: "3" },
});
seen.review = await client.getPrompt({ name: "fixture__review", arguments: { code: "let x = 1;", style: "sternly" } });

const prompt = { type: "ref/prompt", name: "everything__completable-prompt" };
seen.departments = (
  await client.complete({ ref: prompt, argument: { name: "department", value: "S" } })
).completion.values;
seen.members = (
  await client.complete({
    ref: prompt,
    argument: { name: "name", value: "" },
    context: { arguments: { department: "Sales" } },
  })
).completion.values;
seen.ids = (
  await client.complete({
    ref: { type: "ref/resource", uri: "demo://resource/dynamic/text/{resourceId}" },
    argument: { name: "resourceId", value: "12" },
  })
).completion.values;

seen.unknown = {
  uri: await refused(client.readResource({ uri: "nowhere://at/all" })),
  item: await refused(client.readResource({ uri: "fixture://item/a/b" })),
  subscription: await refused(client.subscribeResource({ uri: "nowhere://at/all" })),
  prompt: await refused(client.getPrompt({ name: "everything__no-such-prompt" })),
  bare: await refused(client.getPrompt({ name: "simple-prompt" })),
  argument: await refused(client.getPrompt({ name: "fixture__review", arguments: {} })),
  completion: await refused(
    client.complete({ ref: { type: "ref/prompt", name: "nobody__x" }, argument: { name: "a", value: "" } }),
  ),
};

// One that is listed and one that a template makes.
await client.subscribeResource({ uri: "fixture://greeting" });
await client.subscribeResource({ uri: touchable });
await call("fixture__touch_resource", { uri: "fixture://greeting" });
await hear("updated fixture://greeting");
seen.touched = (await read("fixture://greeting")).text;
await call("fixture__touch_resource", { uri: touchable });
await hear(`updated ${touchable}`);
seen.touchedItem = JSON.parse((await read(touchable)).text).touched;
// After it is taken back nothing is told: what was told of the other one, which came later, is the proof.
await client.unsubscribeResource({ uri: "fixture://greeting" });
const before = [times("updated fixture://greeting"), times(`updated ${touchable}`)];
await call("fixture__touch_resource", { uri: "fixture://greeting" });
await call("fixture__touch_resource", { uri: touchable });
await hear(`updated ${touchable}`, before[1]);
seen.toldAfterwards = times("updated fixture://greeting") - before[0];

const changes = times("tools changed");
seen.hadAdded = (await toolNames()).includes("fixture__added_1");
await call("fixture__change_tools");
await hear("tools changed", changes);
seen.hasAdded = (await toolNames()).includes("fixture__added_1");
seen.added = await call("fixture__added_1");

console.log(JSON.stringify(seen));
await client.close();
