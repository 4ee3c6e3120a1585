#!/usr/bin/env python3
"""Fails on machine code that spoils what wgmma reads or writes in registers.

    wgmma_registers.py FOLDER     the folder of a build that holds src/backends/cuda's *.cu.o

wgmma runs on after it is issued, and reads a first operand in registers until a WARPGROUP.DEPBAR waits for its
group. ptxas of CUDA 13.0 has been seen to give those registers to other values meanwhile, and to put another
value over an operand that the next turn of a loop reads again; the PTX was right both times, so that nothing in
the source can rule it out. Looked for, in every kernel for sm_90a that uses wgmma:
  - a write to registers of an operand or of sums while the product may still run;
  - a definition of an operand that reaches two products, of which one has others besides: what the other's
    operand was put over.
Exit status 77 (skipped) without objects, without kernels of theirs for sm_90a, or without nvdisasm and cuobjdump
(tools/install_deps.sh cuda).
"""

import concurrent.futures
import glob
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Set, Tuple

ARCHITECTURE = "sm_90a"
SHOWN_MAX = 20
GROUPS_MAX = 7  # pending groups that are told apart
# Opcodes whose first register is read, not written.
READ_FIRST = {"RET", "BRX", "WARPSYNC", "BAR", "NANOSLEEP", "BMOV", "R2P", "FCHK", "CALL", "WARPGROUP", "USETMAXREG"}


class Instruction(NamedTuple):
    opcode: str
    words: List[str]  # of the opcode, between points
    operands: List[str]
    guarded: bool
    writes: FrozenSet[int]


class Pending(NamedTuple):
    """Registers of a product that may still run; groups committed since, its own included."""
    first: int
    count: int
    groups: int
    product: int


def tool(name: str) -> Optional[str]:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folders = [f"{os.environ.get('CUDA_HOME', '/usr/local/cuda')}/bin",
               *glob.glob(f"{cache}/realm/cuda-*/lib/python3*/site-packages/nvidia/cu*/bin")]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))


def register(operand: str) -> Optional[int]:
    match = re.match(r"R(\d+)(\.\w+)?$", operand)
    return int(match.group(1)) if match else None


def words_written(words: List[str]) -> int:
    """How many registers an instruction writes."""
    if words[0] in ("HMMA", "IMMA", "QMMA", "BMMA") or "128" in words:
        return 4
    if words[0] == "LDSM":
        return 4 if "4" in words else 2 if "2" in words else 1
    wide = words[0] in ("DADD", "DMUL", "DFMA", "CS2R") and "32" not in words
    return 2 if wide or {"64", "WIDE"} & set(words) or words[1:2] in (["F64"], ["S64"], ["U64"]) else 1


def parse(raw: Dict) -> Instruction:
    words = raw["opcode"].split(".")
    operands = raw.get("operands", "").split(",")
    writes: FrozenSet[int] = frozenset()
    if words[0] not in READ_FIRST and not words[0].endswith("GMMA"):
        # Some have a predicate before it.
        first = operands[1] if len(operands) > 1 and re.match(r"P[T\d]$", operands[0]) else operands[0]
        at = register(first)
        if at is not None:
            writes = frozenset(range(at, at + words_written(words)))
    return Instruction(raw["opcode"], words, operands, "predicate" in raw, writes)


