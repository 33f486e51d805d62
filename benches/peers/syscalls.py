"""System calls per request, in a pass of its own after the timed ones: counting costs time."""

import os
import re
import signal
import statistics
import subprocess
import time

import machine
from machine import Failed
from peers.contenders import NAMES
from peers.loads import LOADS, ask_for

WAYS = {"perf": {"perf": "linux-perf"}, "strace": {"strace": "strace"}, "off": {}}
COUNTER = "raw_syscalls:sys_enter"
COUNTED = ("GET", "POST 1 KiB")


def check(way):
    """Before anything else, for nobody wants to know after half an hour."""
    if way == "perf":
        done = subprocess.run(["perf", "stat", "-e", COUNTER, "true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode or not re.search(rf"\d\s+{COUNTER}", done.stdout):
            raise Failed(f"perf may not count system calls here; try --syscalls strace, or off:\n{done.stdout.strip()}")


def count(way, pids, path, during):
    """How many calls these processes made while `during` ran, and what it gave."""
    listed = ",".join(map(str, pids))
    if way == "perf":
        command = ["perf", "stat", "-x", ";", "-e", COUNTER, "-o", path, "-p", listed]
    else:
        command = ["strace", "-c", "-f", "-o", path, "-p", listed]
    counter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        # Neither says when it has begun.
        time.sleep(0.5)
        got = during()
        counter.send_signal(signal.SIGINT)
        _, errors = counter.communicate(timeout=10)
    finally:
        if counter.poll() is None:
            counter.kill()
            counter.wait()
    with open(path) as file:
        text = file.read()
    found = re.search(rf"^(\d+);[^;]*;{COUNTER}", text, re.M) if way == "perf" else re.search(r"^\s*100\.00\s+\S+\s+(?:\d+\s+)?(\d+)\s.*total$", text, re.M)
    if not found:
        raise Failed(f"{way} counted nothing: {errors.strip()[-500:]} {text[-500:]}")
    return int(found[1]), got


def measure(bench, contenders, connections, rounds):
    """A row for each contender and each of two loads; wrk's connecting is in it, and is little."""
    way, rows = bench.options.syscalls, []
    for load in LOADS:
        for contender in contenders:
            if way == "off" or load.name not in COUNTED or contender.name == "keygate-no-record":
                continue
            values = []
            ask_for(bench, contender, load, connections, 1)
            # Under strace there are a tenth of the requests, and the connecting would weigh.
            seconds = 3 if way == "strace" else 1
            for number in range(rounds):
                path = os.path.join(bench.folder, f"calls-{contender.name}-{number}")
                pids = contender.process.pids()
                calls, got = count(way, pids, path, lambda load=load, contender=contender: ask_for(bench, contender, load, connections, seconds))
                values.append(calls / got["requests"])
            machine.say(f"{load.name:<13} {connections:>4}  {NAMES[contender.name]:<17} {statistics.median(values):5.2f} system calls/request")
            rows.append({"contender": contender.name, "load": load.name, "connections": connections, "way": way, "per_request": values})
    return rows
