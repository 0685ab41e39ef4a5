"""`python -m tests.fuzz [PART...] [--seconds S] [--inputs N] [--seed N] [--only N]`."""

import argparse
import secrets
import time

from tests.fuzz.budget import Budget
from tests.fuzz.parts import PARTS


def main() -> None:
    """Run the parts. The first fault ends it with a traceback that names seed and input."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each part")
    parser.add_argument("--inputs", type=int, default=2**62, help="for each part, at most")
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--only", type=int, default=None, help="repeat the input of that number")
    arguments = parser.parse_args()
    seed = secrets.randbits(31) if arguments.seed is None else arguments.seed
    for name in arguments.parts or PARTS:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}, only {', '.join(PARTS)}")
        print(f"{name}: seed {seed}", flush=True)
        began = time.monotonic()
        budget = Budget(arguments.seconds, arguments.inputs, arguments.only)
        done = PARTS[name](budget, seed)
        print(f"{name}: {done} in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
