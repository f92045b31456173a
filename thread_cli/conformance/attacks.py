"""Code that attacks, for the conformance suite of interpreters: on things outside sessions, and on sessions.

Each piece binds `harm` to a true value if it got access to something forbidden; the suite sees all other effects from
outside. It may use these names for things that the suite exposes to attack: `SECRET`, a file, in `OUTSIDE`, a folder
with a listening `socket`; `TCP` and `UDP`, ports of this machine; `RUNNER` and `VICTIM`, processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thread_cli.conformance.session_attacks import ON_SESSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ATTACKS"]

_TRY = """
harm = []
def attempt(what, *args):
    try:
        got = what(*args)
    except BaseException:
        return
    if got is None or got is True or got:
        harm.append((str(what), str(got)[:100]))
"""

_SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
harm = []
def attempt(name, *args):
    try:
        got = getattr(libc, name)(*args)
    except AttributeError:
        return
    if got >= 0:
        harm.append((name, got))
"""

_ESCAPES: Final = {
    "escape by attributes of a text": "harm = '{0.__class__.__init__.__globals__}'.format(print)",
    "escape by subclasses": """
for each in ().__class__.__base__.__subclasses__():
    if each.__name__ in ('Popen', '_wrap_close'):
        harm = each.__init__.__globals__['open'](SECRET).read()
""",
    "escape by builtins": "harm = __builtins__['__import__']('os').popen('cat ' + SECRET).read()",
    "escape by import": "harm = __import__('os').system('cat ' + SECRET) == 0",
    "escape by eval": "harm = eval(compile('open(SECRET).read()', '', 'eval'))",
    "the environment of the runner": """
import os
harm = 'THREAD_CONFORMANCE' in os.environ or b'THREAD_CONFORMANCE' in b''.join(os.environb)
""",
    "debugging another process": _SYSCALL
    + """
attempt('ptrace', 16, RUNNER, 0, 0)
attempt('ptrace', 16, VICTIM, 0, 0)
attempt('ptrace', 0x4206, VICTIM, 0, 0)
""",
    "memory of another process": _SYSCALL
    + """
class Range(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
here = ctypes.create_string_buffer(8)
mine, theirs = Range(ctypes.addressof(here), 8), Range(ctypes.addressof(here), 8)
for process in (RUNNER, VICTIM):
    attempt('process_vm_readv', process, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)
    attempt('process_vm_writev', process, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)
""",
    "rights of root": _SYSCALL
    + """
attempt('mount', b'none', OUTSIDE.encode(), b'tmpfs', 0, None)
attempt('chroot', OUTSIDE.encode())
attempt('unshare', 0x10000000)
attempt('setns', 0, 0)
attempt('reboot', 0)
attempt('swapoff', b'/')
attempt('sethostname', b'x', 1)
attempt('mknod', (OUTSIDE + '/device').encode(), 0o20666, 0x103)
attempt('memfd_create', b'x', 0)
attempt('inotify_init')
attempt('personality', 0x0040000)
attempt('acct', None)
import platform
if platform.machine() == 'x86_64':
    zeros = ctypes.create_string_buffer(200)
    for number, *args in ((321, 0, zeros, 128), (425, 8, zeros), (323, 1), (298, zeros, 0, -1, -1, 0), (250, 0, 0),
                          (246, 0, 0, 0, 0), (175, zeros, 0, zeros), (0x40000000 + 39,), (434, RUNNER, 0),
                          (435, zeros, 88)):
        attempt('syscall', number, *args)
""",
}

_FILES: Final = {
    "reading a file outside": "harm = open(SECRET).read()",
    "reading what systems keep": _TRY
    + """
import os
for path in ('/etc/passwd', '/etc/shadow', '/root/.ssh/id_rsa', '/root/.bashrc', '/proc/1/environ', '/proc/version',
             '/proc/net/tcp', '/sys/kernel/notes', '/dev/mem', '/dev/kmsg', '/var/log/syslog'):
    attempt(lambda: open(path, 'rb').read(10))
for path in ('/', '/root', '/home', '/etc', '/proc', '/tmp', '/dev', '/var', OUTSIDE):
    attempt(lambda: os.listdir(path))
""",
    "reading the runner by its process folder": _TRY
    + """
for file in ('mem', 'environ', 'maps', 'cmdline', 'auxv', 'root/etc/passwd', 'cwd/pyproject.toml', 'fd/0', 'status'):
    for process in (RUNNER, VICTIM, 'self'):
        attempt(lambda: open(f'/proc/{process}/{file}', 'rb').read(1))
""",
    "writing files outside": _TRY
    + """
import os
for path in (OUTSIDE + '/new', SECRET, '/tmp/new-of-a-session', '/dev/shm/new-of-a-session', '/root/new', '../new'):
    attempt(lambda: open(path, 'a').write('x'))
for change in (lambda: os.mkdir(OUTSIDE + '/folder'), lambda: os.mkfifo(OUTSIDE + '/pipe'), lambda: os.mknod('here'),
               lambda: os.truncate(SECRET, 0), lambda: os.remove(SECRET), lambda: os.rename(SECRET, OUTSIDE + '/other'),
               lambda: os.rename(SECRET, 'here'), lambda: os.rmdir(OUTSIDE), lambda: os.open(OUTSIDE, os.O_RDONLY)):
    attempt(change)
""",
    "links to files outside": _TRY
    + """
import os
os.symlink(SECRET, 'link')
os.symlink(OUTSIDE, 'folder')
for change in (lambda: open('link').read(), lambda: open('link', 'w').write('x'), lambda: os.link(SECRET, 'hard'),
               lambda: os.listdir('folder'), lambda: open('folder/new', 'w'), lambda: os.link('link', 'folder/hard'),
               lambda: os.symlink('x', OUTSIDE + '/link'), lambda: open('folder/../' + SECRET).read()):
    attempt(change)
""",
    "modes, owners and times of files outside": """
import os
for change in (lambda: os.chmod(SECRET, 0o777), lambda: os.utime(SECRET, (0, 0)), lambda: os.chown(SECRET, 1, 1),
               lambda: os.fchmod(os.open(os.__file__, os.O_RDONLY), 0), lambda: os.setxattr(SECRET, 'user.x', b'x')):
    try:
        change()
    except OSError:
        continue
harm = os.stat(os.__file__).st_mode & 0o777 == 0
""",
    "changing the libraries": _TRY
    + """
import os
attempt(lambda: open(os.__file__, 'a').write('#'))
attempt(lambda: os.rename(os.__file__, os.__file__ + '2'))
attempt(lambda: open(os.path.dirname(os.__file__) + '/new.py', 'w'))
""",
}

