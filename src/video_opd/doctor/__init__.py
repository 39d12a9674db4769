"""Pre-flight checks: what silently ruins a distillation run is found before the GPU hours are spent.

Each check says what was looked at, what was found, and what to do. "fail" means that training would learn nothing or
the wrong thing; "warn" that it deserves a look.
"""

from video_opd.doctor.examination import examine
from video_opd.doctor.patient import Finding, Patient

__all__ = ["Finding", "Patient", "examine"]
