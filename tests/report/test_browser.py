"""The pages in a real headless browser: silent, offline, usable by keys, phone and night."""

import json

import pytest
from browser import Browser, missing
from fabricated import EVIL

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

RIGHT, DOWN, END = "\ue014", "\ue015", "\ue010"  # arrow keys and End in the WebDriver protocol
# Worst contrast of visible text with what lies behind it: [ratio, text] by WCAG 2.2.
CONTRAST = """
const parse = (text) => {
  const p = (text.match(/[\\d.]+/g) || []).map(Number);
  return [p[0], p[1], p[2], p.length > 3 ? p[3] : 1];
};
const linear = (c) => (c / 255 <= 0.04045 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
let worst = [99, ""];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.textContent.trim();
  if (!text || element.tagName === "SCRIPT" || !element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  let behind = element;
  while (behind && parse(getComputedStyle(behind).backgroundColor)[3] === 0) {
    behind = behind.parentElement;
  }
  const inFigure = element.closest("svg");
  const ink = light(parse(inFigure ? style.fill : style.color));
  const paper = behind ? light(parse(getComputedStyle(behind).backgroundColor)) : 1;
  const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  if (ratio < worst[0]) worst = [ratio, `${text} in ${element.tagName} ${element.className}`];
}
return worst;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


def opened(browser, path):
    """A page as it is when opened, at desktop width and in light mode."""
    browser.resize(1280, 900)
    browser.scheme("light")
    browser.open(path)
    return browser


@pytest.fixture
def fresh(browser, reported):
    """The report of a run."""
    return opened(browser, reported[0] / "report.html")


@pytest.fixture(params=["report", "comparison", "examples"])
def each_page(request, browser, reported, compared, explained):
    """Every kind of page, one after the other."""
    folders = {"report": reported[0], "comparison": compared, "examples": explained.parent}
    browser.logs("browser"), browser.logs("performance")  # of the page before
    return opened(browser, folders[request.param] / f"{request.param}.html")


def shown(browser):
    return browser.run(
        "return [...document.querySelectorAll('.example')].filter(e => e.checkVisibility()).length"
    )


def test_no_console_message_and_no_request(each_page):
    assert each_page.logs("browser") == []
    messages = [json.loads(each["message"])["message"] for each in each_page.logs("performance")]
    urls = [  # the browser's own start page has requests as well
        each["params"]["request"]["url"]
        for each in messages
        if each["method"] == "Network.requestWillBeSent"
        and each["params"]["documentURL"].endswith(".html")
    ]
    pages = [url for url in urls if not url.startswith("data:")]
    assert pages == [each_page.run("return location.href")], "itself, so the log works"


def test_the_log_would_show_an_error(fresh):
    fresh.logs("browser")
    fresh.run("console.error('x'); const i = new Image(); i.src = 'file:///nothing.png';")
    assert any(each["level"] == "SEVERE" for each in fresh.logs("browser"))


def test_the_filter_hides_and_shows(fresh):
    everything = shown(fresh)
    assert everything == 20
    fresh.type("#filter", "ALERT")
    assert 0 < shown(fresh) < everything
    assert fresh.run("return document.getElementById('shown').textContent") == (
        f"{shown(fresh)} of {everything}"
    )
    texts = fresh.run(
        "return [...document.querySelectorAll('.example')].filter(e => e.checkVisibility())"
        ".map(e => e.textContent.toLowerCase())"
    )
    assert all("alert" in text for text in texts)
    fresh.type("#filter", "nowhere")
    assert shown(fresh) == 0
    assert fresh.run(
        "return [...document.querySelectorAll('.group')].every(g => !g.checkVisibility())"
    )
    fresh.run("filter.value = ''; filter.dispatchEvent(new Event('input'))")
    assert shown(fresh) == everything


def test_every_page_has_the_filter(each_page):
    everything = shown(each_page)
    assert everything in (12, 15, 20)
    each_page.type("#filter", "ALERT")
    assert 0 < shown(each_page) < everything
    assert each_page.run("return document.getElementById('shown').textContent") == (
        f"{shown(each_page)} of {everything}"
    )


def test_every_page_shows_numbers_of_a_word(each_page):
    each_page.run("document.querySelector('table.heat td').click()")
    readout, rows = each_page.run(
        "return [document.querySelector('.readout').textContent,"
        " document.querySelector('table.heat').rows.length]"
    )
    assert readout.startswith("“")
    assert readout.count(" · ") == rows - 1


def test_pointing_at_a_word_shows_its_numbers(fresh, reported):
    fresh.run(
        "const rows = [...document.querySelectorAll('.heatmap table tr:nth-child(2)')];"
        "rows.flatMap(row => [...row.querySelectorAll('td')])[2].id = 'third'"
    )
    fresh.point_at("#third")
    found = fresh.run(
        "const e = document.querySelector('.example');"
        "return [e.querySelector('.readout').textContent, e.querySelector('p b').textContent,"
        " e.firstElementChild.textContent]"
    )
    number = int(found[2].split()[1])
    example = reported[2][number]
    values = {"attention": example["attention"], **example["importance"]}
    numbers = [
        f"{name.replace('_', ' ')} {v[2]:.4g}".replace("-", "−") for name, v in values.items()
    ]
    assert found[0] == f"“{example['tokens'][2]}”: {' · '.join(numbers)}"


def test_keys_and_touch_show_numbers_too(fresh):
    stops = fresh.run(
        "return [...document.querySelectorAll('.heatmap')]"
        ".map(t => t.querySelectorAll('td[tabindex=\"0\"]').length)"
    )
    assert set(stops) == {1}, "one tab stop for each heatmap"
    readout = "return document.querySelector('.readout').textContent"
    fresh.run("document.querySelector('td[tabindex=\"0\"]').focus()")
    first = fresh.run(readout)
    assert first.startswith("“")
    fresh.press(RIGHT)
    second = fresh.run(readout)
    assert second != first
    fresh.press(DOWN)
    assert fresh.run(readout) == second, "the same word"
    fresh.press(END)
    assert fresh.run(
        "const c = document.activeElement;"
        "const blocks = c.closest('.heatmap').querySelectorAll('table');"
        "return blocks.length > 1 && c.closest('table') === blocks[blocks.length - 1]"
        " && c === c.parentElement.lastElementChild"
    ), "the end of the text is in its last block"
    fresh.run("document.querySelectorAll('.heatmap')[2].querySelectorAll('td')[1].click()")
    assert fresh.run("return document.querySelectorAll('.readout')[2].textContent")


def test_script_in_data_stays_text(each_page):
    assert each_page.run("return document.querySelectorAll('script').length") == 1
    words = each_page.run(
        "return [...document.querySelectorAll('td')].map(e => e.textContent)"
        ".filter(t => t.includes('script>a'))"
    )
    assert words
    assert set(words) == {EVIL}
    with pytest.raises(RuntimeError, match="no such alert"):
        each_page._request("GET", f"{each_page.session}/alert/text")


ALIGNED = """
const wrong = [], lines = new Set();
for (const heatmap of document.querySelectorAll(".heatmap")) {
  const right = heatmap.getBoundingClientRect().right + 0.5;
  for (const table of heatmap.querySelectorAll("table")) {
    lines.add(table.getBoundingClientRect().top);
    for (const row of table.rows) {
      const label = row.cells[0].firstElementChild.getBoundingClientRect();
      for (const cell of [...row.cells].slice(1)) {
        const box = cell.getBoundingClientRect(), middle = (label.top + label.bottom) / 2;
        const apart = middle < box.top || middle > box.bottom;
        if (apart || box.right > right || box.left < label.right) wrong.push(cell.textContent);
      }
    }
  }
}
return [wrong, lines.size, document.querySelectorAll(".heatmap").length];
"""


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_long_texts_wrap_and_their_labels_stand_beside_the_rows(each_page, width):
    each_page.resize(width, 844)
    each_page.run("for (const each of document.querySelectorAll('details')) each.open = true")
    wrong, lines, heatmaps = each_page.run(ALIGNED)
    assert wrong == []
    assert lines > heatmaps, "some do wrap"


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_width_scrolls_the_page_sideways(each_page, width):
    each_page.resize(width, 844)
    each_page.run("for (const each of document.querySelectorAll('details')) each.open = true")
    content, window = each_page.run(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert window == width
    assert content <= width
    inner = each_page.run(
        "const wide = [...document.querySelectorAll('.wide')];"
        "return !wide.length || wide.some(e => e.scrollWidth > e.clientWidth)"
    )
    assert inner or width > 600, "wide tables scroll in their own box"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(each_page, scheme):
    each_page.scheme(scheme)
    each_page.run("for (const each of document.querySelectorAll('details')) each.open = true")
    dark = each_page.run("return getComputedStyle(document.body).backgroundColor") != (
        "rgb(255, 255, 255)"
    )
    assert dark == (scheme == "dark")
    ratio, where = each_page.run(CONTRAST)
    assert ratio >= 4.5, where


def test_paper_has_all_words_and_what_the_reader_opened(browser, compared):
    page = opened(browser, compared / "comparison.html")
    closed = "return [...document.querySelectorAll('details:not([open])')].map(e => e.className)"
    before = page.run(closed)
    assert set(before) == {"rest", ""}
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert set(page.run(closed)) == {""}
    page.run("dispatchEvent(new Event('afterprint'))")
    assert page.run(closed) == before
    page.devtools("Emulation.setEmulatedMedia", media="print")
    visible = page.run(
        "return [...document.querySelectorAll('details:not([open]), nav, .filter')]"
        ".filter(e => e.checkVisibility()).length"
    )
    page.devtools("Emulation.setEmulatedMedia", media="")
    assert visible == 0
