"""The report's page in a real browser: it loads, shows true numbers, and obeys the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import open_browser, show

import mininet
from mininet.inspect.report import Report
from mininet.network import Network

LEAST_CONTRAST = 4.5
"""Of text on its ground: WCAG 2.2, criterion 1.4.3."""

LUMINANCE = """
const parts = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((v) => {
  v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
const light = (colour) => { const [r, g, b] = parts(colour); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = (e) => { for (; e; e = e.parentElement) {
  const c = getComputedStyle(e).backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c; } };
return [...document.querySelectorAll(arguments[0])].map((e) => {
  const a = light(getComputedStyle(e).color), b = light(ground(e));
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); });
"""


@pytest.fixture(scope="module")
def net() -> Network:
    return mininet.create_model(weights="digits")


@pytest.fixture(scope="module")
def page(net: Network, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Report]:
    """Address of the written page, and the report that it shows."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    report = net.report(mininet.sample_images()[3], path)
    return path.as_uri(), report


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    browser = open_browser()
    yield browser
    browser.quit()


def _text(driver: Any, css: str) -> str:
    return str(driver.find_element("css selector", css).text)


def _button(driver: Any, block: str) -> Any:
    return driver.find_element("css selector", f'button[data-block="{block}"]')


def _shown(driver: Any) -> tuple[str, str, str]:
    return _text(driver, "#detail-title"), _text(driver, "#block-madds"), _text(driver, "#block-params")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_loads_without_a_word_on_the_console(
    driver: Any, page: tuple[str, Report], width: int, scheme: str
) -> None:
    show(driver, page[0], width, scheme=scheme)
    assert driver.get_log("browser") == []
    assert _text(driver, "h1") == page[1].name
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    fetched = driver.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"
    )
    assert fetched == []


def test_a_click_shows_the_true_numbers_of_each_block(
    driver: Any, page: tuple[str, Report], net: Network
) -> None:
    show(driver, page[0])
    costs = net.cost().by_block()
    assert [b.get_attribute("data-block") for b in driver.find_elements("css selector", ".block")] == list(
        costs
    )
    for name, cost in costs.items():
        _button(driver, name).click()
        assert _shown(driver) == (name, f"{cost.madds:,}", f"{cost.params:,}")
        slips = {"null", "undefined", "NaN"} & set(_text(driver, "#detail").split())
        assert not slips, f"{name}: the page says {slips}, which is the language's word, not ours"
        nodes = driver.find_elements("css selector", "article.node")
        expected = [node for node in net.cost().nodes if node.block == name]
        assert [node.get_attribute("data-node") for node in nodes] == [each.name for each in expected]
        for node, each in zip(nodes, expected, strict=True):
            assert not each.madds or f"= {each.madds:,}" in node.text, f"{each.name}: {node.text!r}"


def test_the_picture_of_the_first_layer_is_not_blank(driver: Any, page: tuple[str, Report]) -> None:
    show(driver, page[0])
    colours = driver.execute_script("""
        const image = document.querySelector('article.node img.maps');
        const canvas = document.createElement('canvas');
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0);
        const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(data.buffer)).size;""")
    assert colours > 30, f"{colours} colours in the maps of the first layer"


def test_keyboard_alone_reaches_every_block(driver: Any, page: tuple[str, Report]) -> None:
    show(driver, page[0])
    names = [block.name for block in page[1].blocks]
    keys = pytest.importorskip("selenium.webdriver").Keys
    body = driver.find_element("css selector", "body")
    body.send_keys(keys.TAB)
    assert driver.switch_to.active_element.get_attribute("class") == "skip"
    driver.switch_to.active_element.send_keys(keys.TAB)
    for name in names[1:]:
        driver.switch_to.active_element.send_keys(keys.ARROW_RIGHT)
        assert _shown(driver)[0] == name
    driver.switch_to.active_element.send_keys(keys.HOME)
    assert _shown(driver)[0] == names[0]
    driver.switch_to.active_element.send_keys(keys.TAB)
    for key, name in ((keys.ENTER, names[1]), (keys.SPACE, names[2])):
        driver.switch_to.active_element.send_keys(key)
        assert _shown(driver)[0] == name
        driver.switch_to.active_element.send_keys(keys.TAB)
    pressed = driver.find_elements("css selector", '[aria-pressed="true"]')
    assert [each.get_attribute("data-block") for each in pressed] == [names[2]]
    said = driver.find_element("css selector", "[aria-live]").get_attribute("textContent")
    assert said.startswith(f"{names[2]}: {len(page[1].blocks[2].nodes)} nodes")


def test_everything_has_a_name_for_a_screen_reader(driver: Any, page: tuple[str, Report]) -> None:
    show(driver, page[0])
    _button(driver, "features.1").click()
    nameless = driver.execute_script("""
        const named = (e) => e.getAttribute('aria-label') || e.getAttribute('alt') || e.textContent.trim();
        return [...document.querySelectorAll('button, a, img, [role=img]')]
          .filter((e) => !named(e) && !e.closest('[aria-hidden=true]'))
          .map((e) => e.outerHTML.slice(0, 80));""")
    assert nameless == []
    ids = driver.execute_script("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_gates_of_squeeze_and_excite_are_bars(driver: Any, page: tuple[str, Report]) -> None:
    show(driver, page[0])
    _button(driver, "features.1").click()
    (gates,) = driver.find_elements("css selector", "figure.gates")
    assert "gates, one bar per channel" in gates.text
    path = gates.find_element("css selector", "path").get_attribute("d")
    block = next(block for block in page[1].blocks if block.name == "features.1")
    assert path.count("M") == sum(len(node.values) for node in block.nodes if node.gate) > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(driver: Any, page: tuple[str, Report], scheme: str) -> None:
    show(driver, page[0], scheme=scheme)
    dark = driver.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (scheme == "dark")
    contrasts = driver.execute_script(LUMINANCE, "h1, h2, h3, p, dt, dd, figcaption, .short, .shape, .back")
    assert min(contrasts) >= LEAST_CONTRAST, f"{scheme}: a contrast of {min(contrasts):.2f}"
    ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    level = sum(int(value) for value in ground[4:-1].split(",")) / 3
    assert (level < 64) if scheme == "dark" else (level > 192), ground


def test_labels_are_text_whatever_they_hold(driver: Any, tmp_path: Path) -> None:
    evil = "</script><script>console.error('run')</script><img src=x onerror=console.error(1)>"
    net = mininet.create_model(weights="digits", labels=[f"{evil}{i}" for i in range(10)])
    path = tmp_path / "evil.html"
    net.report(mininet.sample_images()[0], path)
    show(driver, path.as_uri())
    assert driver.get_log("browser") == []
    assert evil in _text(driver, "#top")
