"""Where opened messages go, one kind a module."""
