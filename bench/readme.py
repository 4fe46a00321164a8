"""Everything the README shows: runs the demo twice, asks its questions, and writes the answers into README.md.

Run: python bench/readme.py [DIR]   (DIR: where to put the demo; default: a temporary folder)
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
README = HOME / "README.md"
CLNM = Path(sys.executable).with_name("clnm")
_DEMO = re.compile(r"(<!-- demo -->\n```text\n).*?(```)", re.DOTALL)
_QUESTION = re.compile(r"(```sql\n(?P<sql>.*?)```\n\n```text\n).*?(```)", re.DOTALL)
_TIME = re.compile(r"(`clnm demo` took ).*?(\.\n)")
_FIRST_LINE = "cases scored"
STAGES = "SELECT started_at, stage, duration_ms, round(fraction, 3) AS fraction FROM stage_costs ORDER BY ALL"


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch, "demo")
        first, seconds = run_demo(directory)
        _, again = run_demo(directory)
        told = f"{seconds:.0f} s on the two cores that wrote this page, the same command again {again:.0f} s"
        print(f"clnm demo: {told}")
        print(ask(directory, STAGES))
        text = README.read_text(encoding="utf-8")
        text = _DEMO.sub(lambda found: found.group(1) + last_lines(first, directory) + found.group(2), text)
        text = _TIME.sub(lambda found: found.group(1) + told + found.group(2), text)
        text = _QUESTION.sub(lambda found: found.group(1) + ask(directory, found["sql"]) + found.group(3), text)
    README.write_text(text, encoding="utf-8")


def run_demo(directory: Path) -> tuple[str, float]:
    started = time.perf_counter()
    result = subprocess.run([CLNM, "demo", directory], stdout=subprocess.PIPE, text=True, check=True)
    return result.stdout, time.perf_counter() - started


def last_lines(output: str, directory: Path) -> str:
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if line.endswith(_FIRST_LINE))
    return "\n".join(line.replace(str(directory), "demo") for line in lines[start:]) + "\n"


def ask(directory: Path, question: str) -> str:
    command = [CLNM, "--config", directory / "clnm.toml", "sql", question]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.rstrip() + "\n"


if __name__ == "__main__":
    main()
