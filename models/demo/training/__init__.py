"""The scripts that train the demo pair from scratch. Not in the wheel."""
