"""The unmodified SDKs read every answer and raise the right errors."""

from collections.abc import Callable

import anthropic
import openai
import pytest

from tests.conftest import Process

_ENV = {"MODELS": "org/big,small", "INFER_LATENCY_MS": "0", "TOKEN_LATENCY_MS": "0"}
_SAID = [{"role": "user", "content": "hello"}]


def test_openai(start: Callable[..., Process]) -> None:
    url = start(**_ENV).url
    with openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["org/big", "small"]
        assert client.models.retrieve("org/big").id == "org/big"
        chat = client.chat.completions.create(model="small", messages=_SAID)  # type: ignore
        assert chat.choices[0].message.content == "echo: hello"
        text = client.completions.create(model="small", prompt="hello")
        assert text.choices[0].text == "echo: hello"
        vector = client.embeddings.create(model="small", input="hello", dimensions=5)
        assert len(vector.data[0].embedding) == 5
        response = client.responses.create(model="small", input="hello")
        assert response.output_text == "echo: hello"
        assert response.usage is not None
        assert response.usage.total_tokens == 3
        with client.responses.stream(model="small", input="hello") as stream:
            assert stream.get_final_response().output_text == "echo: hello"
        heard = client.audio.transcriptions.create(model="small", file=("a.wav", b"RIFF"))
        assert heard.text == "echo: a.wav, 4 bytes"
        events = client.audio.transcriptions.create(
            model="small", file=("a.wav", b"RIFF"), stream=True
        )
        assert [event.type for event in events][-1] == "transcript.text.done"
        with pytest.raises(openai.NotFoundError) as caught:
            client.responses.create(model="nope", input="hello")
        assert caught.value.code == "model_not_found"


def test_anthropic(start: Callable[..., Process]) -> None:
    with anthropic.Anthropic(api_key="k", base_url=start(**_ENV).url, max_retries=0) as client:
        asked = {"model": "small", "messages": _SAID, "max_tokens": 9}
        answer = client.messages.create(**asked)
        assert answer.content[0].text == "echo: hello"
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1, 2)
        with client.messages.stream(**asked) as stream:
            assert "".join(stream.text_stream) == "echo: hello"
            assert stream.get_final_message().usage.output_tokens == 2
        assert client.messages.count_tokens(model="small", messages=_SAID).input_tokens == 1
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(**{**asked, "model": "nope"})
