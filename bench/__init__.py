"""What `make bench` measures. Each module prints its own table; ratios are against a reference
measured in the same run, since the machine is shared and noisy."""
