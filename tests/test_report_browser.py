"""The HTML report in a real browser: hostile text stays text, and the page does what it offers."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from pipeline.cli import main
from pipeline.report_page.rows import as_json
from pipeline.report_page.text import render, safe_url
from tests.browser import Browser, find_browser
from tests.test_report_page import browser_data, change, dataset

__all__ = ["dataset"]

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine")

SERVER = "http://127.0.0.1:PORT"
"""Stands for a server on loopback that counts who asks it for something."""

HOSTILE = {
    "script": "<script>window.hacked = 1</script> and </script><script>window.hacked = 2</script>",
    "handler": '<img src=x onerror="window.hacked = 3"> <svg onload="window.hacked = 4">',
    "link": '[a](javascript:window.hacked=5) [b](data:text/html,x) [c](//evil.example "t") '
    "[d](https://ok.example/) <javascript:window.hacked=6> [e](/etc/passwd)",
    "picture": f"![alt <b onclick=x>]({SERVER}/track.png) ![](javascript:x) "
    f"<img src='{SERVER}/raw.png'> ![d](data:image/png;base64,iVBORw0KGgo=)",
    "style": '</style><style>body{display:none}</style> <p style="position:fixed">over</p> '
    f"<link rel=stylesheet href={SERVER}/a.css> <style>@import '{SERVER}/b.css'</style>",
    "code": '```"><img src=x onerror=window.hacked=7>\nx\n```\n\n```html\n</code></pre><script>\n'
    "```",
    "bidi": "safe \u202eevil\u202c \u2066isolate",
    "entity": "&lt;script&gt;window.hacked = 8&lt;/script&gt; <!-- --><!--<script>",
    "frame": f"<iframe src='{SERVER}/f' srcdoc='<script>parent.hacked = 14</script>'></iframe> "
    "<meta http-equiv=refresh content='0;url=https://evil.example/'> <base href=//evil.example/>",
}
ATTACK = "</script><img src=x onerror=window.hacked=9>\u202e\"'>"
"""What the columns that are no text of a post hold."""


class Asked(BaseHTTPRequestHandler):
    """Notes each request."""

    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory, server: str) -> Path:
    """The report of a folder, as from a stranger, in which every column is an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    lines = []
    for name, text in HOSTILE.items():
        text = text.replace(SERVER, server)
        words = " ".join(f"{name}{number}" for number in range(40))
        answers = [
            {
                "id": f"{name}-{number}",
                "text": f"{text}\n\n{words if number == 3 else f'{words} {number} ' * number}",
                "score": 5 - number,
                "created_at": f"2024-03-0{number}T00:00:00Z",
                "author": f"{number}{ATTACK}",
            }
            for number in (1, 2, 3)
        ]
        # The third says what the first says; a fourth is rejected, its detail quotes the attack.
        answers[2]["text"] = answers[0]["text"]
        answers.append({**answers[0], "id": f"{name}-4", "url": f"javascript:{ATTACK}"})
        prompt = {"title": f"{name} {ATTACK}", "text": text, "author": ATTACK}
        about = {"format": "forumprefs.thread/1", "site": "f.example", "license": "CC0-1.0"}
        lines.append(
            {"id": name, **prompt, **about, "created_at": "2024-02-29T00:00:00Z"}
            | {"tags": [ATTACK], "url": "https://ok.example/q", "responses": answers}
        )
    dump = folder / "threads.jsonl"
    dump.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    arguments = ["--input", f"threads={dump}", "--languages", "all", "--dedup", "exact"]
    output = folder / "set"
    assert main(["curate", *arguments, "--output", str(output)]) == 0
    poison = dict.fromkeys(("prompt_author", "site", "prompt_license"), ATTACK)
    poison |= {f"{side}_url": "javascript:window.hacked=10" for side in ("prompt", "chosen")}
    change(output, "data", lambda row: {**row, **poison})
    change(output, "rejected", lambda row: {**row, "detail": f"{ATTACK} {row['detail']}"})
    change(output, "duplicates", lambda row: {**row, "removed_id": f"x:{ATTACK}"})
    assert main(["report", str(output)]) == 0
    return folder / "set.html"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_text(name: str) -> None:
    made = render(HOSTILE[name])
    tags = set(re.findall(r"</?([a-z0-9]+)", made))
    assert tags <= {"p", "a", "span", "pre", "code", "em", "br"}
    assert not re.search(r"<[^>]*\s(on\w+|style|src|id)\s*=", made)
    for href in re.findall(r'href="([^"]*)"', made):
        assert href.startswith(("https://ok.example", "http"))
    assert "\u202e" not in made


def test_links_lead_to_the_web_alone() -> None:
    assert safe_url("https://a.example/q?x=1#y") == "https://a.example/q?x=1#y"
    for bad in ("javascript:alert(1)", "data:text/html,x", "//a.example", "https://a b", None):
        assert safe_url(bad) == ""


def test_json_cannot_close_its_script() -> None:
    value = {"a": "</script><!--<script>\u2028\ud800"}
    text = as_json(value)
    assert "<" not in text
    assert json.loads(text)["a"].startswith("</script><!--<script>\u2028")


