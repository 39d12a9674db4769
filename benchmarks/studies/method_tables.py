"""Tables of the methods of one study."""

from __future__ import annotations

from typing import Any

from markdown import bullets, spread, table

Results = dict[str, Any]


def seconds_of(results: Results, method: str, *, decode: bool = True) -> float:
    """CPU seconds of a run, mean over seeds."""
    phases = results["methods"][method]["ledger"]["cpu_seconds_by_phase"]
    return float(sum(value for name, value in phases.items() if decode or name != "decode"))


def overview(results: Results) -> str:
    """One comparison: a row a method, then what can be said."""
    rows = []
    for name, method in results["methods"].items():
        reach = method["test_miou"]["interval"]
        rows.append([
            name, f"{method['learning_rate']:g}", spread([run["scores"]["miou"] for run in method["runs"]]),
            f"{reach[0]:.3f} to {reach[1]:.3f}" if reach else "-",
            spread([run["scores"]["r1@0.7"] for run in method["runs"]]),
            f"{method['scores']['output_format_rate']['mean']:.3f}", f"{seconds_of(results, name):.0f}",
            f"{seconds_of(results, name, decode=False):.0f}",
        ])  # fmt: skip
    before, teacher = results["student_before"]["scores"], results["teacher"]["scores"]
    rows.append(["student before", "", f"{before['miou']:.3f}", "", f"{before['r1@0.7']:.3f}",
                 f"{before['output_format_rate']:.3f}", "", ""])  # fmt: skip
    rows.append(["teacher", "", f"{teacher['miou']:.3f}", "", f"{teacher['r1@0.7']:.3f}",
                 f"{teacher['output_format_rate']:.3f}", "", ""])  # fmt: skip
    head = ["", "learning rate", "mIoU (sd)", "95 % interval", "R1@0.7 (sd)", "output format rate", "CPU s",
            "CPU s without decoding"]  # fmt: skip
    return table(head, rows) + "\n\n" + bullets(results["sentences"])


def sweep_table(results: Results) -> str:
    """Validation mIoU at every learning rate that was tried."""
    rates = sorted({each["learning_rate"] for each in results["sweep"]})
    rows = []
    for name, method in results["methods"].items():
        cells = [name]
        for rate in rates:
            values = [each["validation_miou"] for each in results["sweep"]
                      if each["method"] == name and each["learning_rate"] == rate]  # fmt: skip
            mark = "**" if rate == method["learning_rate"] else ""
            cells.append(f"{mark}{spread(values)}{mark}")
        rows.append(cells)
    return table(["validation mIoU at", *(f"{rate:g}" for rate in rates)], rows)
