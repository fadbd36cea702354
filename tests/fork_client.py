"""Have `tests.forked` run a program, and wait for it: `fork_client.py SOCKET MODULE …`.

It runs for every command of a script, so it imports little.
"""

import json
import os
import signal
import socket
import sys


def main() -> int:
    number, *arguments = sys.argv[1:]
    reading, writing = os.pipe()
    request = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()  # noqa: PTH109
    with socket.socket(fileno=int(number)) as server:
        socket.send_fds(server, [request], [0, 1, 2, writing])
    os.close(writing)
    for each in (0, 1):  # their other ends must notice when the program closes them
        os.close(each)
    with os.fdopen(reading) as status:
        pid = int(status.readline())
        for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda number, _: os.kill(pid, number))
        code = int(status.readline())
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    os._exit(main())  # stdout is closed
