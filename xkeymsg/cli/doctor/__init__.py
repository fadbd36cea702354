"""`xkeymsg doctor`: checks of keys, peers, servers and running daemons."""
