"""benches/run table: what a decision, a change and a key's memory cost in the key table, and how soon it is loaded."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONTENDERS = ("papaya", "dashmap", "rwlock", "shards")


def main():
    parser = argparse.ArgumentParser(prog="benches/run table", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few keys: it shows that it works, not how fast")
    parser.add_argument("--keys", metavar="N", type=int, nargs="+", help="so many keys (10,000, 1,000,000 and 10,000,000)")
    parser.add_argument("--load-keys", metavar="N", type=int, help="load so many (the most of --keys; 0 is none)")
    parser.add_argument("--contenders", action="store_true", help="measure other kinds of table as well")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure there as well")
    options = parser.parse_args()
    keys = options.keys or ([10_000, 100_000] if options.quick else [10_000, 1_000_000, 10_000_000])
    timed = 20_000 if options.quick else 300_000
    binary = build()
    found = []

    def run(*what, keys=keys[-1], cores=None):
        command = [binary, "--keys", str(keys), "--timed", str(timed), *map(str, what)]
        pinned = (lambda: os.sched_setaffinity(0, cores)) if cores else None
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=pinned)
        rows = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
        found.extend({"run": " ".join(map(str, what)), **row} for row in rows)
        return rows

    print(f"cores: {os.cpu_count()}, load before: {os.getloadavg()[0]:.2f}; quantiles are of lone decisions, less the clock's cost\n")
    last = {}
    for count in keys:
        last = page(count, run("decide", keys=count))
    judge(last, keys[-1])
    to_load = keys[-1] if options.load_keys is None else options.load_keys
    if to_load:
        load(run, to_load)
    if options.contenders:
        for name in CONTENDERS:
            print(f"\n### {name}\n")
            table(run("contender", name))
        print("\n### fingerprints\n")
        table(run("fingerprints"))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def build():
    command = ["cargo", "build", "--release", "--bench", "table", "--message-format", "json-render-diagnostics"]
    ran = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True)
    made = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return next(it["executable"] for it in made if it.get("executable") and it["target"]["name"] == "table")


def table(rows):
    print("| case | median ns | p99 | p99.9 |\n|---|---|---|---|")
    for row in rows:
        if "median_ns" in row:
            print(f"| {row['case']} | {row['median_ns']} | {row['p99_ns']} | {row['p999_ns']} |")
        elif "ns" in row:
            print(f"| {row['case']} | {row['ns']:.0f} | | |")
        elif "rss" in row:
            print(f"| {row['case']}: {row['rss'] / row['keys']:.1f} bytes a key | | | |")


def page(count, rows):
    print(f"\n## {count:,} keys\n")
    table(rows)
    cases = {row["case"]: row for row in rows}
    memory = cases["memory"]
    print(
        f"\nbytes a key: {memory['lines'] / count:.1f} lines, {memory['records'] / count:.1f} records, "
        f"{memory['rss'] / count:.1f} resident with orgs, users, limits and all; filled in {memory['filled_s']:.1f} s"
    )
    return cases


def judge(cases, count):
    print(f"\n## Targets, at {count:,} keys\n")
    print("| target | found | met |\n|---|---|---|")
    floor = cases["floor: hash and read"]["median_ns"]
    quiet, busy = cases["hit, quiet"], cases["hit, 10000 changes/s"]
    change = cases["a change, mean"]["ns"]
    memory = cases["memory"]
    say("a decision's median with 10,000 changes/s <= 1.4 x (hash and one read)", busy["median_ns"] / floor, 1.4, " x")
    say("its p99.9 <= 1,200 ns", busy["p999_ns"], 1_200, " ns")
    moved = (busy["median_ns"] / quiet["median_ns"] - 1) * 100
    say("changes move the median by <= 10 %", moved, 10, " %")
    say("a change <= 1,000 ns", change, 1_000, " ns")
    say("lines <= 96 bytes a key", memory["lines"] / count, 96, "")
    say("all <= 128 bytes a key", memory["rss"] / count, 128, "")


def say(target, found, most, unit):
    print(f"| {target} | {found:.2f}{unit} | {'yes' if found <= most else 'no'} |")


def load(run, count):
    with tempfile.TemporaryDirectory(prefix="keygate-bench-") as folder:
        file = Path(folder) / "replica"
        run("write", file, keys=count)
        print(f"\n## Loading {count:,} keys, a file of {file.stat().st_size / 1e9:.1f} GB\n")
        run("load", file, keys=count)  # it is in memory from here on
        print("| cores | seconds |\n|---|---|")
        for cores in ({0}, None):
            [row] = run("load", file, keys=count, cores=cores)
            print(f"| {row['cores']} | {row['seconds']:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
