DROP TABLE IF EXISTS rollup_dirty;
