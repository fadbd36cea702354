"""The receiver: opens what arrives and hands it on."""
