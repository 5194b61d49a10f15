"""How peers train and fuse: a problem that never changes, an ensemble that does, and an engine that works on it."""
