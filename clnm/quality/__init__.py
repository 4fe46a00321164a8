"""The gate: suites of expectations over a center's rows, and the verdict that follows."""
