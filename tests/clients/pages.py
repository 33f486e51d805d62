"""Somebody in front of the pages: what they can do in a Chromium of their own, what the browser notes, axe-core, pictures. No tests here."""

import base64
import functools
import http.client
import json
import os
import re
import shutil
import time
import urllib.parse

from browser import Browser
from gateway import PATIENCE_S

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCREENSHOTS = os.path.join(ROOT, "tests", ".env", "screenshots")
SIZES = {"desktop": (1280, 800), "phone": (375, 812)}
EVERY_WAY = [(size, theme) for size in SIZES for theme in ("light", "dark")]
# Enough for what looks like something that was looked at in every way.
BRIEFLY = [("desktop", "light"), ("phone", "dark")]
# The rules of axe-core whose answer depends on size and colours.
BY_SIGHT = ["color-contrast", "link-in-text-block", "target-size", "scrollable-region-focusable", "css-orientation-lock"]
PASSWORD = "four plain words in a row"
ENTER, TAB, SPACE = "\ue007", "\ue004", " "

# An element's id in an answer of chromedriver.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

@functools.cache
def axe():
    sdks = os.environ.get("BROWSER_SDKS") or os.path.join(ROOT, "tests", ".env", "node", "node_modules")
    with open(os.path.join(sdks, "axe-core", "axe.min.js")) as file:
        return file.read()


@functools.cache
def screenshots():
    """The folder of the pictures, emptied once a run."""
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    os.makedirs(SCREENSHOTS)
    print(f"      screenshots are in {SCREENSHOTS}", flush=True)
    return SCREENSHOTS


def quoted(text):
    """A text as an XPath literal."""
    return "concat(" + ", '\"', ".join(f'"{part}"' for part in text.split('"')) + ', "")'


