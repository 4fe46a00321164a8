"""The report: one static page for the hospital's data team, and a short mail. Frames in, bytes out.

Start at `clnm.report.inputs.ReportInputs`, `clnm.report.pages.write_report` and `clnm.report.mail.morning_mail`.
"""
