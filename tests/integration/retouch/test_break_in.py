"""The server of the retouch page, and everybody who should not get in."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from blissmask.config.model import Config
from blissmask.tasks.masks import retouch
from blissmask.tasks.retouch.door import SECONDS_TO_VISIT, OneVisit
from tests.builders.pictures import mask_folder, photo_folder, tree
from tests.builders.retouch import Retouching, retouching

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retouch")
    photo_folder(folder / "photos", ["a.jpg"], size_wh=(48, 32))
    mask_folder(folder / "masks", ["a.png"])
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Retouching]:
    config = Config.model_validate({"masks": {"input": folder / "photos", "output": folder / "masks"}})
    with retouching(retouch, config) as running:
        yield running


@pytest.fixture(autouse=True)
def unchanged(folder: Path) -> Iterator[None]:
    """Whoever was refused has changed no file."""
    before = tree(folder)
    yield
    assert tree(folder) == before


def ask(
    server: Retouching, path: str, *, method: str = "GET", headers: Mapping[str, str] = {}, body: bytes | None = None
) -> tuple[int, bytes]:
    """Send a request as it is, with the headers of our own page where no others are given."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    own = {"host": f"127.0.0.1:{server.port}"}
    if method == "POST":
        own["origin"] = f"http://127.0.0.1:{server.port}"
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {**own, **headers}.items():
        if value:
            connection.putheader(name, value)
    if body is not None and "content-length" not in headers:
        connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    with contextlib.closing(connection):
        answer = connection.getresponse()
        return answer.status, answer.read()


def inside(server: Retouching, path: str) -> str:
    return "/" + server.address.split("/", 3)[3] + path


def version_of(server: Retouching) -> str:
    return json.loads(ask(server, inside(server, "items/0/pictures?large"))[1])["version"]


def save(server: Retouching, body: bytes, **headers: str) -> int:
    version = version_of(server)
    return ask(
        server,
        inside(server, f"items/0/mask?base={version}&expected={version}"),
        method="POST",
        headers={
            "content-type": "application/octet-stream",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
        body=body,
    )[0]


def test_the_page_is_there_and_may_not_be_kept_framed_or_fed_from_elsewhere(server: Retouching) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        connection.request("GET", inside(server, ""))
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("cache-control")) == (200, "no-store")
        policy = answer.getheader("content-security-policy")
        answer.read()
    assert all(part in policy for part in ("default-src 'none'", "frame-ancestors 'none'", "connect-src 'self'"))


def test_only_this_machine_is_listened_to(server: Retouching) -> None:
    others = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, server.port), timeout=10)


@pytest.mark.parametrize("path", ["/", "", "/items/0/pictures", "/x" * 40 + "/", "/%2e%2e/", "//", "/\u00e9/"])
def test_without_the_token_nothing_is_there(server: Retouching, path: str) -> None:
    raw = path.encode("utf-8").decode("latin-1") or "*"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"GET {raw} HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\n\r\n".encode("latin-1"))
        assert connection.recv(100).split()[1] in (b"404", b"400")


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1", "127.0.0.1:1", "evil.example:PORT", ""])
def test_another_host_name_is_refused(server: Retouching, host: str) -> None:
    status, body = ask(server, inside(server, ""), headers={"host": host.replace("PORT", str(server.port))})
    assert status in (400, 421)
    assert b"a.jpg" not in body


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_what_another_page_sends_is_refused(server: Retouching, headers: Mapping[str, str]) -> None:
    body = json.dumps({"text": "bought", "expected": None}).encode()
    path = inside(server, "items/0/caption")
    assert ask(server, path, method="POST", headers={**JSON, **headers}, body=body)[0] == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "image/png", ""]
)
def test_what_a_form_can_send_is_refused(server: Retouching, kind: str) -> None:
    path = inside(server, "items/0/caption")
    assert ask(server, path, method="POST", headers={"content-type": kind}, body=b"{}")[0] == 415


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(server: Retouching, method: str) -> None:
    assert ask(server, inside(server, "items/0/pictures"), method=method)[0] == 405


@pytest.mark.parametrize(
    "number",
    ["1", "-1", "99999999999", "9" * 5000, "../secret.txt", "..%2f..%2fsecret.txt", "%00", "0x0", "\u0660", "a", ""],
)
def test_no_path_leads_out_of_the_items(server: Retouching, number: str) -> None:
    path = inside(server, f"items/{number.encode().decode('latin-1')}/pictures")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\n\r\n".encode("latin-1"))
        answer = connection.recv(1000)
    assert answer.split()[1] in (b"400", b"404")
    assert b"secret" not in answer


def test_a_body_that_says_it_is_huge_is_not_read(server: Retouching) -> None:
    assert save(server, b"", content_length="2000000000") == 413


