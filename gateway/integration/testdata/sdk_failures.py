"""sdk_failures.py BASE_URL CASE…: what a user of the OpenAI SDK gets to see when an answer fails.

Prints a JSON object: for each case the text that came, the class of the exception and its message. Exit code 77: the SDK is not there.
"""

import json
import sys

try:
    import openai
except ImportError as why:
    print(f"import openai fails: {why}")
    sys.exit(77)


def ask(client, case):
    text = ""
    try:
        for chunk in client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}], stream=True, extra_query={"case": case}
        ):
            text += "".join(c.delta.content or "" for c in chunk.choices)
    except Exception as raised:
        return {"text": text, "raised": type(raised).__name__, "says": str(raised)}
    return {"text": text, "raised": "", "says": ""}


def main(base_url, *cases):
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60)
    print(json.dumps({case: ask(client, case) for case in cases}))


main(*sys.argv[1:])
