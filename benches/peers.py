"""benches/run peers: keygate beside nginx, HAProxy, Envoy and a bare relay on one core each in turn. Figures only; benches/README.md says how to read them."""

import json
import os
import random
import shutil
import sys
import tempfile

import machine
from machine import Failed, say
from peers import contenders, figures, keys, loads, report, syscalls

ROUNDS, SECONDS, KEYS, CONNECTIONS = 5, 3, [10_000, 1_000_000], [64, 512]


def parse():
    parser = machine.Parser(prog="benches/run peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 short round, 64 connections, 200 keys: shows that it works, not how fast")
    parser.add_argument("--json", metavar="FILE", help="write every run and the medians there")
    parser.add_argument("--rounds", type=int, help=f"interleaved rounds ({ROUNDS}; quick 1)")
    parser.add_argument("--seconds", type=int, help=f"length of one measured run ({SECONDS}; quick 1)")
    parser.add_argument("--paced-seconds", type=int, help="the same at the fixed rate, where it is longer (5; quick 2)")
    parser.add_argument("--keys", type=int, nargs="+", metavar="N", help="keys that every proxy holds (10000 1000000; quick 200); all loads with the first number")
    parser.add_argument("--connections", type=int, nargs="+", metavar="N", help="connections (64 512; quick 64)")
    parser.add_argument("--contenders", default=",".join(contenders.NAMES), help="which to run (%(default)s)")
    parser.add_argument("--loads", help="which loads, by the words they begin with, such as `GET,wrong` (all)")
    parser.add_argument("--keygate", metavar="BINARY", help="measure this binary instead of building one")
    parser.add_argument("--clients", metavar="BINARY", help="use this fleet_clients, which makes many keys, instead of building one")
    parser.add_argument("--nginx-log", choices=["buffered", "plain"], default="buffered", help="nginx's log in 64 KiB writes, or one write a request")
    parser.add_argument("--nginx-body", choices=list(contenders.NGINX_BODY), default="streamed", help="streamed as keygate does, collected in memory, or nginx's default")
    parser.add_argument("--haproxy-log", choices=list(contenders.HAPROXY_LOG), default="ring", help="HAProxy's log in batches, or one write a request")
    parser.add_argument("--syscalls", choices=list(syscalls.WAYS), default="perf", help="what counts system calls, after all that is timed (perf)")
    parser.add_argument("--readme", metavar="FILE", help="put the result between the marks there (README.md in a full run, nowhere in others)")
    parser.add_argument("--plots", metavar="FOLDER", help="write the plots there (benches/peers when there is a README, otherwise nowhere)")
    options = parser.parse_args()
    quick = options.quick
    options.rounds = options.rounds or (1 if quick else ROUNDS)
    options.seconds = options.seconds or (1 if quick else SECONDS)
    options.paced_seconds = options.paced_seconds or (2 if quick else 5)
    options.warm = 1
    options.keys = options.keys or ([200] if quick else KEYS)
    options.connections = options.connections or ([64] if quick else CONNECTIONS)
    options.contenders = options.contenders.split(",")
    if set(options.contenders) - set(contenders.NAMES):
        parser.error(f"contenders are {', '.join(contenders.NAMES)}")
    words = options.loads.split(",") if options.loads else [""]
    options.loads = [load.name for load in loads.LOADS if load.name.startswith(tuple(words))]
    if not options.loads:
        parser.error(f"loads are {', '.join(load.name for load in loads.LOADS)}")
    if is_full(options):
        options.readme = options.readme or os.path.join(machine.ROOT, "README.md")
    if options.readme:
        options.plots = options.plots or os.path.join(machine.ROOT, "benches", "peers")
    return options


def is_full(options):
    """Whether the figures may stand in the README without being asked to: nothing is left out."""
    given = (options.keys, options.connections, set(options.contenders), len(options.loads))
    return options.rounds >= ROUNDS and options.seconds >= SECONDS and given == (KEYS, CONNECTIONS, set(contenders.NAMES), len(loads.LOADS))


def plan(options, running, many):
    """(load, connections, who) of one round."""
    first_keys, first_connections = many == options.keys[0], options.connections[0]
    cells = []
    for load in loads.LOADS:
        for connections in options.connections if load.name in options.loads else []:
            who = [contender for contender in running if load.meets(contender, connections, first_keys, first_connections)]
            if who:
                cells.append((load, connections, who))
    return cells


