"""Every executor keeps the port's promises; processes survive the death of their workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelworks.jobs.executors import EXECUTORS, Done, Executor
from modelworks.jobs.executors.processes import Processes
from modelworks.jobs.executors.shared import buffer


def make(name: str, request: pytest.FixtureRequest) -> Executor:
    """The executor of that name; Ray on a cluster that all tests share."""
    address = request.getfixturevalue("ray_address") if name == "ray" else ""
    return EXECUTORS[name]([], address)


@pytest.fixture(scope="module", params=list(EXECUTORS))
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made = make(request.param, request)
    yield made
    made.close()


@pytest.fixture(scope="module", params=[name for name in EXECUTORS if EXECUTORS[name].apart])
def apart(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Those whose work leaves this process: they survive what it does."""
    made = make(request.param, request)
    yield made
    made.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    made = Processes()
    yield made
    made.close()


def add(initial: int, item: int) -> int:
    if item < 0:
        raise ValueError(f"{item} is negative")
    return initial + item


def test_every_item_comes_back_once_with_its_value(executor: Executor) -> None:
    done = list(executor.run(add, range(200), workers=2, initial=1000))
    assert sorted(result.item for result in done) == list(range(200))
    assert all(result.value == 1000 + result.item and not result.error for result in done)


def test_an_item_that_raises_is_reported_and_stops_nothing(executor: Executor) -> None:
    done = {result.item: result for result in executor.run(add, [3, -1, 4], workers=2, initial=0)}
    assert (done[3].value, done[4].value) == (3, 4)
    assert done[-1].value is None
    assert done[-1].error == "ValueError: -1 is negative"
    assert "in add" in done[-1].trace


def test_the_dearest_item_starts_first(executor: Executor) -> None:
    done = executor.run(add, [1, 2, 3, 4], workers=1, initial=0, weights=[1, 9, 2, 8])
    assert [result.item for result in done] == [2, 4, 3, 1]


def test_no_items_no_results(executor: Executor) -> None:
    assert list(executor.run(add, [], workers=2, initial=0)) == []


def test_an_executor_runs_again_after_it_was_closed(executor: Executor) -> None:
    executor.close()
    assert [result.value for result in executor.run(add, [1], workers=1, initial=1)] == [2]


def test_closures_travel(executor: Executor) -> None:
    factor = 7
    done = executor.run(lambda initial, item: item * factor, [6], workers=1, initial=None)
    assert [result.value for result in done] == [42]


