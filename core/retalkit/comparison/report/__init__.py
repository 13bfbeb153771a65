"""Self-contained HTML pages of a comparison: the report ``report.html`` and the voting page ``blind.html``."""

from retalkit.comparison.report.pages import BLIND_FILE, REPORT_FILE, ReportSettings, write_report
from retalkit.comparison.report.previews import Box, PreviewSettings

__all__ = ["BLIND_FILE", "REPORT_FILE", "Box", "PreviewSettings", "ReportSettings", "write_report"]
