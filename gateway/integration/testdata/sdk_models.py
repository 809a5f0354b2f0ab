"""sdk_models.py ORIGIN PACKAGE: what users of openai, anthropic or langchain_openai do with three models behind one gateway.

Prints a JSON list of what was done. Exit code 77: an SDK is not there.
"""

import asyncio
import json
import sys

import httpx2

try:  # Each takes seconds to load.
    match sys.argv[2]:
        case "openai":
            import openai
        case "anthropic":
            import anthropic
        case "langchain_openai":
            import openai
            from langchain_core.messages import HumanMessage, ToolMessage
            from langchain_openai import ChatOpenAI, OpenAIEmbeddings
except ImportError as why:
    print(f"{sys.argv[2]} is not installed: {why}")
    sys.exit(77)

MODELS = ["large", "small", "vectors"]
CHATS = ["small", "gpt-4o-mini", "large"]  # the second is the first one's alias
WEATHER = {
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {"type": "function", "function": WEATHER}


def said(text):
    return [{"role": "user", "content": text}]


def check(condition, *what):
    if not condition:
        raise AssertionError(what)


def refused(kind, ask, *about):
    try:
        answer = ask()
        if hasattr(answer, "__iter__"):
            answer = list(answer)
    except kind as error:
        return error
    raise AssertionError(("not refused", kind, about, answer))


def lists(client):
    check([m.id for m in client.models.list()] == MODELS, client.models.list())
    for name in (*MODELS, "gpt-4o-mini"):
        check(client.models.retrieve(name).id == name, name)
    refused(openai.NotFoundError, lambda: client.models.retrieve("nobody"))


def chats(client):
    for model in CHATS:
        answer = client.chat.completions.create(model=model, messages=said(f"to {model}"))
        check(answer.choices[0].message.content == f"echo: to {model}", answer)
        asked = {"model": model, "messages": said(f"to {model}"), "stream": True}
        chunks = list(client.chat.completions.create(**asked, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        check(text == f"echo: to {model}", model, text)
        check(chunks[-1].usage == answer.usage, chunks[-1], answer.usage)
        answer = client.completions.create(model=model, prompt="hi")
        check(answer.choices[0].text == "echo: hi", answer)
        answer = client.responses.create(model=model, input="hi there")
        check(answer.output_text == "echo: hi there", answer)
        with client.responses.stream(model=model, input="hi there") as events:
            kinds = [e.type for e in events]
            check(kinds[-1] == "response.completed", kinds)
            check(events.get_final_response().output_text == "echo: hi there")


def reached(client):
    """Which engine answers, and by which name it was asked."""
    for model, upstream in (("small", "org/small-8b"), ("gpt-4o-mini", "org/small-8b"), ("large", None)):
        raw = client.chat.completions.with_raw_response.create(model=model, messages=said("hi"))
        check(raw.headers.get("x-upstream-model") == upstream, raw.headers)
        check(raw.parse().model == (upstream or model), raw.parse())


def embeds(client):
    for model in ("vectors", "text-embedding-3-small"):
        answer = client.embeddings.create(model=model, input=["one", "two", "one"])
        one, two, again = (e.embedding for e in answer.data)
        check(one == again != two and len(one) == 256, len(one))


def tools(client):
    for model in CHATS:
        messages = said("Ulm")
        answer = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])
        (call,) = answer.choices[0].message.tool_calls
        check(answer.choices[0].finish_reason == "tool_calls", answer)
        check(call.function.name == "weather", call)
        check(json.loads(call.function.arguments) == {"city": "Ulm"}, call)
        messages += [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "12"}]
        answer = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])
        check(answer.choices[0].message.content == "echo: 12", answer)
        with client.chat.completions.stream(model=model, messages=said("Ulm"), tools=[TOOL]) as events:
            (call,) = events.get_final_completion().choices[0].message.tool_calls
        check(json.loads(call.function.arguments) == {"city": "Ulm"}, call)
        item = client.responses.create(
            model=model, input="Ulm", tools=[{"type": "function", "strict": None, **WEATHER}]
        ).output[0]
        check(item.type == "function_call" and json.loads(item.arguments) == {"city": "Ulm"}, item)


def sounds(client, origin):
    spoken = client.audio.speech.create(model="large", voice="alloy", input="hi", response_format="wav")
    check(spoken.read().startswith(b"RIFF"), spoken)
    heard = client.audio.transcriptions.create(model="gpt-4o-mini", file=("a.wav", b"RIFF" * 9000))
    check(heard.text == "echo: a.wav, 36000 bytes", heard)
    # The file before the model, which no SDK for Python sends.
    form = [("file", ("b.wav", b"RIFF" * 100_000)), ("model", (None, "gpt-4o-mini"))]
    answer = httpx2.post(f"{origin}/v1/audio/transcriptions", files=form)
    check(answer.json()["text"] == "echo: b.wav, 400000 bytes", answer.text)


def converses(origin):
    client = openai.OpenAI(
        base_url=f"{origin}/v1",
        websocket_base_url=f"{origin.replace('http', 'ws', 1)}/v1",
        api_key="none",
    )
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    for model in CHATS:
        with client.realtime.connect(model=model) as connection:
            check(connection.recv().type == "session.created")
            connection.conversation.item.create(item=item)
            connection.response.create()
            text = ""
            for event in connection:
                if event.type == "response.output_text.delta":
                    text += event.delta
                if event.type == "response.done":
                    break
            check(text == "echo: hi", text)
            check(event.response.usage.total_tokens == 3, event)