class Kernel:
    def __init__(self, raw: Dict):
        self.name = raw["function-name"]
        self.products = [i for i, x in enumerate(raw["sass-instructions"]) if "GMMA" in x["opcode"]]
        if self.products:
            self.code = [parse(each) for each in raw["sass-instructions"]]
            self.problems = self.check()

    def successors(self, i: int, joins: FrozenSet[Tuple[str, int]]) -> List[int]:
        x = self.code[i]
        after = [i + 1] if i + 1 < len(self.code) else []
        if x.words[0] in ("BRA", "JMP"):
            to = [int(x.operands[-1], 16) // 16]
            return to + after if x.guarded or len(x.operands) > 1 else to
        if x.words[0] == "WARPSYNC" and len(x.operands) > 1:
            return [int(x.operands[-1], 16) // 16] + after
        if x.words[0] in ("EXIT", "RET", "KILL"):
            return after if x.guarded else []
        if x.words[0] == "BSYNC":
            to = [place for name, place in joins if name == x.operands[0]]
            return to + after if x.guarded or not to else to
        if x.words[0] in ("BRX", "JMX"):
            raise ValueError(f"{self.name}: a jump to a place that is not known, at {16 * i:#x}")
        return after

    def flow(self) -> List[Optional[List[int]]]:
        """The instructions that may follow each; None where none reaches it from the kernel's start."""
        joins: List[Optional[FrozenSet[Tuple[str, int]]]] = [None] * len(self.code)
        joins[0] = frozenset()
        todo = [0]
        follow: List[Optional[List[int]]] = [None] * len(self.code)
        while todo:
            i = todo.pop()
            state = joins[i]
            x = self.code[i]
            follow[i] = self.successors(i, state)
            if x.words[0] == "BSSY":
                state = frozenset(e for e in state if e[0] != x.operands[0]) | {
                    (x.operands[0], int(x.operands[1], 16) // 16)}
            for to in follow[i]:
                merged = state if joins[to] is None else joins[to] | state
                if merged != joins[to]:
                    joins[to] = merged
                    todo.append(to)
        return follow

    def check(self) -> List[str]:
        follow = self.flow()
        # What is called stands where the kernel's own code does not come by.
        called: FrozenSet[int] = frozenset().union(
            *(x.writes for x, next_ones in zip(self.code, follow) if next_ones is None))
        for i, x in enumerate(self.code):
            if x.words[0] == "CALL" and follow[i] is not None:
                self.code[i] = x._replace(writes=called)
        starts = {0} | {to for i, next_ones in enumerate(follow) if next_ones is not None
                        for to in next_ones if to != i + 1 or len(next_ones) > 1}
        blocks: Dict[int, List[int]] = {}
        for start in starts:
            end = start
            while follow[end] == [end + 1] and end + 1 not in starts:
                end += 1
            blocks[start] = list(range(start, end + 1))
        after = {start: follow[block[-1]] for start, block in blocks.items()}
        return self.check_pending(blocks, after) + self.check_operands(blocks, after)

    def place(self, i: int) -> str:
        return f"{16 * i:#x} {self.code[i].opcode} {','.join(self.code[i].operands)}"

    def check_pending(self, blocks: Dict[int, List[int]], after: Dict[int, List[int]]) -> List[str]:
        states: Dict[int, Set[Pending]] = {0: set()}
        todo, found = [0], {}
        while todo:
            start = todo.pop()
            state = set(states[start])
            for i in blocks[start]:
                x = self.code[i]
                for each in state:
                    if any(each.first <= w < each.first + each.count for w in x.writes):
                        found[(i, each.product)] = f"{self.place(i)} writes to registers of {self.place(each.product)}"
                if x.words[0].endswith("GMMA"):
                    state.add(Pending(register(x.operands[0]), int(x.words[1].split("x")[1]) // 2, 0, i))
                    if register(x.operands[1]) is not None:
                        state.add(Pending(register(x.operands[1]), 4, 0, i))
                    if "gsb0" in x.operands:
                        state = {each._replace(groups=min(each.groups + 1, GROUPS_MAX)) for each in state}
                elif x.opcode.startswith("WARPGROUP.DEPBAR"):
                    state = {each for each in state if each.groups <= int(x.operands[1], 16)}
            for to in after[start]:
                known = states.get(to)
                if known is None or not state <= known:
                    states[to] = state | (known or set())
                    todo.append(to)
        return list(found.values())

    def check_operands(self, blocks: Dict[int, List[int]], after: Dict[int, List[int]]) -> List[str]:
        uses: Dict[int, List[int]] = {}
        for i in self.products:
            first = register(self.code[i].operands[1])
            for r in range(first, first + 4) if first is not None else []:
                uses.setdefault(r, []).append(i)
        # Of each register what counts in each block.
        steps: Dict[int, Dict[int, List[int]]] = {r: {} for r in uses}
        for start, block in blocks.items():
            for i in block:
                x = self.code[i]
                for r in x.writes & uses.keys():
                    steps[r].setdefault(start, []).append(i)
                if x.words[0].endswith("GMMA"):
                    first = register(x.operands[1])
                    for r in range(first, first + 4) if first is not None else []:
                        steps[r].setdefault(start, []).append(i)
        found = {}
        for r, products in uses.items():
            reach = self.reaching(r, set(products), steps[r], after)
            for k, i in enumerate(products):
                for j in products[k + 1:]:
                    if reach[i] & reach[j] and reach[i] != reach[j]:
                        found[(i, j)] = f"{self.place(i)} and {self.place(j)} share some definitions of R{r}, not all"
        return list(found.values())

    def reaching(self, r: int, products: Set[int], steps: Dict[int, List[int]],
                 after: Dict[int, List[int]]) -> Dict[int, FrozenSet[int]]:
        """The definitions of a register that may reach each product."""
        states: Dict[int, FrozenSet[int]] = {0: frozenset()}
        todo, result = [0], {i: frozenset() for i in products}
        while todo:
            start = todo.pop()
            state = states[start]
            for i in steps.get(start, []):
                if i in products:
                    result[i] |= state
                else:
                    state = state | {i} if self.code[i].guarded else frozenset([i])
            for to in after[start]:
                known = states.get(to)
                if known is None or not state <= known:
                    states[to] = state | (known or frozenset())
                    todo.append(to)
        return result


def check_object(path: pathlib.Path, cuobjdump: str, nvdisasm: str) -> Tuple[int, List[str]]:
    """How many kernels of an object, or a cubin, use wgmma, and what is wrong with them."""
    with tempfile.TemporaryDirectory() as folder:
        cubins = [path]
        if path.suffix != ".cubin":
            subprocess.run([cuobjdump, "-xelf", ARCHITECTURE, str(path.resolve())], cwd=folder,
                           capture_output=True, check=False)
            cubins = sorted(pathlib.Path(folder).glob("*.cubin"))
        count, problems = 0, []
        for cubin in cubins:
            text = subprocess.run([nvdisasm, "-c", "-json", str(cubin)], capture_output=True, check=True).stdout
            for raw in json.loads(text)[1]:
                kernel = Kernel(raw)
                if kernel.products:
                    count += 1
                    problems += [f"{path.name}: {kernel.name}: {each}" for each in kernel.problems]
    return count, problems


def uses_wgmma(path: pathlib.Path) -> bool:
    needs = pathlib.Path(f"{path}.d")
    return not needs.exists() or "wgmma" in needs.read_text(encoding="utf-8")


def stamp(path: pathlib.Path) -> str:
    """Of an object and of this program."""
    return " ".join(f"{each.st_size} {each.st_mtime_ns}" for each in (path.stat(), pathlib.Path(__file__).stat()))


def main() -> int:
    nvdisasm, cuobjdump = tool("nvdisasm"), tool("cuobjdump")
    given = pathlib.Path(sys.argv[1])
    objects = [path for path in sorted(given.glob("*.cu.o")) if uses_wgmma(path)] if given.is_dir() else [given]
    if not objects or not nvdisasm or not cuobjdump:
        print("wgmma registers: skipped, no " + ("CUDA objects" if not objects else "nvdisasm and cuobjdump"))
        return 77
    # A second for each object: those that were found good are remembered beside them.
    memory = (given if given.is_dir() else given.parent) / "wgmma_registers.json"
    good: Dict[str, str] = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    todo = [path for path in objects if good.get(path.name) != stamp(path)]
    count, problems = 0, []
    with concurrent.futures.ProcessPoolExecutor() as pool:
        results = pool.map(check_object, todo, [cuobjdump] * len(todo), [nvdisasm] * len(todo))
        for path, (kernels, found) in zip(todo, results):
            count += kernels
            problems += found
            if kernels > 0 and not found:
                good[path.name] = stamp(path)
    memory.write_text(json.dumps(good), encoding="utf-8")
    if count == 0 and len(todo) == len(objects):
        print(f"wgmma registers: skipped, no kernel for {ARCHITECTURE} was found in {len(objects)} objects")
        return 77
    for problem in problems[:SHOWN_MAX]:
        print(problem, file=sys.stderr)
    print(f"wgmma registers: {count} kernels of {len(todo)} objects, {len(problems)} problems; "
          f"{len(objects) - len(todo)} objects are as they were")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
