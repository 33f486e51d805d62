"""The pages by keyboard alone; and to axe-core those that the story does not come by. Also how the demo leads to them."""

import re
from unittest import TestCase

import gateway
from pages import ENTER, PASSWORD, SPACE, TAB, Person

# The element that has the focus: what it is, whether one can see that, and its place among all elements.
FOCUS = """(() => {
  const it = document.activeElement, style = getComputedStyle(it), box = it.getBoundingClientRect();
  return {
    tag: it.tagName, name: (it.getAttribute("aria-label") || it.labels?.[0]?.textContent || it.textContent).trim().replace(/\\s+/g, " "),
    isSeen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    isOnScreen: box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    place: [...document.querySelectorAll("*")].indexOf(it),
  };
})()"""


class Hands:
    """Somebody who has a keyboard and nothing else."""

    def __init__(self, case, person):
        self.case, self.person = case, person

    def tab(self):
        """On to the next, which must be where one looks and look like it."""
        self.person.keys(TAB)
        focus = self.person.js(FOCUS)
        if focus["tag"] not in ("BODY", "HTML"):
            self.case.assertTrue(focus["isSeen"], f"the focus cannot be seen: {focus}")
            self.case.assertTrue(focus["isOnScreen"], f"the focus is out of sight: {focus}")
        return focus

    def to(self, name):
        for _ in range(60):
            focus = self.tab()
            if focus["name"] == name:
                return
        self.person.fail(f"Tab does not lead to {name!r}")

    def act(self, key=ENTER):
        self.person.leave(lambda: self.person.keys(key))


