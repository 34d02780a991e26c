DROP TABLE IF EXISTS stock_indices;
