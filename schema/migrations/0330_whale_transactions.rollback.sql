DROP TABLE IF EXISTS whale_transactions;
