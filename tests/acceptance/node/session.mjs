// All of MCP by the official TypeScript SDK, through a project of two servers that share the features of the conformance
// fixture: node session.mjs URL TOKEN ERA FIRST SECOND. ERA is the client's: legacy, modern, or auto for the SDK 2 that finds
// out. FIRST and SECOND are the servers' names. Ends with an error where something is not as it should be.
import assert from "node:assert/strict";
import { all, connect } from "../../support/sdk.mjs";

const [url, token, era, first, second] = process.argv.slice(2);
const { client, asked, told, hear } = await connect({ url, era, token });
const modern = era !== "legacy";
if (modern) assert.equal(client.getNegotiatedProtocolVersion(), "2026-07-28");
const text = ({ content, isError }) => {
  assert.ok(!isError, JSON.stringify(content));
  return content[0].text;
};
const call = (server, tool, values = {}, more = {}, options) =>
  client.callTool({ name: `${server}__${tool}`, arguments: values, ...more }, ...(era === "legacy" ? [undefined] : []), options);
const refused = (request) => request.then((answer) => assert.fail(`answered: ${JSON.stringify(answer)}`), ({ code, message }) => ({ code, message }));
const steps = [];
/** A step, whose name stands before what it fails by. */
const step = async (name, does) => {
  try {
    await does();
    steps.push(name);
  } catch (error) {
    error.message = `${name}: ${error.message}`;
    throw error;
  }
};

await step("list", async () => {
  const tools = await all(client, "listTools", "tools");
  const names = tools.map(({ name }) => name);
  assert.ok(names.includes(`${first}__test_simple_text`), names.join(" "));
  assert.ok(names.includes(`${second}__test_audio_content`), names.join(" "));
  assert.equal(new Set(names).size, names.length, "a tool stands there twice");
  // Not a keyword is lost on the way.
  const { inputSchema } = tools.find(({ name }) => name === `${first}__json_schema_2020_12_tool`);
  assert.deepEqual(Object.keys(inputSchema).sort(), ["$defs", "$schema", "additionalProperties", "allOf", "else", "if", "properties", "then", "type"]);
});

await step("call", async () => {
  assert.equal(text(await call(first, "test_simple_text")), "This is a simple text response for testing.");
  const { content } = await call(first, "test_multiple_content_types");
  assert.deepEqual(content.map(({ type }) => type), ["text", "image", "resource"]);
  const failed = await call(first, "test_error_handling");
  assert.equal(failed.isError, true);
  const unknown = await refused(call(second, "no_such_tool"));
  assert.equal(unknown.code, -32602);
});

await step("progress", async () => {
  const seen = [];
  await call(second, "test_tool_with_progress", {}, {}, { onprogress: ({ progress }) => seen.push(progress) });
  assert.deepEqual(seen, [0, 50, 100]);
});

await step("cancel", async () => {
  const cancelled = async () => Number(text(await call(second, "test_cancelled")));
  const before = await cancelled();
  const stop = new AbortController();
  const slow = assert.rejects(call(second, "test_slow", {}, {}, { signal: stop.signal }));
  // It must have begun: what comes later over the same connection is answered after that.
  await call(second, "test_audio_content");
  stop.abort(new Error("no longer wanted"));
  await slow;
  while ((await cancelled()) === before) await new Promise((done) => setTimeout(done, 50));
});

await step("resources", async () => {
  const uris = (await all(client, "listResources", "resources")).map(({ uri }) => uri).sort();
  assert.deepEqual(uris, ["test://static-binary", "test://static-text", "test://watched-resource"]);
  const templates = (await all(client, "listResourceTemplates", "resourceTemplates")).map(({ uriTemplate }) => uriTemplate);
  assert.deepEqual(templates, ["test://template/{id}/data"]);
  const read = async (uri) => (await client.readResource({ uri })).contents[0];
  assert.match((await read("test://static-text")).text, /static text resource/);
  assert.match((await read("test://static-binary")).blob, /^iVBOR/);
  assert.equal(JSON.parse((await read("test://template/7/data")).text).id, "7");
  const gone = await refused(client.readResource({ uri: "test://template/7/8/data" }));
  // The modern era has no code of its own for that, nor has the SDK 2.
  const codes = era === "legacy" && first.startsWith("legacy") ? [-32002] : [-32002, -32602];
  assert.ok(codes.includes(gone.code), JSON.stringify(gone));
});

