"""Who is let in: by which name, from which page, with which token; and what a browser is told with every answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from video_opd.errors import ConfigurationError
from video_opd.serve.guard import OPEN_PATHS, Admission, Guard
from video_opd.serve.server_address import TOKEN_VARIABLE, ServerAddress, make_token, read_token

TOKEN = "a-token-of-24-characters"
HOME = ServerAddress(host="127.0.0.1", port=0, public_name=None)


def ask(admission: Admission, path: str = "/ground", method: str = "POST", **headers: str) -> tuple[int, dict, dict]:
    """Status, headers and JSON of a guarded application that answers 200."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def receive():
        raise AssertionError("the body of a refused request is not needed")

    async def send(message):
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "method": method, "headers": raw}
    asyncio.run(Guard(app, admission=admission)(scope, receive, send))
    start, body = sent
    return (
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        json.loads(body["body"]),
    )


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST.:9000", "[::1]:8000", "127.0.0.1"])
def test_loopback_is_called_by_its_own_names(host):
    assert ask(Admission(token=None, hosts=HOME.allowed_hosts), host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "192.168.0.5", "localhost@evil"])
def test_another_name_that_points_here_is_refused(host):
    status, _, said = ask(Admission(token=None, hosts=HOME.allowed_hosts), host=host)
    assert status == 403
    assert said["cause"].startswith("the request calls this server")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200),
        ("https://localhost:8000", 200),  # behind a proxy
        ("http://localhost:9000", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("", 403),
        ("file://", 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_page_of_another_site_is_refused(origin, status, method):
    admission = Admission(token=None, hosts=HOME.allowed_hosts)
    assert ask(admission, method=method, host="localhost:8000", origin=origin)[0] == status


@pytest.mark.parametrize(
    "given",
    [{}, {"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"}, {"authorization": f"Bearer {TOKEN}x"},
     {"authorization": "Bearer "}, {"authorization": "Bearer \xfc"}],
)  # fmt: skip
def test_without_the_token_nothing_is_told(given):
    admission = Admission(token=TOKEN, hosts=None)
    for path in ("/ground", "/jobs/x", "/limits", "/models", "/clips", "/clips/clip-1.mp4", "/nowhere"):
        status, headers, said = ask(admission, path, host="any.example", **given)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert TOKEN not in json.dumps(said)
    for path in OPEN_PATHS:
        assert ask(admission, path, host="any.example", **given)[0] == 200


def test_with_the_token_all_is_served():
    admission = Admission(token=TOKEN, hosts=None)
    assert ask(admission, host="any.example", authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(admission, host="any.example", authorization=f"bearer  {TOKEN} ")[0] == 200


def test_every_answer_tells_a_browser_to_be_careful():
    for headers in (
        ask(Admission(token=None, hosts=None), host="x")[1],
        ask(Admission(token=TOKEN, hosts=None), host="x")[1],
    ):
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize(
    ("host", "name", "private"),
    [("127.0.0.1", None, True), ("localhost", None, True), ("::1", None, True), ("127.5.5.5", None, True),
     ("0.0.0.0", None, False), ("::", None, False), ("192.168.0.5", None, False), ("machine", None, False),
     ("127.0.0.1", "demo.example", False)],
)  # fmt: skip
def test_only_loopback_is_private(host, name, private):
    address = ServerAddress(host=host, port=0, public_name=name)
    assert address.is_private == private
    assert (address.allowed_hosts is None) == (not private and name is None)
    if name:
        assert name in address.allowed_hosts


def test_a_port_in_use_is_told():
    with HOME.listen() as first:
        taken = ServerAddress(host="127.0.0.1", port=first.getsockname()[1], public_name=None)
        assert taken.describe(first) == f"http://127.0.0.1:{taken.port}"
        with pytest.raises(ConfigurationError, match=rf"port {taken.port} of 127.0.0.1: another program uses it. Give"):
            taken.listen()
    with taken.listen():
        pass  # it is free again at once
    for host in ("203.0.113.7", "a..b", "a" * 64):
        with pytest.raises(ConfigurationError, match=rf"--host {host}: .*\. Give an address of this machine"):
            ServerAddress(host=host, port=0, public_name=None).listen()


@pytest.mark.parametrize("name", ["demo.example", "Demo-2.example", "localhost", "192.168.0.5", "::1"])
def test_a_public_name_is_a_bare_name(name):
    address = ServerAddress(host="127.0.0.1", port=0, public_name=name)
    host = f"[{name}]" if ":" in name else name
    assert ask(Admission(token=None, hosts=address.allowed_hosts), host=f"{host}:443")[0] == 200


@pytest.mark.parametrize(
    "name",
    [
        "https://demo.example",
        "demo.example:443",
        "demo.example/",
        "demo.example.",
        "",
        "a b",
        "[::1]",
        "*",
        "\u212aey.example",
    ],
)
def test_a_public_name_that_no_request_has_is_refused(name):
    with pytest.raises(ConfigurationError, match="name of ASCII letters"):
        ServerAddress(host="127.0.0.1", port=0, public_name=name)


def test_the_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "token"
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token(None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert read_token(None) == TOKEN
    file.write_text(f"{TOKEN[::-1]}\n")
    assert read_token(file) == TOKEN[::-1]
    for text in ("", "short", "sixteen and more characters", "sechzehn-Zeichen-ü"):
        file.write_text(text)
        with pytest.raises(ConfigurationError, match="at least 16") as refused:
            read_token(file)
        assert not text or text not in str(refused.value)
    with pytest.raises(ConfigurationError, match="No such file"):
        read_token(tmp_path / "nowhere")
    assert len({make_token() for _ in range(9)}) == 9
    assert all(len(make_token()) >= 32 for _ in range(3))
