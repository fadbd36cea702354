"""HTTP servers of `xkeymsg` verbs, for browsers and tools on the same machine."""
