"""Ends a stack: its servers, their children, and whatever outlived an earlier crash."""

from filelock import FileLock

from tools.local import processes, servers
from tools.local.errors import LocalError
from tools.local.home import Home
from tools.local.screen import Screen


def down(home: Home, screen: Screen) -> None:
    """Nothing of the stack runs afterwards, or an error says what does. Its data goes with it."""
    home.prepare()
    with FileLock(home.lock):
        daemons = [server.daemon for server in servers.all_of(home)]
        members = [process for daemon in daemons for process in daemon.members]
        # No grace: what they would still write down is not wanted.
        processes.end([*members, *processes.leftovers(home)], grace=0)
        for pid_file in home.directory.glob("*.pid.json"):
            pid_file.unlink()
        left = processes.leftovers(home)
        home.forget()
    if left:
        raise LocalError(f"still running: {', '.join(str(process.pid) for process in left)}")
    screen.say("nothing is left running")
