"""When work is done on the event loop: deadlines, periodic visits, time slices, ends of turns."""
