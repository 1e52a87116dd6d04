"""`make demo`: a whole stack of its own on free ports, a sweep of the reference robot shown live, what it made, and
everything stopped again. Drives the stack by HTTP alone, as any user would."""

import hashlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

SWEEP = {
    "template": "diffdrive",
    "name": "demo",
    "parameters": {"max_speed": {"grid": [0.4, 0.8]}, "obstacles": {"range": [2, 8, 2]}, "world": "warehouse",
                   "friction": {"uniform": [0.5, 1.0]}},
    "seed": 7,
}
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
PATIENCE_SECONDS = 120
SAMPLE = Path(__file__).parents[1] / "samples" / "diffdrive"
# Rich's own picture, without the fonts that it would fetch from elsewhere.
PICTURE = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
console = Console(record=True, width=None if sys.stdout.isatty() else 100)


class DemoFailed(Exception):
    """Why the demo did not do what it promises, in one line."""


@contextmanager
def stack(data: str) -> Iterator[dict[str, Any]]:
    """A running `simyard up` of its own; its ready line. Stopped cleanly at the end of the block."""
    process = subprocess.Popen([sys.executable, "-P", "-m", "standalone", "--port", "0", "--data", data, "--json"],
                               stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise DemoFailed("the stack did not start; its last words are above")
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    if code != 0:
        raise DemoFailed(f"the stack stopped with exit code {code}")


@contextmanager
def connect(ready: dict[str, Any]) -> Iterator[httpx.Client]:
    """A client that is logged in as the administrator."""
    with httpx.Client(base_url=ready["url"] + "/api/v1", timeout=30) as client:
        token = call(client, "POST", "/auth/login", json=ready["admin"])["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def call(client: httpx.Client, method: str, path: str, **more: Any) -> Any:
    """The JSON of an answer that went well."""
    answer = client.request(method, path, **more)
    if answer.status_code >= 300:
        raise DemoFailed(f"{method} {path} was answered {answer.status_code}: {answer.text}")
    return answer.json()


def watch(client: httpx.Client, simulation: str) -> None:
    """Show the sweep until it has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with Live(console=console, refresh_per_second=8) as live:
        while True:
            status = call(client, "GET", f"/simulations/{simulation}/status")
            live.update(progress(status, call(client, "GET", f"/simulations/{simulation}/instances")["items"]))
            if status["state"] in ENDED:
                return
            if time.monotonic() > deadline:
                raise DemoFailed(f"the sweep did not end within {PATIENCE_SECONDS} s: {status['counts']}")
            time.sleep(0.2)


def progress(status: dict[str, Any], instances: list[dict[str, Any]]) -> Table:
    """The sweep as a table: a bar for each instance."""
    table = Table(title=f"{status['state']}  {status['percent']:.0f} %", title_justify="left", expand=False)
    for column in ("#", "speed", "obstacles", "state", "progress", "passed", "path"):
        table.add_column(column)
    for item in sorted(instances, key=lambda item: item["index"]):
        percent = 100 if item["state"] == "SUCCEEDED" else (item["progress"] or {}).get("percent") or 0
        metrics = item["metrics"] or {}
        passed = {True: "yes", False: "no", None: ""}[item["passed"]]
        table.add_row(
            str(item["index"]), f"{item['parameters']['max_speed']} m/s", str(item["parameters"]["obstacles"]),
            item["state"], ProgressBar(completed=percent, width=20), passed,
            f"{metrics['path_length_m']:.1f} m" if "path_length_m" in metrics else "")
    return table


def check_ended_well(client: httpx.Client, simulation: str) -> list[dict[str, Any]]:
    """The instances; DemoFailed names the first that did not succeed."""
    found = [call(client, "GET", f"/instances/{item['id']}")
             for item in call(client, "GET", f"/simulations/{simulation}/instances", params={"limit": 200})["items"]]
    for instance in found:
        if instance["state"] != "SUCCEEDED":
            raise DemoFailed(f"instance {instance['index']} is {instance['state']} ({instance['reason']}): "
                             f"{instance['message']}")
    return sorted(found, key=lambda instance: instance["index"])


def show_bundles(client: httpx.Client, instances: list[dict[str, Any]]) -> None:
    """What was recorded: a line for each bundle, and the first one's topics and files, downloaded and compared."""
    bundles = [call(client, "GET", f"/bundles/{bundle}") for instance in instances for bundle in instance["bundles"]]
    table = Table(title="recorded", title_justify="left")
    for column in ("bundle", "state", "topics", "messages", "duration", "size"):
        table.add_column(column, no_wrap=True)
    for bundle in bundles:
        size = sum(file["size"] for file in bundle["files"])
        table.add_row(bundle["id"], bundle["state"], str(len(bundle["topics"])), str(bundle["messages"]),
                      f"{bundle['duration_seconds']:.1f} s", f"{size / 1e6:.1f} MB")
    console.print()
    console.print(table)
    for topic in bundles[0]["topics"]:
        console.print(f"  {topic['name']:28} {topic['type']:36} {topic['count']:6}", highlight=False)
    for file in bundles[0]["files"]:
        download(client, bundles[0]["id"], file)


def download(client: httpx.Client, bundle: str, file: dict[str, Any]) -> None:
    """Fetch a file by its presigned URL and hold it against its sha256."""
    answer = client.get(f"/bundles/{bundle}/files/{file['name']}")
    url = answer.headers["location"]
    content = httpx.get(url, timeout=60).content
    if hashlib.sha256(content).hexdigest() != file["sha256"]:
        raise DemoFailed(f"{file['name']} of bundle {bundle} was not downloaded as it was recorded")
    console.print(f"  {file['name']}: {file['size']} bytes, sha256 as recorded, from {url.partition('?')[0]}",
                  highlight=False, soft_wrap=True)


def ingest(client: httpx.Client) -> dict[str, Any]:
    """Upload the sample without its metadata.yaml, as a recorder that was killed leaves one; the bundle once ready."""
    contents = {file.name: file.read_bytes() for file in SAMPLE.glob("*.db3")}
    if not contents:
        raise DemoFailed(f"there is no recording in {SAMPLE}")
    ticket = call(client, "POST", "/bundles", json={"name": "sample", "files": [
        {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()]})
    for upload in ticket["uploads"]:
        for part in upload["parts"]:
            start = (part["number"] - 1) * ticket["part_size"]
            httpx.put(part["url"], content=contents[upload["name"]][start:start + ticket["part_size"]],
                      timeout=60).raise_for_status()
    call(client, "POST", f"/bundles/{ticket['id']}/complete")
    bundle = wait(client, f"/bundles/{ticket['id']}", ("READY", "DAMAGED", "REJECTED", "FAILED"))
    if bundle["state"] != "READY":
        raise DemoFailed(f"the sample is {bundle['state']}: {bundle['problems']}")
    console.print(f"\ningested samples/ without its metadata.yaml: bundle {bundle['id']} is READY, "
                  f"{bundle['messages']} messages in {bundle['duration_seconds']:.1f} s; "
                  f"{', '.join(file['name'] for file in bundle['files'] if file['role'] == 'rebuilt')} was rebuilt",
                  highlight=False, soft_wrap=True)
    return dict(bundle)


def play(client: httpx.Client, bundle: dict[str, Any]) -> None:
    """Play it at twice its speed, count what is shown, and stop."""
    playback = call(client, "POST", "/playbacks", json={"bundle": bundle["id"], "rate": 2.0})["id"]
    shown: Counter[str] = Counter()
    with client.stream("GET", f"/playbacks/{playback}/stream", timeout=30) as stream:
        name = ""
        for line in stream.iter_lines():
            field, _, value = line.partition(": ")
            name = value if field == "event" else name
            if field == "data" and name == "frame":
                message = json.loads(value)
                shown[message["topic"]] += 1
                if message["t_ns"] >= bundle["end_ns"]:
                    break
    stand = call(client, "GET", f"/playbacks/{playback}")
    call(client, "POST", f"/playbacks/{playback}/control", json={"action": "stop"})
    ended = wait(client, f"/playbacks/{playback}", ENDED)
    if ended["state"] != "SUCCEEDED" or not shown:
        raise DemoFailed(f"playback {playback} is {ended['state']} and showed {shown.total()} messages")
    console.print(f"played it at twice its speed: {shown.total()} messages of {len(shown)} topics, "
                  f"also at {stand['websocket_url']} for Foxglove", highlight=False, soft_wrap=True)


def wait(client: httpx.Client, path: str, states: tuple[str, ...]) -> dict[str, Any]:
    """The resource once it is in one of these states."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := call(client, "GET", path))["state"] not in states:
        if time.monotonic() > deadline:
            raise DemoFailed(f"{path} is {found['state']} still after {PATIENCE_SECONDS} s")
        time.sleep(0.2)
    return dict(found)


def demo() -> None:
    """The whole way, in the order of the contract."""
    with tempfile.TemporaryDirectory(prefix="simyard-demo-") as data, stack(data) as ready:
        console.print(f"the stack is up: {ready['url']}  (Flower: {ready['flower']})", highlight=False)
        with connect(ready) as client:
            submitted = call(client, "POST", "/simulations", json=SWEEP)
            console.print(f"simulation {submitted['id']}: {submitted['total']} instances of "
                          f"{submitted['template']['name']}@{submitted['template']['version']}", highlight=False)
            watch(client, submitted["id"])
            show_bundles(client, check_ended_well(client, submitted["id"]))
            play(client, ingest(client))
    console.print("everything is stopped")


def main() -> None:
    """Exit code 1 and one line when something did not go as promised. `--picture FILE` draws the terminal as SVG."""
    try:
        demo()
        if sys.argv[1:2] == ["--picture"]:
            console.save_svg(sys.argv[2], title="make demo", code_format=PICTURE)
    except (DemoFailed, httpx.HTTPError, subprocess.TimeoutExpired) as error:
        console.print(f"demo failed: {error}", style="bold red", soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
