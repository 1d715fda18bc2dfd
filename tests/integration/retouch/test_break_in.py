"""The server of the retouch page, and everybody who should not get in."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import zlib
from collections.abc import Iterator, Mapping
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


def test_a_visit_is_swapped_for_a_token_once() -> None:
    visit = OneVisit()
    assert visit.token is None
    token = visit.swap()
    assert token not in (None, "", visit.word)
    assert visit.token == token


def test_a_second_visit_shuts_the_first_one_out_and_no_third_one_comes_in() -> None:
    visit = OneVisit()
    visit.swap()
    assert [visit.swap(), visit.token, visit.swap(), visit.token] == [None] * 4


def test_a_late_visit_is_refused() -> None:
    now = [0.0]
    visit = OneVisit(lambda: now[0])
    now[0] = SECONDS_TO_VISIT + 1
    assert visit.swap() is None
