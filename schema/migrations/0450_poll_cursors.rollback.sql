DROP TABLE IF EXISTS poll_cursors;
