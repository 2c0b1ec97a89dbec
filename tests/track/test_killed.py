"""What was logged when the process died is there, once; runs of dead processes are lost, not running for ever."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelworks.core.clock import system_clock
from modelworks.stores import Stores, journal, open_stores
from modelworks.track.settle import folder
from modelworks.track.station import TrackStation

pytestmark = pytest.mark.fault

LOGGER = """
import os, sys
import modelworks as mw
run = mw.run("killed")
run.log_params(depth=6)
print(run.id, flush=True)
with mw.run("over") as other:
    other.log_metrics(auc=0.5)
n = 0
while True:
    run.log_metrics(loss=float(n), acc=n / 2, step=n)
    os.write(1, b"%d\\n" % n)   # acknowledged
    n += 1
"""


def logging_process(where: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", LOGGER], cwd=where, stdout=subprocess.PIPE)


def killed(process: subprocess.Popen[bytes], after: int) -> tuple[str, int]:
    """Kill after so many acknowledgements; the run's id and the last step that was acknowledged."""
    assert process.stdout is not None
    run = process.stdout.readline().decode().strip()
    for _ in range(after):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().splitlines(keepends=True)
    process.wait()
    process.stdout.close()
    whole = [int(line) for line in rest if line.endswith(b"\n")]
    return run, whole[-1] if whole else after - 1


def opened(where: Path) -> tuple[Stores, TrackStation]:
    stores = open_stores(where / ".modelworks")
    return stores, TrackStation(stores, system_clock)


def test_nothing_that_was_logged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    (tmp_path / ".modelworks").mkdir()
    chance = random.Random(7)
    for _ in range(4):
        run, last = killed(logging_process(tmp_path), chance.randint(1, 5_000))
        stores, station = opened(tmp_path)
        end = time.monotonic() + 20
        # A child that it was just starting (git) holds its lock until it is another program.
        while (told := station.run(run))["status"] == "running" and time.monotonic() < end:
            time.sleep(0.01)
        assert (told["status"], told["error"]) == ("lost", "its process died")
        assert told["params"] == {"depth": 6}
        assert told["ended"] >= told["started"]
        for metric in ("loss", "acc"):
            steps = station.course(run, metric)["step"].to_list()
            assert steps == list(range(len(steps)))  # each once, in order
            assert len(steps) in (last + 1, last + 2)  # the last one may not have been acknowledged
        (other,) = station.find(f"name = 'over' and id > '{run}'")
        assert (other["status"], other["metrics"]) == ("done", {"auc": 0.5})
        assert journal.files(folder(stores)) == []
        stores.ledger.close()


def test_readers_settle_while_a_process_logs_and_dies(tmp_path: Path) -> None:
    """Two readers beside the writer's own thread: whoever comes first, each entry is entered once."""
    (tmp_path / ".modelworks").mkdir()
    process = logging_process(tmp_path)
    assert process.stdout is not None
    run = process.stdout.readline().decode().strip()
    code = (
        "from modelworks.track.station import TrackStation; from modelworks.stores import open_stores\n"
        "from modelworks.core.clock import system_clock; from pathlib import Path\n"
        "station = TrackStation(open_stores(Path('.modelworks')), system_clock)\n"
        "print('ready', flush=True)\n"
        "while True: station.settle()"
    )
    reader = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    assert reader.stdout is not None
    reader.stdout.readline()
    stores, station = opened(tmp_path)
    for seen in range(300, 3000, 300):
        for _ in range(300):
            process.stdout.readline()
        assert len(station.course(run, "loss")) >= seen
    assert station.run(run)["status"] == "running"
    os.kill(reader.pid, signal.SIGKILL)
    os.kill(process.pid, signal.SIGKILL)
    last = [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")][-1]
    reader.wait()
    process.wait()
    for one in (reader, process):
        assert one.stdout is not None
        one.stdout.close()
    steps = station.course(run, "loss")["step"].to_list()
    assert steps == list(range(len(steps)))
    assert len(steps) in (last + 1, last + 2)
    assert station.run(run)["status"] == "lost"
    stores.ledger.close()


@pytest.mark.parametrize(
    ("ending", "status", "error"),
    [
        ("", "done", None),
        ("raise ValueError('no luck')", "failed", "ValueError: no luck"),
        ("raise SystemExit(3)", "done", None),
    ],
)
def test_a_run_that_nobody_ended_ends_with_its_process(
    tmp_path: Path, ending: str, status: str, error: str | None
) -> None:
    code = f"import modelworks as mw\nrun = mw.run('open')\nrun.log_metrics(a=1)\n{ending}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True)
    stores, station = opened(tmp_path)
    (told,) = station.find("")
    assert (told["status"], told["error"], told["metrics"]) == (status, error, {"a": 1})
    stores.ledger.close()


def test_a_damaged_journal_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / ".modelworks").mkdir()
    run, last = killed(logging_process(tmp_path), 50)
    (path,) = journal.files(tmp_path / ".modelworks" / "track")
    content = bytearray(path.read_bytes())
    place = content.index(b'"loss":40.0')
    content[place + 8 : place + 10] = b"99"
    path.write_bytes(content)
    stores, station = opened(tmp_path)
    told = station.run(run)
    assert told["status"] == "lost"
    assert len(station.course(run, "loss")) == 40
    (kept,) = folder(stores).glob("*.damaged")
    assert b'"loss":41.0' in kept.read_bytes()
    assert last >= 49
    stores.ledger.close()