await step("prompts", async () => {
  const names = (await all(client, "listPrompts", "prompts")).map(({ name }) => name);
  assert.ok(names.includes(`${first}__test_simple_prompt`) && names.includes(`${second}__test_prompt_with_image`), names.join(" "));
  const prompt = await client.getPrompt({ name: `${second}__test_prompt_with_arguments`, arguments: { arg1: "a", arg2: "b" } });
  assert.equal(prompt.messages[0].content.text, "Prompt with arguments: arg1='a', arg2='b'");
});

await step("completion", async () => {
  const ref = { type: "ref/prompt", name: `${second}__test_prompt_with_arguments` };
  const { completion } = await client.complete({ ref, argument: { name: "arg1", value: "tes" } });
  assert.deepEqual(completion.values, ["test", "testing"]);
});

await step("subscriptions", async () => {
  const uri = "test://watched-resource";
  const subscription = modern
    ? await client.listen({ toolsListChanged: true, promptsListChanged: true, resourceSubscriptions: [uri] })
    : await client.subscribeResource({ uri });
  await call(second, "test_touch_resource");
  await hear(({ method, params }) => method === "notifications/resources/updated" && params.uri === uri, `${uri} updated`);
  const there = async (list, field, name) => (await all(client, list, field)).some((entry) => entry.name === name);
  const name = `added_by_${process.pid}`;
  await call(second, "test_trigger_tool_change", { name });
  await hear(({ method }) => method === "notifications/tools/list_changed", "tools changed");
  assert.equal(text(await call(second, name)), "I am there");
  assert.ok(await there("listTools", "tools", `${second}__${name}`), "the list lacks what was added");
  await call(first, "test_trigger_prompt_change", { name });
  await hear(({ method }) => method === "notifications/prompts/list_changed", "prompts changed");
  assert.ok(await there("listPrompts", "prompts", `${first}__${name}`), "the list lacks what was added");
  if (modern) await subscription.close();
  else await client.unsubscribeResource({ uri });
});

await step("elicitation", async () => {
  assert.equal(
    text(await call(second, "test_elicitation", { message: "Who are you?" })),
    'User response: action=accept, content={"response":"Ada"}',
  );
  assert.equal(text(await call(second, "test_elicitation_url")), "The page: accept");
  const prompt = await client.getPrompt({ name: `${second}__test_input_required_result_prompt` });
  assert.equal(prompt.messages[0].content.text, "Prompt with context: Ada");
  assert.equal(text(await call(second, "test_input_required_result_multi_round")), "Multi-round complete for Ada who likes Ada");
  assert.equal(asked.filter((method) => method === "elicitation/create").length, 5);
});

await step("sampling", async () => {
  assert.equal(text(await call(first, "test_sampling", { prompt: "Parrot?" })), "LLM response: You said: Parrot?");
});

await step("roots", async () => {
  assert.equal(text(await call(first, "test_input_required_result_list_roots")), "Found 1 root(s): file:///home/ada/project");
  assert.equal(
    text(await call(first, "test_input_required_result_multiple_inputs")),
    "Name: Ada; Greeting: You said: Generate a greeting; Roots: 1",
  );
});

await step("logging", async () => {
  const level = modern ? { _meta: { "io.modelcontextprotocol/logLevel": "info" } } : {};
  if (!modern) await client.setLoggingLevel("info");
  await call(first, "test_tool_with_logging", {}, level);
  await hear(({ params }) => params?.data === "Tool execution completed", "a log message");
  const messages = told.filter(({ method }) => method === "notifications/message").map(({ params }) => params.data);
  assert.deepEqual(messages, ["Tool execution started", "Tool processing data", "Tool execution completed"]);
});

await client.close();
console.log(steps.join(" "));
process.exit(0);
