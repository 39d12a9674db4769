import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from pages import HOSTILE, check_that_it_loads_and_runs_nothing, text_of

from video_opd.cli import main
from video_opd.data.manifest import write_manifest
from video_opd.data.manifest_statistics import describe
from video_opd.report.manifest.manifest_figures import HEIGHT, draw_panels, draw_statistics
from video_opd.report.manifest.manifest_page import write_statistics
from video_opd.types import Example, Span

SVG = "{http://www.w3.org/2000/svg}"


def example(number: int, start: float, end: float, **more) -> Example:
    fields = {"video": f"{number}.mp4", "query": "a question", "duration": 100.0} | more
    return Example(id=f"{number}", spans=(Span(start, end),), **fields)


@pytest.fixture
def statistics():
    return describe([example(n, 0, 10) for n in range(30)] + [example(n, 60, 90, source="s") for n in range(30, 40)])


def columns(panel) -> list[float]:
    return [float(height) for height in re.findall(r'class="column" [^>]*height="([\d.]+)"', panel.inside)]


def test_columns_are_as_high_as_their_shares(statistics):
    lengths = columns(draw_panels(statistics)[1])
    full, third = max(lengths), min(height for height in lengths if height)
    assert third == pytest.approx(full / 3, abs=0.2)
    starts = columns(draw_panels(statistics)[3])
    assert len(starts) == 20
    assert [index for index, height in enumerate(starts) if height] == [0, 12]


def test_every_axis_has_a_name_with_its_unit(statistics):
    names = [re.findall(r">([^<>]*(?:seconds|%)[^<>]*)<", panel.inside) for panel in draw_panels(statistics)]
    assert names[0] == ["seconds", "% of videos"]
    assert names[1] == ["seconds", "% of spans"]
    assert names[2:5] == [["% of the video", "% of spans"]] * 3
    assert names[5] == ["start, % of the video", "end, % of the video"]


def test_start_and_end_together_show_the_fullest_place_in_full_colour(statistics):
    cells = re.findall(r'fill-opacity="([\d.]+)" x="([\d.]+)" y="([\d.]+)"', draw_panels(statistics)[5].inside)
    (full, left, low), (part, right, high) = (tuple(map(float, cell)) for cell in cells)
    assert (full, part) == (1, pytest.approx((1 / 3) ** 0.5, abs=0.001))
    assert (left, right) == (48, 48 + 0.6 * 320), "spans start at the left edge and at 60 %"
    assert low > high


def test_a_single_value_stands_between_empty_bins():
    panel = draw_panels(describe([example(0, 10, 20, duration=150.0)]))[0]
    assert sum(height > 0 for height in columns(panel)) == 1
    assert len(columns(panel)) >= 5


@pytest.mark.parametrize(
    "odd",
    [
        example(0, 0, 0),
        example(0, 100, 100),
        example(0, 0, 0.5, duration=0.5),
        example(0, 20_000, 90_000, duration=100_000.0),
        example(0, 500, 600),
    ],
)
def test_odd_sets_are_drawn(odd):
    for panel in draw_panels(describe([odd])):
        assert columns(panel)
        assert max(columns(panel)) <= HEIGHT
        assert "nan" not in panel.inside


def test_the_svg_needs_nothing_but_itself(statistics):
    image = draw_statistics({"train.jsonl": statistics, "test.jsonl": statistics})
    root = ET.fromstring(image)
    assert root.tag == f"{SVG}svg"
    elements = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert elements == {"svg", "style", "rect", "g", "text", "title", "line"}
    assert not any(name.startswith("on") or name.endswith("href") for element in root.iter() for name in element.attrib)
    assert "var(" not in image, "colours are written out, for programs that know no variables"
    assert "url(" not in image
    assert image.count("http") == 1, "the name of SVG"
    assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts.index("train.jsonl") < texts.index("test.jsonl")
    assert texts.count("How long the spans are") == 2


def test_the_svg_has_a_light_and_a_dark_set_of_colours(statistics):
    style = ET.fromstring(draw_statistics({"m": statistics})).find(f"{SVG}style").text
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    colour = re.compile(r"\.column \{ fill: (#\w{6});")
    paper = re.compile(r"\.paper \{ fill: (#\w{6});")
    for rule in (colour, paper):
        assert rule.search(light)[1] != rule.search(dark)[1]


def test_names_cannot_break_out_of_the_pictures(tmp_path, statistics):
    hostile = describe([example(0, 1, 2, source=HOSTILE), example(1, 1, 2, source="s")])
    svg = draw_statistics({HOSTILE + "\x01\x1b": hostile})
    assert {e.tag.removeprefix(SVG) for e in ET.fromstring(svg).iter()}.isdisjoint({"script", "img"})
    page = write_statistics(tmp_path / "x.html", {HOSTILE: hostile}).read_text()
    check_that_it_loads_and_runs_nothing(page)


def test_the_page_has_the_figures_and_the_numbers(tmp_path, statistics):
    page = write_statistics(tmp_path / "x.html", {"train.jsonl": statistics, "test.jsonl": statistics}).read_text()
    check_that_it_loads_and_runs_nothing(page)
    text = text_of(page)
    assert page.count("<figure>") == 12
    assert "75.0 % start in the first twentieth of the video." in text
    assert "spans that end after the video 0 of 40, 0 by more than 1 s" in text
    assert "(no source) 30" in text
    assert "span, s 10.0 10.0 10.0 15.0 30.0 30.0" in text


@pytest.mark.parametrize("name", ["new folder/x.svg", "x.HTML"])
def test_data_stats_draws(tmp_path, name, capsys):
    manifest, picture = tmp_path / "m.jsonl", tmp_path / name
    write_manifest(manifest, [example(n, 0, n + 1) for n in range(9)])
    assert main(["data", "stats", str(manifest), "--picture", str(picture)]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"picture: {picture}\n"
    assert "mIoU" in captured.out
    assert "m.jsonl" in Path(picture).read_text()
