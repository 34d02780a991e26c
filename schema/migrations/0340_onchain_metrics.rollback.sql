DROP TABLE IF EXISTS onchain_metrics;
