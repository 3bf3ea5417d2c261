"""A parser of HTML pages for tests: the elements in order, the tables, and their text."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Parses a page into its elements in order, as (tag, attributes, text); fails if a tag is not closed."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        element = [tag, dict(attrs), ""]
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def all(self, tag, css=None):
        return [(at, text) for name, at, text in self.elements if name == tag and _has(at, css)]


def _has(attributes, css):
    return css is None or css in (attributes.get("class") or "").split()


def words(text):
    return " ".join(text.split())


def table_rows(page):
    """Returns the heading and the rows of the ranking, each as a list of (attributes, text)."""
    rows, cells = [], None
    for tag, at, text in page.elements:
        if tag == "table" and rows:
            break
        if tag == "tr":
            rows.append(cells := [])
        elif tag in ("td", "th"):
            cells.append((at, words(text)))
    return rows[0], rows[1:]


def attack_rows(page, anchor):
    """Returns the rows of the table of attacks in the section with this id, heading first, as lists of cell texts."""
    start = next(i for i, (_, at, _) in enumerate(page.elements) if at.get("id") == anchor)
    rows = []
    for tag, _, text in page.elements[start:]:
        if tag in ("dl", "ul", "h3"):
            return rows
        if tag == "tr":
            rows.append([])
        elif tag in ("td", "th"):
            rows[-1].append(words(text))
    return rows
