"""HTML pages of a comparison: ``report.html`` and, for votes, ``blind.html``. Both are self-contained."""

from retalkit.comparison.report.pages import BLIND_FILE, REPORT_FILE, ReportSettings, write_report
from retalkit.comparison.report.previews import Box, PreviewSettings

__all__ = ["BLIND_FILE", "REPORT_FILE", "Box", "PreviewSettings", "ReportSettings", "write_report"]
