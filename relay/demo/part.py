"""`python -m relay.demo.part MODULE …`: `python -m MODULE …` that ends with its starter.

The starter holds its standard input open, and may be killed with `kill -9`.
"""

import runpy
import sys

from relay.shared.with_parent import end_with_parent


def main() -> None:
    """Run the module that the first argument names, with the other arguments."""
    end_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
