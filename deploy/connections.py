"""Fetches the URLs that are its arguments and says what came; exit code 1 when one does not answer well. Sent into
the pod of web by install.sh, for its settings, passwords and network policies are what is tried."""

import sys
from urllib.request import urlopen

failed = False
for url in sys.argv[1:]:
    try:
        with urlopen(url, timeout=10) as answer:  # noqa: S310 - what install.sh says
            print("ok  ", url, answer.read(200).decode())
    except OSError as error:
        print("FAIL", url, error)
        failed = True
sys.exit(failed)
