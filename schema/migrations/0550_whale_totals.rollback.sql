DROP TRIGGER IF EXISTS sum_whale ON whale_transactions;
DROP FUNCTION IF EXISTS sum_whale, whale_of_transfers;
DROP TABLE IF EXISTS whale_totals;