SOUND = """(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  return [
    window.hacked === undefined || `ran: ${window.hacked}`,
    all("img, iframe, object, embed, link, base, form[action]").length === 0 || "an element",
    all("style").length === 1 || "a style sheet",
    all("script").length === 2 || "a script",
    all("meta").length === 5 || "a meta element",
    all("#figures [style], #row [style]").length === 0 || "a style",
    all("*").every((node) => [...node.attributes].every((a) => !/^on/i.test(a.name))) || "onX",
    all("a[href]").every((a) => /^https?:$/.test(a.protocol)) || "a link",
    all("a[href]").every((a) => a.rel.includes("noopener")) || "an opener",
    getComputedStyle(document.body).display === "block" || "hidden",
    !/[\\u202a-\\u202e\\u2066-\\u2069]/.test(document.documentElement.textContent) || "bidi",
  ].filter((said) => said !== true);
})()"""

FORCED = """(async () => {
  const make = (tag, parts) => Object.assign(document.createElement(tag), parts);
  const add = (tag, parts) => document.body.append(make(tag, parts));
  document.getElementById("row").innerHTML =
    `<img src="SERVER/forced.png" onerror="window.hacked = 12"><b style="color:red">x</b>
     <iframe srcdoc="<script>parent.hacked = 15</script>"></iframe>`;
  add("script", {textContent: "window.hacked = 13"});
  add("script", {src: "SERVER/forced.js"});
  add("link", {rel: "stylesheet", href: "SERVER/forced.css"});
  add("style", {textContent: "body { display: none }"});
  const fetched = await fetch("SERVER/fetched").then(() => "left", () => "blocked");
  await new Promise((done) => setTimeout(done, 300));
  return [window.hacked ?? null, fetched, getComputedStyle(document.body).display,
    getComputedStyle(document.querySelector("#row b")).color === "rgb(255, 0, 0)"];
})()"""


@needs_browser
def test_nothing_hostile_runs_in_a_browser(
    hostile_page: Path, browser: Browser, server: str
) -> None:
    data = browser_data(hostile_page)
    assert len(data["pairs"]) >= len(HOSTILE)
    assert len(data["duplicates"]) == len(data["rejected"]) == len(HOSTILE)
    browser.events.clear()
    browser.open(hostile_page)
    assert browser.js(SOUND) == []
    for key, table in (("b", "pairs"), ("2", "duplicates"), ("3", "rejected")):
        browser.press(key)
        shown = set()
        for _ in data[table]:
            assert browser.js(SOUND) == [], (table, browser.js("document.body.innerText"))
            shown.add(browser.js("document.getElementById('row').innerText"))
            browser.press("j")
        # The page's own script does run: each row was shown in turn, and its attack as text.
        assert len(shown) == len(data[table])
        assert all("onerror" in text for text in shown)
    # Nothing was even tried: not loaded, not blocked.
    assert [event for event in browser.events if event["method"] == "Log.entryAdded"] == []
    asked = [e for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert [e["params"]["request"]["url"] for e in asked] == [hostile_page.as_uri()]
    # Markup that got past the sanitiser would not run, load or restyle anything: the policy.
    assert browser.js(FORCED.replace("SERVER", server)) == [None, "blocked", "block", False]
    said = [e["params"]["entry"] for e in browser.events if e["method"] == "Log.entryAdded"]
    assert sum("Content Security Policy" in entry["text"] for entry in said) >= 6
    assert Asked.paths == []


@needs_browser
def test_the_browser_of_rows_searches_filters_and_takes_keys(
    dataset: Path, browser: Browser
) -> None:
    page = dataset.with_suffix(".html")
    data = browser_data(page)
    browser.events.clear()
    browser.open(page, width=400)
    assert browser.js("document.documentElement.scrollWidth") == 400
    browser.press("b")
    assert browser.js("document.documentElement.scrollWidth") == 400
    shown = "document.getElementById('which').textContent"
    assert browser.js(shown) == data["pairs"][0]["id"]
    browser.press("j")
    assert browser.js(shown) == data["pairs"][1]["id"]
    browser.press("k")
    assert browser.js(shown) == data["pairs"][0]["id"]
    site = data["pairs"][0]["site"]
    browser.js(
        f"document.getElementById('f-site').value = {json.dumps(site)}; "
        "document.getElementById('margin-min').value = '3'; "
        "document.getElementById('f-longer').value = 'rejected'; "
        "document.getElementById('filters').requestSubmit()"
    )
    wanted = [
        row["id"]
        for row in data["pairs"]
        if row["site"] == site and row["margin"] >= 3 and row["longer"] < 0
    ]
    found = "document.querySelectorAll('#list li').length"
    assert wanted and browser.js(found) == len(wanted)
    browser.press("3")
    assert browser.js(shown) in {row["id"] for row in data["rejected"]}
    assert "Why is it not in a pair?" in browser.js("document.getElementById('row').innerText")
    browser.press("2")
    assert "similarity" in browser.js("document.getElementById('row').innerText")
    problems = [
        e for e in browser.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
    ]
    assert problems == []
