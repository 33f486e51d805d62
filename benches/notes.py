"""benches/run notes: what it costs to note the use of a key on the path of a request."""

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(prog="benches/run notes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: it shows that it works, not how fast")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every round there as well")
    options = parser.parse_args()
    command = ["cargo", "bench", "--quiet", "--bench", "notes", "--", *(["--quick"] if options.quick else [])]
    ran = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        return ran.returncode
    rounds = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    cases = defaultdict(list)
    for one in rounds:
        cases[one["keys"], one["threads"]].append(one)
    print("| keys | cores | first note of a key, ns | every other note, ns |\n|---|---|---|---|")
    for (keys, threads), found in cases.items():
        shown = [spread([one[name] for one in found]) for name in ("first_ns", "note_ns")]
        print(f"| {keys:,} | {threads} | {shown[0]} | {shown[1]} |")
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=1) + "\n")
    return 0


def spread(values):
    return f"{statistics.median(values):.0f} ({min(values)}..{max(values)})"


if __name__ == "__main__":
    sys.exit(main())
