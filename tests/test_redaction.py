import pytest

from hdbench.redaction import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pull https://jo:pa55word@host/a/b", "pull https://***@host/a/b"),
        ("s3://KEY:SECRET@bucket/x and hf://me/model", "s3://***@bucket/x and hf://me/model"),
        ("https://host/a?token=abc&download=1", "https://host/a?token=***&download=1"),
        (
            "https://b.s3.host/a?X-Amz-Signature=0f0f&X-Amz-Date=1",
            "https://b.s3.host/a?X-Amz-Signature=***&X-Amz-Date=1",
        ),
        ("https://host/a?x=1&access_key=q'", "https://host/a?x=1&access_key=***'"),
        ("push --token abc123 --json", "push --token *** --json"),
        ("push --hub-token=abc123", "push --hub-token=***"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("used hf_AbCdEfGhIjKlMnOpQrSt here", "used *** here"),
    ],
)
def test_credentials_are_hidden(text, shown):
    assert redacted(text) == shown
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "hdbench run --category chair --dataset ./someone@home/chairs --seed 3",
        "8 tokens of 2880 each; tokens=9",
        "https://github.com/luost26/diffusion-point-cloud (see /a/b@2)",
        "hdbench|cd:sq|n:4|data:shapenet@chair/test",
        "signature=hdbench|1",
    ],
)
def test_the_rest_stays(text):
    assert redacted(text) == text


def test_what_the_environment_calls_secret_is_hidden(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "my-own-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "my-own-secret-and-more")
    monkeypatch.setenv("SOME_PASSWORD", "short")
    monkeypatch.setenv("HOME_OF_ALL", "not-secret-at-all")
    text = "my-own-secret, my-own-secret-and-more, short, not-secret-at-all"
    assert redacted(text) == "***, ***, short, not-secret-at-all"
