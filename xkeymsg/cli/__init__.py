"""The `xkeymsg` command."""
