"""All of MCP by the official Python SDK, through a project of two servers that share the features of the conformance
fixture: session.py URL TOKEN FIRST SECOND. The version of the SDK says the era: 1 is the legacy one, 2 the modern one. Ends
with an error where something is not as it should be."""

import base64
import contextlib
import json
import os
import sys
from importlib.metadata import version

import anyio
import mcp

LEGACY = version("mcp").startswith("1.")
if LEGACY:
    from mcp import types
    from mcp.client.streamable_http import streamablehttp_client
else:
    import mcp_types as types
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

URL, TOKEN, FIRST, SECOND = sys.argv[1:]
WATCHED = "test://watched-resource"
PATIENCE = 30

asked: list[str] = []
told: list[tuple[str, object]] = []


async def elicit(_context, params):
    asked.append("elicitation")
    schema = getattr(params, "requestedSchema", None) or getattr(params, "requested_schema", None)
    if not schema:
        return types.ElicitResult(action="accept")
    fits = {"string": "Ada", "boolean": True, "integer": 7, "number": 7}
    return types.ElicitResult(action="accept", content={name: fits[field["type"]] for name, field in schema["properties"].items()})


async def sample(_context, params):
    asked.append("sampling")
    content = types.TextContent(type="text", text=f"You said: {params.messages[-1].content.text}")
    return types.CreateMessageResult(role="assistant", content=content, model="parrot")


async def roots(_context):
    asked.append("roots")
    return types.ListRootsResult(roots=[types.Root(uri="file:///home/ada/project", name="project")])


async def log(params):
    told.append(("log", params.data))


async def heard(message):
    # The SDK 1 wraps notifications in one more model.
    inner = getattr(message, "root", message)
    if method := getattr(inner, "method", None):
        told.append((method, getattr(getattr(inner, "params", None), "uri", None)))


@contextlib.asynccontextmanager
async def opened():
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answers = {
        "sampling_callback": sample,
        "elicitation_callback": elicit,
        "list_roots_callback": roots,
        "logging_callback": log,
        "message_handler": heard,
    }
    if LEGACY:
        async with streamablehttp_client(URL, headers=headers) as (reader, writer, _):
            async with mcp.ClientSession(reader, writer, **answers) as session:
                await session.initialize()
                yield session
    else:
        async with create_mcp_http_client(headers=headers) as http:
            transport = streamable_http_client(URL, http_client=http)
            # It finds the era out by itself.
            async with mcp.Client(transport, log_level="info", **answers) as client:
                assert client.session.protocol_version == "2026-07-28", client.session.protocol_version
                yield client


async def every(page, field):
    """Every page of a list."""
    items, cursor = [], None
    while True:
        result = await page(cursor=cursor)
        items += getattr(result, field)
        cursor = getattr(result, "nextCursor", None) or getattr(result, "next_cursor", None)
        if not cursor:
            return items


def camel(value, *names):
    """A field by the name that this version of the SDK gives it."""
    return next(getattr(value, name) for name in names if hasattr(value, name))


async def until(condition, what):
    with anyio.move_on_after(PATIENCE):
        while not condition():
            await anyio.sleep(0.02)
        return
    raise AssertionError(f"never came: {what}; told was {told}")


async def main():
    async with opened() as session:
        for step in STEPS:
            try:
                await step(session)
            except BaseException as error:
                error.add_note(f"in {step.__name__}") if hasattr(error, "add_note") else None
                raise
            print(step.__name__, end=" ", flush=True)
    print()


async def call(session, server, tool, arguments=None, **options):
    result = await session.call_tool(f"{server}__{tool}", arguments or {}, **options)
    return result


async def text(session, server, tool, arguments=None, **options):
    result = await call(session, server, tool, arguments, **options)
    assert not camel(result, "isError", "is_error"), result
    return result.content[0].text


async def listing(session):
    tools = {tool.name: tool for tool in await every(session.list_tools, "tools")}
    assert f"{FIRST}__test_simple_text" in tools and f"{SECOND}__test_audio_content" in tools, list(tools)
    schema = camel(tools[f"{FIRST}__json_schema_2020_12_tool"], "inputSchema", "input_schema")
    assert {"$defs", "$schema", "allOf", "if", "then", "else", "additionalProperties"} <= set(schema), schema


async def calling(session):
    assert await text(session, FIRST, "test_simple_text") == "This is a simple text response for testing."
    result = await call(session, FIRST, "test_multiple_content_types")
    assert [content.type for content in result.content] == ["text", "image", "resource"]
    assert camel(await call(session, FIRST, "test_error_handling"), "isError", "is_error")


async def progress(session):
    seen = []

    async def note(done, _total, _message):
        seen.append(done)

    await call(session, SECOND, "test_tool_with_progress", progress_callback=note)
    await until(lambda: len(seen) == 3, "progress")
    assert seen == [0, 50, 100], seen


