DROP TABLE IF EXISTS bars_1m_rollup;
