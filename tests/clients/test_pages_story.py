"""The whole story on the pages, as people do it in Chromium: in English and in French, on a desk and a phone, without a script."""

import re
from unittest import TestCase

import gateway
import pages
from pages import BRIEFLY, EVERY_WAY, PASSWORD, Person

API_KEY = "[0-9a-f]{32}"
APPLICATION_KEY = "[0-9a-f]{40}"
CLIENT_TOKEN = "pub[0-9a-f]{32}"

ENGLISH = {
    "tag": "en",
    "welcome": ("New password", "The same again", "Set password and sign in", "The two passwords"),
    "link is over": "This link no longer works",
    "sign in": ("Login name", "Password", "Sign in", "Sign out"),
    "account": "Account",
    "api_key": ("API keys", "Create API key", "API key created"),
    "application_key": ("Application keys", "Create Application Key", "Application key created"),
    "client_token": ("Client tokens", "Create Client Token", "Client token created"),
    "name": "Name", "origins": "Allowed origins",
    "copy": ("Copy", "Copied"),
    "to the key": "To the key",
    "last used": "Last used", "never": "Never",
    "shadow": ("Shadow-revoke", "Shadow-revoked."),
    "rotate": ("Rotate", "1 hour", "The old key stays valid until"),
    "revoke": ("Revoke", "Receipt", "Revoked on every node that runs."),
    "find": ("Name or last four characters", "Search", "No key is like that."),
    "users": ("Users", "Create user", "Name", "E-mail", "Standard", "Sign-in link for Bob", "All users"),
    "leave": ("Disable…", "Yes, end all of this for Bob now", "Disable Bob", "Bob is disabled", "In force on every node that runs."),
    "used from": "Used from", "usage": "Usage", "fleet": "Fleet", "accounts": ("Service accounts", "Create service account"),
    "audit": ("Audit log", "Details", "What", "Show"),
    "deeds": (
        "Ann created API key “web-agents”", "Ann created application key “scripts”", "Ann created client token “shop”",
        "Ann shadow-revoked API key “web-agents”", "Ann rotated client token “shop”", "Ann revoked API key “web-agents”",
        "Ann created user “Bob”", "Bob signed in", "Bob created application key “mine”",
        "Ann disabled user “Bob” and revoked all their application keys",
    ),
    "nothing here": "There is nothing here",
}

FRENCH = {
    "tag": "fr",
    "welcome": ("Nouveau mot de passe", "Le même encore une fois", "Définir le mot de passe et se connecter", "mots de passe"),
    "link is over": "Ce lien ne fonctionne plus",
    "sign in": ("Identifiant", "Mot de passe", "Se connecter", "Se déconnecter"),
    "account": "Compte",
    "api_key": ("Clés d'API", "Créer une clé d'API", "Clé d'API créée"),
    "application_key": ("Clés d'application", "Créer une clé d'application", "Clé d'application créée"),
    "client_token": ("Jetons client", "Créer un jeton client", "Jeton client créé"),
    "name": "Nom", "origins": "Origines autorisées",
    "copy": ("Copier", "Copié"),
    "to the key": "Vers la clé",
    "last used": "Dernière utilisation", "never": "Jamais",
    "shadow": ("Révoquer à blanc", "Révoquée à blanc."),
    "rotate": ("Renouveler", "1 heure", "L'ancienne clé reste valable jusqu'au"),
    "revoke": ("Révoquer", "Accusé", "Révoquée sur chaque nœud en marche."),
    "find": ("Nom ou quatre derniers caractères", "Rechercher", "Aucune clé ne correspond."),
    "users": ("Utilisateurs", "Créer un utilisateur", "Nom", "E-mail", "Standard", "Lien de connexion pour Bob", "Tous les utilisateurs"),
    "leave": ("Désactiver…", "Oui, mettre fin à tout cela pour Bob maintenant", "Désactiver Bob", "Bob est désactivé", "En vigueur sur chaque nœud en marche."),
    "used from": "Utilisée depuis", "usage": "Utilisation", "fleet": "Nœuds", "accounts": ("Comptes de service", "Créer un compte de service"),
    "audit": ("Journal d'audit", "Détails", "Quoi", "Afficher"),
    "deeds": (
        "Ann a créé la clé d'API « web-agents »", "Ann a créé la clé d'application « scripts »", "Ann a créé le jeton client « shop »",
        "Ann a révoqué à blanc la clé d'API « web-agents »", "Ann a renouvelé le jeton client « shop »", "Ann a révoqué la clé d'API « web-agents »",
        "Ann a créé l'utilisateur « Bob »", "Bob s'est connecté", "Bob a créé la clé d'application « mine »",
        "Ann a désactivé l'utilisateur « Bob » et révoqué toutes ses clés d'application",
    ),
    "nothing here": "Il n'y a rien ici",
}


