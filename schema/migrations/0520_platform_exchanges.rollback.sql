DROP TABLE IF EXISTS platform_exchanges;
