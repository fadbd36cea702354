"""`xkeymsg console`: web pages for the people who run the daemons. It holds no key to open with."""
