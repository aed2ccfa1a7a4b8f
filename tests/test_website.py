"""The website for reading: its links, headings and charts, and nothing to load."""

from contextlib import redirect_stdout
from html.parser import HTMLParser
from io import StringIO
from itertools import pairwise

import pytest
from lessons import NOTEBOOKS, exercises, read

from lessons_support.website import build, main

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src"}


class Reader(HTMLParser):
    """What a page holds of what the tests ask for."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.alts = [], [], []
        self.headings, self.summaries, self.tag = [], [], ""
        self.words, self.within = [], None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs, self.tag = dict(attrs), tag
        if tag == "details":
            self.within = attrs.get("class")
        if (tag, self.within) == ("p", "chart"):
            self.words.append("")
        if tag == "a":
            self.links.append(attrs.get("href", ""))
        if tag in LOADED and not attrs.get(LOADED[tag], "").startswith("data:"):
            self.loads.append(attrs)
        if tag == "img":
            self.alts.append(attrs.get("alt", ""))
        if tag[0] == "h" and tag[1:].isdigit():
            self.headings.append(int(tag[1]))

    def handle_data(self, data):
        if self.tag == "summary":
            self.summaries.append(data.strip())
        if (self.tag, self.within) == ("p", "chart"):
            self.words[-1] += data

    def handle_endtag(self, tag):
        if tag == "details":
            self.within = None


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder that the command has written the website into, and what it said."""
    folder = tmp_path_factory.mktemp("made") / "new" / "site"
    with redirect_stdout(StringIO()) as said:
        main([str(folder)])
    return folder, said.getvalue()


@pytest.fixture(scope="module")
def site(made):
    return made[0]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def page(request, site):
    return request.param, Reader(site / f"{request.param.stem}.html")


def test_every_link_leads_to_a_page_of_the_site(site, page):
    _, reader = page
    own = [x for x in reader.links if "://" not in x and not x.startswith("#")]
    assert "index.html" in own
    assert [x for x in own if not (site / x.partition("#")[0]).is_file()] == []


def test_a_page_loads_nothing(page):
    assert page[1].loads == []


def test_every_chart_says_in_words_what_it_shows(page):
    path, reader = page
    images = path.read_text().count('"image/png": "')
    assert len(reader.alts) == images > 0
    assert [x for x in reader.alts if not x.startswith("Chart. ")] == []


def test_behind_every_chart_stand_its_words(page):
    path, reader = page
    outputs = [x for cell in read(path).code for x in cell.outputs]
    told = [x.data["text/plain"] for x in outputs if "image/png" in x.get("data", {})]
    assert reader.words == "\n".join(told).splitlines()
    assert len(told) == len(reader.alts)


def test_headings_go_down_one_level_at_a_time(page):
    levels = page[1].headings
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_solutions_are_folded_away(page):
    path, reader = page
    assert reader.summaries.count("Solution") == len(exercises(read(path)))


def test_the_lessons_follow_each_other(site):
    names = [f"{x.stem}.html" for x in NOTEBOOKS]
    own = [x for x in Reader(site / "index.html").links if x in names]
    assert own == names
    for before, after in pairwise(names):
        assert f'rel="next" href="{after}"' in (site / before).read_text()
        assert f'rel="prev" href="{before}"' in (site / after).read_text()


def test_a_folder_without_lessons_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no notebooks"):
        build(tmp_path, tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    "wrong", [["file"], ["file/site"], ["/dev/null/site"], ["one", "two"]]
)
def test_what_cannot_be_written_to_is_one_sentence(tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as end:
        main(wrong)
    assert str(end.value).endswith((".", "[FOLDER]"))
    assert "\n" not in str(end.value)
    assert [x.name for x in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_the_command_says_where_the_website_is(made):
    site, said = made
    assert said.endswith(f"\nThe website is in {site}: open index.html.\n")
    assert (site / "index.html").is_file()
