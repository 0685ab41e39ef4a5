"""`make bench`."""

import os
import platform

from bench import latency, relay, resume


def main() -> None:
    """Run every measurement and print its table."""
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}\n"
    )
    latency.main()
    relay.main()
    resume.main()


if __name__ == "__main__":
    main()
