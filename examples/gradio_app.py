"""A Gradio page for a Hugging Face Space: a video and queries in, a table of spans out.

Install `video-opd` and `gradio`, and start it with `MODEL=Qwen/Qwen3-VL-2B-Instruct python gradio_app.py`. In a Space,
name this file `app.py`, list both packages in `requirements.txt`, and set the variable MODEL. `video-opd serve` shows
more: a timeline, progress, cancel, exports and an HTTP API.
"""

import html
import os

import gradio

import video_opd

MODEL = os.environ.get("MODEL", "tiny-teacher")
MOST_QUERIES = 16

model = video_opd.load(MODEL)


def ask(video: str | None, text: str) -> list[list[str]]:
    """A row for each span of each query, or one that says why there is none."""
    queries = [line.strip() for line in text.splitlines() if line.strip()][:MOST_QUERIES]
    if not video or not queries:
        raise gradio.Error("Choose a video, and write what to look for.", print_exception=False)
    try:
        found = model.ground(video, queries)
    except video_opd.UserError as error:
        sentence = str(error).replace(video, os.path.basename(video))
        # Gradio shows an error as HTML.
        raise gradio.Error(html.escape(sentence), print_exception=False) from None
    rows = []
    for answer in found:
        spans = [f"{span.start_s:g} - {span.end_s:g} s" for span in answer.spans] or [f"no span: {answer.reason}"]
        rows += [[answer.query, span, answer.answer] for span in spans]
    return rows


with gradio.Blocks(title="video-opd") as page:
    gradio.Markdown("# When does it happen in the video?")
    if MODEL.startswith("tiny-"):
        gradio.Markdown("The tiny model knows **rendered shapes only**. Its answers about other videos mean nothing.")
    with gradio.Row():
        video = gradio.Video(label="The video", sources=["upload"])
        queries = gradio.Textbox(label="What to look for, one query a line", lines=4)
    button = gradio.Button("Ask", variant="primary")
    columns = ["query", "span", "the model wrote"]
    table = gradio.Dataframe(headers=columns, datatype=["str"] * 3, interactive=False, wrap=True, label="Spans")
    button.click(ask, [video, queries], table, concurrency_limit=1)

if __name__ == "__main__":
    page.queue(max_size=8).launch(max_file_size="512mb")
