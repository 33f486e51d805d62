"""What callgrind wrote, read: instructions and calls, by function and by the file that the code stands in. It runs nothing."""

import re
from collections import Counter, defaultdict

from machine import Failed

# What stands before the part of a path that tells one file from another.
_ROOTS = re.compile(r"^(?:.*/registry/src/[^/]+/|/rust/deps/|/rustc/[0-9a-f]+/library/|.*/(?=sysdeps/)|.*/(?=src/))")
_NAMED = re.compile(r"\((\d+)\)(?: (.*))?$")
_COSTS = "0123456789+-*"
# Copies of memory are many and short: who asks for them tells more than what they cost together.
_SHOWN_WITH_CALLERS = re.compile(
    r"^(mi_(malloc|zalloc|realloc)_aligned|.*mem(cpy|move|set|cmp)_.*|alloc::raw_vec::.*|.*hash_elem_using|.*HeaderMap<T>::\w+)$"
)


class Profile:
    """The instructions of one dump or of several, added up."""

    def __init__(self, *paths):
        self.total = 0
        # By function, and by (file, function): a function has the code of every file of which something was inlined into it.
        self.own, self.own_in = Counter(), Counter()
        # The same with all that is called. What calls itself by way of others is in it more than once.
        self.inclusive, self.inclusive_in = Counter(), Counter()
        # {called: {(file, function) that calls: [calls, instructions]}}
        self.calls = defaultdict(lambda: defaultdict(lambda: [0, 0]))
        for path in paths:
            self._read(path)

    def _read(self, path):
        files, functions = {}, {}
        file = function = called = calls = told = None
        before = self.total
        with open(path, errors="replace") as lines:
            for line in lines:
                if line[0] in _COSTS:
                    cost = int(line.split()[1])
                    if calls is None:
                        self.total += cost
                        self.own[function] += cost
                        self.own_in[file, function] += cost
                    else:
                        of = self.calls[called][file, function]
                        of[0] += calls
                        of[1] += cost
                        calls = None
                        if called == function:
                            continue
                    self.inclusive[function] += cost
                    self.inclusive_in[file, function] += cost
                    continue
                word, _, rest = line.rstrip("\n").partition("=")
                if word in ("fl", "fi", "fe"):
                    file = _name(files, rest, lambda path: _ROOTS.sub("", path))
                elif word in ("cfi", "cfl"):
                    _name(files, rest, lambda path: _ROOTS.sub("", path))
                elif word == "fn":
                    function = _name(functions, rest)
                elif word == "cfn":
                    called = _name(functions, rest)
                elif word == "calls":
                    calls = int(rest.split()[0])
                elif line.startswith("totals: "):
                    told = int(line.split()[1])
        # An idle thread's dump has no total.
        if self.total - before != (told or 0):
            raise Failed(f"{path} was not written, or not read, whole")

    def own_of(self, part):
        """Instructions of the functions in whose name `part` is, without what they call."""
        return sum(cost for name, cost in self.own.items() if part in name)

    def calls_of(self, names):
        """How often others than themselves called these functions."""
        callers = [item for name in names for item in self.calls.get(name, {}).items()]
        return sum(calls for (_, caller), (calls, _) in callers if caller not in names)

    def tables(self, per, rows=40):
        """All of it as text, most first, each figure divided by `per`."""
        out = []

        def table(title, counts):
            out.append(f"\n-- {title}")
            for name, count in counts.most_common(rows):
                name = name if isinstance(name, str) else f"{name[0]}  in  {name[1]}"
                out.append(f"{count / per:10.1f} {count / self.total:6.1%}  {name}")

        table("instructions of a function itself", self.own)
        table("instructions of a function with all that it calls", self.inclusive)
        table("instructions of the code of a file inlined into a function", self.own_in)
        table("the same with all that this code calls", self.inclusive_in)
        by_file, by_crate = Counter(), Counter()
        for (file, _), cost in self.own_in.items():
            by_file[file] += cost
            by_crate[file if file.startswith("src/") else file.partition("/")[0]] += cost
        table("instructions by file", by_file)
        table("instructions by crate, and by file of keygate", by_crate)
        for name, callers in sorted(self.calls.items(), key=lambda item: -self.calls_of([item[0]])):
            many = self.calls_of([name])
            if many < per / 2 or not _SHOWN_WITH_CALLERS.match(name):
                continue
            out.append(f"\n-- who calls {name}: calls, instructions (in all {many / per:.2f} calls)")
            for (file, caller), (calls, cost) in sorted(callers.items(), key=lambda item: -item[1][0])[:rows]:
                if calls >= per / 100:
                    out.append(f"{calls / per:10.2f} {cost / per:8.1f}  {file}  in  {caller}")
        return "\n".join(out)


def _name(names, text, shorten=lambda name: name):
    """A name is spelt out once, with the number that stands for it from then on."""
    number, spelt = _NAMED.match(text).groups()
    if spelt is not None:
        names[number] = shorten(spelt)
    return names[number]
