"""Reports in a real browser: they run, fold, read and print as promised, and what is stored in them does nothing.

One headless Chromium for the module; without chromium and its driver the tests are skipped (.ci/run installs them).
"""

from __future__ import annotations

import shutil

import pytest
from test_report import HOSTILE, of_entity, of_job, of_log, scene

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no chromium, or no chromedriver (apt-get install chromium-driver)",
)

#: Every text with its colour on what it stands on, as [contrast, text, where]; those below 4.5 only.
FAINT = r"""
const shade = (colour) => colour.match(/[\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map(
  (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = shade(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
    if (colour[3] !== 0) throw new Error("half transparent");
  }
  return shade(getComputedStyle(document.body).backgroundColor);
};
const faint = [];
let seen = 0;
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join("").trim();
  if (!own || !element.checkVisibility() || ["SCRIPT", "title", "desc"].includes(element.tagName)) continue;
  seen += 1;
  const style = getComputedStyle(element);
  const ink = shade(element instanceof SVGElement ? style.fill : style.color);
  const [a, b] = [light(ink), light(ground(element))].sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < 4.5) faint.push([contrast, own, element.outerHTML.slice(0, 120)]);
}
return [seen > 100, faint];
"""

#: What a screen reader would stumble over.
STUMBLES = r"""
const found = [];
const named = (e) => e.getAttribute("aria-label")
  || (e.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id)?.textContent).join("")
  || e.textContent.trim();
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
if (new Set(ids).size !== ids.length) found.push("an id twice");
for (const e of document.querySelectorAll("[aria-labelledby]")) {
  for (const id of e.getAttribute("aria-labelledby").split(" ")) {
    if (!document.getElementById(id)) found.push("no element " + id);
  }
}
for (const e of document.querySelectorAll("a[href^='#']")) {
  if (!document.getElementById(e.hash.slice(1))) found.push("no target of " + e.hash);
}
let level = 0;
for (const e of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
  if (Number(e.tagName[1]) > level + 1) found.push("a level is skipped before " + e.textContent);
  level = Number(e.tagName[1]);
}
for (const e of document.querySelectorAll("svg, img, [role=img], button, summary, [role=button], [role=region], nav, section")) {
  if (e.getAttribute("aria-hidden") !== "true" && !named(e)) found.push("no name: " + e.outerHTML.slice(0, 100));
}
for (const e of document.querySelectorAll("table")) {
  if (!e.caption) found.push("a table without caption");
  for (const th of e.querySelectorAll("th")) if (!th.scope) found.push("no scope: " + th.textContent);
}
for (const tag of ["h1", "main", "body > header", "body > footer"]) {
  if (document.querySelectorAll(tag).length !== 1) found.push("not one " + tag);
}
for (const e of document.querySelectorAll("*")) {
  if (e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX === "auto" && e.tabIndex !== 0) {
    found.push("scrolls, but not by keyboard: " + e.outerHTML.slice(0, 100));
  }
}
if (document.documentElement.lang !== "en" || !document.title) found.push("no language or title");
return found;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless",
        "hide-scrollbars",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(30)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(_shared_music, new, tmp_path_factory):
    """The page of an album with a hostile title, that of its sync, and that of the log."""
    directory = tmp_path_factory.mktemp("pages")
    with _shared_music.transaction(force_rollback=True):
        hostile = scene(_shared_music, new, HOSTILE)
        written = {
            "hostile": of_entity(_shared_music, "ALBUM", hostile),
            "job": of_job(_shared_music, "sync-1"),
            "log": of_log(_shared_music),
        }
    for name, text in written.items():
        (directory / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: (directory / f"{name}.html").as_uri() for name in written}


@pytest.fixture
def opened(browser, pages):
    """opened("log", dark=True, width=360) shows a page and returns the browser."""

    def show(name, *, dark=False, width=1200, media="screen"):
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            # clicks would meet what still moves
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media, "features": features}
        )
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(pages[name])
        return browser

    return show


@pytest.mark.parametrize("name", ["hostile", "job", "log"])
def test_a_page_runs_without_complaint_and_asks_nothing_of_the_network(opened, name):
    page = opened(name)
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert page.find_element(By.CSS_SELECTOR, "style").get_attribute("sheet") != ""


def test_stored_text_is_text_and_the_policy_stops_what_is_not_of_the_page(opened):
    page = opened("hostile")
    assert page.find_element(By.TAG_NAME, "h1").text == HOSTILE
    assert len(page.find_elements(By.TAG_NAME, "script")) == 1
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.taken = 1'; document.body.append(s);"
        "const i = document.createElement('img'); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i);"
        "document.body.insertAdjacentHTML('beforeend', '<b onclick=\"window.taken = 2\" id=b>b</b>');"
        "document.getElementById('b').click();"
    )
    assert page.execute_script("return window.taken ?? null") is None
    refused = [entry["message"] for entry in page.get_log("browser")]
    assert len([message for message in refused if "Content Security Policy" in message]) == 3
    assert len(refused) == 3


@pytest.mark.parametrize("name", ["hostile", "job", "log"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_told_from_its_ground(opened, name, dark):
    page = opened(name, dark=dark)
    assert page.execute_script(FAINT) == [True, []]


def test_light_and_dark_are_two(opened):
    grounds = [
        opened("log", dark=dark)
        .find_element(By.TAG_NAME, "body")
        .value_of_css_property("background-color")
        for dark in (False, True)
    ]
    assert grounds == ["rgba(250, 248, 245, 1)", "rgba(21, 23, 26, 1)"]


@pytest.mark.parametrize("name", ["hostile", "job", "log"])
def test_a_screen_reader_does_not_stumble(opened, name):
    assert opened(name).execute_script(STUMBLES) == []


@pytest.mark.parametrize("name", ["hostile", "job", "log"])
def test_a_narrow_screen_does_not_scroll_sideways(opened, name):
    page = opened(name, width=360)
    assert page.execute_script("return document.documentElement.scrollWidth") == 360


def test_tab_goes_to_the_skip_link_first_and_it_skips(opened):
    page = opened("hostile")
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    link = page.switch_to.active_element
    assert (link.text, link.is_displayed()) == ("Skip to the content", True)
    assert link.value_of_css_property("outline-style") == "solid"
    link.send_keys(Keys.ENTER)
    assert page.switch_to.active_element.tag_name == "main"


def test_jobs_fold_by_keyboard_and_click(opened):
    page = opened("hostile")
    jobs = page.find_elements(By.CSS_SELECTOR, "svg g[data-depth]")
    sync = next(job for job in jobs if job.get_attribute("aria-label") == "spotify_sync sync-1")
    below = jobs[jobs.index(sync) + 1 :]
    high = page.find_element(By.CSS_SELECTOR, "svg[data-row]").size["height"]
    assert (sync.get_attribute("role"), sync.get_attribute("aria-expanded")) == ("button", "true")
    assert [job.is_displayed() for job in below].count(True) == len(below) > 1
    for key, expanded in (
        (Keys.ENTER, "false"),
        (Keys.SPACE, "true"),
        (Keys.ARROW_LEFT, "false"),
        (Keys.ARROW_RIGHT, "true"),
        (Keys.ENTER, "false"),
    ):
        sync.send_keys(key)
        assert sync.get_attribute("aria-expanded") == expanded
    folded = [job for job in below if not job.is_displayed()]
    assert len(folded) == int(sync.get_attribute("data-below")) > 0
    assert "jobs below" in sync.text
    assert page.find_element(By.CSS_SELECTOR, "svg[data-row]").size["height"] < high
    sync.find_element(By.CSS_SELECTOR, ".strong").click()
    assert all(job.is_displayed() for job in below)


def test_more_children_unfold_by_keyboard_and_all_at_once(opened):
    page = opened("hostile")
    more = page.find_element(By.CSS_SELECTOR, "details.more > summary")
    hidden = page.find_element(By.CSS_SELECTOR, "details.more .step")
    assert more.text == "show 11 more"
    assert not hidden.is_displayed()
    more.send_keys(Keys.ENTER)
    assert hidden.is_displayed()
    page.find_element(By.CSS_SELECTOR, "[data-fold=closed]").send_keys(Keys.ENTER)
    assert not page.find_element(By.CSS_SELECTOR, "details.below .step").is_displayed()
    page.find_element(By.CSS_SELECTOR, "[data-fold=open]").click()
    assert hidden.is_displayed()


def test_categories_are_chosen_and_what_leads_to_them_stays(opened):
    page = opened("hostile")
    for choice in page.find_elements(By.CSS_SELECTOR, "button[data-category]"):
        if choice.get_attribute("data-category") != "FAILED":
            choice.send_keys(Keys.SPACE)
            assert choice.get_attribute("aria-pressed") == "false"
    shown = [
        step.get_attribute("data-category")
        for step in page.find_elements(By.CSS_SELECTOR, ".step")
        if step.is_displayed()
    ]
    # it stood behind "show 11 more"
    assert shown[-1] == "FAILED"
    assert shown.count("FAILED") == 1
    assert "LINKED" not in shown
    assert page.find_element(By.ID, "chosen").get_attribute("textContent") == "1 change shown"


def test_without_scripts_all_there_is_can_be_read_and_folded(opened):
    page = opened("log")
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page = opened("hostile")
        assert not page.find_element(By.CSS_SELECTOR, ".tools").is_displayed()
        assert page.find_element(By.CSS_SELECTOR, "svg g[data-depth] text").is_displayed()
        assert page.find_element(By.CSS_SELECTOR, "svg[data-row]").get_attribute("role") == "img"
        hidden = page.find_element(By.CSS_SELECTOR, "details.more .step")
        assert not hidden.is_displayed()
        page.find_element(By.CSS_SELECTOR, "details.more > summary").click()
        assert hidden.is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_print_is_light_and_unfolded(opened):
    page = opened("hostile", dark=True, media="print", width=760)
    assert page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color") == (
        "rgba(255, 255, 255, 1)"
    )
    high = page.execute_script(
        "return [...document.querySelectorAll('.step')].filter((s) => s.getBoundingClientRect().height < 10).length"
    )
    assert high == 0
    assert not page.find_element(By.CSS_SELECTOR, ".tools").is_displayed()
    assert page.execute_script("return document.documentElement.scrollWidth") <= 760
    assert page.execute_script(FAINT) == [True, []]
