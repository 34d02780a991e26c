DROP TABLE IF EXISTS instruments;
