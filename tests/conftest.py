"""What holds for all tests."""

import signal

# A script ignores Ctrl-C in what it starts in the background, and so would all that
# the tests start: some of that is interrupted on purpose.
signal.signal(signal.SIGINT, signal.default_int_handler)
