"""Messages reach sites and come back whole, through this process and through a folder; the sites are echoes."""

import errno
import fcntl
import logging
import os
import platform
import re
import resource
import signal
import sys
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path

import forks
import pytest

from skfusion.sites import folder as folder_module
from skfusion.sites.__main__ import main
from skfusion.sites._claim import Claim
from skfusion.sites.folder import FolderTransport, serve
from skfusion.sites.local import LocalTransport
from skfusion.sites.message import Message, MessageError

SECONDS = 120  # after which a test has failed
TOO_LONG = "the request must have at most 10 bytes (max_bytes), got 11"
ECHO = '''
"""Sites that send messages back reversed."""
import os
import signal
import sys
import time


class Echo:
    def __init__(self, name):
        self.name, self.run = name, None

    def answer(self, request):
        if request == b"stop":
            sys.exit()
        self.run = None if request == b"end" else "a run"
        if request.startswith(b"slow"):
            time.sleep(0.5)
        if request == b"terminate":
            os.kill(os.getpid(), signal.SIGTERM)
        if request == b"die" and not os.path.exists("died"):
            open("died", "w").close()
            os._exit(9)
        return request[::-1]


def load():
    return Echo(os.environ["SITE"])


def nothing():
    return None
'''
names = {}
exec(ECHO, names)
Echo = names["Echo"]


def answers(transport, messages):
    """Send a message to each site, and return what they answer."""
    for site, message in messages.items():
        transport.send(site, message)
    return dict(received(transport) for _ in messages)


def reason_of(refusal):
    return Message.decode(refusal).content["reason"]


def received(transport):
    answer = transport.receive(SECONDS)
    assert answer is not None, "no site has answered"
    return answer


@pytest.fixture
def process(tmp_path):
    """Start a site's process on a folder, and end it with the test."""
    (tmp_path / "echo.py").write_text(ECHO)
    processes = []

    def start(name, *options):
        command = "-m", "skfusion.sites", "serve", "--folder", ".", "--site", "echo:load", *options
        processes.append(forks.start(*command, folder=tmp_path, log=tmp_path / f"{name}.log", SITE=name))
        return processes[-1]

    yield start
    for one in processes:
        one.kill()
        one.join()


def quietly(site, folder, **options):
    with suppress(SystemExit):
        serve(site, folder, **options)


@pytest.fixture
def thread(tmp_path):
    """Let a site serve in a thread, and end it with the test."""
    threads = {}

    def start(name, **options):
        threads[name] = threading.Thread(target=quietly, args=(Echo(name), tmp_path), kwargs=options, daemon=True)
        threads[name].start()
        return threads[name]

    yield start
    with FolderTransport(tmp_path) as transport:
        for name, one in threads.items():
            transport.send(name, b"stop")
            one.join(SECONDS)
            assert not one.is_alive()


