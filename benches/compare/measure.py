"""One measurement of the Python package: `measure.py GAUGE WORKLOAD LOOP COUNT`."""

import asyncio
import os
import sys
import time

import aiorun


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


GAUGES = {"time": time.perf_counter_ns, "resident": resident}


class Counter:
    """Tasks that are counted; the last of them wakes who waits."""

    def __init__(self, tasks):
        self.left = tasks
        self.last = asyncio.get_running_loop().create_future()

    def add(self):
        self.left -= 1
        if self.left == 0:
            self.last.set_result(None)


async def trivial(done):
    await asyncio.sleep(0)
    done.add()


async def wait(begun):
    begun.add()
    await asyncio.get_running_loop().create_future()


async def start(function, tasks):
    counter = Counter(tasks)
    # The loop itself has weak references only.
    kept = [asyncio.create_task(function(counter)) for _ in range(tasks)]
    await counter.last
    return kept


async def spawn(read, tasks, batch):
    before = read()
    for _ in range(0, tasks, batch):
        await start(trivial, min(batch, tasks))
    return read() - before


async def idle(read, tasks):
    before = read()
    kept = await start(wait, tasks)
    difference = read() - before
    del kept
    return difference


def main(gauge, workload, loop, count):
    read, count, result = GAUGES[gauge], int(count), []

    async def measured():
        if workload in ("cancel", "serve"):
            kept = await start(wait, count) if count else []
            if workload == "serve":
                print("ready", flush=True)
                return kept
            result.append(-read())
        elif workload == "idle":
            result.append(await idle(read, count))
        else:
            batch = {"spawn": 1000, "burst": count}[workload]
            result.append(await spawn(read, count, batch))
        asyncio.get_running_loop().stop()

    aiorun.run(measured(), use_uvloop=loop == "uvloop")
    if workload == "cancel":
        result.append(read())
    print(sum(result))


main(*sys.argv[1:])
