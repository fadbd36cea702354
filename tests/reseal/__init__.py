"""Tests of `xkeymsg.reseal`."""
