"""Files that stages exchange."""
