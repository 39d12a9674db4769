"""The HTTP API over a real connection: answers, jobs, and what is told of models, limits and clips."""

from __future__ import annotations

import json
from concurrent.futures import CancelledError

import pytest

from video_opd.cli import main
from video_opd.policy.shared_vision import ClipFeatures
from video_opd.serve.uploads import FORM_FIELDS


def test_an_answer_is_what_ground_prints(server, clip, tmp_path, capsys):
    found = server.ask(clip, "the red square", "the blue circle").json()
    (tmp_path / "clip.mp4").write_bytes(clip)
    assert [each["model"] for each in found["models"]] == ["tiny-teacher", "tiny-student"]
    for each, place in ((found["models"][0], 0), (found["models"][1], 1)):
        answer = each["answers"][place]
        words = ["ground", each["model"], str(tmp_path / "clip.mp4"), answer["query"], "--json", "--device", "cpu"]
        assert main(words) == 0
        printed = json.loads(capsys.readouterr().out)
        assert {key: answer[key] for key in printed} == printed
    teacher, student = (each["answers"] for each in found["models"])
    assert [answer["spans"] for answer in teacher] == [[[2.0, 6.0]], [[5.0, 7.5]]]
    assert (student[0]["spans"], student[0]["reason"]) == ([], "end before start")
    assert (found["video"], found["duration"], found["notices"]) == ("clip.mp4", 12.0, [])


def test_the_video_is_seen_once_for_all_queries(server, clip, monkeypatch):
    kept = []
    keep = ClipFeatures.keep
    monkeypatch.setattr(ClipFeatures, "keep", lambda *words: (kept.append(words[1]), keep(*words))[1])
    server.ask(clip, "the red square", model="tiny-student")
    alone = len(kept)
    found = server.ask(clip, "the red square", "the blue circle", "the green circle", model="tiny-student").json()
    assert len(kept) == 2 * alone > 0
    (model,) = found["models"]
    assert model["seconds_to_decode"] > 0
    assert model["seconds_to_read"] > 0
    assert all(answer["seconds"] > 0 for answer in model["answers"])


def test_the_prompt_is_read_once_where_the_video_comes_first(running, clip, tmp_path):
    from dataclasses import replace

    from video_opd.data.prompt_templates import TEMPLATES
    from video_opd.data.video.picture_folder import read_video as read_file
    from video_opd.serve.served_model import SeenVideo, read_video

    teacher = running.desk.models[0]
    model = replace(teacher, renderer=replace(teacher.renderer, template=TEMPLATES["timelens"]))
    (tmp_path / "clip.mp4").write_bytes(clip)
    seen = SeenVideo(lambda budget: read_file(tmp_path / "clip.mp4", budget), lambda: None)
    prompts, before = seen.render(model, "clip.mp4", ["a circle", "a red square"]), model.policy.work.prompt_passes
    reading_of = read_video(model, prompts)
    assert [reading_of(place).prompts[0].example.query for place in (0, 1)] == ["a circle", "a red square"]
    assert model.policy.work.prompt_passes == before + 1
    assert seen.render(model, "clip.mp4", ["a"])[0].pixel_values is prompts[0].pixel_values


def test_the_work_can_be_stopped_between_two_prompts(running, clip, tmp_path):
    from video_opd.data.video.picture_folder import read_video as read_file
    from video_opd.serve.served_model import SeenVideo

    (tmp_path / "clip.mp4").write_bytes(clip)
    checks = []

    def check():
        checks.append(None)
        if len(checks) == 2:
            raise CancelledError

    seen = SeenVideo(lambda budget: read_file(tmp_path / "clip.mp4", budget), check)
    with pytest.raises(CancelledError):
        seen.render(running.desk.models[1], "clip.mp4", ["a", "b", "c"])