class Person(Browser):
    """Somebody with a browser of their own, who finds things by what they are called."""

    def __init__(self, origin, size="desktop", theme="light", script=True):
        super().__init__({"performance": "ALL", "browser": "ALL"})
        self.origin = origin
        self.script = script
        self.hosts = set()
        self.complaints = []
        self.cdp("Network.enable")
        self.look_as(size, theme)
        if not script:
            self.cdp("Emulation.setScriptExecutionDisabled", value=True)

    def look_as(self, size, theme):
        self.size, self.theme = size, theme
        width, height = SIZES[size]
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=size == "phone")
        self.cdp("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": theme},
            # Colours that are on their way to others cannot be measured.
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ])

    def forget(self):
        """As in a new profile."""
        self.cdp("Network.clearBrowserCookies")
        self.go("about:blank")

    # -- what is there

    def js(self, expression):
        """The value of an expression; also where pages may run no script."""
        return self.ask("POST", "/execute/sync", {"script": f"return {expression};", "args": []})

    @property
    def here(self):
        parts = urllib.parse.urlsplit(self.ask("GET", "/url"))
        return parts.path + (f"?{parts.query}" if parts.query else "")

    @property
    def text(self):
        return self.js("document.body.innerText")

    def fail(self, why):
        raise AssertionError(f"{why}; the page {self.here} says:\n{self.text}")

    def see(self, *texts):
        shown = " ".join(self.text.split())
        for text in texts:
            if " ".join(text.split()) not in shown:
                self.fail(f"{text!r} is not there")

    def all(self, xpath):
        return [found[ELEMENT] for found in self.ask("POST", "/elements", {"using": "xpath", "value": xpath})]

    def find(self, xpath):
        found = self.all(xpath)
        if not found:
            self.fail(f"nothing is {xpath}")
        return found[0]

    def field(self, label):
        """The field with this label; what a label has in brackets may be left out."""
        text = quoted(label)
        labels = f"//label[normalize-space()={text} or starts-with(normalize-space(), concat({text}, ' ('))]"
        return self.find(f"//*[@id={labels}/@for]")

    def value(self, xpath):
        return self.ask("GET", f"/element/{self.find(xpath)}/property/value")

    def until(self, holds, what):
        """Waits until `holds()`."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = holds()
            except AssertionError:
                found = None  # Between two pages.
            if found:
                return found
            if time.monotonic() > deadline:
                self.fail(f"waited {PATIENCE_S:.0f} s for {what}")
            time.sleep(0.05)

    # -- what somebody does

    def open(self, path):
        self.go(urllib.parse.urljoin(self.origin, path))

    def leave(self, act):
        """Does what leads to another page, and waits until that one is whole."""
        self.js("window.isLeft = true")
        act()
        self.until(lambda: self.js("!window.isLeft && document.readyState === 'complete'"), "the next page")

    def click(self, element):
        self.ask("POST", f"/element/{element}/click")

    def press(self, name, within="//main", stays=False):
        """The button or link that is called so."""
        text = quoted(name)
        called = f"[normalize-space()={text} or @aria-label={text}]"
        element = self.find(f"{within}//button{called} | {within}//a{called} | {within}//summary{called}")
        if stays:
            self.click(element)
        else:
            self.leave(lambda: self.click(element))

    def menu(self, name):
        self.press(name, within="//nav")

    def fill(self, label, text):
        element = self.field(label)
        self.ask("POST", f"/element/{element}/clear")
        if text:
            self.ask("POST", f"/element/{element}/value", {"text": text})

    def choose(self, label, option):
        self.click(self.find(f"//*[@id={quoted(self.ask('GET', f'/element/{self.field(label)}/property/id'))}]/option[.={quoted(option)}]"))

    def tick(self, label):
        self.click(self.field(label))

    def keys(self, text):
        """Keys of the keyboard, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def set_password(self, link):
        self.open(link)
        self.fill("New password", PASSWORD)
        self.fill("The same again", PASSWORD)
        self.press("Set password and sign in")

    # -- what the browser notes

    def note(self):
        """Adds what the browser noted since to `hosts`, whom it asked, and to `complaints`."""
        for entry in self.log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = urllib.parse.urlsplit(message["params"]["request"]["url"])
                if url.scheme not in ("about", "data", "chrome"):
                    self.hosts.add(f"{url.scheme}://{url.netloc}")
        for entry in self.log("browser"):
            # That a page is an answer of 4xx is no complaint of the page.
            if "Failed to load resource: the server responded with a status of 4" not in entry["message"]:
                self.complaints.append(entry["message"])

    def faults_here(self, rules=None):
        """What axe-core finds on this page, as text: by all its rules and best practices, or by some."""
        if not self.js("!!window.axe"):
            self.ask("POST", "/execute/sync", {"script": axe(), "args": []})
        found = self.run(
            """
            const found = await axe.run(document, {
              resultTypes: ["violations"], elementRef: false,
              ...(args[0] ? { runOnly: args[0] } : { rules: { "target-size": { enabled: true } } }),
            });
            return found.violations.map((it) => `${it.id} (${it.impact}): ${it.help}: ` +
              it.nodes.map((node) => `${node.target.join(" ")} ${node.html.slice(0, 120)} ${node.any.concat(node.all, node.none).map((check) => check.message).join("; ")}`).join("\\n   "));
            """,
            rules,
        )
        if self.js("document.documentElement.scrollWidth > innerWidth"):
            wide = self.js(
                "[...document.querySelectorAll('body *')].filter((it) => it.getBoundingClientRect().right > innerWidth + 1)"
                ".map((it) => it.outerHTML.slice(0, 80)).slice(0, 5).join(' ')"
            )
            found.append(f"the page is wider than the screen: {wide}")
        return found

    def picture(self, name):
        """A picture of the whole page, however long."""
        width, _ = SIZES[self.size]
        height = min(self.js("document.documentElement.scrollHeight"), 6000)
        shot = self.cdp(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip={"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        )
        with open(os.path.join(screenshots(), f"{name}-{self.size}-{self.theme}.png"), "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def look(self, name, ways=EVERY_WAY):
        """Looks at this page in each size and theme; the faults that axe-core finds, each told once, with where it was seen."""
        before = (self.size, self.theme)
        faults = {}
        rules = None
        for size, theme in ways:
            self.look_as(size, theme)
            self.picture(name)
            found = self.faults_here(rules)
            # What is in the page is the same in each; what is seen of it is not.
            rules = BY_SIGHT
            for fault in found:
                faults.setdefault(fault, []).append(f"{size} {theme}")
        self.look_as(*before)
        return [f"{name} ({', '.join(seen)}): {fault}" for fault, seen in faults.items()]


def ask(netloc, method, target, cookies, form=None, headers=None):
    """(answer, text) to a request with these cookies, which are kept as the answer says."""
    connection = http.client.HTTPConnection(netloc, timeout=PATIENCE_S)
    sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
    body = urllib.parse.urlencode(form) if form is not None else None
    if body is not None:
        sent["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        connection.request(method, target, body=body, headers={**sent, **(headers or {})})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    for cookie in answer.headers.get_all("Set-Cookie") or ():
        name, value = cookie.split(";")[0].split("=", 1)
        if "Max-Age=0" in cookie:
            cookies.pop(name, None)
        else:
            cookies[name] = value
    return answer, text


class Visitor:
    """A browser of no engine: it keeps cookies, follows nothing, and sends what it is told to."""

    def __init__(self, origin):
        self.origin = origin
        self.cookies = {}

    def request(self, method, path, form=None, headers=None):
        """(status, headers, text)"""
        answer, text = ask(urllib.parse.urlsplit(self.origin).netloc, method, path, self.cookies, form, headers)
        return answer.status, answer.headers, text

    def csrf(self, path):
        """What the last form of that page but the footer's says that it is from here."""
        return re.findall(r'name="csrf" value="([0-9a-f]*)"', self.request("GET", path)[2])[-1]

    def sign_in(self, handle, password=PASSWORD, **more):
        form = {"handle": handle, "password": password, "csrf": self.csrf("/sign-in"), **more}
        return self.request("POST", "/sign-in", form)

    def set_password(self, link, password=PASSWORD):
        path = urllib.parse.urlsplit(link).path
        return self.request("POST", path, {"password": password, "again": password, "csrf": self.csrf(path)})
