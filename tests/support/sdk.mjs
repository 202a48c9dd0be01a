// A client by the official TypeScript SDK: its version 1 speaks the legacy era, its version 2 the modern one. What it is asked
// it answers, and what it was asked and told it remembers.
import { load } from "../fixtures/conformance/packages.mjs";

const ROOT = { uri: "file:///home/ada/project", name: "project" };
const MODERN = "2026-07-28";

/** What a user who presses Enter fills in: the defaults, and something that fits where there is none. */
const fill = ({ properties = {}, required = [] }) =>
  Object.fromEntries(
    Object.entries(properties)
      .map(([name, field]) => {
        if (field.default !== undefined) return [name, field.default];
        if (!required.includes(name)) return [name, undefined];
        if (field.type === "boolean") return [name, true];
        if (field.type === "integer" || field.type === "number") return [name, 7];
        return [name, field.enum?.[0] ?? field.oneOf?.[0].const ?? "Ada"];
      })
      .filter(([, value]) => value !== undefined),
  );

const answers = {
  "elicitation/create": ({ requestedSchema }) =>
    requestedSchema ? { action: "accept", content: fill(requestedSchema) } : { action: "accept" },
  "sampling/createMessage": ({ messages }) => ({
    role: "assistant",
    content: { type: "text", text: `You said: ${messages.at(-1).content.text}` },
    model: "parrot",
    stopReason: "endTurn",
  }),
  "roots/list": () => ({ roots: [ROOT] }),
};

export const NOTIFICATIONS = [
  "notifications/message",
  "notifications/tools/list_changed",
  "notifications/prompts/list_changed",
  "notifications/resources/list_changed",
  "notifications/resources/updated",
];

/**
 * Connects. `era` is `legacy`, `modern` or `auto`: the SDK 2 finds out. `asked` has the methods of questions, `told` the
 * notifications that came; `hear(condition)` waits until one of them fulfils it.
 */
export const connect = async ({ url, era, token, capabilities = { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} } }) => {
  const one = era === "legacy";
  const [{ Client }, { StreamableHTTPClientTransport }, types] = await (one
    ? Promise.all(["client/index.js", "client/streamableHttp.js", "types.js"].map((file) => load(`@modelcontextprotocol/sdk/${file}`)))
    : load("@modelcontextprotocol/client").then((all) => [all, all, {}]));
  const client = new Client(
    { name: `acceptance-${era}`, version: "1" },
    { capabilities, ...(!one && { versionNegotiation: { mode: era === "auto" ? "auto" : { pin: MODERN } } }) },
  );
  const asked = [];
  const told = [];
  let waiting = [];
  // The SDK 1 wants schemas, which it names after the methods.
  const schemas = {
    "elicitation/create": types.ElicitRequestSchema,
    "sampling/createMessage": types.CreateMessageRequestSchema,
    "roots/list": types.ListRootsRequestSchema,
    "notifications/message": types.LoggingMessageNotificationSchema,
    "notifications/tools/list_changed": types.ToolListChangedNotificationSchema,
    "notifications/prompts/list_changed": types.PromptListChangedNotificationSchema,
    "notifications/resources/list_changed": types.ResourceListChangedNotificationSchema,
    "notifications/resources/updated": types.ResourceUpdatedNotificationSchema,
  };
  for (const [method, answer] of Object.entries(answers)) {
    if (!(method.split("/")[0] in capabilities)) continue;
    client.setRequestHandler(one ? schemas[method] : method, (request) => {
      asked.push(method);
      return answer(request.params ?? {});
    });
  }
  for (const method of NOTIFICATIONS) {
    client.setNotificationHandler(one ? schemas[method] : method, ({ params }) => {
      told.push({ method, params });
      waiting.splice(0).forEach((wake) => wake());
    });
  }
  const hear = async (condition, what) => {
    // Only there to end a test that would hang.
    const end = Date.now() + 30_000;
    while (!told.some(condition)) {
      if (Date.now() > end) throw new Error(`never told: ${what}; told was ${JSON.stringify(told)}`);
      let timer;
      await new Promise((wake) => {
        waiting.push(wake);
        timer = setTimeout(wake, 1000);
      });
      clearTimeout(timer);
    }
  };
  const requestInit = token ? { headers: { Authorization: `Bearer ${token}` } } : {};
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return { client, asked, told, hear };
};

/** Every page of a list: `all(client, "listTools", "tools")`. */
export const all = async (client, method, field) => {
  const items = [];
  let cursor;
  do {
    const page = await client[method](cursor ? { cursor } : {});
    items.push(...page[field]);
    cursor = page.nextCursor;
  } while (cursor);
  return items;
};
