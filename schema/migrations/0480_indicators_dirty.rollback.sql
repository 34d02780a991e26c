DROP TABLE IF EXISTS indicators_dirty;
