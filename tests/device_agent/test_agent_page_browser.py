"""The page in a real browser: what people see and do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from device_agent.agent import open_agent
from device_agent.device import Device
from device_agent.settings import Settings
from edge_s4op.profiler.telemetry import Board, Sensor
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import infer, job_of, serve, serve_family, submitted, upload
from tests.device_agent.browser import Page, open_page
from tests.device_agent.fakes import Gate, gated_device, wait_until
from tests.device_agent.live import live

# What a person can operate. Everything of it has to be reached with the keyboard and to have a name.
CONTROLS = "a[href], button, input, select, summary"


@dataclass(frozen=True)
class Seen:
    """A page, and the agent behind it."""

    page: Page
    http: httpx.Client
    url: str


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def look(tab: Page, tmp_path: Path) -> Iterator[Callable[..., Seen]]:
    """Start an agent and look at it: look(device=..., board=...)."""
    with contextlib.ExitStack() as opened:

        def started(device: Device | None = None, board: Board | None = None) -> Seen:
            agent = open_agent(Settings(data_dir=tmp_path / "data"), device)
            http = opened.enter_context(live(agent, lambda: board or Board()))
            url = str(http.base_url)
            tab.colours("light")
            tab.width(1280, 900)
            tab.complaints.clear()
            tab.requested.clear()
            tab.open(url)
            tab.until("document.querySelector('#connection').textContent.startsWith('connected')")
            return Seen(tab, http, url)

        yield started
        tab.open("about:blank")


def send(page: Page, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    page.choose_file("#file", path)
    page.js("document.querySelector('#submit').click()")


def test_it_loads_offline_and_without_complaint(look: Callable[..., Seen]) -> None:
    seen = look()
    seen.http.get("/v1/overview")
    text = seen.page.text()
    assert "No model is served" in text
    assert "Nothing has been measured here yet" in text
    assert seen.page.complaints == []
    assert seen.page.requested
    assert all(address.startswith(seen.url) for address in seen.page.requested)


def test_a_dropped_file_is_measured_and_shown(look: Callable[..., Seen], tmp_path: Path) -> None:
    seen = look()
    page, artifact = seen.page, scaling_artifact()
    page.js("document.querySelector('#deadline').value = '600000'")
    send(page, tmp_path / "scale.onnx", artifact.content)
    page.until("document.querySelector('#detail .chart')")
    job = job_of(seen.http, seen.http.get("/v1/measurements").json()[0]["id"])
    assert (job.state, job.request.artifact_sha256, job.request.layers) == (
        "succeeded",
        artifact.sha256,
        True,
    )
    page.until("document.querySelector('#measurements').innerText.includes('succeeded')")
    page.until("document.querySelector('#news').textContent.includes('scale.onnx succeeded')")
    shown = page.js("document.querySelector('#detail').innerText")
    assert "Measurement of scale.onnx" in shown
    assert "600000 ms, kept by all" in shown
    assert "onnxruntime profile" in shown
    chart = page.js("document.querySelector('#detail .chart').getAttribute('aria-label')")
    assert f"Histogram of {job.result.iterations} latencies" in chart
    assert page.complaints == []


def test_a_file_can_be_dropped(look: Callable[..., Seen]) -> None:
    seen = look()
    content = list(scaling_artifact().content)
    seen.page.js(
        f"""(() => {{
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array({content})], "dropped.onnx"));
            document.querySelector("#drop").dispatchEvent(
                new DragEvent("drop", {{ dataTransfer: transfer, bubbles: true, cancelable: true }}));
        }})()"""
    )
    seen.page.until("document.querySelector('#measurements').innerText.includes('dropped.onnx')")


def test_progress_is_shown_and_a_measurement_can_be_cancelled(look: Callable[..., Seen]) -> None:
    gate = Gate()
    seen = look(device=gated_device(gate))
    job_id = submitted(seen.http, upload(seen.http, scaling_artifact()))
    assert gate.entered.acquire(timeout=20)
    seen.page.until("document.querySelector('#measurements progress:not([hidden])')?.value === 0.5")
    assert "measuring" in seen.page.text()
    seen.page.js("document.querySelector('button[aria-label^=Cancel]').click()")
    wait_until(lambda: job_of(seen.http, job_id).state == "cancelled")
    seen.page.until("document.querySelector('#measurements').innerText.includes('cancelled')")
    assert seen.page.js("document.querySelector('button[aria-label^=Cancel]').checkVisibility()") is False


def test_an_error_is_shown_in_the_agents_words(look: Callable[..., Seen], tmp_path: Path) -> None:
    seen = look()
    send(seen.page, tmp_path / "bad.onnx", b"garbage")
    seen.page.until("!document.querySelector('#measure-error').hidden")
    said = seen.http.post("/v1/artifacts", content=b"garbage").json()["error"]
    assert seen.page.js("document.querySelector('#measure-error').textContent") == said
    assert seen.page.js("document.querySelector('#submit').disabled") is False


def test_an_agent_that_is_gone_is_said_to_be(look: Callable[..., Seen]) -> None:
    seen = look()
    seen.page.offline(True)
    seen.page.until("document.querySelector('#connection').textContent.includes('no answer from the agent')")
    seen.page.offline(False)
    seen.page.until("document.querySelector('#connection').textContent.startsWith('connected')")


def test_models_are_shown_with_their_latency(look: Callable[..., Seen]) -> None:
    seen = look()
    serve(seen.http, "ecg", scaling_artifact())
    for _ in range(5):
        assert infer(seen.http, "ecg").status_code == 200
    cell = "document.querySelector('#models [data-label={}]').textContent"
    seen.page.until(f"document.querySelector('#models tbody tr') && {cell.format('Answered')} === '5'")
    assert seen.page.js(cell.format("p99")).endswith(" ms")
    assert seen.page.js(cell.format("State")) == "ready"


def test_a_family_is_shown_with_the_variant_in_use(look: Callable[..., Seen]) -> None:
    seen = look()
    family = {"large": scaling_artifact(2.0), "small": scaling_artifact(3.0)}
    assert serve_family(seen.http, "ecg", **family).status_code == 200
    cell = "document.querySelector('#models [data-label=Runs]')?.innerText"
    seen.page.until(f"{cell}?.startsWith('large')")
    shown = seen.page.js(cell)
    assert "objective: p99 60000 ms" in shown
    assert "others: small" in shown
    seen.http.post("/v1/families/ecg/pin", json={"variant": "small"})
    seen.page.until(f"{cell}.startsWith('small (pinned)')")


def test_sensors_are_shown_with_their_units(look: Callable[..., Seen]) -> None:
    sensors = (Sensor("temperature", "gpu", "°C", lambda: 61.5), Sensor("power", "VDD_IN", "W", lambda: 7.9))
    seen = look(board=Board(sensors))
    seen.page.until("document.querySelectorAll('#sensors li').length === 2")
    text = seen.page.js("document.querySelector('#sensors').innerText")
    assert "61.5 °C" in text
    assert "7.90 W" in text


def test_nobody_is_asked_while_the_tab_is_hidden(look: Callable[..., Seen]) -> None:
    seen = look()
    page = seen.page
    page.js("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    page.js("document.dispatchEvent(new Event('visibilitychange'))")
    page.js("new Promise((resolve) => setTimeout(resolve, 300))")  # an answer may be under way
    page.requested.clear()
    page.js("new Promise((resolve) => setTimeout(resolve, 2500))")
    assert page.requested == []
    page.js("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.js("new Promise((resolve) => setTimeout(resolve, 500))")
    assert page.requested


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(look: Callable[..., Seen], tmp_path: Path, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: contrast of 4.5:1."""
    seen = look()
    seen.page.colours(scheme)
    send(seen.page, tmp_path / "scale.onnx", scaling_artifact().content)
    seen.page.until("document.querySelector('#detail .chart')")
    send(seen.page, tmp_path / "bad.onnx", b"garbage")
    seen.page.until("!document.querySelector('#measure-error').hidden")
    pale = seen.page.js(_PALE)
    assert pale == []
    is_dark = seen.page.js("getComputedStyle(document.body).backgroundColor") != "rgb(244, 246, 247)"
    assert is_dark == (scheme == "dark")


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_lies_beyond_the_screens_edge(
    look: Callable[..., Seen], tmp_path: Path, path: str, width: int
) -> None:
    seen = look()
    assert serve(seen.http, "m" * 64, scaling_artifact()).status_code == 200
    seen.page.width(width)
    if path == "/":
        send(seen.page, tmp_path / "scale.onnx", scaling_artifact().content)
        seen.page.until("document.querySelector('#detail .chart')")
        seen.page.until("document.querySelector('#models tbody tr')")
    else:
        seen.page.open(f"{seen.url}/docs")
        seen.page.until("document.querySelector('#paths details')")
        seen.page.js("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert seen.page.js("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_keyboard_reaches_every_control_and_each_has_a_name(look: Callable[..., Seen], path: str) -> None:
    gate = Gate()
    seen = look(device=gated_device(gate))
    page = seen.page
    submitted(seen.http, upload(seen.http, scaling_artifact()))
    page.open(f"{seen.url}{path}")
    page.until("document.querySelector('#measurements tbody tr, #paths details')")
    controls = f"[...document.querySelectorAll('{CONTROLS}')]"
    page.js(f"globalThis.wanted = () => {controls}.filter((e) => e.checkVisibility())")
    page.js("globalThis.reached = new Set()")
    for _ in range(page.js("wanted().length") + 5):
        page.press("Tab")
        page.js("reached.add(document.activeElement)")
    assert page.js("wanted().filter((e) => !reached.has(e)).map((e) => e.outerHTML)") == []
    assert unnamed(page) == []


def test_a_control_that_has_focus_shows_it(look: Callable[..., Seen]) -> None:
    seen = look()
    page = seen.page
    for _ in range(12):
        page.press("Tab")
        shown = page.js(
            "(() => { const e = document.activeElement; const box = e.closest('.drop') ?? e;"
            "return e === document.body || getComputedStyle(box).outlineStyle !== 'none' || e.outerHTML })()"
        )
        assert shown is True, shown


def test_focus_stays_where_it_is_while_figures_change(look: Callable[..., Seen]) -> None:
    gate = Gate()
    seen = look(device=gated_device(gate))
    job_id = submitted(seen.http, upload(seen.http, scaling_artifact()))
    page = seen.page
    page.until("document.querySelector('button[aria-label^=Show]')")
    page.js("document.querySelector('button[aria-label^=Show]').focus()")
    gate.open.set()
    wait_until(lambda: job_of(seen.http, job_id).state == "succeeded")
    page.until("document.querySelector('#measurements').innerText.includes('succeeded')")
    assert page.js("document.activeElement.getAttribute('aria-label')").startswith("Show measurement")
    page.press("Enter")
    page.until("document.querySelector('#detail .chart')")
    assert page.js("document.activeElement.id") == "detail-title"


def test_the_apis_description_is_rendered(look: Callable[..., Seen]) -> None:
    seen = look()
    seen.page.open(f"{seen.url}/docs")
    seen.page.until("document.querySelector('#paths details')")
    text = seen.page.text()
    assert "/v1/measurements/{job_id}/events" in text
    assert "MeasurementRequest" in text
    assert seen.page.complaints == []
    assert all(address.startswith(seen.url) for address in seen.page.requested)
    seen.page.js("location.hash = '#MeasurementRequest'")
    seen.page.until("document.getElementById('MeasurementRequest').open")
    assert "artifact_sha256" in seen.page.js("document.getElementById('MeasurementRequest').innerText")


def unnamed(page: Page) -> list[str]:
    """Controls that a screen reader has no name for, as the browser's accessibility tree has them."""
    roles = {"button", "link", "textbox", "spinbutton", "checkbox", "combobox", "img", "progressbar", "table"}
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    shown = [node for node in nodes if not node.get("ignored")]
    assert any(node["role"]["value"] == "main" for node in shown)
    return [
        str(node["role"]["value"])
        for node in shown
        if node["role"]["value"] in roles and not node.get("name", {}).get("value")
    ]


# Elements with text of their own whose contrast to the ground behind them is below 4.5.
_PALE = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const found = parts(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const has = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  return [...document.body.querySelectorAll("*")].filter((node) => node.checkVisibility() && has(node))
    .filter((node) => !node.disabled && !(node instanceof HTMLOptionElement) && node.tagName !== "NOSCRIPT")
    .map((node) => {
      const style = getComputedStyle(node);
      const ink = parts(node instanceof SVGElement ? style.fill : style.color);
      const [dark, bright] = [light(ink), light(ground(node))].sort((a, b) => a - b);
      return [(bright + 0.05) / (dark + 0.05), node.outerHTML.slice(0, 120)];
    }).filter(([ratio]) => ratio < 4.5);
})()"""