def test_a_body_that_turns_out_huge_is_cut_off(server: Retouching) -> None:
    version = version_of(server)
    path = inside(server, f"items/0/mask?base={version}&expected={version}")
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\norigin: http://127.0.0.1:{server.port}\r\n"
        "content-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    part = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head.encode())
        with contextlib.suppress(OSError):
            while sent < 2000:
                connection.sendall(part)
                sent += 1
    assert sent < 200


def test_edits_that_would_unpack_to_more_than_the_picture_are_not_unpacked(server: Retouching) -> None:
    assert save(server, zlib.compress(bytes(2_000_000), 9)) == 400


def test_pictures_are_not_taken(server: Retouching) -> None:
    assert save(server, b"\x89PNG\r\n\x1a\n" + bytes(100)) == 400


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"[" * 100_000, b'{"text": 1}', b"\xff", b'{"text": "\\ud800", "expected": null}']
)
def test_what_is_no_caption_is_refused(server: Retouching, body: bytes) -> None:
    assert ask(server, inside(server, "items/0/caption"), method="POST", headers=JSON, body=body)[0] == 400


def test_people_are_not_chosen_where_none_are_found(server: Retouching) -> None:
    body = json.dumps({"person": 1, "is_subject": True, "expected": version_of(server)}).encode()
    assert ask(server, inside(server, "items/0/person"), method="POST", headers=JSON, body=body)[0] == 400


def raw(server: Retouching, request: str | bytes) -> bytes:
    """Send bytes as they are; return the beginning of the answers, empty where the connection is closed."""
    content = request.encode("latin-1") if isinstance(request, str) else request
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        # The server may answer and close before all is sent.
        with contextlib.suppress(ConnectionError):
            connection.sendall(content.replace(b"PORT", str(server.port).encode()))
        with contextlib.suppress(ConnectionError):
            return connection.recv(4000)
    return b""


@pytest.mark.parametrize(
    "head",
    [
        "GET {page} HTTP/1.0\r\n",
        "GET {page} HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\nhost: evil.example\r\n",
        "GET {page} HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: 127.0.0.1:PORT\r\n",
        "GET {page} HTTP/1.1\r\nhost: 127.0.0.1:PORT.\r\n",
        "GET {page} HTTP/1.1\r\nhost: 127.1:PORT\r\n",
        "GET {page} HTTP/1.1\r\nhost: [::1]:PORT\r\n",
        "GET {page} HTTP/1.1\r\nhost: evil.example@127.0.0.1:PORT\r\n",
        "GET http://127.0.0.1:PORT{page} HTTP/1.1\r\nhost: evil.example\r\n",
        "GET //127.0.0.1:PORT{page} HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n",
        "GET /\\{page} HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n",
        "GET {page} HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\nx: " + "x" * 1_000_000 + "\r\n",
    ],
    ids=lambda head: head[:70],
)
def test_a_request_that_is_not_quite_ours_sees_nothing(server: Retouching, head: str) -> None:
    answer = raw(server, head.replace("{page}", inside(server, "")) + "\r\n")
    assert b" 200 " not in answer.split(b"\r\n")[0]
    assert b"a.jpg" not in answer


@pytest.mark.parametrize(
    "change", [str.swapcase, lambda token: token[:-1], lambda token: f"{token}%00", lambda token: ""]
)
def test_what_is_nearly_the_token_is_not(server: Retouching, change: Callable[[str], str]) -> None:
    token = server.address.split("/")[3]
    assert ask(server, f"/{change(token)}/")[0] in (400, 404)


def test_no_other_protocol_is_spoken(server: Retouching) -> None:
    upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AA==\r\n"
    path = inside(server, "")
    answer = raw(server, f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\norigin: http://evil.example\r\n{upgrade}\r\n")
    assert answer.split()[1] == b"403"
    assert b" 101 " not in raw(server, f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n{upgrade}\r\n")


@pytest.mark.parametrize("path", ["finish", "items/0/mask", "items/0/caption", "items/0/person"])
def test_looking_at_an_address_changes_nothing(server: Retouching, path: str) -> None:
    for method in ("GET", "HEAD"):
        headers = {"x-http-method-override": "POST", "origin": f"http://127.0.0.1:{server.port}"}
        assert ask(server, inside(server, path), method=method, headers=headers)[0] == 405
    assert ask(server, inside(server, ""))[0] == 200, "the run goes on"


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1",
        "https://127.0.0.1:PORT",
        "http://127.0.0.1:PORT@evil.example",
        "HTTP://127.0.0.1:PORT",
        "file://",
    ],
)
def test_an_origin_that_is_nearly_ours_is_refused(server: Retouching, origin: str) -> None:
    headers = {**JSON, "origin": origin.replace("PORT", str(server.port))}
    body = json.dumps({"text": "bought", "expected": None}).encode()
    assert ask(server, inside(server, "items/0/caption"), method="POST", headers=headers, body=body)[0] == 403