_NETWORK: Final = {
    "network by TCP": "import socket\nharm = socket.create_connection(('127.0.0.1', TCP), 1)",
    "network by UDP": """
import socket
harm = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', UDP))
""",
    "network by a socket file": """
import socket
link = socket.socket(socket.AF_UNIX)
link.connect(OUTSIDE + '/socket')
harm = 1
""",
    "network by names": "import socket\nharm = socket.getaddrinfo('example.org', 80)",
    "network by listening": """
import socket
link = socket.socket()
link.bind(('127.0.0.1', 0))
link.listen()
harm = 1
""",
    "network by libraries": "import pandas as pd\nharm = pd.read_csv('http://127.0.0.1:%d/x.csv' % TCP)",
    "network by other families": _TRY
    + """
import socket
for family in range(50):
    for kind in (1, 2, 3, 5):
        attempt(lambda: socket.socket(family, kind))
""",
}

_PROCESSES: Final = {
    "a fork bomb": "import os\nharm = os.fork() >= 0\nwhile True:\n    os.fork()",
    "new processes": _TRY
    + """
import os, subprocess, multiprocessing, sys
attempt(os.fork)
attempt(lambda: subprocess.run(['/bin/true']) and True)
attempt(lambda: os.system('true') == 0)
attempt(lambda: os.popen('echo harm').read())
attempt(lambda: os.posix_spawn('/bin/true', ['true'], {}))
attempt(lambda: multiprocessing.Process(target=print).start() or True)
attempt(lambda: os.forkpty())
""",
    "becoming another program": "import os\nos.execv('/bin/sh', ['sh', '-c', 'sleep 100'])",
    "a bomb of threads": """
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
""",
    "threads left running": """
import threading
def work():
    while True:
        pass
for i in range(3):
    threading.Thread(target=work, daemon=True).start()
""",
    "killing the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nharm = 1",
    "killing the runner": "import os, signal\nos.kill(RUNNER, signal.SIGTERM)\nharm = 1",
    "killing all": """
import os, signal
for process in (-1, 0, VICTIM, -VICTIM, os.getppid(), -os.getppid()):
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
        try:
            os.kill(process, number)
            harm = process
        except OSError:
            continue
""",
    "killing by other means": _SYSCALL
    + """
import os, fcntl
try:
    harm.append(('pidfd', os.pidfd_open(VICTIM)))
except OSError:
    pass
attempt('sigqueue', VICTIM, 15, 0)
attempt('tgkill', VICTIM, VICTIM, 15)
attempt('syscall', 200, VICTIM, 9)
ours, theirs = os.pipe()
try:
    harm.append(('owner', fcntl.fcntl(ours, fcntl.F_SETOWN, VICTIM)))
except OSError:
    pass
""",
    "limits and priority of others": _TRY
    + """
import os, resource
attempt(lambda: resource.prlimit(RUNNER, resource.RLIMIT_NOFILE, (3, 3)))
attempt(lambda: resource.prlimit(0, resource.RLIMIT_AS, (2**60, 2**60)))
attempt(lambda: resource.setrlimit(resource.RLIMIT_CPU, (1, 1)))
attempt(lambda: os.setpriority(os.PRIO_PROCESS, RUNNER, 19))
attempt(lambda: os.sched_setaffinity(RUNNER, {0}))
attempt(lambda: os.setsid())
attempt(lambda: os.setpgid(0, 0))
""",
}

ATTACKS: Final[Mapping[str, str]] = {
    **_ESCAPES,
    **_FILES,
    **_NETWORK,
    **_PROCESSES,
    **ON_SESSIONS,
}
"""Attacks by name."""
