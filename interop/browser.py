"""A person with a browser, as far as sign-in and consent need one: follows redirects, keeps cookies, fills forms."""

from html.parser import HTMLParser
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx

REDIRECTS = (301, 302, 303, 307, 308)


class Person:
    """Signs in with one account and approves what is asked."""

    def __init__(self, username, password):
        self.account = {"username": username, "password": password}
        self.http = httpx.Client(follow_redirects=False, timeout=30, trust_env=False)
        self.sign_ins = 0
        self.approvals = 0

    def authorize(self, url, redirect_uri):
        """Goes from the authorization address to the client's redirect address; returns what the latter is told."""
        answer = self.http.get(url)
        for _ in range(12):
            if answer.status_code in REDIRECTS:
                target = urljoin(str(answer.url), answer.headers["location"])
                if target.split("?")[0] == redirect_uri:
                    return dict(parse_qsl(urlsplit(target).query, strict_parsing=True))
                answer = self.http.get(target)
            elif answer.status_code == 200:
                answer = self.submit(answer)
            else:
                raise AssertionError(f"{answer.request.url.path} answered {answer.status_code} to the browser")
        raise AssertionError("sign-in and consent did not come to an end")

    def submit(self, page):
        forms = Forms.of(page.text)
        for form in forms:
            if "password" in form.fields:
                self.sign_ins += 1
                return self.send(page, form, form.fields | self.account)
        for form in forms:
            if ("decision", "approve") in form.buttons:
                self.approvals += 1
                return self.send(page, form, form.fields | {"decision": "approve"})
        raise AssertionError(f"{page.request.url.path} is neither the sign-in nor the consent page")

    def send(self, page, form, fields):
        target = urljoin(str(page.url), form.action)
        assert form.method == "post", f"the form of {page.request.url.path} is sent by {form.method}"
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(str(page.url)))
        return self.http.post(target, data=fields, headers={"Origin": origin, "Referer": str(page.url)})


class Form:
    def __init__(self, attributes):
        self.action = attributes.get("action") or ""
        self.method = (attributes.get("method") or "get").lower()
        self.fields = {}
        self.buttons = []


class Forms(HTMLParser):
    def __init__(self):
        super().__init__()
        self.forms = []
        self.open = None

    @classmethod
    def of(cls, html):
        parser = cls()
        parser.feed(html)
        return parser.forms

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.open = Form(attributes)
            self.forms.append(self.open)
        elif self.open is not None and tag in ("input", "button"):
            self.control(tag, attributes)

    def handle_endtag(self, tag):
        if tag == "form":
            self.open = None

    def control(self, tag, attributes):
        name, value = attributes.get("name"), attributes.get("value") or ""
        kind = (attributes.get("type") or ("submit" if tag == "button" else "text")).lower()
        if kind in ("submit", "button", "image"):
            self.open.buttons.append((name, value))
        elif name and (kind not in ("checkbox", "radio") or "checked" in attributes):
            fields = self.open.fields
            # Several boxes of one name are sent one after the other, as a browser does.
            fields[name] = value if name not in fields else [*as_list(fields[name]), value]


def as_list(value):
    return value if isinstance(value, list) else [value]