def test_a_second_origin_is_refused(server: Retouching) -> None:
    path = inside(server, "items/0/caption")
    own = "origin: http://127.0.0.1:PORT\r\norigin: http://evil.example\r\ncontent-type: application/json\r\n"
    answer = raw(server, f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n{own}content-length: 2\r\n\r\n{{}}")
    assert answer.split()[1] == b"403"


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "text/plain; application/json", "application/jsonp"]
)
def test_a_type_that_is_nearly_ours_is_refused(server: Retouching, kind: str) -> None:
    path = inside(server, "items/0/caption")
    assert ask(server, path, method="POST", headers={"content-type": kind}, body=b"{}")[0] == 415


@pytest.mark.parametrize("length", ["-1", "+2", "1e3", "0x10", "2, 3", "2\r\ncontent-length: 3", "9" * 5000])
def test_a_length_that_is_none_is_refused(server: Retouching, length: str) -> None:
    path = inside(server, "items/0/caption")
    own = f"host: 127.0.0.1:PORT\r\norigin: http://127.0.0.1:PORT\r\ncontent-type: application/json\r\ncontent-length: {length}"
    assert raw(server, f"POST {path} HTTP/1.1\r\n{own}\r\n\r\n{{}}").split()[1] in (b"400", b"413")


def test_a_request_inside_the_body_of_another_one_is_not_answered(server: Retouching) -> None:
    path = inside(server, "items/0/caption")
    own = "host: 127.0.0.1:PORT\r\norigin: http://127.0.0.1:PORT\r\ncontent-type: application/json\r\n"
    both = "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    hidden = f"GET {inside(server, '')} HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n\r\n"
    request = f"POST {path} HTTP/1.1\r\n{own}{both}{hidden}".replace("PORT", str(server.port))
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(request.encode())
        # Whatever it has to say, and then it ends the connection.
        answers = b"".join(iter(lambda: connection.recv(100_000), b""))
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("base", ["../../secret.txt", "0-none.png", "/etc/passwd", "none", "%00", "*"])
def test_a_base_that_no_page_was_shown_is_refused(server: Retouching, base: str) -> None:
    version = version_of(server)
    path = inside(server, f"items/0/mask?base={base}&expected={version}")
    headers = {"content-type": "application/octet-stream"}
    status, body = ask(server, path, method="POST", headers=headers, body=zlib.compress(bytes(48 * 32)))
    assert (status, b"secret" in body) == (409, False)


def test_a_mask_is_not_replaced_by_who_says_that_there_is_none(server: Retouching) -> None:
    path = inside(server, f"items/0/mask?base={version_of(server)}&expected=none")
    headers = {"content-type": "application/octet-stream"}
    assert ask(server, path, method="POST", headers=headers, body=zlib.compress(bytes(48 * 32)))[0] == 409


@pytest.mark.parametrize(
    "edits",
    [
        bytes([253]) * (48 * 32),
        bytes([4]) * (48 * 32),
        bytes(48 * 32 - 1),
        bytes(48 * 32 + 1),
        b"",
    ],
    ids=["between", "no tier", "too few", "too many", "none"],
)
def test_edits_of_other_labels_or_sizes_are_refused(server: Retouching, edits: bytes) -> None:
    assert save(server, zlib.compress(edits)) == 400


def test_edits_that_end_too_early_are_refused(server: Retouching) -> None:
    assert save(server, zlib.compress(bytes(range(4)) * (12 * 32))[:-9]) == 400


@pytest.mark.parametrize("text", ["x" * 2_000_000, "\ud800"])
def test_a_caption_that_is_too_long_or_no_text_is_refused(server: Retouching, text: str) -> None:
    body = json.dumps({"text": text, "expected": None}).encode()
    status = ask(server, inside(server, "items/0/caption"), method="POST", headers=JSON, body=body)[0]
    assert status in (400, 413)


def test_connections_that_say_nothing_keep_nobody_out(server: Retouching) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(100):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(b"GET / HT")
        assert ask(server, inside(server, ""))[0] == 200


def test_a_visit_is_swapped_for_a_token_once() -> None:
    visit = OneVisit()
    assert visit.token is None
    token = visit.swap()
    assert token not in (None, "", visit.word)
    assert visit.token == token


def test_a_second_visit_shuts_the_first_one_out_and_no_third_one_comes_in() -> None:
    visit = OneVisit()
    visit.swap()
    assert not visit.was_shut
    assert [visit.swap(), visit.token, visit.swap(), visit.token] == [None] * 4
    assert visit.was_shut


def test_a_late_visit_is_refused() -> None:
    now = [0.0]
    visit = OneVisit(lambda: now[0])
    now[0] = SECONDS_TO_VISIT + 1
    assert visit.swap() is None
    assert not visit.was_shut, "nobody was let in before"