class AccessCase(TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.gateway = gateway.shared()
        cls.org, cls.made = cls.gateway.new_org("Access")
        cls.people = {}
        for handle, name, role in (("kim@access.example", "Kim", "admin"), ("roe@access.example", "Roe", "read-only")):
            user = cls.gateway.cli("users", "create", "--org", cls.org, "--email", handle, "--name", name, "--role", role)["id"]
            cls.people[name] = user
        cls.kim = Person(cls.gateway.pages)
        cls.addClassCleanup(cls.kim.close)
        cls.kim.set_password(cls.gateway.cli("users", "link", cls.people["Kim"])["url"])

    def test_a_keyboard_is_enough_to_sign_in_and_to_create_and_revoke_a_key(self):
        kim = Person(self.gateway.pages)
        self.addCleanup(kim.close)
        hands = Hands(self, kim)
        kim.open("/sign-in?next=/api-keys")
        # The first field has the focus already.
        kim.keys("kim@access.example")
        hands.to("Password")
        kim.keys(PASSWORD)
        hands.act()
        self.assertEqual(kim.here, "/api-keys")

        self.assertEqual(hands.tab()["name"], "Skip to the content")
        kim.keys(ENTER)
        self.assertEqual(kim.js("document.activeElement.id"), "content")
        self.assertEqual(hands.tab()["name"], "Create API key")
        hands.act()
        hands.to("Name")
        kim.keys("by hand")
        hands.to("Create API key")
        hands.act(SPACE)
        kim.see("API key created: by hand")
        secret = kim.value("//*[@id='secret']")
        self.gateway.secrets.add(secret)
        hands.to("Secret")
        hands.to("Copy")
        kim.keys(SPACE)
        kim.until(lambda: kim.js("document.querySelector('.secret .copy-status').textContent"), "word of the copy")
        hands.to("To the key")
        hands.act()
        kim.see("by hand")
        hands.to("Revoke")
        hands.act()
        kim.see("Revoke API key: by hand")
        hands.to("Revoke")
        hands.act(SPACE)
        kim.see("Revoked on every node that runs.")

    def test_the_focus_goes_through_every_page_in_the_order_of_reading_and_out_again(self):
        hands = Hands(self, self.kim)
        for path in ("/api-keys", "/application-keys/new", "/users", f"/users/{self.people['Roe']}", "/users/new", "/audit", f"/api-keys/{self.made['id']}", f"/api-keys/{self.made['id']}/rotate", "/account"):
            with self.subTest(path):
                self.kim.open(path)
                self.assertEqual(self.kim.js("document.querySelectorAll('[tabindex]:not([tabindex=\"-1\"])').length"), 0)
                places = []
                for _ in range(120):
                    focus = hands.tab()
                    if focus["tag"] in ("BODY", "HTML"):
                        break
                    if not places or focus["place"] != places[-1]:
                        places.append(focus["place"])
                self.assertEqual(places, sorted(places), "the focus jumps")
                # All that can be operated was reached, of a set of choices one.
                operable = self.kim.js(
                    "[...document.querySelectorAll('a[href], button, input:not([type=hidden], [type=radio]), select, textarea, summary')]"
                    ".filter((it) => it.checkVisibility()).length"
                )
                choices = self.kim.js("new Set([...document.querySelectorAll('[type=radio]')].map((it) => it.name)).size")
                self.assertEqual(len(places), operable + choices)

    def test_language_and_colours_are_chosen_on_any_page_and_kept(self):
        sam = Person(self.gateway.pages)
        self.addCleanup(sam.close)
        sam.open("/sign-in?next=/audit")
        sam.choose("Language", "Français")
        sam.choose("Colours", "Dark")
        sam.press("Apply", within="//footer")
        self.assertEqual(sam.here, "/sign-in?next=/audit", "the page stays")
        sam.see("Se connecter")
        look = "[document.documentElement.lang, getComputedStyle(document.documentElement).colorScheme, getComputedStyle(document.body).backgroundColor]"
        lang, scheme, dark = sam.js(look)
        self.assertEqual((lang, scheme), ("fr", "dark"))
        # The system's colours are light, and then dark: what was chosen counts.
        self.assertEqual(sam.faults_here(), [])
        sam.choose("Couleurs", "Clair")
        sam.press("Appliquer", within="//footer")
        sam.look_as("phone", "dark")
        _, scheme, light = sam.js(look)
        self.assertEqual(scheme, "light")
        self.assertNotEqual(light, dark)
        self.assertEqual(sam.faults_here(), [])

    def test_axe_finds_nothing_on_pages_that_the_story_does_not_come_by(self):
        kim, faults = self.kim, []
        created = self.gateway.cli("service-accounts", "create", "--org", self.org, "--name", "deploys", "--role", "standard")
        app = self.gateway.cli("apps", "create", "--owner", created["id"], "--name", "deploy", "--scope", "api_keys_read")
        for name in ("two", "three", "four"):
            self.gateway.cli("keys", "create", "--org", self.org, "--name", name)
        self.gateway.cli("keys", "shadow-revoke", self.made["id"])
        lone = self.gateway.cli("orgs", "create", "Lone")["id"]
        api_key = self.made["id"]
        pages_of_admin = {
            "limit": "/api-keys", "limit-new": "/api-keys/new", "accounts": "/service-accounts", "account-of-programs": f"/service-accounts/{created['id']}",
            "account-edit": f"/service-accounts/{created['id']}/edit", "account-leave": f"/service-accounts/{created['id']}/disable",
            "user-edit": f"/users/{self.people['Roe']}/edit", "self": f"/users/{self.people['Kim']}", "self-leave": f"/users/{self.people['Kim']}/disable",
            "scoped": f"/application-keys/{app['id']}", "keys-of-account": f"/application-keys?owner={created['id']}", "usage-of-key": f"/usage/api-keys/{api_key}",
            "unshadow": f"/api-keys/{api_key}/shadow", "usage-shadow": "/usage", "audit-filtered": f"/audit?object={api_key}", "fleet-or-not": "/fleet",
        }
        for name, path in pages_of_admin.items():
            kim.open(path)
            faults += kim.look(f"more-{name}")
        kim.open("/account")
        kim.fill("Present password", "not the present one")
        kim.fill("New password", PASSWORD)
        kim.fill("The same again", PASSWORD)
        kim.press("Change password")
        faults += kim.look("more-account-error")
        kim.open("/application-keys/new")
        kim.fill("Name", "odd scopes")
        kim.fill("Other scopes", "No Such!")
        kim.press("Create Application Key")
        faults += kim.look("more-scopes-error")
        # A form of a session that is over.
        kim.open("/api-keys/new")
        kim.js("document.querySelector('main [name=csrf]').value = 'stale'")
        kim.fill("Name", "stale")
        kim.press("Create API key")
        kim.see("This form is not from here")
        faults += kim.look("more-not-from-here")

        roe = Person(self.gateway.pages)
        self.addCleanup(roe.close)
        roe.set_password(self.gateway.cli("users", "link", self.people["Roe"])["url"])
        for name, path in {
            "list": "/api-keys", "key": f"/api-keys/{api_key}", "revoke": f"/api-keys/{api_key}/revoke", "new": "/api-keys/new", "apps": "/application-keys",
            "users": "/users", "audit": "/audit",
        }.items():
            roe.open(path)
            faults += roe.look(f"read-only-{name}", sizes=("phone",))
        # The last API key of an org.
        last = self.gateway.cli("keys", "list", "--org", lone)[0]["id"]
        lee = self.gateway.cli("users", "create", "--org", lone, "--email", "lee@lone.example", "--name", "Lee", "--role", "admin")["id"]
        roe.forget()
        roe.set_password(self.gateway.cli("users", "link", lee)["url"])
        roe.open(f"/api-keys/{last}/revoke")
        roe.see("This is the last API key of the org")
        faults += roe.look("last-key")
        for person in (kim, roe):
            person.note()
            self.assertEqual(person.complaints, [])
        self.assertEqual(faults, [], "\n" + "\n".join(faults))


class DemoCase(TestCase):
    def test_the_link_that_the_demo_prints_leads_a_person_in(self):
        demo = gateway.Demo(output="text")
        self.addCleanup(demo.close)
        link = demo.lines.wait(
            lambda lines: next(filter(None, (re.search(r"http://\S+/welcome/[0-9a-f]+", line) for line in lines)), None), "link to the pages"
        )[0]
        person = Person(link.split("/welcome/")[0])
        self.addCleanup(person.close)
        person.set_password(link)
        person.see("demo@example.com", "1 of 5 API keys")
        for section in ("Application keys", "Client tokens"):
            person.menu(section)
            person.see("1 key")
