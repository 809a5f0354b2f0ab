"""sdk_keys.py ORIGIN: what users of OpenAI's and Anthropic's SDKs see of keys. Key sk-all may ask for all, sk-small for one of two models,
sk-slow once a second, sk-over no longer.

Prints a JSON list of what was done. Exit code 77: an SDK is not there.
"""

import json
import sys

try:
    import anthropic
    import openai
except ImportError as why:
    print(f"an SDK is not installed: {why}")
    sys.exit(77)

ORIGIN = sys.argv[1]
ASKED = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


def check(condition, *what):
    if not condition:
        raise AssertionError(what)


def refused(kind, ask):
    try:
        answer = ask()
    except kind as error:
        return error
    raise AssertionError((kind, answer))


def with_key(key):
    return openai.OpenAI(base_url=f"{ORIGIN}/v1", api_key=key, max_retries=0, timeout=60)


def claude(key):
    return anthropic.Anthropic(base_url=ORIGIN, api_key=key, max_retries=0, timeout=60)


def opens():
    for key in ("sk-all", "sk-small"):
        answer = with_key(key).chat.completions.create(**ASKED)
        check(answer.choices[0].message.content == "echo: hi", answer)
        answer = claude(key).messages.create(**ASKED, max_tokens=9)
        check(answer.content[0].text == "echo: hi", answer)
    socket = openai.OpenAI(base_url=f"{ORIGIN}/v1", websocket_base_url=f"{ORIGIN.replace('http', 'ws', 1)}/v1", api_key="sk-all")
    with socket.realtime.connect(model="small") as connection:
        check(connection.recv().type == "session.created")


def lists():
    check([m.id for m in with_key("sk-all").models.list()] == ["large", "small"])
    check([m.id for m in with_key("sk-small").models.list()] == ["small"])
    refused(openai.NotFoundError, lambda: with_key("sk-small").models.retrieve("large"))


def unauthorized():
    for key in ("sk-nobody", "sk-over"):
        for ask in (
            lambda client: client.chat.completions.create(**ASKED),
            lambda client: client.chat.completions.create(**ASKED, stream=True),
            lambda client: client.models.list(),
        ):
            error = refused(openai.AuthenticationError, lambda: ask(with_key(key)))
            check(error.status_code == 401 and error.request_id, error.body)
        error = refused(anthropic.AuthenticationError, lambda: claude(key).messages.create(**ASKED, max_tokens=9))
        check(error.body["error"]["type"] == "authentication_error", error.body)


def forbidden():
    large = {**ASKED, "model": "large"}
    error = refused(openai.PermissionDeniedError, lambda: with_key("sk-small").chat.completions.create(**large))
    check(error.code == "model_not_allowed", error.body)
    error = refused(anthropic.PermissionDeniedError, lambda: claude("sk-small").messages.create(**large, max_tokens=9))
    check(error.body["error"]["type"] == "permission_error", error.body)
    error = refused(openai.NotFoundError, lambda: with_key("sk-small").chat.completions.create(**{**ASKED, "model": "nobody"}))
    check(error.code == "model_not_found", error.body)


def limited():
    """One of several at once is let in; the others are told when to come back."""
    client = with_key("sk-slow")
    answers = []
    for _ in range(20):
        try:
            answers.append(client.chat.completions.create(**ASKED))
        except openai.RateLimitError as error:
            check(error.code == "rate_limit_exceeded", error.body)
            check(int(error.response.headers["retry-after"]) >= 1, error.response.headers)
            break
    else:
        raise AssertionError("twenty in a row were let in")
    check(answers, "nobody was let in")
    error = None
    for _ in range(20):
        try:
            claude("sk-slow").messages.create(**ASKED, max_tokens=9)
        except anthropic.RateLimitError as limit:
            error = limit
            break
    check(error.body["error"]["type"] == "rate_limit_error", error.body)
    # The SDK's own retries wait as long as they are told, and then get in.
    patient = client.with_options(max_retries=5)
    for _ in range(2):
        check(patient.chat.completions.create(**ASKED).choices[0].message.content == "echo: hi")


done = []
for what in (opens, lists, unauthorized, forbidden, limited):
    what()
    done.append(what.__name__)
print(json.dumps(done))