def wait_for(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


def exit_code(process):
    """Wait for a process to end; return how it did."""
    process.join(SECONDS)
    return process.exitcode


# In this process


def test_local_sites_answer():
    with LocalTransport([Echo("York"), Echo("Bath")]) as transport:
        assert transport.sites() == ["Bath", "York"]
        assert answers(transport, {"York": b"abc", "Bath": b"123"}) == {"York": b"cba", "Bath": b"321"}
        assert transport.receive(0.01) is None


def test_local_sites_work_at_the_same_time():
    barrier = threading.Barrier(2, timeout=SECONDS)

    class Meeting(Echo):
        def answer(self, request):
            barrier.wait()
            return request

    with LocalTransport([Meeting("York"), Meeting("Bath")]) as transport:
        assert answers(transport, {"York": b"a", "Bath": b"b"}) == {"York": b"a", "Bath": b"b"}


def test_local_sites_do_not_wait_for_one_that_takes_its_time():
    begun, go = threading.Event(), threading.Event()

    class Slow(Echo):
        def answer(self, request):
            begun.set()
            assert go.wait(SECONDS)
            return request

    with LocalTransport([Slow("York"), Echo("Bath")]) as transport:
        for number in range(9):
            transport.send("York", b"%d" % number)
            assert begun.wait(SECONDS)
            assert answers(transport, {"Bath": b"abc"}) == {"Bath": b"cba"}
        go.set()
        assert [received(transport) for _ in range(2)] == [("York", b"0"), ("York", b"8")]


def test_what_a_local_site_is_at_work_on_is_not_begun_again():
    begun, go, request = threading.Semaphore(0), threading.Event(), b"abc"

    class Slow(Echo):
        def answer(self, request):
            begun.release()
            assert go.wait(SECONDS)
            return request

    with LocalTransport([Slow("York")]) as transport:
        transport.send("York", request)
        assert begun.acquire(timeout=SECONDS)
        transport.send("York", request)
        go.set()
        assert received(transport) == ("York", b"abc")
        assert transport.receive(0.05) is None


def test_what_a_local_site_raises_is_raised():
    class Failing(Echo):
        def answer(self, request):
            raise ZeroDivisionError

    with LocalTransport([Failing("York")]) as transport:
        transport.send("York", b"")
        with pytest.raises(ZeroDivisionError):
            transport.receive(SECONDS)


def test_what_has_not_begun_when_a_transport_closes_never_begins():
    begun, go, requests = threading.Semaphore(0), threading.Event(), []

    class Slow(Echo):
        def answer(self, request):
            requests.append(request)
            begun.release()
            assert go.wait(SECONDS)
            return request

    names = "Bath", "York"
    transport = LocalTransport(map(Slow, names))
    for name in names:
        transport.send(name, b"first")
        assert begun.acquire(timeout=SECONDS)
    for name in names:
        transport.send(name, b"second")
    closing = threading.Thread(target=transport.close)
    closing.start()
    closing.join(0.1)  # it waits for those at work
    assert closing.is_alive()
    go.set()
    closing.join(SECONDS)
    assert requests == [b"first", b"first"]


def test_messages_are_let_go_of_that_were_overtaken_or_answered():
    begun, go = threading.Event(), threading.Event()

    class Message:
        """Of any size; bytes allow no weak references."""

    class Slow(Echo):
        def answer(self, request):
            begun.set()
            assert go.wait(SECONDS)
            return b""

    with LocalTransport([Slow("York")]) as transport:

        def sent():
            message = Message()
            transport.send("York", message)
            return weakref.ref(message)

        first = sent()
        assert begun.wait(SECONDS)
        overtaken = [sent() for _ in range(3)]
        last = sent()
        assert first() is not None
        assert [message() for message in overtaken] == [None] * 3
        assert last() is not None
        go.set()
        assert [received(transport) for _ in range(2)] == [("York", b"")] * 2
        wait_for(lambda: first() is last() is None)


@pytest.mark.parametrize(
    ("names", "error", "match"),
    [
        (["Bath", "York", "Bath"], ValueError, "different names, got 2 named 'Bath'"),
        (["../Bath"], ValueError, "a site's name must have .* got '../Bath'"),
        ([None], TypeError, "a site's name must be a string, got None"),
    ],
)
def test_local_sites_have_names_of_their_own(names, error, match):
    with pytest.raises(error, match=match):
        LocalTransport([Echo(name) for name in names])


@pytest.mark.parametrize(("sites", "match"), [(Echo("Bath"), "a list of Sites, got <"), ([7], "Sites, got 7")])
def test_what_is_no_site_is_refused(sites, match):
    with pytest.raises(TypeError, match=f"sites must be {match}"):
        LocalTransport(sites)


# Through a folder, in processes


def test_a_command_may_stay_for_the_next_run_and_limit_what_it_reads(process, tmp_path):
    site = process("Bath", "--stay", "--max-bytes", "10")
    with FolderTransport(tmp_path) as transport:
        for message in (b"one", b"end", b"two", b"end", b"three"):
            assert answers(transport, {"Bath": message}) == {"Bath": message[::-1]}
        assert reason_of(answers(transport, {"Bath": b"x" * 11})["Bath"]) == TOO_LONG
    assert TOO_LONG in (tmp_path / "Bath.log").read_text()
    assert site.is_alive()


def test_processes_answer_and_end_with_the_run(process, tmp_path):
    names = ["St Mary's", "Zürich"]
    processes = [process(name) for name in names]
    with FolderTransport(tmp_path) as transport:
        wait_for(lambda: len(transport.sites()) == 2)
        assert transport.sites() == names
        for k in range(5):
            message = bytes([k]) * 100_000 + b"!"
            assert answers(transport, dict.fromkeys(names, message)) == dict.fromkeys(names, message[::-1])
        answers(transport, dict.fromkeys(names, b"end"))
    for name, one in zip(names, processes, strict=True):
        assert exit_code(one) == 0
        lines = (tmp_path / f"{name}.log").read_text().splitlines()
        assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (St Mary's|Zürich): ", line) for line in lines)
        folder = {"St Mary's": "St Mary%27s", "Zürich": "Z%C3%BCrich"}[name]
        assert lines[0].endswith(f"waiting for the coordinator in {tmp_path / folder}")
        assert lines[-1].endswith("the run is over")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("answer*"))
    assert left == ["St Mary%27s/answer", "Z%C3%BCrich/answer"]  # to the last message, which ended the run
    assert not [*tmp_path.rglob("request*"), *tmp_path.rglob("serving*"), *tmp_path.rglob("coordinator*")]


def test_a_process_that_was_killed_answers_when_it_is_back_and_ends_by_ctrl_c(process, tmp_path):
    first = process("Bath")
    with FolderTransport(tmp_path) as transport:
        transport.send("Bath", b"die")
        assert exit_code(first) == 9
        assert (tmp_path / "Bath" / "serving").exists()
        part = tmp_path / "Bath" / ".skfusion-0123"
        part.write_bytes(b"cut")
        assert transport.receive(0) is None
        second = process("Bath")
        assert received(transport) == ("Bath", b"eid")
        assert not part.exists()
    taken = f"has a process that serves as 'Bath' already, process {second.pid} on .* give this site another name"
    with pytest.raises(RuntimeError, match=taken):
        serve(Echo("Bath"), tmp_path)
    os.kill(second.pid, signal.SIGINT)
    assert exit_code(second) == 128 + signal.SIGINT
    text = (tmp_path / "Bath.log").read_text()
    assert "ended from the keyboard" in text
    assert "Traceback" not in text
    assert not (tmp_path / "Bath" / "serving").exists()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder that a command is given in, in this process."""
    (tmp_path / "echo.py").write_text(ECHO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SITE", "Bath")
    monkeypatch.delitem(sys.modules, "echo", raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, handler)


def test_a_command_that_is_terminated_ends_cleanly(here):
    with FolderTransport(here) as transport:
        transport.send("Bath", b"terminate")
        with pytest.raises(SystemExit) as error:
            main(["serve", "--folder", ".", "--site", "echo:load"])
    assert error.value.code == 128 + signal.SIGTERM
    assert not (here / "Bath" / "serving").exists()


@pytest.mark.parametrize(
    ("site", "folder", "status", "match"),
    [
        ("echo", ".", 2, "--site must name a function of a module, as in 'hospital:load', got 'echo'"),
        ("echo.py:load", ".", 2, "--site must name a function of a module, as in 'hospital:load', got 'echo.py:load'"),
        ("ecco:load", ".", 2, "--site must name a module that is installed, in this folder or .*; got 'ecco'"),
        ("echo:loud", ".", 2, "--site must name a function of .*echo.py, got 'loud'"),
        ("echo:nothing", ".", 2, "--site must name a function that returns a Site, got None from echo:nothing"),
        ("echo:nothing", "shred", 2, "argument --folder: the folder must exist, got 'shred'"),
        ("echo:nothing", "", 2, "argument --folder: the folder must exist, got ''"),
    ],
)
def test_wrong_commands_are_named(site, folder, status, match, here, capsys):
    with pytest.raises(SystemExit) as error:
        main(["serve", "--folder", folder, "--site", site])
    assert error.value.code == status
    assert re.search(match, capsys.readouterr().err)


def test_a_limit_that_cannot_hold_is_named_by_the_command(here, capsys):
    for n_bytes, match in (
        ("0", "max_bytes must be at least 1, got 0"),
        ("much", "max_bytes must be an integer of at least 1, got 'much'"),
    ):
        with pytest.raises(SystemExit) as error:
            main(["serve", "--folder", ".", "--site", "echo:load", "--max-bytes", n_bytes])
        assert error.value.code == 2
        assert re.search(f"argument --max-bytes: .*{match}", capsys.readouterr().err)


def test_a_folder_that_a_command_may_not_use_is_named(here, capsys, monkeypatch):
    def mkdir(path, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(SystemExit) as error:
        main(["serve", "--folder", ".", "--site", "echo:load"])
    assert error.value.code == 1
    assert capsys.readouterr().err == f"[Errno 13] Permission denied: '{here / 'Bath'}'\n"


def test_a_command_for_a_site_that_is_served_already_says_so_in_a_line(here, capsys):
    with Claim(here / "Bath" / "serving", "it", "a process", "do not"), pytest.raises(SystemExit) as error:
        main(["serve", "--folder", ".", "--site", "echo:load"])
    assert error.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "has a process that serves as 'Bath' already" in line


def test_a_folder_is_where_it_was_if_the_working_directory_changes(here):
    (here / "shared").mkdir()
    code = "import os\nfrom echo import load as echo\n\n\ndef load():\n    os.chdir('/')\n    return echo()\n"
    (here / "away.py").write_text(code)
    with FolderTransport("shared") as transport:
        transport.send("Bath", b"terminate")
        with pytest.raises(SystemExit) as error:
            main(["serve", "--folder", "shared", "--site", "away:load"])
        assert error.value.code == 128 + signal.SIGTERM
        assert transport.sites() == []
    assert not (here / "shared" / "coordinator").exists()


# Through a folder, in threads


def test_a_site_may_stay_for_the_next_run(thread, tmp_path):
    one = thread("Bath", stay=True)
    with FolderTransport(tmp_path) as transport:
        for message in (b"one", b"end", b"two", b"end", b"three"):
            assert answers(transport, {"Bath": message}) == {"Bath": message[::-1]}
    assert one.is_alive()


def test_the_end_of_a_run_that_a_site_had_no_part_in_does_not_end_it(thread, tmp_path):
    with FolderTransport(tmp_path) as transport:
        transport.send("Bath", b"end")
        one = thread("Bath")
        for message, following in ((b"end", b"one"), (b"one", b"end")):
            assert received(transport) == ("Bath", message[::-1])
            transport.send("Bath", following)
        assert received(transport) == ("Bath", b"dne")
    one.join(SECONDS)
    assert not one.is_alive()


def test_a_coordinator_that_comes_back_gets_the_answer_to_the_same_message(thread, tmp_path):
    thread("Bath")
    wait_for((tmp_path / "Bath" / "serving").exists)
    transport = FolderTransport(tmp_path)
    transport.send("Bath", b"slow")
    transport._claim._file.close()  # as if it had been killed
    with FolderTransport(tmp_path) as transport:
        assert not (tmp_path / "Bath" / "request").exists()
        assert answers(transport, {"Bath": b"slow"}) == {"Bath": b"wols"}


def test_what_is_asked_again_is_answered_again(thread, tmp_path):
    thread("Bath")
    with FolderTransport(tmp_path) as transport:
        for _ in range(2):
            assert answers(transport, {"Bath": b"abc"}) == {"Bath": b"cba"}
        transport.send("Bath", b"slow")  # an exchange that was cut short
        transport.send("Bath", b"abc")
        assert b"cba" in (received(transport)[1] for _ in range(2))


def test_the_answer_of_an_earlier_process_is_removed(thread, tmp_path):
    (tmp_path / "Bath").mkdir()
    answer = tmp_path / "Bath" / "answer"
    answer.touch()
    thread("Bath")
    wait_for(lambda: not answer.exists())


def damaged(whole):
    return whole[:-1] + bytes([whole[-1] ^ 1])


def damage(answer, old):
    answer.write_bytes(damaged(answer.read_bytes()))
    os.utime(answer, (0, 0))  # which may be coarse: it must not be that of the undamaged answer


@pytest.mark.parametrize(
    "lose",
    [lambda answer, old: answer.unlink(), Path.write_bytes, damage],
    ids=["gone", "older", "damaged"],
)
def test_an_answer_that_is_lost_before_it_is_read_is_given_again(lose, thread, tmp_path):
    thread("Bath")
    wait_for((tmp_path / "Bath" / "serving").exists)
    answer = tmp_path / "Bath" / "answer"
    with FolderTransport(tmp_path) as transport:
        assert answers(transport, {"Bath": b"abc"}) == {"Bath": b"cba"}
        old = answer.read_bytes()
        transport.send("Bath", b"def")
        wait_for(lambda: answer.read_bytes() != old)
        lose(answer, old)
        assert received(transport) == ("Bath", b"fed")


def test_a_site_waits_for_a_folder_that_is_gone(tmp_path, monkeypatch, caplog, thread):
    monkeypatch.setattr(folder_module, "_PAUSE", 0.01)
    caplog.set_level(logging.INFO)
    thread("Bath")
    wait_for(lambda: "waiting for the coordinator in" in caplog.text)
    away = tmp_path.rename(tmp_path.with_name("away"))
    wait_for(lambda: "Bath: the folder cannot be reached, trying again" in caplog.text)
    away.rename(tmp_path)
    wait_for(lambda: "Bath: the folder is back" in caplog.text)
    assert caplog.text.count("cannot be reached") == 1
    with FolderTransport(tmp_path) as transport:
        assert answers(transport, {"Bath": b"abc"}) == {"Bath": b"cba"}


def test_the_last_answer_is_written_once_the_folder_allows_it(tmp_path, monkeypatch, thread):
    monkeypatch.setattr(folder_module, "_PAUSE", 0.01)
    write, failures = folder_module.replacing, [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))] * 2

    def replacing(path, **options):
        if path.name == "answer" and failures:
            raise failures.pop()
        return write(path, **options)

    with FolderTransport(tmp_path) as transport:
        one = thread("Bath")
        assert answers(transport, {"Bath": b"one"}) == {"Bath": b"eno"}
        monkeypatch.setattr(folder_module, "replacing", replacing)
        assert answers(transport, {"Bath": b"end"}) == {"Bath": b"dne"}
    one.join(SECONDS)
    assert not failures


def test_a_request_that_is_too_long_is_refused(tmp_path, thread):
    thread("Bath", max_bytes=10)
    with FolderTransport(tmp_path) as transport:
        assert reason_of(answers(transport, {"Bath": b"x" * 11})["Bath"]) == TOO_LONG
        assert answers(transport, {"Bath": b"x" * 10}) == {"Bath": b"x" * 10}


def test_a_site_says_once_that_it_hears_nothing(tmp_path, monkeypatch, caplog, thread):
    monkeypatch.setattr(folder_module, "_QUIET", 0.01)
    caplog.set_level(logging.INFO)
    thread("Bath")
    wait_for(lambda: f"still waiting for the coordinator in {tmp_path / 'Bath'}" in caplog.text)
    with FolderTransport(tmp_path) as transport:
        answers(transport, {"Bath": b"abc"})
        wait_for(lambda: caplog.text.count("still waiting for the coordinator") == 2)
        time.sleep(0.2)
    assert caplog.text.count("still waiting for the coordinator") == 2


# Through a folder, the coordinator's end


def test_a_second_coordinator_is_refused(tmp_path):
    taken = rf"has a coordinator already, process {os.getpid()} on .*since 20.*; end that one, or close its F"
    with FolderTransport(tmp_path), pytest.raises(RuntimeError, match=taken):
        FolderTransport(tmp_path)
    FolderTransport(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_not_made_anew(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    with FolderTransport(shared) as transport:
        away = shared.rename(tmp_path / "away")
        with pytest.raises(NotADirectoryError, match="the folder must exist"):
            transport.send("Bath", b"")
        assert not shared.exists()
        away.rename(shared)


@pytest.mark.parametrize("machine", ["elsewhere", platform.node()])  # many are called localhost
def test_a_coordinator_that_another_machine_has_replaced_ends(machine, tmp_path):
    transport = FolderTransport(tmp_path)
    other, text = tmp_path / "copied", f"process 7 on {machine}, since 9999"
    other.write_text(text)
    other.rename(tmp_path / "coordinator")
    with pytest.raises(RuntimeError, match=f"has a coordinator already, {text}"):
        transport.send("Bath", b"")
    transport.close()
    assert (tmp_path / "coordinator").read_text() == text


def test_a_site_that_another_machine_has_replaced_ends(tmp_path):
    other = tmp_path / "copied"
    other.write_text("process 7 on elsewhere")

    class Replaced(Echo):
        def answer(self, request):
            other.rename(tmp_path / "Bath" / "serving")
            return request

    taken = "has a process that serves as 'Bath' already, process 7 on elsewhere"
    with FolderTransport(tmp_path) as transport:
        transport.send("Bath", b"one")
        with pytest.raises(RuntimeError, match=taken):
            serve(Replaced("Bath"), tmp_path)


def test_a_claim_that_may_be_anothers_still_is_told(tmp_path, caplog):
    FolderTransport(tmp_path).close()
    holder = "process 7 on elsewhere, since 2026"
    (tmp_path / "coordinator").write_text(holder)
    FolderTransport(tmp_path).close()
    assert caplog.messages == [f"{tmp_path} had a coordinator before, {holder}; should that one still be there, end it"]


def test_what_others_have_put_in_place_of_a_claim_is_told_in_a_line(tmp_path, caplog):
    for text in ("\x1b[2J\nBath: the run is over\n", "x" * 10**6):
        (tmp_path / "coordinator").write_text(text)
        with FolderTransport(tmp_path):
            assert len((tmp_path / "coordinator").read_text()) < 200  # which takes the place of theirs
    assert all(message.isprintable() and len(message) < 1000 for message in caplog.messages)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("precious"), os.mkfifo, Path.mkdir])
def test_a_claim_is_no_link_and_no_pipe(make, tmp_path):
    (tmp_path / "precious").write_text("rows")
    arguments = tmp_path / "serving", "folder", "a site", "do not"
    with Claim(*arguments) as claim:
        claim.path.unlink()
        make(claim.path)
        for take in (lambda: Claim(*arguments), claim.renew):
            with pytest.raises(OSError, match="serving"):
                take()
    assert (tmp_path / "precious").read_text() == "rows"


def test_a_claim_of_before_that_a_sync_tool_has_brought_back_is_replaced(tmp_path):
    arguments = tmp_path / "serving", "folder", "a site", "do not"
    first = Claim(*arguments)
    text = first.path.read_text()
    first.release()
    with Claim(*arguments) as claim:
        copy = tmp_path / "copy"
        copy.write_text(text)
        copy.rename(claim.path)
        claim.renew()
        assert claim.path.read_text() != text
        with pytest.raises(RuntimeError, match="folder has a site already"):
            Claim(*arguments)
        claim.path.unlink()
        with Claim(*arguments), pytest.raises(RuntimeError, match="folder has a site already"):
            claim.renew()  # another has come


def test_a_claim_is_no_file_that_its_last_holder_removes_meanwhile(tmp_path, monkeypatch):
    arguments, flock = (tmp_path / "serving", "folder", "a site", "do not"), fcntl.flock

    def after_release(file, flags):
        monkeypatch.undo()
        arguments[0].unlink()
        flock(file, flags)

    monkeypatch.setattr(fcntl, "flock", after_release)
    with Claim(*arguments), pytest.raises(RuntimeError, match="folder has a site already"):
        Claim(*arguments)


def test_a_claim_whose_file_is_gone_is_renewed(tmp_path):
    claim = Claim(tmp_path / "folder" / "serving", "folder", "a site", "do not")
    claim.path.unlink()
    claim.path.parent.rmdir()
    claim.renew()
    with pytest.raises(RuntimeError, match="folder has a site already"):
        Claim(claim.path, "folder", "a site", "do not")
    claim.release()
    assert not claim.path.exists()


def test_a_drive_without_locks_is_named(tmp_path, monkeypatch):
    def flock(file, flags):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=r"must be on a drive that can lock files, .*No locks available: '.*coordinator'"):
        FolderTransport(tmp_path)


def test_a_folder_on_a_full_drive_is_not_claimed(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # as good as a full drive
    try:
        with pytest.raises(OSError, match=r"File too large: '.*serving'"):
            serve(Echo("Bath"), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with FolderTransport(tmp_path) as transport:
        assert transport.sites() == []


@pytest.fixture
def smb(monkeypatch):
    """Locks as they are on an SMB drive: nobody else may read what is locked, and a lock that is taken is forbidden."""
    real, holders = fcntl.flock, []

    def flock(file, flags):
        try:
            real(file, flags)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
        holders.append(file)

    def opened(path, *arguments, **options):
        file = open(path, *arguments, **options)  # noqa: SIM115

        def read(*n_bytes):
            if file not in holders:
                flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                real(file, fcntl.LOCK_UN)
                holders.remove(file)
            return type(file).read(file, *n_bytes)

        file.read = read
        return file

    monkeypatch.setattr(fcntl, "flock", flock)
    for module in (folder_module, sys.modules[Claim.__module__]):
        monkeypatch.setattr(module, "open", opened, raising=False)


def test_on_smb_a_second_coordinator_is_refused_too(smb, tmp_path):
    with FolderTransport(tmp_path) as first:
        with pytest.raises(RuntimeError, match="has a coordinator already, another process; end that one"):
            FolderTransport(tmp_path)
        (tmp_path / "coordinator").rename(tmp_path / "away")
        with (
            FolderTransport(tmp_path),
            pytest.raises(RuntimeError, match="has a coordinator already, another process; end that one"),
        ):
            first.send("Bath", b"")


def test_on_smb_a_message_is_read_once_its_writer_has_closed_it(smb, bath):
    transport, answer, request = bath
    answer.write_bytes(request.read_bytes())
    with answer.open("rb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        assert transport.receive(0) is None
    assert transport.receive(0) == ("Bath", b"request")


def test_folders_that_are_no_sites_are_not_counted(tmp_path):
    for name in (".stfolder", "lost+found", "Bath", "York%2F", "..%2FYork"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "serving").touch()
    (tmp_path / "York").mkdir()
    (tmp_path / "Leeds").touch()
    with FolderTransport(tmp_path) as transport:
        assert transport.sites() == ["Bath"]


def test_a_folder_that_may_not_be_looked_into_is_named_once_and_left_out(tmp_path, monkeypatch, caplog):
    for name in ("Bath", "Private"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "serving").touch()
    (tmp_path / "Private").chmod(0)
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "Private")  # root may look everywhere
    with FolderTransport(tmp_path) as transport:
        for _ in range(2):
            assert transport.sites() == ["Bath"]
    (tmp_path / "Private").chmod(0o700)
    assert caplog.text.count("since this process may not look into it") == 1
    assert f"{tmp_path / 'Private'} is not taken for a site's folder" in caplog.text


def test_a_folder_that_cannot_be_used_is_not_claimed(tmp_path, monkeypatch):
    def iterdir(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", iterdir)
        with pytest.raises(OSError, match="Input/output") as error:
            FolderTransport(tmp_path)
    assert not (tmp_path / "coordinator").exists()
    FolderTransport(tmp_path).close()
    assert error.value.errno == errno.EIO  # whose traceback has kept the first one


def test_a_request_that_is_gone_is_put_back_and_one_that_is_there_stays(bath):
    transport, _, request = bath
    whole, was = request.read_bytes(), request.stat()
    transport.send("Bath", b"request")
    assert request.stat() == was
    for left in (None, whole[:-1], damaged(whole)):
        request.unlink()
        if left is not None:
            request.write_bytes(left)
        transport.send("Bath", b"request")
        assert request.read_bytes() == whole
    assert transport.resend_after <= 600


@pytest.mark.parametrize("name", ["../Bath", "..", "", ".", "/etc", "a/../b"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    with FolderTransport(tmp_path) as transport, pytest.raises(ValueError, match="a site's name must have"):
        transport.send(name, b"")


@pytest.mark.parametrize("name", ["coordinator", "Coordinator"])
def test_a_site_is_not_named_as_the_coordinators_file_is(tmp_path, name):
    with FolderTransport(tmp_path) as transport, pytest.raises(ValueError, match=f"must not be named '{name}'"):
        transport.send(name, b"")
    with pytest.raises(ValueError, match=f"must not be named '{name}'"):
        serve(Echo(name), tmp_path)


def test_a_closed_transport_is_named(tmp_path):
    with FolderTransport(tmp_path) as transport:
        pass
    for use in (transport.sites, lambda: transport.send("Bath", b"request")):
        with pytest.raises(RuntimeError, match="is closed; make another FolderTransport of the same folder"):
            use()
    assert not (tmp_path / "Bath").exists()


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(TypeError, match=r"^path must be a string or another path, got None"):
        FolderTransport(None)
    with pytest.raises(NotADirectoryError, match=r"the folder must exist, got '.*nowhere'"):
        FolderTransport(tmp_path / "nowhere")


@pytest.mark.parametrize(("max_bytes", "match"), [(0, "at least 1, got 0"), (2**30 + 1, "at most 1073741824, .* got")])
def test_a_limit_that_cannot_hold_is_refused(max_bytes, match, tmp_path):
    with pytest.raises(ValueError, match=f"max_bytes must be {match}"):
        FolderTransport(tmp_path, max_bytes=max_bytes)
    with pytest.raises(ValueError, match=f"max_bytes must be {match}"):
        serve(Echo("Bath"), tmp_path, max_bytes=max_bytes)


@pytest.fixture
def bath(tmp_path):
    """A coordinator's end of a folder, and the file in which an answer is to come."""
    with FolderTransport(tmp_path, max_bytes=100) as transport:
        transport.send("Bath", b"request")
        yield transport, tmp_path / "Bath" / "answer", tmp_path / "Bath" / "request"


def test_what_is_not_whole_yet_is_waited_for(bath):
    transport, answer, request = bath
    whole = request.read_bytes()
    for length in range(len(whole)):
        answer.write_bytes(whole[:length])
        assert transport.receive(0) is None
    answer.write_bytes(whole)
    assert transport.receive(0) == ("Bath", b"request")
    assert transport.receive(0) is None


def test_an_answer_that_is_too_long_is_refused(bath):
    transport, answer, _ = bath
    with open(answer, "wb") as file:
        file.write(b"x" * 16)
        file.truncate(2**40)
    too_long = r"'Bath' is refused: the answer must have at most 100 bytes \(max_bytes\), got 1099511627760$"
    with pytest.raises(MessageError, match=too_long):
        transport.receive(0)
    assert transport.receive(0) is None  # once is enough


def test_a_site_that_keeps_sending_does_not_drown_another(bath):
    transport, answer, request = bath
    transport.send("York", b"request")
    whole = request.read_bytes()
    other = transport.path / "York" / "answer"
    messages = []
    for number in range(3):
        answer.write_bytes(folder_module.digest_of(b"%d" % number) + b"%d" % number)
        if number == 1:
            other.write_bytes(whole)
        messages.append(transport.receive(0))
    assert messages == [("Bath", b"0"), ("York", b"request"), ("Bath", b"2")]


def test_a_pipe_does_not_stop_the_coordinator(bath):
    transport, answer, _ = bath
    os.mkfifo(answer)
    assert transport.receive(0) is None
    with open(answer, "r+b", buffering=0):  # somebody may write to it
        assert transport.receive(0) is None


@pytest.mark.parametrize("of_site", ["serving", "answer"])  # by which a folder is known for a site's
def test_what_an_earlier_coordinator_left_is_removed(of_site, tmp_path):
    (tmp_path / "Bath").mkdir()
    for name in ("request", of_site, ".skfusion-12"):
        (tmp_path / "Bath" / name).write_bytes(b"cut")
    with FolderTransport(tmp_path) as transport:
        assert not (tmp_path / "Bath" / "request").exists()
        transport.send("Bath", b"whole")
        assert {path.name for path in (tmp_path / "Bath").iterdir()} == {"request", of_site}


def test_files_that_are_not_of_messages_stay(tmp_path):
    (tmp_path / "Accounts").mkdir()
    (tmp_path / "Accounts" / "request").write_text("for payment")
    FolderTransport(tmp_path).close()
    assert (tmp_path / "Accounts" / "request").exists()


def test_a_link_that_a_site_has_made_is_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"the coordinator's")
    (tmp_path / "shared" / "Bath").mkdir(parents=True)
    with FolderTransport(tmp_path / "shared") as transport:
        (tmp_path / "shared" / "Bath" / "request").symlink_to(other)
        transport.send("Bath", b"message")
    assert other.read_bytes() == b"the coordinator's"


def test_a_folder_that_is_away_in_the_end_does_no_harm(bath, monkeypatch, caplog):
    transport, answer, request = bath
    answer.write_bytes(request.read_bytes())
    assert transport.receive(0)[0] == "Bath"

    def unlink(path, missing_ok=False):
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        transport.close()
    assert "the folder cannot be reached, so its files stay: " in caplog.text
    FolderTransport(transport.path).close()


def test_unanswered_requests_stay_and_answered_ones_go(bath):
    transport, answer, request = bath
    transport.send("York", b"to York")
    answer.write_bytes(request.read_bytes())
    assert transport.receive(0)[0] == "Bath"
    transport.close()
    assert not request.exists()
    assert (transport.path / "York" / "request").exists()