class Story:
    """The story of Ann, who makes keys, uses them and ends them, and of Bob, who comes and leaves."""

    def __init__(self, case, words, size, theme, script, looks):
        self.case, self.w, self.looks = case, words, looks
        self.gateway = gateway.shared()
        self.faults = []
        self.people = []
        self.ann = self.person(size, theme, script)
        self.bob = self.person(size, theme, script)

    def person(self, size, theme, script):
        person = Person(self.gateway.pages, size, theme, script)
        self.case.addCleanup(person.close)
        self.people.append(person)
        # A browser that speaks the language.
        person.cdp("Network.setExtraHTTPHeaders", headers={"Accept-Language": self.w["tag"]})
        return person

    def look(self, person, name):
        if self.looks:
            # The pages of the three kinds of keys are the same ones.
            is_like_another = re.match("application_key|client_token|scripts|shop|bob", name)
            ways = BRIEFLY if is_like_another and self.looks == EVERY_WAY else self.looks
            self.faults += person.look(f"{self.w['tag']}-{name}", ways)
        person.note()

    def send(self, what, **secrets):
        """The status that a sender with these secrets gets from the gateway."""
        headers = {"User-Agent": "story/1.0", "Content-Type": "application/json"}
        method, target, body = "POST", "/api/v2/series", b'{"series":[]}'
        if what == "pair":
            method, target, body = "GET", "/api/v1/monitor", None
            headers["DD-APPLICATION-KEY"] = secrets["application_key"]
        if what == "browser":
            target, body = f"/api/v2/logs?ddsource=browser&dd-api-key={secrets['client_token']}", b"[]"
            headers["Origin"] = "https://shop.example"
        else:
            headers["DD-API-KEY"] = secrets["api_key"]
        with_it = self.gateway.request(method, target, headers, body)
        return with_it[0]

    def ends(self, what, **secrets):
        """The very next request is refused: the receipt said so."""
        self.case.assertEqual(self.send(what, **secrets), 403, f"after the receipt, {what}")

    # -- the chapters

    def arrive(self, link):
        """A link, two passwords that differ, a password."""
        ann, (new, again, submit, differ) = self.ann, self.w["welcome"]
        ann.open(link)
        self.look(ann, "welcome")
        ann.fill(new, PASSWORD)
        ann.fill(again, PASSWORD + "!")
        ann.press(submit)
        ann.see(differ)
        self.look(ann, "welcome-error")
        ann.fill(new, PASSWORD)
        ann.fill(again, PASSWORD)
        ann.press(submit)
        self.case.assertEqual(ann.here, "/api-keys")
        ann.see("Ann")
        self.case.assertEqual(ann.js("document.documentElement.lang"), self.w["tag"])
        self.bob.open(link)
        self.bob.see(self.w["link is over"])
        self.look(self.bob, "link-over")

    def make(self, kind, name, pattern, wrong=None):
        """A key, of which the secret is read from the page."""
        ann, (title, create, created) = self.ann, self.w[kind]
        ann.menu(title)
        self.look(ann, f"{kind}-list-before")
        ann.press(create)
        self.look(ann, f"{kind}-new")
        if wrong:
            ann.fill(self.w["name"], wrong)
            ann.press(create)
            self.look(ann, f"{kind}-new-error")
            self.case.assertEqual(ann.value("//input[@name='name']"), wrong)
        ann.fill(self.w["name"], name)
        if kind == "client_token":
            ann.fill(self.w["origins"], "https://shop.example")
        ann.press(create)
        ann.see(created)
        secret = ann.value("//*[@id='secret']")
        self.case.assertRegex(secret, f"^{pattern}$")
        self.gateway.secrets.add(secret)
        self.copy(secret)
        self.look(ann, f"{kind}-secret")
        ann.press(self.w["to the key"])
        self.case.assertNotIn(secret, ann.js("document.documentElement.outerHTML"))
        self.look(ann, f"{kind}-unused")
        return secret, ann.here

    def copy(self, secret):
        ann, (copy, copied) = self.ann, self.w["copy"]
        buttons = f"//div[@class='secret']//button[normalize-space()={pages.quoted(copy)}]"
        if not ann.script:
            is_hidden = ann.js("document.querySelector('.secret button').hidden")
            self.case.assertTrue(is_hidden, "a button that does nothing without a script is shown")
            return
        ann.cdp("Browser.grantPermissions", origin=self.gateway.pages, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        ann.click(ann.find(buttons))
        ann.until(lambda: copied in ann.js("document.querySelector('.secret .copy-status').textContent"), copied)
        self.case.assertEqual(ann.run("return await navigator.clipboard.readText();"), secret)

    def used(self, path, name):
        """Sees that a key was used, in its list and on its page, which may take some seconds."""
        ann = self.ann
        base = path.rsplit("/", 1)[0]

        def is_used():
            ann.open(f"{base}?q={name}")
            cell = f"document.querySelector(\"tbody td[data-label='{self.w['last used']}']\").innerText"
            return self.w["never"] not in ann.js(cell)

        ann.until(is_used, f"{name} to be used")
        self.look(ann, f"{name}-list-used")
        ann.open(path)
        self.case.assertNotIn(f"{self.w['last used']}\n{self.w['never']}", ann.text)
        self.look(ann, f"{name}-used")

    def from_where(self, path):
        """Who used a key, and from where."""
        ann = self.ann
        ann.open(f"/usage{path}")
        ann.see(self.w["used from"], "127.0.0.1", "story/1.0")
        self.look(ann, "usage-of-key")

    def shadow(self, path):
        ann, (shadow, done) = self.ann, self.w["shadow"]
        ann.open(path)
        ann.press(shadow)
        self.look(ann, "shadow")
        ann.press(shadow)
        ann.see(done)
        self.look(ann, "shadowed")

    def rotate(self, path, pattern):
        ann, (rotate, hour, until) = self.ann, self.w["rotate"]
        ann.open(path)
        ann.press(rotate)
        self.look(ann, "rotate")
        ann.tick(hour)
        ann.press(rotate)
        ann.see(until)
        secret = ann.value("//*[@id='secret']")
        self.case.assertRegex(secret, f"^{pattern}$")
        self.gateway.secrets.add(secret)
        self.look(ann, "rotated")
        ann.open(path)
        self.look(ann, "in-rotation")
        return secret

    def revoke(self, path, name):
        ann, (revoke, receipt, everywhere) = self.ann, self.w["revoke"]
        ann.open(path)
        ann.press(revoke)
        self.look(ann, f"{name}-revoke")
        ann.press(revoke)
        ann.see(receipt, everywhere)
        self.look(ann, f"{name}-receipt")

    def bob_comes_and_leaves(self, api_key):
        ann, bob, (users, create, name, email, role, link_for, all_users) = self.ann, self.bob, self.w["users"]
        ann.menu(users)
        self.look(ann, "users-before")
        ann.press(create)
        self.look(ann, "user-new")
        ann.fill(name, "Bob")
        ann.fill(email, "ann@story.example" if self.looks else f"bob@{self.w['tag']}.example")
        ann.tick(role)
        ann.press(create)
        if self.looks:
            # Her own address: it is taken.
            self.look(ann, "user-new-error")
            ann.fill(email, f"bob@{self.w['tag']}.example")
            ann.press(create)
        ann.see(link_for)
        link = ann.js("document.getElementById('secret').textContent.trim()")
        self.look(ann, "user-link")
        new, again, submit, _ = self.w["welcome"]
        bob.open(link)
        bob.fill(new, PASSWORD)
        bob.fill(again, PASSWORD)
        bob.press(submit)
        self.look(bob, "bob-start")
        title, create_key, created = self.w["application_key"]
        bob.menu(title)
        bob.press(create_key)
        bob.fill(self.w["name"], "mine")
        bob.press(create_key)
        bob.see(created)
        secret = bob.value("//*[@id='secret']")
        self.gateway.secrets.add(secret)
        bob.until(lambda: self.send("pair", api_key=api_key, application_key=secret) == 200, "Bob's key to work")

        ann.press(all_users)
        self.look(ann, "users")
        ann.press("Bob")
        self.look(ann, "user")
        disable, sure, submit, disabled, everywhere = self.w["leave"]
        ann.press(disable)
        self.look(ann, "leave")
        ann.tick(sure)
        ann.press(submit)
        ann.see(disabled, everywhere)
        self.look(ann, "left")
        self.ends("pair", api_key=api_key, application_key=secret)
        bob.open("/application-keys")
        self.case.assertTrue(bob.here.startswith("/sign-in"), bob.here)
        handle, password, submit, _ = self.w["sign in"]
        bob.fill(handle, f"bob@{self.w['tag']}.example")
        bob.fill(password, PASSWORD)
        bob.press(submit)
        self.case.assertTrue(bob.here.startswith("/sign-in"), bob.here)
        self.look(bob, "sign-in-error")

    def read(self):
        """The audit log says all of it."""
        ann, (audit, details, _, _) = self.ann, self.w["audit"]
        ann.menu(audit)
        ann.see(*self.w["deeds"])
        for summary in ann.all("//li//summary")[:2]:
            ann.click(summary)
        self.look(ann, "audit")
        ann.open("/audit?object=nonsense")
        self.look(ann, "audit-error")

    def see_the_rest(self):
        ann, (find, search, none) = self.ann, self.w["find"]
        ann.menu(self.w["api_key"][0])
        ann.fill(find, "no such key")
        ann.press(search)
        ann.see(none)
        self.look(ann, "list-none")
        accounts, create = self.w["accounts"]
        ann.menu(accounts)
        self.look(ann, "accounts-empty")
        ann.press(create)
        self.look(ann, "account-new")
        ann.menu(self.w["usage"])
        self.look(ann, "usage")
        if ann.all(f"//nav//a[.={pages.quoted(self.w['fleet'])}]"):
            ann.menu(self.w["fleet"])
            self.look(ann, "fleet")
        ann.menu(self.w["account"])
        self.look(ann, "account")
        ann.open("/api-keys?show=revoked")
        self.look(ann, "revoked-list")
        ann.open("/no-such-page")
        ann.see(self.w["nothing here"])
        self.look(ann, "nothing-here")
        ann.open("/api-keys")
        ann.press(self.w["sign in"][3], within="//header")
        self.look(ann, "signed-out")
        ann.open("/api-keys")
        self.case.assertTrue(ann.here.startswith("/sign-in"), ann.here)

    def tell(self, link):
        other_key, other_secret = self.gateway.cli("keys", "list", "--org", self.org)[0], self.other_secret
        self.arrive(link)
        api_key, api_path = self.make("api_key", "web-agents", API_KEY, wrong=other_key["name"] if self.looks else None)
        application_key, application_path = self.make("application_key", "scripts", APPLICATION_KEY)
        token, token_path = self.make("client_token", "shop", CLIENT_TOKEN)
        secrets = {"api_key": api_key, "application_key": application_key, "client_token": token}
        for what, status in (("series", 202), ("pair", 200), ("browser", 202)):
            self.ann.until(lambda: self.send(what, **secrets) == status, f"{what} to be let in")
        for path, name in ((api_path, "web-agents"), (application_path, "scripts"), (token_path, "shop")):
            self.used(path, name)

        self.from_where(api_path)
        self.shadow(api_path)
        self.case.assertEqual(self.send("series", **secrets), 202, "a shadow-revoked key still works")
        new_token = self.rotate(token_path, CLIENT_TOKEN)
        self.ann.until(lambda: self.send("browser", client_token=new_token) == 202, "the new token to be let in")
        self.case.assertEqual(self.send("browser", client_token=token), 202, "the old one still works beside it")

        self.revoke(application_path, "application_key")
        self.ends("pair", **secrets)
        self.revoke(token_path, "client_token")
        self.ends("browser", **secrets)
        self.revoke(api_path, "api_key")
        self.ends("series", **secrets)
        self.ann.open(api_path)
        self.look(self.ann, "revoked")

        self.bob_comes_and_leaves(other_secret)
        self.read()
        self.see_the_rest()
        for person in self.people:
            person.note()
            self.case.assertEqual(person.hosts, {self.gateway.pages}, "another host was asked")
            self.case.assertEqual(person.complaints, [], "the browser complained")
        self.case.assertEqual(self.faults, [], "\n" + "\n".join(self.faults))

    def in_an_org_of_its_own(self):
        self.org, made = self.gateway.new_org(f"Acme {self.w['tag']} {'' if self.ann.script else 'plain'}".strip())
        self.other_secret = made["secret"]
        user = self.gateway.cli("users", "create", "--org", self.org, "--email", "ann@story.example", "--name", "Ann", "--role", "admin")
        self.tell(self.gateway.cli("users", "link", user["id"])["url"])


class StoryCase(TestCase):
    maxDiff = None

    def test_the_whole_story_in_english_at_a_desk(self):
        Story(self, ENGLISH, "desktop", "light", True, EVERY_WAY).in_an_org_of_its_own()

    def test_the_whole_story_in_french_on_a_phone_in_the_dark(self):
        Story(self, FRENCH, "phone", "dark", True, [("phone", "dark")]).in_an_org_of_its_own()

    def test_the_whole_story_without_a_script(self):
        Story(self, ENGLISH, "desktop", "light", False, None).in_an_org_of_its_own()
