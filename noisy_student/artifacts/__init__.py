"""Files that stages hand each other."""
