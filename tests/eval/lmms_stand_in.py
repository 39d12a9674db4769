"""What stands where lmms-eval would be found: it writes files of the shape of 0.7.3, values made up, and fails in the
way that FAKE_LMMS says. It runs in an environment of its own and imports the standard library only."""

import argparse
import json
import os
import pathlib
import signal
import sys
import time

parser = argparse.ArgumentParser(prog="__main__.py")
for name in ("model", "model_args", "tasks", "batch_size", "output_path", "include_path", "limit", "gen_kwargs"):
    parser.add_argument("--" + name)
parser.add_argument("--log_samples", action="store_true")
asked = parser.parse_args()
told = os.environ.get("FAKE_LMMS", "")
print(f"Evaluation tracker args: {{'token': {os.environ.get('HF_TOKEN')!r}}}", file=sys.stderr)
print("\x1b[32mModel Responding:  50%|##  | 1/2 [00:00<00:00]\rModel Responding: 100%|####| 2/2 [00:00<00:00]")
print("sys.path:", json.dumps(sys.path))
if told == "status":
    print("Traceback (most recent call last):\n  File x, line 1\nImportError: no decord\n  warnings.warn(old)")
    raise SystemExit(1)
if told == "error":  # the real one's way: a traceback, an error in colours, exit status 0
    print(
        "ValueError: Tasks not found: x.\n\x1b[31mERROR\x1b[0m | \x1b[36mcli\x1b[0m - \x1b[31mError "
        "during evaluation: Tasks not found: x. Try `lmms-eval --tasks list` to. "
        "Please set `--verbosity=DEBUG` to get more.\x1b[0m"
    )
    raise SystemExit
if told == "no hub":
    print("ERROR | cli - Error during evaluation: RetryError[<Future at 0x1 raised LocalEntryNotFoundError>].")
    raise SystemExit
if told in ("stubborn child", "child", "killed with a child", "child of its own session"):
    if told == "stubborn child":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()  # it holds our stdout
    if child == 0:
        if told == "child of its own session":
            os.setsid()
        time.sleep(120)
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pathlib.Path(asked.output_path + ".child.pid").write_text(str(child))
if told.startswith("killed"):
    os.kill(os.getpid(), signal.SIGKILL)
if told in ("sleep", "stubborn", "stubborn child"):
    if told == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(asked.output_path + ".pid").write_text(str(os.getpid()))
    time.sleep(120)
folder = pathlib.Path(asked.output_path, "models__x")
folder.mkdir(parents=True, exist_ok=True)
stem = f"20260101_{time.time_ns():020d}_"
results, counts = {}, {}
for task in asked.tasks.split(","):
    results[task] = {
        "alias": task,
        "miou,none": 0.25,
        "miou_stderr,none": 0.125,
        "miou_stderr_clt,none": 0.1,
        "miou_stderr_clustered,none": "N/A",
        "exact_match,flexible": 1,
        "exact_match_stderr,flexible": "N/A",
        "judged,none": None,
        "judged_stderr,none": "N/A",
        "samples": 2,
    }
    counts[task] = {"original": 9, "effective": 2}
    rows = [
        {"doc_id": i, "target": "1.0 - 2.0", "filtered_resps": text, "input": "When?", "miou": float("nan")}
        for i, text in enumerate(["The event happens in 1.0 - 2.0 seconds.", [" "]])
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if told == "short samples":
        text = text.splitlines(keepends=True)[0]
    if told == "cut samples":
        text = text[:-20]
    if told != "no samples":
        (folder / (stem + "samples_" + task + ".jsonl")).write_text(text)
if told == "nan":
    results[task]["miou,none"] = float("nan")
if told == "nested nan":
    results[task]["miou,none"] = {"by length": {"long": 0.5, "short": float("inf")}}
if told == "text nan":
    results[task]["miou,none"] = "nan"
results["a group"] = {"alias": "a group", " ": " "}
if told == "no scores":
    results = {"a group": results["a group"]}
written = {
    "results": results,
    "configs": {task: {"threshold": float("inf")}},
    "versions": {task: 1},
    "n-samples": counts,
    "config": {"model": asked.model, "model_args": asked.model_args},
    "lmms_eval_version": "unknown@unknown",
}
text = json.dumps(written, indent=2)
if told == "list":
    text = "[1]"
if told == "truncated":
    text = text[: len(text) // 2]
if told == "other command":
    text = text.replace('"qwen3_vl"', '"qwen2_5_vl"')
if told != "no results":
    (folder / (stem + "results.json")).write_text(text)
