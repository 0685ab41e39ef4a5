"""When work is done on the event loop: deadlines, visits, time slices, turns, ends of turns."""
