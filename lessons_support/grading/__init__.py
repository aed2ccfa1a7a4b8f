"""Re-run learners' notebooks, and give each exercise its verdict, with the reasons.

Start with ``python -m lessons_support grade --help``. To read the package: `submission`
reads notebooks, `answer` finds the answers in them, `lesson` what each of them builds
on; `judge` runs one in a `kernel`, where `witness` watches; the kernel is forked from a
`template` into a `box`. `grade` says what that is worth, `store` keeps it, `report`
shows it, `session` does all of it for a folder. The rest is `command`, `cluster`,
`nbgrader` and `refresh`.

What is taken from a submission
    Its answer cells, and nothing else: the code between the heading "### Exercise …"
    and the exercise's check or solution. They are run, one after the other, below the
    course's own cells and above the course's own check; whatever else a submission
    contains is never run.

What a grader is protected from (with bubblewrap, on Linux)
    Each answer runs in a box of its own: a fresh kernel with its own processes, users,
    files and loopback network. It sees Python, the course's package and the programs
    of the lesson, read-only; no home, no other submission, no solution, no network.
    What it writes is in memory and gone with the box. Memory, processor time,
    processes, files, output and time are limited. Ending a box ends all that is in it.
    What is left as a way out: a fault in the Linux kernel, in bubblewrap, or in the
    libraries with which the grader reads a kernel's messages (ZeroMQ, JSON). Memory
    that an answer hides in files that have no name is limited only in each file.
    Pages that are written for a teacher contain nothing of a submission but text and
    the picture that the check draws.

What a box needs
    bubblewrap 0.8, Linux 5.8, and the right to make user namespaces. Debian and Fedora
    give it to everybody. Ubuntu 24.04 keeps it back, so bubblewrap wants a profile, in
    /etc/apparmor.d/bwrap, and then ``sudo systemctl reload apparmor``::

        abi <abi/4.0>,
        profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }

    A container keeps back more: Docker's needs ``--security-opt seccomp=unconfined
    --security-opt systempaths=unconfined``, and on Ubuntu ``apparmor=unconfined``.
    (Neither profile nor options have been tried with this package.) Whether all is
    well, the command finds out before it starts, and says what bubblewrap said. Inside
    a box no further user namespaces can be made, which keeps much of the Linux kernel
    out of reach. That is so if an ordinary user grades. Root's boxes have no user
    namespace of their own: answers run in them as "nobody", and could make some. So do
    not grade as root where you need not.

What a verdict is protected from
    A learner's code and the check are run by one interpreter, so a learner who sets
    out to forge a verdict from inside can: by going through the garbage collector, the
    stack, or memory itself to what notes the claims. That takes a forger who has read
    this package. What does not help: printing ✓; editing, deleting or doubling cells;
    other definitions of ``check`` or of anything of the lesson's (an answer has a
    namespace of its own, and hands over only what was asked for); patches of
    lessons_support, asyncio, the packages that the lesson uses, built-in functions or
    IPython's hooks; objects that equal everything; files of the course's name. Where
    such a thing is found, the exercise gets no points and the note says what was found.
    What installed packages register with IPython while an answer runs, as matplotlib
    does, is harmless: it is taken away before the check.
    As a last test the exercise's frame, as shipped, is judged in the same kernel: no
    claim may hold. Objects that the lesson has made, such as a server's list of guests,
    an answer may change. A verdict that nobody may forge needs an eye on the answer.
    The page shows it.

What is not protected
    Without a box (``--unboxed``) an answer may do all that the grader's user may do.
    With ``--scheduler`` the grader and the workers trust the cluster: Dask sends
    pickles. A worker that is killed leaves an empty folder "grade-…" behind; its boxes
    end with it.
"""
