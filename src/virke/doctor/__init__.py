"""Proving or refusing a store: what the contract promises, tried on the store itself.

`examine` and what it answers are all that other packages need.
"""

from __future__ import annotations

from virke.doctor.examination import examine as examine
from virke.doctor.examination import silent as silent
from virke.doctor.verdict import Latency as Latency
from virke.doctor.verdict import Report as Report
from virke.doctor.verdict import Status as Status
from virke.doctor.verdict import Verdict as Verdict