def test_what_follows_from_a_result_is_done_in_the_same_run(executor: Executor) -> None:
    def halves(result: Done[int, int]) -> list[tuple[int, float]]:
        return [(result.item // 2, 1.0)] * 2 if result.item > 1 else []

    done = list(executor.run(add, [8], workers=2, initial=0, more=halves))
    assert sorted(result.item for result in done) == [1] * 8 + [2] * 4 + [4] * 2 + [8]


def test_what_follows_takes_its_place_by_its_weight(executor: Executor) -> None:
    def follow(result: Done[int, int]) -> list[tuple[int, float]]:
        return [(30, 3.0), (10, 1.0)] if result.item == 40 else []

    found = executor.run(add, [40, 20], workers=1, initial=0, weights=[4.0, 2.0], more=follow)
    items = [result.item for result in found]
    assert items[0] == 40
    assert set(items[1:3]) == {20, 30}  # one that waits at a worker already keeps its place
    assert items[3] == 10


def read_length(path: Path, item: int) -> tuple[int, bytes]:
    content = buffer(path)
    return len(content), content.slice(item, 3).to_pybytes()


def test_files_are_read_where_they_are(executor: Executor, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(bytes(range(256)) * 4096)
    done = list(executor.run(read_length, range(4), workers=2, initial=path, files=[path]))
    assert {result.item: result.value for result in done} == {
        item: (256 * 4096, bytes([item, item + 1, item + 2])) for item in range(4)
    }


def test_it_knows_its_cores(executor: Executor) -> None:
    assert 1 <= executor.cores() <= (os.cpu_count() or 1)


def process_of(_initial: None, _item: int) -> int:
    return os.getpid()


def test_workers_stay_warm_between_runs(pool: Processes) -> None:
    first = {result.value for result in pool.run(process_of, range(8), workers=2, initial=None)}
    second = {result.value for result in pool.run(process_of, range(8), workers=2, initial=None)}
    assert os.getpid() not in first
    assert second <= first | second
    assert first & second


def test_workers_have_one_thread_and_leave_the_environment_alone(apart: Executor) -> None:
    before = dict(os.environ)
    seen = apart.run(lambda _i, name: os.environ.get(name), ["OMP_NUM_THREADS"], workers=1, initial=None)
    assert [result.value for result in seen] == ["1"]
    assert dict(os.environ) == before


def die_once(folder: Path, item: int) -> int:
    marker = folder / str(item)
    if item % 10 == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.fault
def test_what_a_killed_worker_held_is_done_by_another(apart: Executor, tmp_path: Path) -> None:
    done = list(apart.run(die_once, range(40), workers=2, initial=tmp_path))
    assert sorted(result.item for result in done) == list(range(40))
    assert not [result for result in done if result.error]
    assert len(list(tmp_path.iterdir())) == 4


def die(_initial: None, item: int) -> int:
    if item == 5:
        os._exit(3)
    if item == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.fault
def test_an_item_that_kills_its_worker_twice_is_given_up_with_the_reason(apart: Executor) -> None:
    done = {result.item: result for result in apart.run(die, range(20), workers=2, initial=None)}
    assert len(done) == 20
    assert all(done[item].error.endswith(", 2 times at this item") for item in (5, 6))
    assert {result.fate for result in done.values() if result.error} == {"died"}
    assert [item for item, result in done.items() if result.error] in ([5, 6], [6, 5])


@pytest.mark.fault
def test_it_is_told_how_a_process_ended(pool: Processes) -> None:
    done = {result.item: result for result in pool.run(die, [5, 6], workers=2, initial=None, retries=0)}
    assert done[5].error == "the worker process exited with status 3"
    assert done[6].error == "the worker process was killed by SIGKILL (out of memory?)"


def ends(pid: int) -> bool:
    """Whether a process that was killed is gone; Ray's word that it is comes a little before."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def hang(folder: Path, item: int) -> int:
    with (folder / str(item)).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if item == 3:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        time.sleep(600)
    return item


@pytest.mark.fault
def test_an_item_that_takes_too_long_is_ended_and_the_others_go_on(apart: Executor, tmp_path: Path) -> None:
    done = {
        result.item: result for result in apart.run(hang, range(12), workers=2, initial=tmp_path, limit=1.5)
    }
    assert sorted(done) == list(range(12))
    assert done[3].error == "it took longer than 1.5 s and was ended"
    assert done[3].fate == "late"
    assert all(result.value == item for item, result in done.items() if item != 3)
    (pid,) = (tmp_path / "3").read_text().split()
    assert ends(int(pid))


def wait_for(folder: Path, item: int) -> int:
    (folder / f"{item} {os.getpid()}").touch()
    while item and not (folder / "go").exists():
        time.sleep(0.001)
    return item


@pytest.mark.fault
def test_stopping_early_kills_what_still_runs(apart: Executor, tmp_path: Path) -> None:
    results = apart.run(wait_for, [0, 1], workers=2, initial=tmp_path)
    assert next(results).item == 0
    while not (started := list(tmp_path.glob("1 *"))):
        time.sleep(0.001)
    results.close()  # type: ignore[attr-defined]
    assert ends(int(started[0].name.split()[1]))
    assert [result.value for result in apart.run(add, [1], workers=2, initial=1)] == [2]


def test_runs_may_go_on_at_once(apart: Executor) -> None:
    first = apart.run(add, range(10), workers=1, initial=0)
    second = apart.run(add, range(10), workers=1, initial=100)
    sums = [a.value + b.value for a, b in zip(first, second, strict=True)]  # type: ignore[operator]
    assert sums == [100 + 2 * item for item in range(10)]


def test_large_items_and_results_do_not_jam_the_pipes(apart: Executor) -> None:
    items = [bytes([number]) * 300_000 for number in range(20)]
    done = list(apart.run(lambda _i, item: item + item, items, workers=2, initial=None))
    assert {len(result.value or b"") for result in done} == {600_000}


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from modelworks.jobs.executors.processes import Processes\n"
        "print('once')\n"
        "def double(initial, item):\n    return 2 * item\n"
        "print(sorted(r.value for r in Processes().run(double, [1, 2, 3], workers=2, initial=None)))\n"
    )
    for command in ([sys.executable, str(script)], [sys.executable, "-"]):
        run = subprocess.run(command, input=script.read_text(), capture_output=True, text=True, timeout=60)
        assert run.stdout.splitlines() == ["once", "[2, 4, 6]"], run.stderr


@pytest.mark.fault
def test_ctrl_c_ends_the_parent_and_its_workers(tmp_path: Path) -> None:
    script = (
        "import os, sys, time, pathlib\n"
        "from modelworks.jobs.executors.processes import Processes\n"
        "def hang(folder, item):\n"
        "    (folder / str(os.getpid())).touch()\n    time.sleep(600)\n"
        "list(Processes().run(hang, [1, 2], workers=2, initial=pathlib.Path(sys.argv[1])))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(workers := [int(path.name) for path in tmp_path.iterdir()]) < 2:
        time.sleep(0.01)
    os.killpg(parent.pid, signal.SIGINT)
    _out, trace = parent.communicate(timeout=30)
    assert trace.count("KeyboardInterrupt") == 1
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def test_work_that_cannot_be_loaded_says_so(apart: Executor) -> None:
    class Stubborn:
        def __reduce__(self) -> tuple[object, ...]:
            return (__import__, ("no_such_module_here",))

    done = list(apart.run(add, [1], workers=1, initial=Stubborn()))  # type: ignore[arg-type, misc]
    assert "the work cannot be loaded in a worker: ModuleNotFoundError" in done[0].error


class Point:
    """A class of a module that workers cannot import."""

    def __init__(self, x: int) -> None:
        self.x = x


def test_values_of_the_caller_s_own_classes_travel(executor: Executor) -> None:
    done = executor.run(
        lambda shared, item: Point(shared.x + item.x), [Point(1)], workers=1, initial=Point(2)
    )
    assert [result.value.x for result in done if result.value] == [3]