def many(origin):
    """Thirty streams at once over all models, each its own."""

    async def one(client, n):
        model = CHATS[n % len(CHATS)]
        text = ""
        asked = {"model": model, "messages": said(f"number {n} to {model}"), "stream": True}
        async for chunk in await client.chat.completions.create(**asked):
            text += chunk.choices[0].delta.content or ""
        check(text == f"echo: number {n} to {model}", n, text)

    async def every():
        async with openai.AsyncOpenAI(base_url=f"{origin}/v1", api_key="none", max_retries=0) as client:
            await asyncio.gather(*(one(client, n) for n in range(30)))

    asyncio.run(every())


def unknown(client):
    asks = [
        lambda: client.chat.completions.create(model="nobody", messages=said("hi")),
        lambda: client.chat.completions.create(model="nobody", messages=said("hi"), stream=True),
        lambda: client.completions.create(model="nobody", prompt="hi"),
        lambda: client.embeddings.create(model="nobody", input="hi"),
        lambda: client.responses.create(model="nobody", input="hi"),
        lambda: client.audio.speech.create(model="nobody", voice="alloy", input="hi"),
        lambda: client.audio.transcriptions.create(model="nobody", file=("a.wav", b"RIFF")),
        lambda: client.models.retrieve("nobody"),
        lambda: client.chat.completions.create(model="org/small-8b", messages=said("hi")),
        lambda: client.chat.completions.create(model="spare", messages=said("hi")),  # not visible
    ]
    for n, ask in enumerate(asks):
        error = refused(openai.NotFoundError, ask, n)
        check(error.code == "model_not_found" and error.type == "invalid_request_error", n, error.body)
        check(error.request_id, error.response.headers)


def bad(client):
    error = refused(openai.BadRequestError, lambda: client.chat.completions.create(model="small", messages=[]))
    check(error.param == "messages", error.body)
    error = refused(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model="small", messages=said("hi"), extra_body={"Model": "large"}),
    )
    check(error.code == "duplicate_field", error.body)
    message = client.chat.completions.with_raw_response
    error = refused(
        openai.BadRequestError, lambda: message.create(model=openai.omit, messages=said("hi"))
    )
    check(error.code == "model_missing", error.body)


def claude(origin):
    with anthropic.Anthropic(base_url=origin, api_key="none", max_retries=0) as client:
        for model in CHATS:
            asked = {"model": model, "max_tokens": 99, "messages": said(f"to {model}")}
            answer = client.messages.create(**asked)
            check(answer.content[0].text == f"echo: to {model}", answer)
            with client.messages.stream(**asked) as events:
                text = "".join(events.text_stream)
                check(text == f"echo: to {model}", text)
                check(events.get_final_message().usage.output_tokens == answer.usage.output_tokens)
            check(client.messages.count_tokens(model=model, messages=said("a b")).input_tokens == 2)
            tool = {"name": "weather", "input_schema": WEATHER["parameters"]}
            block = client.messages.create(**{**asked, "messages": said("Ulm"), "tools": [tool]}).content[0]
            check(block.type == "tool_use" and block.input == {"city": "Ulm"}, block)
            with client.messages.stream(**{**asked, "messages": said("Ulm"), "tools": [tool]}) as events:
                check(events.get_final_message().content[0].input == {"city": "Ulm"})
        asked = {"model": "nobody", "max_tokens": 9, "messages": said("hi")}
        error = refused(anthropic.NotFoundError, lambda: client.messages.create(**asked))
        check(error.body["error"]["type"] == "not_found_error", error.body)
        refused(anthropic.NotFoundError, lambda: client.messages.create(**asked, stream=True))
        refused(anthropic.NotFoundError, lambda: client.messages.count_tokens(model="nobody", messages=said("a")))
        error = refused(anthropic.BadRequestError, lambda: client.messages.create(**{**asked, "model": "small", "messages": []}))
        check(error.body["type"] == "error", error.body)


def chain(origin):
    about = {"base_url": f"{origin}/v1", "api_key": "none", "max_retries": 0, "timeout": 60}
    for model in CHATS:
        chat = ChatOpenAI(model=model, stream_usage=True, **about)
        answer = chat.invoke("hi there")
        check(answer.content == "echo: hi there", answer)
        check(answer.usage_metadata["total_tokens"] == 5, answer.usage_metadata)
        chunks = list(chat.stream("hi there"))
        check("".join(c.content for c in chunks) == "echo: hi there", chunks)
        check(sum(c.usage_metadata["total_tokens"] for c in chunks if c.usage_metadata) == 5, chunks)
        caller = chat.bind_tools([TOOL])
        asked = [HumanMessage("Ulm")]
        asked.append(caller.invoke(asked))
        (call,) = asked[-1].tool_calls
        check((call["name"], call["args"]) == ("weather", {"city": "Ulm"}), call)
        asked.append(ToolMessage("12", tool_call_id=call["id"]))
        check(caller.invoke(asked).content == "echo: 12")
    refused(openai.NotFoundError, lambda: ChatOpenAI(model="nobody", **about).invoke("hi"))
    vectors = OpenAIEmbeddings(model="vectors", check_embedding_ctx_length=False, **about)
    one, two = vectors.embed_documents(["one", "two"])
    check(len(one) == 256 and one != two and vectors.embed_query("one") == one)


def main(origin, package):
    done = []

    def do(name, what, *args):
        what(*args)
        done.append(name)

    match package:
        case "openai":
            about = {"base_url": f"{origin}/v1", "api_key": "none", "max_retries": 0, "timeout": 60}
            with openai.OpenAI(**about) as client:
                for what in (lists, chats, reached, embeds, tools, unknown, bad):
                    do(what.__name__, what, client)
                do("sounds", sounds, client, origin)
            do("converses", converses, origin)
            do("many", many, origin)
        case "anthropic":
            do("claude", claude, origin)
        case "langchain_openai":
            do("chain", chain, origin)
    print(json.dumps(done))


main(*sys.argv[1:])
