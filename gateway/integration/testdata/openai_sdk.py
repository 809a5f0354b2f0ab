"""openai_sdk.py BASE_URL SCENE MODEL [embeddings]: what users of the OpenAI SDK do, against the gateway.

Prints a JSON list of what was done. Exit code 77: the SDK is not there.
"""

import asyncio
import json
import math
import sys

try:
    import openai
except ImportError as why:
    print(f"import openai fails: {why}")
    sys.exit(77)

PROMPT = "Grüße: one two three four five"


def said(*texts):
    return [{"role": "user", "content": text} for text in texts]


def check(condition, *what):
    if not condition:
        raise AssertionError(what)


def models(client, model):
    ids = [m.id for m in client.models.list()]
    check(model in ids and ids == sorted(ids), ids)
    check(client.models.retrieve(model).id == model)


def completion(client, model):
    answer = client.chat.completions.create(model=model, messages=said(PROMPT))
    choice = answer.choices[0]
    check(choice.message.content == f"echo: {PROMPT}", answer)
    check(choice.finish_reason == "stop", answer)
    check(answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0, answer)
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=said(PROMPT), extra_headers={"X-Request-ID": "from-the-sdk"}
    )
    check(raw.headers["x-request-id"] == "from-the-sdk", raw.headers)
    check(raw.parse()._request_id == "from-the-sdk")
    short = client.chat.completions.create(model=model, messages=said(PROMPT), max_tokens=2)
    check(short.choices[0].finish_reason == "length", short)
    check(short.usage.completion_tokens == 2, short)


def stream(client, model):
    whole = client.chat.completions.create(model=model, messages=said(PROMPT))
    chunks = list(
        client.chat.completions.create(
            model=model, messages=said(PROMPT), stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    check(text == whole.choices[0].message.content == f"echo: {PROMPT}", text)
    check(sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) > 3, chunks)
    check([c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop", chunks)
    check(all(c.usage is None for c in chunks[:-1]), chunks)
    check(chunks[-1].usage == whole.usage and not chunks[-1].choices, chunks[-1], whole.usage)
    check(len({c.id for c in chunks}) == 1, chunks)

    bare = list(client.chat.completions.create(model=model, messages=said(PROMPT), stream=True))
    check(all(c.usage is None and c.choices for c in bare), bare)


def streams(base_url, model):
    """Many at once, each its own."""

    async def one(client, n):
        text = ""
        events = await client.chat.completions.create(
            model=model, messages=said(f"number {n} of many"), stream=True
        )
        async for chunk in events:
            text += chunk.choices[0].delta.content or ""
        check(text == f"echo: number {n} of many", n, text)

    async def every():
        async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
            await asyncio.gather(*(one(client, n) for n in range(20)))

    asyncio.run(every())


def left(client, model):
    """Leaves a stream after its first chunk; the client is as good as new."""
    with client.chat.completions.create(
        model=model, messages=said("word " * 500), stream=True
    ) as chunks:
        next(iter(chunks))
    completion(client, model)


def bad_request(client, model):
    for ask in (
        lambda: client.chat.completions.create(model=model, messages=[]),
        lambda: client.chat.completions.create(model=model, messages=[], stream=True),
        lambda: client.chat.completions.create(model=model, messages=[{"role": "nobody"}]),
    ):
        try:
            answer = ask()
        except openai.BadRequestError as error:
            check(error.status_code == 400, error)
            check(error.type == "invalid_request_error" and error.code, error.body)
            check(error.param.startswith("messages"), error.body)
            check(error.request_id, error.response.headers)
        else:
            raise AssertionError(answer)


def no_such_model(client):
    try:
        client.models.retrieve("nobody")
    except openai.NotFoundError as error:
        check(error.code == "model_not_found" and error.param == "model", error.body)
    else:
        raise AssertionError("there is a model called nobody")


def embeddings(client, model):
    texts = ["one", "two", "one"]
    for encoding in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        answer = client.embeddings.create(model=model, input=texts, **encoding)
        check([e.index for e in answer.data] == [0, 1, 2], answer)
        check(answer.usage.total_tokens > 0, answer.usage)
        vectors = [e.embedding for e in answer.data]
        if encoding.get("encoding_format") != "base64":  # asked for, it stays a text
            check(math.isclose(math.hypot(*vectors[0]), 1, rel_tol=1e-3), math.hypot(*vectors[0]))
        check(vectors[0] == vectors[2] != vectors[1])


def not_found(client, model):
    for ask in (
        lambda: client.models.list(),
        lambda: client.chat.completions.create(model=model, messages=said("hi")),
        lambda: client.chat.completions.create(model=model, messages=said("hi"), stream=True),
    ):
        try:
            ask()
        except openai.NotFoundError as error:
            check(error.type == "invalid_request_error" and error.code == "not_found", error.body)
            check("LLM_SERVICE_URL" in error.body["message"], error.body)
            check(error.request_id, error.response.headers)
        else:
            raise AssertionError("there is a service")


def main(base_url, scene, model, *extra):
    done = []
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=20) as client:

        def do(name, what, *args):
            what(*args)
            done.append(name)

        if scene == "no-service":
            do("not found", not_found, client, model)
        else:
            do("models", models, client, model)
            do("completion", completion, client, model)
            do("stream", stream, client, model)
            do("streams", streams, base_url, model)
            do("left", left, client, model)
            do("bad request", bad_request, client, model)
            do("no such model", no_such_model, client)
        if "embeddings" in extra:
            do("embeddings", embeddings, client, model)
    print(json.dumps(done))


main(*sys.argv[1:])
