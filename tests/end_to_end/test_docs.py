"""Every command and program in the documentation does what it says, on a running stack."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.stack import Stack, in_background

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / name).read_text()
         for name in ("README.md", "docs/api.md", "docs/bundles.md", "docs/events.md", "docs/retention.md")}


def blocks(language: str, mark: str, page: str = "README.md") -> list[str]:
    found = re.findall(r"^```(\w+) (\w+)\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)
    return [text for kind, said, text in found if (kind, said) == (language, mark)]


def test_the_readmes_commands_work_from_top_to_bottom(stack: Stack, tmp_path: Path) -> None:
    (simulator,) = blocks("python", "simulator")
    (tmp_path / "simulator.py").write_text(simulator)
    setting = f"set -euo pipefail\nSIMYARD_DATA={stack.data}\n"
    done = subprocess.run(["bash", "-c", setting + "\n".join(blocks("sh", "tested"))], cwd=tmp_path, check=False,
                          capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "event: end" in done.stdout
    newest = stack.get("/simulations", template="mine")["items"][0]
    assert newest["total"] == 3
    for instance in stack.ended(newest["id"]):
        assert (instance["state"], instance["passed"] in (True, False)) == ("SUCCEEDED", True)
        assert instance["progress"]["percent"] == 100


def test_the_commands_about_bundles_work_from_top_to_bottom(stack: Stack, tmp_path: Path) -> None:
    (upload,) = blocks("python", "upload", "docs/bundles.md")
    (tmp_path / "upload.py").write_text(upload)
    token = stack.http.headers["Authorization"].removeprefix("Bearer ")
    setting = f"set -euo pipefail\nSIMYARD_URL={stack.ready['url']} TOKEN={token} SIMYARD={ROOT}\n"
    python = f"export PATH={Path(sys.executable).parent}:$PATH\n"  # the one with pandas, wherever .venv is
    script = "\n".join(blocks("sh", "tested", "docs/bundles.md")).replace('"$SIMYARD/.venv/bin/python"', "python")
    done = subprocess.run(["bash", "-c", setting + python + script], cwd=tmp_path, check=False,
                          capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert int((tmp_path / "frames.txt").read_text().count("event: frame")) > 50
    assert (tmp_path / "second.mcap").read_bytes().endswith(b"\x89MCAP0\r\n")


def test_the_commands_about_the_api_lead_from_nothing_to_a_table_as_often_as_one_likes(
        stack: Stack, tmp_path: Path) -> None:
    script = f"set -euo pipefail\nSIMYARD_DATA={stack.data}\n" + "\n".join(blocks("sh", "tested", "docs/api.md"))
    for _ in range(2):
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True,
                              timeout=110)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        assert (tmp_path / "results.csv").read_text().count("SUCCEEDED") == 24
        told = (tmp_path / "events.txt").read_text()
        assert "event: reset" in told and "event: end" in told
        # On a busy machine all may have ended before the stream is opened.
        assert ("event: transition" in told) == ('event: transition\ndata: {"number": ' in done.stdout)
        assert "24 thrown, farthest: 0.785" in done.stdout
        assert "AssertionError: nobody threw" in done.stdout
        assert "\n304\n" in done.stdout
        assert done.stdout.count(": OK\n") == 2  # a recording and its metadata.yaml
        assert "70 is greater than the maximum of 50" in done.stdout
        assert stack.get("/simulations", name="first throws")["items"] == []
    assert stack.get("/templates/thrower")["version"] == 1


def test_what_the_page_reads_fields_with_hides_no_error(tmp_path: Path) -> None:
    (field,) = re.findall(r"^field\(\) {.*?^}\n", PAGES["docs/api.md"], re.DOTALL | re.MULTILINE)
    for text, path, code, said in (('{"a": [{"b": 7}]}', "a 0 b", 0, "7\n"), ('{"code": "scope"}', "id", 1, "scope"),
                                   ('{"a": []}', "a 0", 1, '"a"'), ('{"a": null}', "a b", 1, "null")):
        done = subprocess.run(["bash", "-c", f"{field}field {path}"], input=text, capture_output=True, text=True,
                              check=False, timeout=30)
        assert done.returncode == code and said in (done.stderr if code else done.stdout), done


def test_the_commands_about_retention_work_from_top_to_bottom(stack: Stack, tmp_path: Path) -> None:
    token = stack.http.headers["Authorization"].removeprefix("Bearer ")
    setting = f"set -euo pipefail\nSIMYARD_URL={stack.ready['url']} TOKEN={token} SIMYARD_DATA={stack.data}\n"
    done = subprocess.run(["bash", "-c", setting + "\n".join(blocks("sh", "tested", "docs/retention.md"))],
                          cwd=tmp_path, check=False, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    for said in ('"code": "held"', '"code": "not_found"', '"incident": "17"'):
        assert said in done.stdout


def test_the_commands_about_events_work_from_top_to_bottom(stack: Stack, tmp_path: Path) -> None:
    (follow,) = blocks("python", "follow", "docs/events.md")
    (tmp_path / "follow.py").write_text(follow)
    token = stack.http.headers["Authorization"].removeprefix("Bearer ")
    setting = f"set -euo pipefail\nSIMYARD_URL={stack.ready['url']} TOKEN={token}\nexport SIMYARD_URL TOKEN\n"
    done = subprocess.run(["bash", "-c", setting + "\n".join(blocks("sh", "tested", "docs/events.md"))], cwd=tmp_path,
                          check=False, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    told = (tmp_path / "events.txt").read_text()
    assert told.count("event: end") == 1
    assert "event: transition" in told
    last = done.stdout.splitlines()[-2:]
    assert [line.split()[0] for line in last] == ["reset", "end"]  # what has ended is told in one piece


@contextmanager
def miser(stack: Stack) -> Iterator[str]:
    """A server that passes one event on, and half of the next, before it drops the connection."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            last = {"Last-Event-ID": self.headers.get("Last-Event-ID", "0")}
            blocks = stack.http.get(self.path.removeprefix("/api/v1"), headers=last).text.split("\n\n")
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write("\n\n".join([*blocks[:2], blocks[2][:len(blocks[2]) // 2]]).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = in_background(server.serve_forever)
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_program_that_follows_goes_on_where_its_stream_was_cut(stack: Stack) -> None:
    (follow,) = blocks("python", "follow", "docs/events.md")
    simulation = stack.submit(stack.template("/bin/true"), repeats=3)
    stack.ended(simulation)
    with miser(stack) as url:
        done = subprocess.run([sys.executable, "-c", follow.replace("time.sleep(2)", "pass"), simulation], check=True,
                              capture_output=True, text=True, timeout=100, env={"SIMYARD_URL": url, "TOKEN": "x"})
    told = [line.split()[:2] for line in done.stdout.splitlines()]
    whole = stack.http.get(f"/simulations/{simulation}/events", headers={"Last-Event-ID": "0"}).text
    assert [number for _, number in told] == re.findall(r"^id: (\d+)", whole, re.MULTILINE)
    assert told[-1][0] == "end"
    assert len(told) > 10


def test_bringing_ones_own_simulator_takes_ten_lines_or_so() -> None:
    (simulator,) = blocks("python", "simulator")
    assert len(simulator.splitlines()) <= 11


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)`", PAGES["README.md"]))))
def test_every_make_target_of_the_readme_exists(target: str) -> None:
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True, timeout=60)


@pytest.mark.timeout(300)
def test_the_demo(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "standalone.demo"], capture_output=True, text=True, check=False,
                          timeout=280, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCEEDED") >= 8
    assert "sha256 as recorded" in done.stdout


def test_links_between_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