async def cancelling(session):
    before = int(await text(session, SECOND, "test_cancelled"))
    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()
        ids = []

        async def slow():
            ids.append(getattr(session, "_request_id", None))
            with scope:
                # An answer to what was cancelled is an error of the SDK 1.
                with contextlib.suppress(Exception):
                    await call(session, SECOND, "test_slow")

        group.start_soon(slow)
        await call(session, SECOND, "test_audio_content")
        await anyio.sleep(0.1)
        if LEGACY:
            # This version leaves it to its user.
            params = types.CancelledNotificationParams(requestId=ids[0], reason="no longer wanted")
            notification = types.CancelledNotification(params=params)
            await session.send_notification(types.ClientNotification(notification))
        else:
            scope.cancel()
        with anyio.fail_after(PATIENCE):
            while int(await text(session, SECOND, "test_cancelled")) == before:
                await anyio.sleep(0.05)
        scope.cancel()


async def resources(session):
    uris = sorted(str(resource.uri) for resource in await every(session.list_resources, "resources"))
    assert uris == ["test://static-binary", "test://static-text", WATCHED], uris
    templates = await session.list_resource_templates()
    assert [camel(it, "uriTemplate", "uri_template") for it in camel(templates, "resourceTemplates", "resource_templates")] == [
        "test://template/{id}/data"
    ]
    assert "static text" in (await session.read_resource("test://static-text")).contents[0].text
    picture = base64.b64decode((await session.read_resource("test://static-binary")).contents[0].blob)
    assert picture.startswith(b"\x89PNG")
    assert json.loads((await session.read_resource("test://template/7/data")).contents[0].text)["id"] == "7"


async def prompts(session):
    names = [prompt.name for prompt in await every(session.list_prompts, "prompts")]
    assert f"{FIRST}__test_simple_prompt" in names and f"{SECOND}__test_prompt_with_image" in names, names
    prompt = await session.get_prompt(f"{SECOND}__test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
    assert prompt.messages[0].content.text == "Prompt with arguments: arg1='a', arg2='b'"


async def completion(session):
    ref = types.PromptReference(type="ref/prompt", name=f"{SECOND}__test_prompt_with_arguments")
    done = await session.complete(ref, {"name": "arg1", "value": "tes"})
    assert done.completion.values == ["test", "testing"], done


async def subscriptions(session):
    async def change():
        await call(session, SECOND, "test_touch_resource")
        await call(session, SECOND, "test_trigger_tool_change", {"name": f"added_by_{os.getpid()}"})

    if LEGACY:
        await session.subscribe_resource(WATCHED)
        await change()
        await until(lambda: any(what.endswith("resources/updated") and str(uri) == WATCHED for what, uri in told), "an update")
        await until(lambda: any(what.endswith("tools/list_changed") for what, _ in told), "changed tools")
        await session.unsubscribe_resource(WATCHED)
        return
    async with session.listen(tools_list_changed=True, resource_subscriptions=[WATCHED]) as subscription:
        await change()
        waiting = {"ResourceUpdated", "ToolsListChanged"}
        with anyio.fail_after(PATIENCE):
            async for event in subscription:
                waiting.discard(type(event).__name__)
                if not waiting:
                    break


async def elicitation(session):
    assert await text(session, SECOND, "test_elicitation", {"message": "Who?"}) == (
        'User response: action=accept, content={"response":"Ada"}'
    )
    assert await text(session, SECOND, "test_elicitation_url") == "The page: accept"
    assert await text(session, SECOND, "test_input_required_result_multi_round") == "Multi-round complete for Ada who likes Ada"
    prompt = await session.get_prompt(f"{SECOND}__test_input_required_result_prompt")
    assert prompt.messages[0].content.text == "Prompt with context: Ada"
    assert asked.count("elicitation") == 5, asked


async def sampling(session):
    assert await text(session, FIRST, "test_sampling", {"prompt": "Parrot?"}) == "LLM response: You said: Parrot?"


async def rooting(session):
    answer = await text(session, FIRST, "test_input_required_result_list_roots")
    assert answer == "Found 1 root(s): file:///home/ada/project", answer
    answer = await text(session, FIRST, "test_input_required_result_multiple_inputs")
    assert answer == "Name: Ada; Greeting: You said: Generate a greeting; Roots: 1", answer


async def logging(session):
    if LEGACY:
        await session.set_logging_level("info")
    before = [data for what, data in told if what == "log"]
    await call(session, FIRST, "test_tool_with_logging")
    lines = ["Tool execution started", "Tool processing data", "Tool execution completed"]
    await until(lambda: len([1 for what, _ in told if what == "log"]) == len(before) + 3, "log messages")
    assert [data for what, data in told if what == "log"][len(before) :] == lines, told


STEPS = [
    listing,
    calling,
    progress,
    cancelling,
    resources,
    prompts,
    completion,
    subscriptions,
    elicitation,
    sampling,
    rooting,
    logging,
]

anyio.run(main)
