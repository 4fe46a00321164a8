"""One relation per file: the file's name is the relation's."""