def measure_with(options, many, folder, found):
    """All contenders with so many keys; what is found is told in `found` as it comes."""
    proxy_core, load_core, found["siblings"] = machine.cores()
    every_core = sorted(os.sched_getaffinity(0))
    stop = []
    try:
        store = keys.make(options, folder, many, ",".join(map(str, every_core)), stop)
        upstream_process, upstream = machine.start_upstream(folder, load_core, stop)
        place = contenders.Place(options, folder, upstream, proxy_core, load_core, stop)
        running, left_out = contenders.start(place, options.contenders, store)
        found["left_out"] += left_out.values()
        found["versions"].update({contender.name: contender.version for contender in running if contender.name not in ("relay", "keygate-no-record")})
        bench = loads.Bench(options, many, folder, upstream, upstream_process, proxy_core, load_core)
        asked, wrong = list(store.asked), keys.some_keys(10_000)
        loads.check_same_answers(bench, running, asked, wrong)
        say("same answers for the right, the wrong and the missing key; the upstream saw exactly the right ones, without their keys")
        # In random order, so that no table answers from one warm line.
        random.shuffle(asked)
        bench.give_keys(asked, wrong)
        # This script's own work between the runs belongs to the load's core.
        os.sched_setaffinity(0, {load_core})
        for number in range(options.rounds):
            for load, connections, who in plan(options, running, many):
                # Who goes first rotates, so that nobody always has the quieter or the warmer part of a round.
                for contender in who[number % len(who) :] + who[: number % len(who)]:
                    run = loads.one_run(bench, contender, load, connections) | {"round": number + 1}
                    found["runs"].append(run)
                    say(report.line(run, options.rounds))
        if many == options.keys[0]:
            found["syscalls"] = syscalls.measure(bench, running, options.connections[0], min(3, options.rounds))
    finally:
        os.sched_setaffinity(0, set(every_core))
        for process in reversed(stop):
            process.stop()


def packages(options):
    needed = {"wrk": "wrk", "cc": "gcc", "taskset": "util-linux", "setpriv": "util-linux"} | syscalls.WAYS[options.syscalls]
    for name in options.contenders:
        needed |= contenders.PACKAGES.get(name, {})
    return needed


def tell(options, facts, found):
    """Everything, to whom it may concern: the terminal, the README, the plots."""
    runs = found["runs"]
    rows = figures.summarise(runs)
    met = figures.targets(runs, rows, found["syscalls"])
    said = figures.doubts(options, runs, found["siblings"])
    print(report.markdown(options, facts, rows, met, found["syscalls"], found["left_out"], said))
    if options.plots:
        report.draw(rows, options.plots)
    if options.readme:
        beside = os.path.relpath(options.plots, os.path.dirname(os.path.abspath(options.readme)))
        report.write_readme(options.readme, report.markdown(options, facts, rows, met, found["syscalls"], found["left_out"], said, beside))
    targets = [dict(zip(("what", "most", "measured", "met"), target)) for target in met]
    return {"targets": targets, "doubts": said, "medians": rows}


def main():
    options = parse()
    cells = 9 * len(options.contenders) * len(options.keys) * options.rounds
    # The plan twice over, and an hour to install, to build and to make keys.
    machine.stop_on_signals(3600 + 2 * cells * (options.seconds + options.warm + 4))
    if options.readme:
        report.around(options.readme)
    lock = machine.only_one_load()
    machine.need(packages(options))
    syscalls.check(options.syscalls)
    if "envoy" in options.contenders:
        contenders.envoy_binary()
    machine.allow_many_files()
    facts = machine.describe()
    found = {"runs": [], "syscalls": [], "left_out": [], "versions": {}, "siblings": False}
    told = {}
    try:
        for many in options.keys:
            folder = tempfile.mkdtemp(prefix="keygate-bench-")
            try:
                measure_with(options, many, folder, found)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        facts["versions"] = found["versions"]
        told = tell(options, facts, found)
    except Failed as failure:
        told["failed"] = str(failure)
        raise
    finally:
        lock.close()
        if options.json:
            settings = {name: value for name, value in vars(options).items() if name != "json"}
            with open(options.json, "w") as file:
                json.dump({"machine": facts, "settings": settings} | told | found, file, indent=1)
                file.write("\n")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        say(f"benches/run peers: {failure}")
        sys.exit(1)
