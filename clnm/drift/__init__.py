"""Drift: did a center's cases move, did the champion get worse, and which alerts follow. Frames in, rows out.

Start at `clnm.drift.monitor.watch`, `clnm.drift.performance.realized` and `clnm.drift.alerts.update_alerts`.
"""