def test_a_job_goes_from_waiting_to_its_answers(server, clip, gate):
    first = server.ask(clip, "the red square", path="/jobs", frames="true")
    assert (first.status_code, first.headers["location"]) == (202, f"/jobs/{first.json()['id']}")
    assert gate.reached.wait(60)
    second = server.ask(clip, "the red square", path="/jobs").json()
    assert (second["state"], second["ahead"]) == ("waiting", 1)
    assert second["sentence"] == "waiting for 1 earlier request"
    assert server.desk.find(second["id"]).tell(ahead=0).sentence == "about to begin"
    state = server.client.get(first.headers["location"]).json()
    assert (state["state"], state["sentence"]) == ("reading", "tiny-teacher reads the video")
    assert server.client.get(f"/jobs/{state['id']}/export?format=csv").status_code == 409
    gate.opened.set()
    done = server.wait(state["id"])
    assert (done["state"], done["num_answered"], done["num_answers"]) == ("done", 2, 2)
    assert done["sentence"] == "done: 2 answers"
    assert done["num_frames"] == 12
    picture = server.client.get(f"/jobs/{state['id']}/frames/11")
    assert picture.content.startswith(b"\xff\xd8")
    assert server.client.get(f"/jobs/{state['id']}/frames/12").status_code == 404
    for kind, beginning in (("json", '{\n  "video"'), ("csv", '"video",'), ("srt", "1\n00:00:0"), ("ffmpeg", "#!/bin")):
        export = server.client.get(f"/jobs/{state['id']}/export?format={kind}")
        assert export.text.startswith(beginning)
        assert export.headers["content-disposition"].startswith("attachment")
    assert server.client.get(f"/jobs/{state['id']}/export?format=exe").json()["cause"] == "the value of `format` is not valid"  # fmt: skip  # noqa: E501
    assert server.client.delete(f"/jobs/{state['id']}").json()["state"] == "done"
    forgotten = server.client.get(f"/jobs/{state['id']}")
    assert (forgotten.status_code, forgotten.json()["cause"]) == (404, "no job has this id")
    assert server.wait(second["id"])["state"] == "done"


def test_one_model_may_be_asked_alone(server, clip):
    found = server.ask(clip, "the red square", model="tiny-student").json()
    assert [each["model"] for each in found["models"]] == ["tiny-student"]
    refused = server.ask(clip, "the red square", model="gpt")
    assert (refused.status_code, refused.json()["remedy"]) == (
        400,
        "Give tiny-teacher or tiny-student, or no `model` to ask all",
    )


def test_a_real_video_gets_a_notice(server, tmp_path):
    import numpy as np

    from video_opd.data.video.video_io import write_video

    write_video(tmp_path / "real.mp4", np.zeros((6, 48, 96, 3), np.uint8), 2.0)
    (notice,) = server.ask((tmp_path / "real.mp4").read_bytes(), "a cat", model="tiny-student").json()["notices"]
    assert notice.startswith("tiny-student knows nothing but the shapes that the tiny world renders, and clip.mp4 is")


def test_models_limits_and_clips_are_told(server):
    read = {path: server.client.get(f"/{path}").json() for path in ("models", "limits", "clips", "health")}
    assert read["models"] == [
        {"name": "tiny-teacher", "knows_shapes_only": True},
        {"name": "tiny-student", "knows_shapes_only": True},
    ]
    assert (read["limits"]["max_upload_mb"], read["limits"]["keeps_videos"]) == (512, False)
    assert read["health"] == {"status": "ok", "num_requests": 0}
    assert [clip["id"] for clip in read["clips"]] == ["clip-1", "clip-2", "clip-3", "clip-4"]
    assert server.client.get("/clips/clip-9.mp4").status_code == 404
    content = server.client.get("/clips/clip-1.mp4")
    assert (content.headers["content-type"], content.content[4:8]) == ("video/mp4", b"ftyp")


def test_the_api_describes_itself(server):
    told = server.client.get("/openapi.json").json()
    assert set(told["paths"]) == {
        "/ground", "/jobs", "/jobs/{id}", "/jobs/{id}/export", "/jobs/{id}/frames/{number}", "/models", "/limits",
        "/clips", "/clips/{id}.mp4", "/health",
    }  # fmt: skip
    form = told["paths"]["/ground"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["required"]) == {"video", "query"}
    assert set(form["properties"]) == set(FORM_FIELDS)
    assert all(field["description"] for field in form["properties"].values())
    assert {"400", "401", "403", "409", "413", "422", "503", "504", "507"} <= set(
        told["paths"]["/ground"]["post"]["responses"]
    )
    records = told["components"]["schemas"]
    ours = [record for name, record in records.items() if name not in ("HTTPValidationError", "ValidationError")]
    assert len(ours) >= 8
    assert all(field["description"] for record in ours for field in record["properties"].values())
    assert all(each["description"] for path in told["paths"].values() for each in path.values())
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):  # their pages load scripts of another host
        assert server.client.get(path).status_code == 404


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("PUT", "/ground"), ("GET", "/ground")])
def test_what_is_not_served_is_refused_in_words(server, method, path):
    answer = server.client.request(method, path)
    assert answer.status_code in (404, 405)
    assert set(answer.json()) == {"cause", "reason", "remedy"}


def test_the_page_tells_its_head(server):
    assert server.client.head("/").status_code == 200
    assert server.client.head("/ground").status_code == 405
