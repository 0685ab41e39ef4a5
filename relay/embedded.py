"""`python -m relay.embedded`: a relay that ends with the process that has started it."""

import sys

from relay.__main__ import main
from relay.shared.with_parent import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    sys.argv[1:] = []
    main()
